"""Who a packet is from and to: iprange, addrtype, mac, pkttype."""

from __future__ import annotations

from collections.abc import Callable

from ..clauses import Clause, Clauses, Spans, conjunction, field, metadata, negation
from ..interface import PKTTYPE
from ..ruleset import Match
from ..world import World
from .base import U32, BadValue, MatchSpec, OptionSpec, address, listed, word


def _range(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    low = address(first)
    high = address(last) if dash else low
    if low > high:
        raise BadValue(f"got the range {text}, expected the low end first")
    return low, high


def _iprange(match: Match, world: World) -> Clauses:
    out: Clauses = [{}]
    for option in match.options:
        subject = "ipv4.src" if option.name == "src-range" else "ipv4.dst"
        spans = Spans.of(option.value)
        out = conjunction(out, [field(subject, spans.complement(U32) if option.inverted else spans)])
    return out


_TYPES = ("UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST", "BLACKHOLE", "UNREACHABLE", "PROHIBIT",
          "THROW", "NAT", "XRESOLVE")  # fmt: skip


def types_of_addresses(world: World, device: str = "") -> dict[str, Spans]:
    """Which addresses are of which type, as Linux's ``inet_addr_type`` has it.

    Args:
        device: consider local and broadcast addresses of this interface only.
    """
    multicast = Spans.of((0xE000_0000, 0xEFFF_FFFF))
    broadcast = Spans.of((0, 0x00FF_FFFF), (U32, U32))
    local: list[tuple[int, int]] = []
    ends: list[tuple[int, int]] = []
    for route in world.topology.routes:
        if route.table != "local" or (device and route.device != device):
            continue
        low = int(route.destination.network_address)
        spans = (low, int(route.destination.broadcast_address))
        (local if route.type == "local" else ends).append(spans)
    local_spans = Spans.of(*local)
    broadcast = Spans.of(*broadcast.spans, *ends)
    rest = Spans.of(*multicast.spans, *broadcast.spans, *local_spans.spans).complement(U32)
    return {"LOCAL": local_spans, "BROADCAST": broadcast, "MULTICAST": multicast, "UNICAST": rest}


def _addrtype(match: Match, world: World) -> Clauses:
    limited = [o.name for o in match.options if o.name.startswith("limit-iface")]
    out: Clauses = [{}]
    for option in match.options:
        if option.name not in ("src-type", "dst-type"):
            continue
        subject = "ipv4.src" if option.name == "src-type" else "ipv4.dst"
        alternatives: Clauses = []
        for device in world.topology.interfaces if limited else (None,):
            known = types_of_addresses(world, device.name if device else "")
            spans = Spans.of(*(s for name in option.value if name in known for s in known[name].spans))
            clause: Clause = field(subject, spans.complement(U32) if option.inverted else spans)
            if device is not None:
                number = Spans.values([device.number])
                at = field("in_port", number) if limited[0] == "limit-iface-in" else metadata("oif", number)
                clause = {**clause, **at}
            if all(clause.values()):
                alternatives.append(clause)
        out = conjunction(out, alternatives)
    return out


def _mac_address(text: str) -> int:
    parts = text.split(":")
    try:
        if len(parts) != 6 or not all(1 <= len(p) <= 2 for p in parts):
            raise ValueError
        return int("".join(p.zfill(2) for p in parts), 16)
    except ValueError:
        raise BadValue(f"got {text!r}, expected a MAC address") from None


def _mac(match: Match, world: World) -> Clauses:
    # Ethernet only: neither the local stack nor the loopback interface.
    clause = field("eth.src", Spans.values([match.options[0].value]))
    if match.options[0].inverted:
        clause = negation(clause)[0]
    return conjunction([clause], [field("in_port", Spans.of((2, 0xFFFF)))])


def _pkttype(match: Match, world: World) -> Clauses:
    option = match.options[0]
    kinds = {"unicast": PKTTYPE.HOST, "host": PKTTYPE.HOST, "broadcast": PKTTYPE.BROADCAST}
    wanted = kinds.get(option.value, PKTTYPE.MULTICAST)
    # A packet from the loopback interface counts as broadcast, or multicast by its address.
    alternatives: Clauses = [metadata("pkttype", Spans.values([wanted]))]
    many = Spans.of((0xE000_0000, 0xEFFF_FFFF))
    looped = metadata("pkttype", Spans.values([PKTTYPE.LOOPBACK]))
    if wanted == PKTTYPE.MULTICAST:
        alternatives.append({**looped, **field("ipv4.dst", many)})
    elif wanted == PKTTYPE.BROADCAST:
        alternatives.append({**looped, **field("ipv4.dst", many.complement(U32))})
    if not option.inverted:
        return alternatives
    out: Clauses = [{}]
    for clause in alternatives:
        out = conjunction(out, negation(clause))
    return out


def _not_empty(what: str) -> Callable[[Match, int | None], None]:
    def check(match: Match, protocol: int | None) -> None:
        if not any(not o.name.startswith("limit-iface") for o in match.options):
            raise BadValue(f"it needs {what}")

    return check


MATCHES = (
    MatchSpec(
        "iprange",
        (OptionSpec("src-range", _range, negatable=True), OptionSpec("dst-range", _range, negatable=True)),
        _iprange,
        check=_not_empty("--src-range or --dst-range"),
    ),
    MatchSpec(
        "addrtype",
        (
            OptionSpec("src-type", listed(word(*_TYPES)), negatable=True),
            OptionSpec("dst-type", listed(word(*_TYPES)), negatable=True),
            OptionSpec("limit-iface-in"),
            OptionSpec("limit-iface-out"),
        ),
        _addrtype,
        check=_not_empty("--src-type or --dst-type"),
    ),
    MatchSpec("mac", (OptionSpec("mac-source", _mac_address, negatable=True),), _mac,
              check=_not_empty("--mac-source")),
    MatchSpec(
        "pkttype",
        (OptionSpec("pkt-type", word("unicast", "host", "broadcast", "multicast"), negatable=True),),
        _pkttype,
        check=_not_empty("--pkt-type"),
    ),
)  # fmt: skip

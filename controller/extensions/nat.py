"""Address translation: DNAT, SNAT, MASQUERADE, REDIRECT, NETMAP. They say a range; the pipeline chooses from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import IPv4Interface

from oppcache.opp.program import Action

from ..clauses import Clause, Clauses, Spans, field, metadata
from ..flow import DROP, Draft, puts
from ..ruleset import Target
from ..world import World
from .base import U32, BadValue, Effect, OptionSpec, Outcome, TargetSpec, address, network, port

# Bits of the word nflags.
SET, PORTS, RANDOM, PERSISTENT, OFFSET = 1, 2, 4, 8, 16
WORDS = ("nflags", "nlo", "nhi", "plo", "phi", "pbase")
_CHANGED = frozenset(("metadata", w) for w in WORDS)

Range = tuple[int, int, int, int, int, int]  # addresses (0: as they are), ports (with whether), base


def to_range(text: str) -> Range:
    """``[ADDRESS[-ADDRESS]][:PORT[-PORT[/BASE]]]`` as (low, high, low port, high port, flags, base)."""
    addresses, colon, rest = text.partition(":")
    low = high = 0
    if addresses:
        first, dash, last = addresses.partition("-")
        low = address(first)
        high = address(last) if dash else low
        if low > high:
            raise BadValue(f"got the range {addresses}, expected the low end first")
    if not colon:
        if not addresses:
            raise BadValue("got nothing, expected an address")
        return low, high, 0, 0, 0, 0
    return (low, high, *_ports(rest, ":"))


def _ports(text: str, what: str) -> tuple[int, int, int, int]:
    first, dash, rest = text.partition("-")
    last, slash, base = rest.partition("/")
    low = port(first)
    high = port(last) if dash else low
    if low > high:
        raise BadValue(f"got the range {text}, expected the low end first")
    if slash:
        return low, high, PORTS | OFFSET, port(base)
    return low, high, PORTS, 0


def to_ports(text: str) -> Range:
    """``PORT[-PORT]``."""
    return (0, 0, *_ports(text, ""))


def _flags(target: Target) -> int:
    flags = SET
    for option in target.options:
        flags |= {"random": RANDOM, "random-fully": RANDOM, "persistent": PERSISTENT}.get(option.name, 0)
    return flags


def _actions(found: Range, flags: int) -> tuple[Action, ...]:
    low, high, plo, phi, more, base = found
    return puts(nflags=flags | more, nlo=low, nhi=high, plo=plo, phi=phi, pbase=base)


def _to(option_name: str) -> Callable[[Target, World], Effect]:
    def lower(target: Target, world: World) -> Effect:
        option = target.option(option_name)
        assert option is not None
        low, _, *rest = option.value
        if low == 0:
            # Ports alone: the address stays. A range of every address keeps it.
            source = option_name == "to-source"
            same = "ipv4.src" if source else "ipv4.dst"

            def prepare(draft: Draft) -> list[Outcome]:
                plo, phi, more, base = rest
                actions = puts(nflags=_flags(target) | more, nlo=same, nhi=same, plo=plo, phi=phi, pbase=base)
                return [Outcome([{}], True, actions=actions)]

            return Effect("accept", changed=_CHANGED, gate=prepare)
        return Effect("accept", _actions(option.value, _flags(target)), _CHANGED)

    return lower


def _first_address(world: World, number: int) -> int:
    interface = world.topology.interfaces[number - 1]
    return int(interface.addresses[0].ip) if interface.addresses else 0


def _redirect(target: Target, world: World) -> Effect:
    option = target.option("to-ports")
    ports = option.value if option else (0, 0, 0, 0, 0, 0)
    flags = _flags(target)
    if world.hook == "OUTPUT":
        return Effect("accept", _actions((0x7F000001, 0x7F000001, *ports[2:]), flags), _CHANGED)

    def prepare(draft: Draft) -> list[Outcome]:
        out = []
        for interface in world.topology.interfaces:
            clause = field("in_port", Spans.values([interface.number]))
            first = _first_address(world, interface.number)
            actions = _actions((first, first, *ports[2:]), flags) if first else (DROP,)
            out.append(Outcome([clause], True, actions=actions))
        return out

    return Effect("accept", changed=_CHANGED, gate=prepare)


def _masquerade(target: Target, world: World) -> Effect:
    option = target.option("to-ports")
    ports = option.value if option else (0, 0, 0, 0, 0, 0)
    flags = _flags(target)

    def prepare(draft: Draft) -> list[Outcome]:
        out = []
        for interface in world.topology.interfaces:
            at = metadata("oif", Spans.values([interface.number]))
            for clause, source in _sources(interface.addresses, at):
                actions = _actions((source, source, *ports[2:]), flags) if source else (DROP,)
                out.append(Outcome([clause], True, actions=actions))
        return out

    return Effect("accept", changed=_CHANGED, gate=prepare)


def _sources(addresses: Iterable[IPv4Interface], at: Clause) -> Iterable[tuple[Clause, int]]:
    """Which of an interface's addresses the kernel takes: the one whose network the next hop is in, else the first."""
    listed = list(addresses)
    if not listed:
        return [(at, 0)]
    out: list[tuple[Clause, int]] = []
    if len(listed) > 1:
        for item in listed:
            net = item.network
            spans = Spans.of((int(net.network_address), int(net.broadcast_address)))
            source = int(item.ip)
            out.append(({**at, **metadata("nexthop", spans)}, source))
            on_link = {**at, **metadata("nexthop", Spans.of((0, 0))), **field("ipv4.dst", spans)}
            out.append((on_link, source))
    out.append((at, int(listed[0].ip)))
    return out


def _netmap(target: Target, world: World) -> Effect:
    option = target.option("to")
    assert option is not None
    value, mask = option.value
    subject = "ipv4.dst" if world.hook in ("PREROUTING", "OUTPUT") else "ipv4.src"

    def prepare(draft: Draft) -> list[Outcome]:
        new = draft.t("or", draft.t("and", subject, ~mask & U32), value)
        actions = puts(nflags=SET, nlo=new, nhi=new, plo=0, phi=0, pbase=0)
        return [Outcome([{}], True, actions=actions)]

    return Effect("accept", changed=_CHANGED, gate=prepare)


def _needs(option_name: str) -> Callable[[Target, int | None], None]:
    def check(target: Target, protocol: int | None) -> None:
        option = target.option(option_name)
        if option is None:
            if option_name.startswith("to-ports"):
                return
            raise BadValue(f"it needs --{option_name}")
        if isinstance(option.value, tuple) and len(option.value) == 6 and option.value[4] & PORTS:
            if protocol not in (6, 17, 132, 33, 136, 1):
                raise BadValue("a range of ports needs -p tcp, udp, sctp, dccp or udplite")

    return check


_RANDOM = (OptionSpec("random"), OptionSpec("random-fully"), OptionSpec("persistent"))
_INWARD, _OUTWARD = ("PREROUTING", "OUTPUT"), ("POSTROUTING", "INPUT")


def _spec(
    name: str,
    option: OptionSpec,
    lower: Callable[[Target, World], Effect],
    chains: tuple[str, ...],
    needs: str,
) -> TargetSpec:
    return TargetSpec(
        name,
        (option, *_RANDOM),
        lower,
        ("nat",),
        chains,
        tracks=True,
        check=_needs(needs),
    )


TARGETS = (
    _spec("DNAT", OptionSpec("to-destination", to_range), _to("to-destination"), _INWARD, "to-destination"),
    _spec("SNAT", OptionSpec("to-source", to_range), _to("to-source"), _OUTWARD, "to-source"),
    _spec("MASQUERADE", OptionSpec("to-ports", to_ports), _masquerade, ("POSTROUTING",), "to-ports"),
    _spec("REDIRECT", OptionSpec("to-ports", to_ports, ("--to-port",)), _redirect, _INWARD, "to-ports"),
    _spec("NETMAP", OptionSpec("to", network), _netmap, (*_INWARD, *_OUTWARD), "to"),
)
__all__ = ["TARGETS", "Clauses"]

"""Transport headers: tcp, udp, udplite, sctp, dccp and multiport."""

from __future__ import annotations

from collections.abc import Callable

from ..clauses import ALWAYS, Bits, Clause, Clauses, Spans, both, conjunction, field, valid
from ..ruleset import Match, Option
from ..world import World
from .base import U32, BadValue, MatchSpec, OptionSpec, listed, number, ports, span

FLAGS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ALL": 0x3F, "NONE": 0}


def flags(words: list[str]) -> tuple[int, int]:
    """``MASK COMP`` as (value, mask)."""
    sums = []
    for text in words:
        total = 0
        for name in text.upper().split(","):
            if name not in FLAGS:
                raise BadValue(f"unknown TCP flag {name!r}, expected one of {', '.join(FLAGS)}")
            total |= FLAGS[name]
        sums.append(total)
    return sums[1], sums[0]


_PORTS = (
    OptionSpec("source-port", ports, ("--sport",), negatable=True),
    OptionSpec("destination-port", ports, ("--dport",), negatable=True),
)
_SUBJECTS = {"source-port": "l4.sport", "destination-port": "l4.dport"}


def _port(option: Option, subject: str) -> Clause:
    spans = Spans.of(option.value)
    return field(subject, spans.complement(65535) if option.inverted else spans)


def _tcp(match: Match, world: World) -> Clauses:
    out: Clauses = [valid("tcp")]
    for option in match.options:
        if option.name in _SUBJECTS:
            clauses: Clauses = [_port(option, _SUBJECTS[option.name])]
        elif option.name == "syn":
            clauses = [_flag_clause(2, 0x17, option.inverted)]
        elif option.name == "tcp-flags":
            value, mask = option.value
            clauses = [_flag_clause(value, mask, option.inverted)]
        else:
            bit = 1 << option.value
            values = Bits.of((0, bit)) if option.inverted else Bits.of((bit, bit))
            clauses = [field("tcp.options_walked", values)]
        out = conjunction(out, clauses)
    return out


def _flag_clause(value: int, mask: int, inverted: bool) -> Clause:
    if value & ~mask:
        return {} if inverted else field("tcp.flags", Bits(()))
    return field("tcp.flags", Bits.other_than(value, mask) if inverted else Bits.of((value, mask)))


def _plain(header: str) -> MatchSpec:
    numbers = {"udp": 17, "udplite": 136, "sctp": 132}

    def lower(match: Match, world: World) -> Clauses:
        out: Clauses = [valid(header)]
        for option in match.options:
            out = conjunction(out, [_port(option, _SUBJECTS[option.name])])
        return out

    return MatchSpec(header, _PORTS, lower, needs=(header, numbers[header]), check=_of(header))


def _of(*names: str) -> Callable[[Match, int | None], None]:
    wanted = [{"tcp": 6, "udp": 17, "udplite": 136, "sctp": 132, "icmp": 1, "dccp": 33}[n] for n in names]

    def check(match: Match, protocol: int | None) -> None:
        if protocol not in wanted:
            raise BadValue(f"it needs -p {' or '.join(names)}")

    return check


_MULTI = {
    "source-ports": ("l4.sport",),
    "destination-ports": ("l4.dport",),
    "ports": ("l4.sport", "l4.dport"),
}


def _multiport(match: Match, world: World) -> Clauses:
    option = match.options[0]
    spans = Spans.of(*option.value)
    subjects = _MULTI[option.name]
    whole = valid("l4_ports")
    if option.inverted:
        clause: Clause | None = whole
        for subject in subjects:
            clause = both(clause or {}, field(subject, spans.complement(65535)))
        return [clause] if clause is not None else []
    return conjunction([whole], [field(subject, spans) for subject in subjects])


def _spi(name: str, subject: str, protocol: int) -> MatchSpec:
    def lower(match: Match, world: World) -> Clauses:
        out: Clauses = [{}]
        for option in match.options:
            spans = Spans.of(option.value)
            clause = field(subject, spans.complement(U32) if option.inverted else spans)
            out = conjunction(out, [clause])
        return out

    def check(match: Match, given: int | None) -> None:
        if given != protocol:
            raise BadValue(f"it needs -p {name}")

    option = OptionSpec(f"{name}spi", span(0, U32), negatable=True)
    return MatchSpec(name, (option,), lower, check=check)


def _tcpmss(match: Match, world: World) -> Clauses:
    option = match.options[0]
    there = {**valid("tcp"), **field("tcp.options_walked", Bits.of((4, 4)))}
    missing = {**valid("tcp"), **field("tcp.options_walked", Bits.of((0, 4)))}
    spans = Spans.of(option.value)
    if not option.inverted:
        return [{**there, **field("tcp.mss", spans)}]
    return [missing, {**there, **field("tcp.mss", spans.complement(0xFFFF))}]


def _one_list(match: Match, protocol: int | None) -> None:
    if protocol not in (6, 17, 136, 132, 33):
        raise BadValue("it needs -p tcp, udp, udplite, sctp or dccp")
    if len(match.options) != 1:
        raise BadValue("it needs one of --sports, --dports and --ports")


def _sctp_chunks(words: list[str]) -> tuple[str, str]:
    raise BadValue("it looks at chunks in the payload")


def _icmp(match: Match, world: World) -> Clauses:
    out: Clauses = [valid("icmp")]
    for option in match.options:
        kind, low, high = option.value
        if kind == 0xFF:
            if option.inverted:
                return []
            continue
        is_type = field("icmp.type", Spans.values([kind]))
        whole = (low, high) == (0, 0xFF)
        if not option.inverted:
            clauses = [is_type if whole else {**is_type, **field("icmp.code", Spans.of((low, high)))}]
        else:
            clauses = [field("icmp.type", Spans.values([kind]).complement(255))]
            if not whole:
                clauses.append({**is_type, **field("icmp.code", Spans.of((low, high)).complement(255))})
        out = conjunction(out, clauses)
    return out


ICMP_TYPES: dict[str, tuple[int, int, int]] = {
    "any": (255, 0, 255),
    "echo-reply": (0, 0, 255),
    "pong": (0, 0, 255),
    "destination-unreachable": (3, 0, 255),
    "network-unreachable": (3, 0, 0),
    "host-unreachable": (3, 1, 1),
    "protocol-unreachable": (3, 2, 2),
    "port-unreachable": (3, 3, 3),
    "fragmentation-needed": (3, 4, 4),
    "source-route-failed": (3, 5, 5),
    "network-unknown": (3, 6, 6),
    "host-unknown": (3, 7, 7),
    "network-prohibited": (3, 9, 9),
    "host-prohibited": (3, 10, 10),
    "TOS-network-unreachable": (3, 11, 11),
    "TOS-host-unreachable": (3, 12, 12),
    "communication-prohibited": (3, 13, 13),
    "host-precedence-violation": (3, 14, 14),
    "precedence-cutoff": (3, 15, 15),
    "source-quench": (4, 0, 255),
    "redirect": (5, 0, 255),
    "network-redirect": (5, 0, 0),
    "host-redirect": (5, 1, 1),
    "TOS-network-redirect": (5, 2, 2),
    "TOS-host-redirect": (5, 3, 3),
    "echo-request": (8, 0, 255),
    "ping": (8, 0, 255),
    "router-advertisement": (9, 0, 255),
    "router-solicitation": (10, 0, 255),
    "time-exceeded": (11, 0, 255),
    "ttl-exceeded": (11, 0, 255),
    "ttl-zero-during-transit": (11, 0, 0),
    "ttl-zero-during-reassembly": (11, 1, 1),
    "parameter-problem": (12, 0, 255),
    "ip-header-bad": (12, 0, 0),
    "required-option-missing": (12, 1, 1),
    "timestamp-request": (13, 0, 255),
    "timestamp-reply": (14, 0, 255),
    "address-mask-request": (17, 0, 255),
    "address-mask-reply": (18, 0, 255),
}


def icmp_type(text: str) -> tuple[int, int, int]:
    """``TYPE``, ``TYPE/CODE`` or a name as (type, lowest code, highest code)."""
    known = {name.lower(): found for name, found in ICMP_TYPES.items()}
    if text.lower() in known:
        return known[text.lower()]
    if not text[:1].isdigit():
        raise BadValue(f"unknown ICMP type {text!r}")
    kind, slash, code = text.partition("/")
    read = number(0, 255)
    return (read(kind), read(code), read(code)) if slash else (read(kind), 0, 255)


MATCHES = (
    MatchSpec(
        "tcp",
        (
            *_PORTS,
            OptionSpec("tcp-flags", flags, words=2, negatable=True),
            OptionSpec("syn", None, negatable=True),
            OptionSpec("tcp-option", number(1, 63), negatable=True),
        ),
        _tcp,
        needs=("tcp", 6),
        check=_of("tcp"),
    ),
    _plain("udp"),
    _spi("esp", "esp.spi", 50),
    _spi("ah", "ah.spi", 51),
    MatchSpec("tcpmss", (OptionSpec("mss", span(0, 0xFFFF), negatable=True),), _tcpmss, needs=("tcp", 6)),
    _plain("udplite"),
    MatchSpec("sctp", (*_PORTS, OptionSpec("chunk-types", _sctp_chunks, words=2, negatable=True)),
              _plain("sctp").lower, needs=("sctp", 132), check=_of("sctp")),
    MatchSpec(
        "multiport",
        (
            OptionSpec("source-ports", listed(ports, 15), ("--sports",), negatable=True),
            OptionSpec("destination-ports", listed(ports, 15), ("--dports",), negatable=True),
            OptionSpec("ports", listed(ports, 15), negatable=True),
        ),
        _multiport,
        check=_one_list,
    ),
    MatchSpec(
        "icmp",
        (OptionSpec("icmp-type", icmp_type, negatable=True),),
        _icmp,
        needs=("icmp", 1),
        check=_of("icmp"),
    ),
)  # fmt: skip
__all__ = ["ALWAYS", "MATCHES"]

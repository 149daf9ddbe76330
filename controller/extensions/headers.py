"""Other header fields: length, ttl, tos, dscp, ecn; the targets TTL, TOS, DSCP, ECN and TCPMSS."""

from __future__ import annotations

from collections.abc import Callable

from oppcache.opp.program import Action

from ..clauses import Bits, Clause, Clauses, Spans, conjunction, field, metadata, valid
from ..flow import Draft, put, puts
from ..ruleset import Match, Target
from ..world import World
from .base import BadValue, Effect, MatchSpec, OptionSpec, Outcome, TargetSpec, number, span, word

TOS_NAMES = {
    "Minimize-Delay": 0x10,
    "Maximize-Throughput": 0x08,
    "Maximize-Reliability": 0x04,
    "Minimize-Cost": 0x02,
    "Normal-Service": 0x00,
}
CLASSES = {"CS0": 0, "BE": 0, "EF": 46} | {f"CS{i}": 8 * i for i in range(1, 8)}
CLASSES |= {f"AF{i}{j}": 8 * i + 2 * j for i in range(1, 5) for j in range(1, 4)}


def tos(text: str) -> tuple[int, int]:
    """A name, ``VALUE`` or ``VALUE/MASK`` as (value, mask); names leave the two bits of ECN alone."""
    for name, value in TOS_NAMES.items():
        if text.lower() == name.lower():
            return value, 0x3F
    left, slash, right = text.partition("/")
    read = number(0, 255)
    return read(left), read(right) if slash else 0xFF


def dscp_class(text: str) -> int:
    """A DSCP class by name."""
    if text.upper() not in CLASSES:
        raise BadValue(f"unknown DSCP class {text!r}")
    return CLASSES[text.upper()]


def _fitting(value: int, mask: int, bits: int) -> Spans:
    return Spans.values(v for v in range(1 << bits) if v & mask == value & mask)


def _simple(subject: str, spans: Spans, inverted: bool, most: int) -> Clauses:
    return [field(subject, spans.complement(most) if inverted else spans)]


def _length(match: Match, world: World) -> Clauses:
    option = match.options[0]
    return _simple("ipv4.length", Spans.of(option.value), option.inverted, 0xFFFF)


def _ttl(match: Match, world: World) -> Clauses:
    option = match.options[0]
    value = option.value
    spans = {
        "ttl-eq": Spans.values([value]),
        "ttl-lt": Spans.of((0, value - 1)) if value else Spans(()),
        "ttl-gt": Spans.of((value + 1, 255)) if value < 255 else Spans(()),
    }[option.name]
    return _simple("ipv4.ttl", spans, option.inverted, 255)


def _tos(match: Match, world: World) -> Clauses:
    option = match.options[0]
    value, mask = option.value
    spans = _fitting(value, mask, 8) if value & ~mask == 0 else Spans(())
    return _simple("ipv4.tos", spans, option.inverted, 255)


def _dscp(match: Match, world: World) -> Clauses:
    option = match.options[0]
    spans = Spans.of(*((4 * option.value, 4 * option.value + 3),))
    return _simple("ipv4.tos", spans, option.inverted, 255)


def _ecn(match: Match, world: World) -> Clauses:
    out: Clauses = [{}]
    for option in match.options:
        if option.name == "ecn-ip-ect":
            spans = _fitting(option.value, 3, 8)
            clauses = _simple("ipv4.tos", spans, option.inverted, 255)
        else:
            bit = 0x80 if option.name == "ecn-tcp-cwr" else 0x40
            pair = (0, bit) if option.inverted else (bit, bit)
            clauses = [{**valid("tcp"), **field("tcp.flags", Bits.of(pair))}]
        out = conjunction(out, clauses)
    return out


def _one(what: str) -> Callable[[Match, int | None], None]:
    def check(match: Match, protocol: int | None) -> None:
        if len(match.options) != 1:
            raise BadValue(f"it needs {what}")

    return check


def _one_of(what: str) -> Callable[[Target, int | None], None]:
    def check(target: Target, protocol: int | None) -> None:
        if len(target.options) != 1:
            raise BadValue(f"it needs {what}")

    return check


MATCHES = (
    MatchSpec(
        "length", (OptionSpec("length", span(0, 0xFFFF), negatable=True),), _length, check=_one("--length")
    ),
    MatchSpec(
        "ttl",
        (
            OptionSpec("ttl-eq", number(0, 255), ("--ttl",), negatable=True),
            OptionSpec("ttl-lt", number(0, 255)),
            OptionSpec("ttl-gt", number(0, 255)),
        ),
        _ttl,
        check=_one("one of --ttl-eq, --ttl-lt and --ttl-gt"),
    ),
    MatchSpec("tos", (OptionSpec("tos", tos, negatable=True),), _tos, check=_one("--tos")),
    MatchSpec(
        "dscp",
        (
            OptionSpec("dscp", number(0, 63), negatable=True),
            OptionSpec("dscp-class", dscp_class, negatable=True),
        ),
        _dscp,
        check=_one("--dscp or --dscp-class"),
    ),
    MatchSpec(
        "ecn",
        (
            OptionSpec("ecn-tcp-cwr", None, negatable=True),
            OptionSpec("ecn-tcp-ece", None, negatable=True),
            OptionSpec("ecn-ip-ect", number(0, 3), negatable=True),
        ),
        _ecn,
    ),
)

_TOS_SUBJECTS = frozenset({("field", "ipv4.tos")})
_TTL_SUBJECTS = frozenset({("field", "ipv4.ttl")})


def _computed(make: Callable[[Draft], Action], changed: frozenset[tuple[str, str]]) -> Effect:
    return Effect(
        "continue", changed=changed, gate=lambda draft: [Outcome([{}], True, actions=(make(draft),))]
    )


def _set_ttl(target: Target, world: World) -> Effect:
    option = target.options[0]
    value = option.value
    if option.name == "ttl-set":
        return Effect("continue", (put("ipv4.ttl", value),), _TTL_SUBJECTS)
    if option.name == "ttl-dec":
        return _computed(
            lambda d: put("ipv4.ttl", d.t("sub", "ipv4.ttl", d.t("min", "ipv4.ttl", value))), _TTL_SUBJECTS
        )
    return _computed(lambda d: put("ipv4.ttl", d.t("min", d.t("add", "ipv4.ttl", value), 255)), _TTL_SUBJECTS)


def _set_tos(target: Target, world: World) -> Effect:
    option = target.options[0]
    value, mask = option.value if isinstance(option.value, tuple) else (option.value, 0)
    value, mask = {
        "set-tos": (value, mask),
        "and-tos": (0, ~value & 0xFF),
        "or-tos": (value, value),
        "xor-tos": (value, 0),
    }[option.name]
    if mask == 0xFF:
        return Effect("continue", (put("ipv4.tos", value),), _TOS_SUBJECTS)
    return _computed(
        lambda d: put("ipv4.tos", d.t("xor", d.t("and", "ipv4.tos", ~mask & 0xFF), value)), _TOS_SUBJECTS
    )


def _set_dscp(target: Target, world: World) -> Effect:
    return Effect("continue", (put("ipv4.dscp", target.options[0].value),), _TOS_SUBJECTS)


def _remove_ecn(target: Target, world: World) -> Effect:
    changed = frozenset({("field", "tcp.flags")})
    return _computed(lambda d: put("tcp.flags", d.t("and", "tcp.flags", 0x13F)), changed)


def _mss(target: Target, world: World) -> Effect:
    option = target.options[0]
    if option.name == "set-mss":
        limits: list[tuple[Clause, int]] = [({}, option.value)]
    else:
        limits = _path_limits(world)

    def prepare(draft: Draft) -> list[Outcome]:
        out = []
        for clause, limit in limits:
            syn = {**valid("tcp"), **clause}
            there = field("tcp.options_walked", Bits.of((4, 4)))
            missing = field("tcp.options_walked", Bits.of((0, 4)))
            above = field("tcp.mss", Spans.of((limit + 1, 0xFFFF))) if limit < 0xFFFF else {}
            lowered = (put("tcp.mss", limit), *puts(mss=limit))
            if above:
                out.append(Outcome([{**syn, **there, **above}], True, actions=lowered))
            bare = {**syn, **missing, **field("l4.payload_length", Spans.of((0, 0)))}
            out.append(Outcome([bare], True, actions=puts(mss=min(limit, 536))))
            out.append(Outcome([syn], True))
        return out

    return Effect("continue", changed=frozenset({("field", "tcp.mss"), ("metadata", "mss")}), gate=prepare)


def _path_limits(world: World) -> list[tuple[Clause, int]]:
    """(where, MSS) by the smaller MTU of the way out and the way back, in order of trial."""
    from ..routing import destinations

    mtus = {i.name: (i.number, i.mtu) for i in world.topology.interfaces}
    if len({mtu for number_, mtu in mtus.values() if number_ > 1}) == 1:
        return [({}, next(mtu for number_, mtu in mtus.values() if number_ > 1) - 40)]
    back = [(clause, mtus[r.device][1]) for clause, r in destinations(world.topology, "ipv4.src") if r.device]
    out: list[tuple[Clause, int]] = []
    for interface in world.topology.interfaces:
        at = metadata("oif", Spans.values([interface.number]))
        out.extend(({**at, **clause}, min(interface.mtu, mtu) - 40) for clause, mtu in back)
        out.append((at, interface.mtu - 40))
    return out


def _needs_tcp(target: Target, protocol: int | None) -> None:
    if protocol != 6:
        raise BadValue("it needs -p tcp")
    if len(target.options) != 1:
        raise BadValue("it needs --set-mss or --clamp-mss-to-pmtu")


_MANGLE = ("mangle",)
TARGETS = (
    TargetSpec(
        "TTL",
        tuple(OptionSpec(f"ttl-{op}", number(0 if op == "set" else 1, 255)) for op in ("set", "dec", "inc")),
        _set_ttl,
        _MANGLE,
        check=_one_of("one of --ttl-set, --ttl-dec and --ttl-inc"),
    ),
    TargetSpec(
        "TOS",
        (
            OptionSpec("set-tos", tos),
            *(OptionSpec(f"{op}-tos", number(0, 255)) for op in ("and", "or", "xor")),
        ),
        _set_tos,
        _MANGLE,
        check=_one_of("--set-tos, --and-tos, --or-tos or --xor-tos"),
    ),
    TargetSpec(
        "DSCP",
        (OptionSpec("set-dscp", number(0, 63)), OptionSpec("set-dscp-class", dscp_class)),
        _set_dscp,
        _MANGLE,
        check=_one_of("--set-dscp or --set-dscp-class"),
    ),
    TargetSpec("ECN", (OptionSpec("ecn-tcp-remove"),), _remove_ecn, _MANGLE),
    TargetSpec(
        "TCPMSS",
        (OptionSpec("set-mss", number(0, 65495)), OptionSpec("clamp-mss-to-pmtu")),
        _mss,
        check=_needs_tcp,
    ),
)
__all__ = ["MATCHES", "TARGETS", "word"]

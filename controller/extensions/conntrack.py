"""What connection tracking knows: state, conntrack, connmark; the targets CONNMARK, NOTRACK and CT."""

from __future__ import annotations

from ..clauses import NEVER, Bits, Clause, Clauses, Spans, conjunction, metadata, negation
from ..flow import Draft, puts, rule_writes, update
from ..interface import CTSTATE
from ..ruleset import Match, Option, Target
from ..world import World
from .base import (
    U32,
    BadValue,
    Effect,
    MatchSpec,
    OptionSpec,
    Outcome,
    TargetSpec,
    as_text,
    listed,
    masked,
    network,
    number,
    ports,
    protocol,
    word,
)
from .ip import address_clause

STATUS = {"NONE": 0, "EXPECTED": 1, "SEEN_REPLY": 2, "ASSURED": 4, "CONFIRMED": 8, "SNAT": 0x10, "DNAT": 0x20}
TRACKED: Clause = metadata("conn", Spans.of((1, U32)))
# Metadata words of a connection's tuples: original and reply direction.
_TUPLE = {
    "ctorigsrc": "osrc",
    "ctorigdst": "odst",
    "ctreplsrc": "rsrc",
    "ctrepldst": "rdst",
    "ctorigsrcport": "osport",
    "ctorigdstport": "odport",
    "ctreplsrcport": "rsport",
    "ctrepldstport": "rdport",
}


def states_clauses(names: tuple[str, ...], inverted: bool) -> Clauses:
    """Packets in one of some states, of which SNAT and DNAT are about their connection."""
    plain = metadata("ctstate", Spans.values(CTSTATE[n] for n in names if n in CTSTATE.__members__))
    bits = sum(STATUS[n] for n in ("SNAT", "DNAT") if n in names)
    alternatives: Clauses = [plain] if plain["metadata", "ctstate"] else []
    if bits:
        pairs = [(bit, bit) for bit in (0x10, 0x20) if bits & bit]
        alternatives.append(metadata("ctstatus", Bits.of(*pairs)))
    if not inverted:
        return alternatives
    out: Clauses = [{}]
    for clause in alternatives:
        out = conjunction(out, negation(clause))
    return out


def _state(match: Match, world: World) -> Clauses:
    return states_clauses(match.options[0].value, match.options[0].inverted)


def _conntrack(match: Match, world: World) -> Clauses:
    out: Clauses = [{}]
    for option in match.options:
        out = conjunction(out, _one(option))
    return out


def _one(option: Option) -> Clauses:
    name, value, inverted = option.name, option.value, option.inverted
    if name == "ctstate":
        return states_clauses(value, inverted)
    if name == "ctproto":
        spans = Spans.values([value])
        clause: Clause | None = metadata("oproto", spans.complement(U32) if inverted else spans)
    elif name == "ctstatus":
        pairs = [(STATUS[n], STATUS[n]) for n in value if STATUS[n]]
        if not pairs:
            return [TRACKED] if inverted else NEVER
        mask = sum(bit for bit, _ in set(pairs))
        clause = metadata("ctstatus", Bits.of((0, mask)) if inverted else Bits.of(*pairs))
    elif name == "ctdir":
        clause = metadata("dir", Spans.values([int((value == "REPLY") != inverted)]))
    elif name.endswith("port"):
        spans = Spans.of(value)
        clause = metadata(_TUPLE[name], spans.complement(0xFFFF) if inverted else spans)
    else:
        found = address_clause("ipv4.src", value, inverted)
        clause = None if found is None else metadata(_TUPLE[name], *found.values())
    return conjunction([TRACKED], [clause or {}])


_STATES = ("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED")


def _connmark(match: Match, world: World) -> Clauses:
    return conjunction([TRACKED], mark_clauses("ctmark", match.options[0]))


def mark_clauses(word_name: str, option: Option) -> Clauses:
    """A mark that fits a value under a mask, or does not."""
    value, mask = option.value
    if value & ~mask:
        return [{}] if option.inverted else NEVER
    if mask == 0:
        return NEVER if option.inverted else [{}]
    bits = Bits.other_than(value, mask) if option.inverted else Bits.of((value, mask))
    return [metadata(word_name, bits)]


def _mark(match: Match, world: World) -> Clauses:
    return mark_clauses("mark", match.options[0])


def _needs_option(match: Match, protocol_: int | None) -> None:
    if not match.options:
        raise BadValue("it needs an option")


MATCHES = (
    MatchSpec("state", (OptionSpec("state", listed(word(*_STATES)), negatable=True),), _state, tracks=True,
              check=_needs_option),
    MatchSpec(
        "conntrack",
        (
            OptionSpec("ctstate", listed(word(*_STATES, "SNAT", "DNAT")), negatable=True),
            OptionSpec("ctproto", protocol, negatable=True),
            OptionSpec("ctstatus", listed(word("NONE", "EXPECTED", "SEEN_REPLY", "ASSURED", "CONFIRMED")),
                       negatable=True),
            OptionSpec("ctdir", word("ORIGINAL", "REPLY"), negatable=True),
            *(OptionSpec(name, network, negatable=True) for name in _TUPLE if not name.endswith("port")),
            *(OptionSpec(name, ports, negatable=True) for name in _TUPLE if name.endswith("port")),
        ),
        _conntrack,
        tracks=True,
        check=_needs_option,
    ),
    MatchSpec("connmark", (OptionSpec("mark", masked, negatable=True),), _connmark, tracks=True,
              check=_needs_option),
    MatchSpec("mark", (OptionSpec("mark", masked, negatable=True),), _mark, check=_needs_option),
)  # fmt: skip


# Targets

_MARK = frozenset({("metadata", "mark")})


def _set_mark(target: Target, world: World) -> Effect:
    option = target.options[0]
    value, mask = _xor_form(option)
    if mask == U32:
        return Effect("continue", puts(mark=value), _MARK)

    def prepare(draft: Draft) -> list[Outcome]:
        kept = draft.t("and", "metadata.mark", ~mask & U32) if mask else "metadata.mark"
        return [Outcome([{}], True, actions=puts(mark=draft.t("xor", kept, value)))]

    return Effect("continue", changed=_MARK, gate=prepare)


def _xor_form(option: Option) -> tuple[int, int]:
    """The option as (value, mask) of ``mark = (mark & ~mask) ^ value``."""
    value, mask = option.value
    return {
        "set-xmark": (value, mask),
        "set-mark": (value, value | mask),
        "and-mark": (0, ~value & U32),
        "or-mark": (value, value),
        "xor-mark": (value, 0),
    }[option.name]


_CONNMARK = frozenset({("metadata", "ctmark")})


def _set_connmark(target: Target, world: World) -> Effect:
    main = target.options[0]
    masks = {o.name: o.value for o in target.options[1:]}
    both = masks.get("mask", U32)
    nfmask, ctmask = masks.get("nfmask", both), masks.get("ctmask", both)
    key = world.connection_key()
    if main.name == "restore-mark":

        def restore(draft: Draft) -> list[Outcome]:
            new = draft.t("and", "metadata.ctmark", ctmask)
            kept = draft.t("and", "metadata.mark", ~nfmask & U32)
            return [Outcome([TRACKED], True, actions=puts(mark=draft.t("xor", kept, new)))]

        return Effect("continue", changed=_MARK, gate=restore)

    def change(draft: Draft) -> list[Outcome]:
        if main.name == "save-mark":
            kept = draft.t("and", "metadata.ctmark", ~ctmask & U32)
            new = draft.t("xor", kept, draft.t("and", "metadata.mark", nfmask))
        else:
            value, mask = _xor_form(main)
            new = draft.t("xor", draft.t("and", "metadata.ctmark", ~mask & U32), value)
        known = metadata("life", Spans.of((1, 1)))
        writes = rule_writes(update("W.mark", "mov", new), table="conn")
        return [
            Outcome([{**TRACKED, **known}], True, writes, puts(ctmark=new)),
            Outcome([TRACKED], True, actions=puts(ctmark=new)),
        ]

    return Effect("continue", changed=_CONNMARK, gate=change, stateful=("conn", key))


def _notrack(target: Target, world: World) -> Effect:
    changed = frozenset({("metadata", "ctstate")})
    return Effect("continue", puts(ctstate=int(CTSTATE.UNTRACKED)), changed)


def _ct(target: Target, world: World) -> Effect:
    for option in target.options:
        if option.name == "notrack":
            return _notrack(target, world)
    zones = [o for o in target.options if o.name.startswith("zone")]
    if not zones:
        return Effect("continue")
    words = {}
    for option in zones:
        if option.name in ("zone", "zone-orig"):
            words["ozone"] = option.value
        if option.name in ("zone", "zone-reply"):
            words["rzone"] = option.value
    for name in words:
        world.need_word(name)
    return Effect("continue", puts(**words), frozenset(("metadata", n) for n in words))


def _helper(text: str) -> str:
    raise BadValue("helpers read the payload of control connections")


def _timeout(text: str) -> str:
    raise BadValue("timeout policies are not part of a ruleset")


def _one_first(target: Target, protocol_: int | None) -> None:
    mains = ("set-xmark", "set-mark", "and-mark", "or-mark", "xor-mark", "save-mark", "restore-mark")
    if not target.options or target.options[0].name not in mains:
        raise BadValue("it needs one of " + ", ".join(f"--{m}" for m in mains))


def _only_one(target: Target, protocol_: int | None) -> None:
    if len(target.options) != 1:
        raise BadValue("it needs one of --set-xmark, --set-mark, --and-mark, --or-mark and --xor-mark")


def _value(text: str) -> tuple[int, int]:
    return number(0, U32)(text), U32


_MARKS = (
    OptionSpec("set-xmark", masked),
    OptionSpec("set-mark", masked),
    OptionSpec("and-mark", _value),
    OptionSpec("or-mark", _value),
    OptionSpec("xor-mark", _value),
)
TARGETS = (
    TargetSpec("MARK", _MARKS, _set_mark, check=_only_one),
    TargetSpec(
        "CONNMARK",
        (
            *_MARKS,
            OptionSpec("save-mark"),
            OptionSpec("restore-mark"),
            *(OptionSpec(name, number(0, U32)) for name in ("mask", "nfmask", "ctmask")),
        ),
        _set_connmark,
        tracks=True,
        check=_one_first,
    ),
    TargetSpec("NOTRACK", (), _notrack, ("raw",), tracks=True),
    TargetSpec(
        "CT",
        (
            OptionSpec("notrack"),
            OptionSpec("zone", number(0, 0xFFFF)),
            OptionSpec("zone-orig", number(0, 0xFFFF)),
            OptionSpec("zone-reply", number(0, 0xFFFF)),
            OptionSpec("ctevents", as_text),
            OptionSpec("expevents", as_text),
            OptionSpec("helper", _helper),
            OptionSpec("timeout", _timeout),
        ),
        _ct,
        ("raw",),
        tracks=True,
    ),
)

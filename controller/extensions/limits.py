"""Rates: limit, a token bucket in globals; hashlimit, one for each address or flow."""

from __future__ import annotations

from oppcache.opp.program import Register, Timer, Update, Write

from ..clauses import Clauses
from ..flow import Draft, as_operand, holds, key_of, store, update
from ..ruleset import Match
from ..world import World
from .base import BadValue, Gate, Lowered, MatchSpec, OptionSpec, Outcome, as_text, number, rate

NS_PER_PERIOD = 100_000  # the kernel's unit of periods is 1/10000 s
SECOND_NS = 1_000_000_000


def _limit(match: Match, world: World) -> Lowered:
    option, burst = match.option("limit"), match.option("limit-burst")
    period, _ = option.value if option else rate("3/hour")
    size = burst.value if burst else 5
    period_ns = period * NS_PER_PERIOD
    full = period_ns * size
    credit = world.need_global("limits", Register("credit", 64, full))
    last = world.need_global("limits", Register("last", 64, 0))
    table = world.need_table("rules")

    def prepare(draft: Draft) -> list[Outcome]:
        since = draft.t("sub", "now", f"G.{last}", 64)
        now = draft.t("min", draft.t("add", f"G.{credit}", since, 64), full, 64)
        left = draft.t("sub", now, period_ns, 64)
        draft.c("enough", now, "ge", period_ns)
        keep = update(f"G.{last}", "mov", "now")
        return [
            Outcome([holds("enough")], True, _own(table, update(f"G.{credit}", "mov", left), keep)),
            Outcome([{}], False, _own(table, update(f"G.{credit}", "mov", now), keep)),
        ]

    return Gate(table, key_of(0), prepare)


def _own(table: str, *updates: Update) -> tuple[Write, ...]:
    return (Write(table, "lookup", updates=updates),)


_MODES = {"srcip": "ipv4.src", "dstip": "ipv4.dst", "srcport": "l4.sport", "dstport": "l4.dport"}


def _modes(text: str) -> tuple[str, ...]:
    modes = tuple(text.split(",")) if text else ()
    for mode in modes:
        if mode not in _MODES:
            raise BadValue(f"unknown mode {mode!r}, expected one of {', '.join(_MODES)}")
    return modes


def _prefix(text: str) -> int:
    return 0xFFFF_FFFF ^ (0xFFFF_FFFF >> number(0, 32)(text))


def _hash_rate(text: str) -> tuple[int, int]:
    if "b/" in text.lower():
        raise BadValue("rates in bytes keep another bucket, which is not translated")
    return rate(text)


def _hashlimit(match: Match, world: World) -> Lowered:
    options = {o.name: o.value for o in match.options}
    inverted = next((o.inverted for o in match.options if o.name == "hashlimit-upto"), False)
    above = "hashlimit-above" in options or inverted
    period, unit = options.get("hashlimit-upto") or options["hashlimit-above"]
    size = options.get("hashlimit-burst", 5)
    period_ns = period * NS_PER_PERIOD
    full = period_ns * size
    expire_ns = options.get("hashlimit-htable-expire", unit * 1000) * 1_000_000
    masks = {
        "srcip": options.get("hashlimit-srcmask", 0xFFFF_FFFF),
        "dstip": options.get("hashlimit-dstmask", 0xFFFF_FFFF),
    }
    name = f"hashlimit {options['hashlimit-name']}"
    modes = options.get("hashlimit-mode", ())
    table = world.need_table(name, Register("credit", 64), Register("last", 64))
    parts = []
    for mode in modes:
        word = world.need_word(f"{mode}key")
        parts.append((word, _MODES[mode], masks.get(mode, 0xFFFF)))
    key = key_of(*(f"metadata.{word}" for word, _, _ in parts)) if parts else key_of(0)

    def prepare(draft: Draft) -> list[Outcome]:
        since = draft.t("sub", "now", "R.last", 64)
        # A context that nothing has written to has last = 0: full.
        fresh = draft.t("xor", draft.t("min", "R.last", 1, 64), 1, 64)
        had = draft.t("add", "R.credit", draft.t("mul", fresh, full, 64), 64)
        grown = draft.t("add", had, draft.t("mul", draft.t("xor", fresh, 1, 64), since, 64), 64)
        now = draft.t("min", grown, full, 64)
        left = draft.t("sub", now, period_ns, 64)
        draft.c("enough", now, "ge", period_ns)
        stamp = draft.t("max", "now", 1, 64)
        timer = Timer(expire_ns)
        return [
            Outcome([holds("enough")], not above, _keep(table, timer, store(credit=left, last=stamp))),
            Outcome([{}], above, _keep(table, timer, store(credit=now, last=stamp))),
        ]

    return Gate(table, key, prepare, tuple((w, f, m) for w, f, m in parts))


def _keep(table: str, timer: Timer, updates: tuple[Update, ...]) -> tuple[Write, ...]:
    return (Write(table, "lookup", hard=timer, updates=updates),)


def _whole_hashlimit(match: Match, protocol: int | None) -> None:
    names = {o.name for o in match.options}
    if len(names & {"hashlimit-upto", "hashlimit-above"}) != 1:
        raise BadValue("it needs --hashlimit-upto or --hashlimit-above")
    if "hashlimit-name" not in names:
        raise BadValue("it needs --hashlimit-name")


_TEN_TO_THE_9 = 10**9
MATCHES = (
    MatchSpec(
        "limit",
        (
            OptionSpec("limit", rate, negatable=False),
            OptionSpec("limit-burst", number(1, 10000)),
        ),
        _limit,
    ),
    MatchSpec(
        "hashlimit",
        (
            OptionSpec("hashlimit-upto", _hash_rate, ("--hashlimit",), negatable=True),
            OptionSpec("hashlimit-above", _hash_rate),
            OptionSpec("hashlimit-burst", number(1, 1_000_000)),
            OptionSpec("hashlimit-mode", _modes),
            OptionSpec("hashlimit-srcmask", _prefix),
            OptionSpec("hashlimit-dstmask", _prefix),
            OptionSpec("hashlimit-name", as_text),
            OptionSpec("hashlimit-htable-size", number(0, _TEN_TO_THE_9)),
            OptionSpec("hashlimit-htable-max", number(0, _TEN_TO_THE_9)),
            OptionSpec("hashlimit-htable-expire", number(1, _TEN_TO_THE_9)),
            OptionSpec("hashlimit-htable-gcinterval", number(1, _TEN_TO_THE_9)),
        ),
        _hashlimit,
        check=_whole_hashlimit,
    ),
)
__all__ = ["MATCHES", "Clauses", "as_operand"]

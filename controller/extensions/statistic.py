"""Every n-th packet, by a guarded global; or packets at random, with the program's seed."""

from __future__ import annotations

from oppcache.opp.program import Register, Write

from ..flow import Draft, holds, key_of, update
from ..ruleset import Match
from ..world import World
from .base import BadValue, Gate, Lowered, MatchSpec, OptionSpec, Outcome, number, word


def _probability(text: str) -> int:
    try:
        share = float(text)
    except ValueError:
        raise BadValue(f"got {text!r}, expected a number from 0 to 1") from None
    if not 0 <= share <= 1:
        raise BadValue(f"got {text}, expected 0 to 1")
    return round(share * 0x8000_0000)


def _statistic(match: Match, world: World) -> Lowered:
    options = {o.name: o for o in match.options}
    if options["mode"].value == "random":
        share = options["probability"]

        def at_random(draft: Draft) -> list[Outcome]:
            drawn = draft.t("and", "random", 0x7FFF_FFFF)
            draft.c("drawn", drawn, "lt", share.value)
            return [Outcome([holds("drawn", not share.inverted)], True), Outcome([{}], False)]

        return Gate("", key_of(0), at_random)
    every = options["every"]
    first = options["packet"].value if "packet" in options else 0
    name = world.need_global("nth", Register("count", 32, (every.value - 1 - first) % every.value))
    table = world.need_table("rules")

    def nth(draft: Draft) -> list[Outcome]:
        draft.c("last", f"G.{name}", "eq", every.value - 1)
        passes = not every.inverted
        again = (Write(table, "lookup", updates=(update(f"G.{name}", "mov", 0),)),)
        on = (Write(table, "lookup", updates=(update(f"G.{name}", "add", f"G.{name}", 1),)),)
        return [Outcome([holds("last")], passes, again), Outcome([{}], not passes, on)]

    return Gate(table, key_of(0), nth)


def _whole(match: Match, protocol: int | None) -> None:
    options = {o.name: o.value for o in match.options}
    mode = options.get("mode")
    if mode is None:
        raise BadValue("it needs --mode")
    if mode == "random" and "probability" not in options:
        raise BadValue("--mode random needs --probability")
    if mode == "nth":
        if "every" not in options:
            raise BadValue("--mode nth needs --every")
        if options.get("packet", 0) >= options["every"]:
            raise BadValue("--packet has to be less than --every")


MATCHES = (
    MatchSpec(
        "statistic",
        (
            OptionSpec("mode", word("random", "nth")),
            OptionSpec("probability", _probability, negatable=True),
            OptionSpec("every", number(1, 0xFFFF_FFFF), negatable=True),
            OptionSpec("packet", number(0, 0xFFFF_FFFF)),
        ),
        _statistic,
        check=_whole,
    ),
)

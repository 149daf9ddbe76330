"""What a connection has carried, and how many there are: connbytes and connlimit."""

from __future__ import annotations

from oppcache.opp.program import Register, Write

from ..clauses import Clause, Spans, metadata
from ..flow import Draft, holds, key_of, puts, update
from ..ruleset import Match
from ..world import World
from .base import BadValue, Gate, Lowered, MatchSpec, OptionSpec, Outcome, integer, number, word
from .conntrack import TRACKED


def _span64(text: str) -> tuple[int, int]:
    first, colon, last = text.partition(":")
    low = integer(first) if first else 0
    high = integer(last) if last else 2**64 - 1
    if low > high:
        raise BadValue(f"got the range {text}, expected the low end first")
    return (low, high) if colon else (low, 2**64 - 1)


def _connbytes(match: Match, world: World) -> Lowered:
    options = {o.name: o for o in match.options}
    option = options["connbytes"]
    low, high = option.value
    direction, mode = options["connbytes-dir"].value, options["connbytes-mode"].value
    world.accounting = True

    def prepare(draft: Draft) -> list[Outcome]:
        # A new connection has no context yet: its one packet is added.
        new = draft.t("shr", "metadata.life", 1)
        first = draft.t("and", new, draft.zero(draft.t("xor", "metadata.life", 2)))

        def total(what: str) -> object:
            sides = {"original": "o", "reply": "r"}
            names = [f"R.{sides[direction]}{what}"] if direction in sides else [f"R.o{what}", f"R.r{what}"]
            out = draft.t("add", names[0], names[1] if len(names) > 1 else 0, 64)
            if direction == "reply":
                return out
            one = first if what == "packets" else draft.t("mul", first, "ipv4.length")
            return draft.t("add", out, one, 64)

        if mode == "avgpkt":
            packets = total("packets")
            some = draft.t("max", packets, 1, 64)  # type: ignore[arg-type]
            got = draft.t("div", total("bytes"), some, 64)  # type: ignore[arg-type]
        else:
            got = total(mode)  # type: ignore[assignment]
        draft.c("enough", got, "ge", low)
        draft.c("few", got, "le", high)
        inside = [{**TRACKED, **holds("enough"), **holds("few")}]
        return [
            Outcome(inside, not option.inverted),
            Outcome([TRACKED], option.inverted),
            Outcome([{}], False),
        ]

    return Gate("conn", world.connection_key(), prepare)


def _mask(text: str) -> int:
    return 0xFFFF_FFFF ^ (0xFFFF_FFFF >> number(0, 32)(text))


def _connlimit(match: Match, world: World) -> Lowered:
    options = {o.name: o for o in match.options}
    limit = options.get("connlimit-above") or options["connlimit-upto"]
    above = (limit.name == "connlimit-above") != limit.inverted
    mask = options["connlimit-mask"].value if "connlimit-mask" in options else 0xFFFF_FFFF
    subject = "ipv4.dst" if "connlimit-daddr" in options else "ipv4.src"
    number_ = len(world.counted) + 1
    name = f"connlimit {number_}"
    word_ = world.need_word(f"limited{number_}")
    table = world.need_table(name, "count", "shown")
    world.counted[name] = (number_, word_)

    def prepare(draft: Draft) -> list[Outcome]:
        # A new connection counts what lives and itself; a known one sees what was counted last, as Linux 6.18 does.
        new: Clause = metadata("life", Spans.of((2, 2)))
        known: Clause = metadata("life", Spans.values([1, 3]))
        key = draft.key
        assert key is not None
        counted = draft.t("add", key.parts[0], 1)  # 0: not counted
        total = draft.t("add", "R.count", draft.zero(f"metadata.{word_}"))
        draft.c("above", total, "gt", limit.value)
        draft.c("above_shown", "R.shown", "gt", limit.value)
        shown = (Write(table, "lookup", updates=(update("W.shown", "mov", total),)),)
        out = []
        for truth, passes in ((True, above), (False, not above)):
            out.append(Outcome([{**holds("above", truth), **new}], passes, shown, puts(**{word_: counted})))
            out.append(Outcome([{**holds("above_shown", truth), **known}], passes))
            out.append(Outcome([holds("above", truth)], passes))
        return out

    key_word = world.need_word("limitkey")
    return Gate(table, key_of(f"metadata.{key_word}"), prepare, ((key_word, subject, mask),))


def _whole_bytes(match: Match, protocol: int | None) -> None:
    names = {o.name for o in match.options}
    for wanted in ("connbytes", "connbytes-dir", "connbytes-mode"):
        if wanted not in names:
            raise BadValue(f"it needs --{wanted}")


def _whole_limit(match: Match, protocol: int | None) -> None:
    names = {o.name for o in match.options}
    if len(names & {"connlimit-above", "connlimit-upto"}) != 1:
        raise BadValue("it needs --connlimit-above or --connlimit-upto")


MATCHES = (
    MatchSpec(
        "connbytes",
        (
            OptionSpec("connbytes", _span64, negatable=True),
            OptionSpec("connbytes-dir", word("original", "reply", "both")),
            OptionSpec("connbytes-mode", word("packets", "bytes", "avgpkt")),
        ),
        _connbytes,
        tracks=True,
        check=_whole_bytes,
    ),
    MatchSpec(
        "connlimit",
        (
            OptionSpec("connlimit-above", number(0, 0xFFFF_FFFF), negatable=True),
            OptionSpec("connlimit-upto", number(0, 0xFFFF_FFFF), negatable=True),
            OptionSpec("connlimit-mask", _mask),
            OptionSpec("connlimit-saddr"),
            OptionSpec("connlimit-daddr"),
        ),
        _connlimit,
        tracks=True,
        check=_whole_limit,
    ),
)
__all__ = ["MATCHES", "Register"]

"""Lists of addresses seen lately: a context for each address, with the times of its last packets."""

from __future__ import annotations

from oppcache.opp.program import Register, Write

from ..clauses import Clause, Spans
from ..flow import Draft, holds, key_of, store
from ..ruleset import Match
from ..world import World
from .base import BadValue, Gate, Lowered, MatchSpec, OptionSpec, Outcome, address, as_text, number

MAX_HITS = 30
_LISTED = 1  # state label of an address that is on the list


def _recent(match: Match, world: World) -> Lowered:
    options = {o.name: o for o in match.options}
    command = next(options[n] for n in ("set", "rcheck", "update", "remove") if n in options)
    name = options["name"].value if "name" in options else "DEFAULT"
    hits = options["hitcount"].value if "hitcount" in options else 0
    window = options["seconds"].value * 1_000_000_000 if "seconds" in options else 0
    mask = options["mask"].value if "mask" in options else 0xFFFF_FFFF
    stamps = world.hits_of(name)
    table = world.need_table(
        f"recent {name}", *(Register(f"s{i}", 64) for i in range(1, stamps + 1)), Register("ttl")
    )
    subject = "ipv4.dst" if "rdest" in options else "ipv4.src"
    word = world.need_word("recentkey")
    passes = not command.inverted

    def push(draft: Draft) -> tuple[Write, ...]:
        shifted = {f"s{i}": f"R.s{i - 1}" for i in range(2, stamps + 1)}
        stamp = draft.t("max", "now", 1, 64)  # 0 is none
        updates = store(s1=stamp, ttl="ipv4.ttl", **shifted)
        return (Write(table, "lookup", next_state=_LISTED, updates=updates),)

    def prepare(draft: Draft) -> list[Outcome]:
        listed: Clause = {("state", ""): Spans.of((_LISTED, _LISTED))}
        if "rttl" in options and command.name != "set":
            listed = {**listed, **draft.c("same_ttl", "R.ttl", "eq", "ipv4.ttl")}
        if command.name == "set":
            return [Outcome([{}], passes, push(draft))]
        if command.name == "remove":
            return [
                Outcome([listed], passes, (Write(table, "lookup", next_state="delete"),)),
                Outcome([{}], not passes),
            ]
        fits = listed
        oldest = f"R.s{max(hits, 1)}"
        if hits or window:
            draft.c("there", oldest)
            fits = {**fits, **holds("there")}
        if window:
            age = draft.t("sub", "now", oldest, 64)
            fits = {**fits, **draft.c("lately", age, "le", window)}
        # An update refreshes the list where the match, inverted or not, holds.
        renew = push(draft) if command.name == "update" else ()
        return [
            Outcome([fits], passes, renew if passes else ()),
            Outcome([listed], not passes, () if passes else renew),
            Outcome([{}], not passes),
        ]

    return Gate(table, key_of(f"metadata.{word}"), prepare, ((word, subject, mask),))


def _whole(match: Match, protocol: int | None) -> None:
    names = [o.name for o in match.options]
    if sum(n in ("set", "rcheck", "update", "remove") for n in names) != 1:
        raise BadValue("it needs one of --set, --rcheck, --update and --remove")
    if "seconds" in names or "hitcount" in names:
        if not {"rcheck", "update"} & set(names):
            raise BadValue("--seconds and --hitcount need --rcheck or --update")
    if "reap" in names and "seconds" not in names:
        raise BadValue("--reap needs --seconds")


MATCHES = (
    MatchSpec(
        "recent",
        (
            *(OptionSpec(n, None, negatable=True) for n in ("set", "rcheck", "update", "remove")),
            OptionSpec("seconds", number(1, 0x7FFF_FFFF)),
            OptionSpec("hitcount", number(1, MAX_HITS)),
            OptionSpec("reap"),
            OptionSpec("rttl"),
            OptionSpec("name", as_text),
            OptionSpec("mask", address),
            OptionSpec("rsource"),
            OptionSpec("rdest"),
        ),
        _recent,
        check=_whole,
    ),
)

"""What an extension is made of, and readers of option values that several use."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from oppcache.opp.program import Action, Key, Write

from ..clauses import Clauses, Spans, Subject
from ..names import PROTOCOLS, SERVICES

if TYPE_CHECKING:
    from ..flow import Draft
    from ..ruleset import Match, Target
    from ..world import World

U32 = 0xFFFF_FFFF


class BadValue(ValueError):
    """A value that an option does not take; the parser adds where it stands."""


@dataclass(frozen=True)
class OptionSpec:
    """One option.

    Attributes:
        name: long form without dashes.
        read: from its words (a string where there is one) to a value; None for an option without any.
        aliases: other spellings, with dashes.
        words: how many words it takes.
        negatable: whether ``!`` may stand before it.
    """

    name: str
    read: Callable[[Any], Any] | None = None
    aliases: tuple[str, ...] = ()
    words: int = 1
    negatable: bool = False


@dataclass(frozen=True)
class Outcome:
    """One way in which a gate comes out, where ``clauses`` hold and those of earlier outcomes do not."""

    clauses: Clauses
    passes: bool
    writes: tuple[Write, ...] = ()
    actions: tuple[Action, ...] = ()


@dataclass(frozen=True)
class Gate:
    """A match that keeps state: a stage of its own.

    Attributes:
        table: that the stage is on, and the ``key`` it is looked up by.
            An empty table: it only computes.
        prepare: fills temporaries and conditions of the stage and gives the outcomes.
        words: (metadata word, field, mask): what a stage before sets, because keys are read before anything
            is computed.
    """

    table: str
    key: Key
    prepare: Callable[[Draft], list[Outcome]]
    words: tuple[tuple[str, str, int], ...] = ()


@dataclass(frozen=True)
class Effect:
    """What a target does.

    Attributes:
        kind: ``continue``, ``accept``, ``drop`` or ``return``.
        actions: on the packet.
        changed: subjects that the actions change.
        gate: for a target that keeps state or computes: prepares its stage and gives the ways it comes out
            (``passes`` is not looked at).
        stateful: (table, key) of the stage that the gate needs, or None where it only computes.
    """

    kind: str
    actions: tuple[Action, ...] = ()
    changed: frozenset[Subject] = frozenset()
    gate: Callable[[Draft], list[Outcome]] | None = None
    stateful: tuple[str, Key] | None = None


Lowered = Clauses | Gate


@dataclass(frozen=True)
class MatchSpec:
    """A match.

    Attributes:
        lower: what it comes to; may raise :class:`BadValue`.
        tracks: whether it needs connection tracking.
        needs: the header without which the kernel drops a whole packet of the protocol (``hotdrop``).
        check: called by the parser with the match and the rule's protocol (number or None).
    """

    name: str
    options: tuple[OptionSpec, ...]
    lower: Callable[[Match, World], Lowered]
    tracks: bool = False
    needs: tuple[str, int] | None = None
    check: Callable[[Match, int | None], None] | None = None


@dataclass(frozen=True)
class TargetSpec:
    """A target.

    Attributes:
        lower: what it does; may raise :class:`BadValue`.
        tables: in which it may stand; empty: all.
        chains: built-in chains from which it may be reached; empty: all.
    """

    name: str
    options: tuple[OptionSpec, ...]
    lower: Callable[[Target, World], Effect]
    tables: tuple[str, ...] = ()
    chains: tuple[str, ...] = ()
    tracks: bool = False
    check: Callable[[Target, int | None], None] | None = None


# Readers


def number(low: int, high: int) -> Callable[[str], int]:
    """A number within bounds, in any base that C knows."""

    def read(text: str) -> int:
        got = integer(text)
        if not low <= got <= high:
            raise BadValue(f"got {text}, expected {low} to {high}")
        return got

    return read


def integer(text: str) -> int:
    """A number in decimal, 0x or leading-zero octal."""
    try:
        if text.startswith("0") and text.isdigit() and len(text) > 1:
            return int(text, 8)
        return int(text, 0)
    except ValueError:
        raise BadValue(f"got {text!r}, expected a number") from None


def span(low: int, high: int, separator: str = ":") -> Callable[[str], tuple[int, int]]:
    """``A``, ``A:B``, ``:B`` or ``A:``."""
    one = number(low, high)

    def read(text: str) -> tuple[int, int]:
        first, colon, last = text.partition(separator)
        a = one(first) if first or not colon else low
        b = (one(last) if last else high) if colon else a
        if a > b:
            raise BadValue(f"got the range {text}, expected the low end first")
        return a, b

    return read


def port(text: str) -> int:
    """A port by number or name."""
    if text in SERVICES:
        return SERVICES[text]
    return number(0, 65535)(text)


def ports(text: str) -> tuple[int, int]:
    """A port or a range ``A:B``."""
    first, colon, last = text.partition(":")
    a = port(first) if first or not colon else 0
    b = (port(last) if last else 65535) if colon else a
    if a > b:
        raise BadValue(f"got the range {text}, expected the low end first")
    return a, b


def masked(text: str) -> tuple[int, int]:
    """``VALUE`` or ``VALUE/MASK``, 32 bits each."""
    left, slash, right = text.partition("/")
    read = number(0, U32)
    return read(left), read(right) if slash else U32


def protocol(text: str) -> int:
    """A protocol by number or name; ``all`` is 0."""
    if text.lower() in PROTOCOLS:
        return PROTOCOLS[text.lower()]
    return number(0, 255)(text)


def address(text: str) -> int:
    """An IPv4 address."""
    try:
        return int(ipaddress.IPv4Address(text))
    except ValueError:
        raise BadValue(f"got {text!r}, expected an IPv4 address") from None


def network(text: str) -> tuple[int, int]:
    """``ADDRESS``, ``ADDRESS/LENGTH`` or ``ADDRESS/MASK``: the address under the mask, and the mask."""
    left, slash, right = text.partition("/")
    if not slash:
        return address(left), U32
    if "." in right:
        mask = address(right)
    else:
        if not right.isdigit() or int(right) > 32:
            raise BadValue(f"bad mask {right!r}, expected 0 to 32 or such as 255.255.255.0")
        mask = U32 ^ (U32 >> int(right))
    return address(left) & mask, mask


def listed(read: Callable[[str], Any], most: int = 0) -> Callable[[str], tuple[Any, ...]]:
    """A list with commas."""

    def reader(text: str) -> tuple[Any, ...]:
        items = tuple(read(item) for item in text.split(","))
        if most and len(items) > most:
            raise BadValue(f"got {len(items)} values, expected at most {most}")
        return items

    return reader


def word(*known: str) -> Callable[[str], str]:
    """One of some words, in any case."""

    def read(text: str) -> str:
        for name in known:
            if text.lower() == name.lower():
                return name
        raise BadValue(f"got {text!r}, expected one of {', '.join(known)}")

    return read


def as_text(text: str) -> str:
    """Any text."""
    return text


UNITS_PER_DAY = {"second": 86400, "minute": 1440, "hour": 24, "day": 1}


def rate(text: str) -> tuple[int, int]:
    """``N[/UNIT]`` as (period in 1/10000 s, rounded down as the kernel's; seconds of the unit)."""
    left, slash, unit = text.partition("/")
    name = "second"
    if slash:
        found = [u for u in UNITS_PER_DAY if unit and u.startswith(unit.lower())]
        if not found:
            raise BadValue(f"got the unit {unit!r}, expected second, minute, hour or day")
        name = found[0]
    times = number(1, 1_000_000)(left)
    seconds = 86400 // UNITS_PER_DAY[name]
    period = 10000 * seconds // times
    if period == 0:
        raise BadValue(f"got {text}, which is too fast for the kernel")
    return period, seconds


def in_network(net: tuple[int, int]) -> Spans | None:
    """The addresses of a network as one range, or None where the mask has holes."""
    value, mask = net
    low = U32 ^ mask
    if low & (low + 1):
        return None
    return Spans.of((value, value | low))


def only(words: Sequence[Any]) -> Any:
    """The single item of a sequence."""
    (item,) = words
    return item

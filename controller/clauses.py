"""What a packet must look like, as clauses: sets of values for subjects of a ternary match, all of which must hold.

A rule's matches lower to a list of clauses of which one must hold (a disjunction). Negation, lists and ranges are
worked out here, on values, so that no entry needs an exception of a higher priority: what a subject may be is a
:class:`Spans` (inclusive ranges) or a :class:`Bits` (alternatives of value and mask).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from oppcache.opp.fields import FIELD_BY_NAME
from oppcache.opp.program import Pattern, Term
from oppcache.opp.syntax import range_to_ternary

Subject = tuple[str, str]  # kind and name of a term
FULL32 = 0xFFFF_FFFF


class Incompatible(Exception):
    """Two sets of values whose intersection is neither; the caller tests one after the other."""


@dataclass(frozen=True)
class Spans:
    """Values in one of some inclusive ranges, which are sorted and apart."""

    spans: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, *spans: tuple[int, int]) -> Spans:
        """From ranges in any order, which may overlap."""
        merged: list[tuple[int, int]] = []
        for low, high in sorted(spans):
            if merged and low <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(merged[-1][1], high))
            else:
                merged.append((low, high))
        return cls(tuple(merged))

    @classmethod
    def values(cls, values: Iterable[int]) -> Spans:
        """From single values."""
        return cls.of(*((v, v) for v in values))

    def complement(self, highest: int) -> Spans:
        """Every other value from 0 to ``highest``."""
        out, at = [], 0
        for low, high in self.spans:
            if low > at:
                out.append((at, low - 1))
            at = high + 1
        if at <= highest:
            out.append((at, highest))
        return Spans(tuple(out))

    def __and__(self, other: Spans) -> Spans:
        out = []
        i = j = 0
        while i < len(self.spans) and j < len(other.spans):
            (a, b), (c, d) = self.spans[i], other.spans[j]
            if max(a, c) <= min(b, d):
                out.append((max(a, c), min(b, d)))
            if b < d:
                i += 1
            else:
                j += 1
        return Spans(tuple(out))

    def __bool__(self) -> bool:
        return bool(self.spans)


@dataclass(frozen=True)
class Bits:
    """Values that fit one of some (value, mask) pairs."""

    pairs: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, *pairs: tuple[int, int]) -> Bits:
        """From pairs; bits outside a mask are ignored."""
        return cls(tuple(dict.fromkeys((v & m, m) for v, m in pairs)))

    @classmethod
    def other_than(cls, value: int, mask: int) -> Bits:
        """Every value that does not fit the pair: one bit of the mask differs."""
        bits = [1 << i for i in range(mask.bit_length()) if mask >> i & 1]
        return cls(tuple((~value & bit, bit) for bit in bits))

    def __and__(self, other: Bits) -> Bits:
        both = [(v | w, m | n) for v, m in self.pairs for w, n in other.pairs if (v ^ w) & m & n == 0]
        return Bits.of(*both)

    def __bool__(self) -> bool:
        return bool(self.pairs)


Values = Spans | Bits
Clause = dict[Subject, Values]
Clauses = list[Clause]  # one of them must hold; none: never
ALWAYS: Clauses = [{}]
NEVER: Clauses = []


def field(name: str, values: Values) -> Clause:
    """A clause on a header field."""
    return {("field", name): values}


def metadata(name: str, values: Values) -> Clause:
    """A clause on a metadata word."""
    return {("metadata", name): values}


def valid(header: str, there: bool = True) -> Clause:
    """A clause on whether a header is there."""
    return {("valid", header): Spans.of((int(there), int(there)))}


def intersection(one: Values, other: Values) -> Values:
    """What both allow; false in a boolean context if that is nothing.

    Raises:
        Incompatible: it is neither ranges nor bits.
    """
    if isinstance(one, Spans) and isinstance(other, Spans):
        return one & other
    if isinstance(one, Bits) and isinstance(other, Bits):
        return one & other
    raise Incompatible


def both(one: Clause, other: Clause) -> Clause | None:
    """The clause that holds where both do, or None if that is nowhere."""
    if not one or not other:
        return one or other
    out = dict(one)
    for subject, values in other.items():
        if subject in out:
            values = intersection(out[subject], values)
        if not values:
            return None
        out[subject] = values
    return out


def conjunction(one: Clauses, other: Clauses) -> Clauses:
    """Where one of these and one of those holds."""
    return [c for a in one for b in other if (c := both(a, b)) is not None]


def negation(clause: Clause) -> Clauses:
    """Where a clause does not hold: one of its subjects has another value."""
    return [{subject: other(subject, values)} for subject, values in clause.items() if other(subject, values)]


def other(subject: Subject, values: Values) -> Values:
    """The values that a subject may have besides these."""
    if isinstance(values, Spans):
        return values.complement(highest(subject))
    if len(values.pairs) != 1:
        out = Bits.of((0, 0))
        for pair in values.pairs:
            out = out & Bits.other_than(*pair)
        return out
    return Bits.other_than(*values.pairs[0])


def apart(one: Clause, two: Clause, changed: frozenset[Subject] = frozenset()) -> bool:
    """Whether no packet fits both, even if subjects in ``changed`` are changed between the one and the other."""
    for subject, values in one.items():
        if subject in two and subject not in changed:
            try:
                if not intersection(values, two[subject]):
                    return True
            except Incompatible:
                continue
    return False


@cache
def highest(subject: Subject) -> int:
    """The largest value that a subject can have."""
    kind, name = subject
    if kind == "field":
        return (1 << FIELD_BY_NAME[name].bits) - 1
    return FULL32 if kind in ("metadata", "state") else 1


def terms(clause: Clause) -> tuple[Term, ...]:
    """A clause as terms of an entry's match."""
    return tuple(_term(subject, values) for subject, values in clause.items())


@cache
def _term(subject: Subject, values: Values) -> Term:
    full = highest(subject)
    if isinstance(values, Bits):
        return Term(*subject, tuple(Pattern(v, m) for v, m in values.pairs))
    return Term(*subject, tuple(p for span in values.spans for p in _patterns(*span, full)))


def _patterns(low: int, high: int, full: int) -> Sequence[Pattern]:
    size = high - low + 1
    if size & (size - 1) == 0 and low & (size - 1) == 0:
        return [Pattern(low, full & ~(size - 1))]
    if full <= 0xFF:
        return [Pattern(v, m) for v, m in range_to_ternary(low, high, full.bit_length())]
    return [Pattern(low, full, high)]

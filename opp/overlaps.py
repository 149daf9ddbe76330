"""Entries of one priority that overlap, of which none would win: found among thousands without trying all pairs.

Each entry has a hull at each subject that it matches: bits that all its alternatives share, and their least and
greatest value. Where hulls are apart entries are apart; the few left are compared term by term.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .fields import FIELD_BY_NAME
from .program import Entry, Term
from .syntax import alternatives, mapped

_ALL = 2**64 - 1
_FEW = 16  # so many entries are compared one by one

Subject = tuple[str, str, str]  # kind and name of a term, and which part of it
Hull = tuple[int, int, int, int]  # shared bits, their values, least, greatest


def term_ternaries(term: Term) -> list[tuple[int, int, int]]:
    """A term's alternatives as (value, mask, family) over the subject's full width; family 0: any."""
    out = []
    field = FIELD_BY_NAME.get(term.name) if term.kind == "field" else None
    for pattern in term.patterns:
        if field is not None and field.is_address:
            out.append((*mapped(pattern), pattern.family))
        else:
            bits = field.bits if field is not None else 64
            out.extend((value, mask, 0) for value, mask in alternatives(pattern, bits))
    return out


def takes_none(entry: Entry) -> bool:
    """Whether the entry is for packets whose key is absent: ``state: none``."""
    return any(t.kind == "state" and not t.patterns for t in entry.match)


def overlap(one: Entry, other: Entry) -> bool:
    """Whether the match of two entries leaves room for a packet that fits both."""
    if takes_none(one) != takes_none(other):
        return False
    terms = {(t.kind, t.name): t for t in other.match}
    shared = ((t, terms[t.kind, t.name]) for t in one.match if (t.kind, t.name) in terms)
    return all(_compatible(a, b) for a, b in shared if a.patterns or b.patterns)


def _compatible(one: Term, other: Term) -> bool:
    return any(
        (va ^ vb) & ma & mb == 0 and (fa == fb or 0 in (fa, fb))
        for va, ma, fa in term_ternaries(one)
        for vb, mb, fb in term_ternaries(other)
    )


class Overlaps:
    """The entries of a stage, by priority."""

    def __init__(self) -> None:
        self._groups: dict[int, _Group] = {}

    def add(self, entry: Entry) -> None:
        """Add an entry, whatever it overlaps."""
        self._groups.setdefault(entry.priority, _Group()).add(entry)

    def remove(self, entry: Entry) -> None:
        """Take out an entry that was added, by its name."""
        group = self._groups[entry.priority]
        group.remove(entry)
        if not group.entries:
            del self._groups[entry.priority]

    def among(self, entry: Entry) -> Iterator[Entry]:
        """The entries of the same priority that overlap this one, in order of addition."""
        group = self._groups.get(entry.priority)
        if group is not None:
            yield from (other for other in group.near(entry) if overlap(entry, other))


class _Group:
    """Entries of one priority; columns of hulls are kept once there are many."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.rows: dict[str, int] = {}
        self.names: list[str] = []  # of each row; "" for one that was removed
        self.columns: dict[Subject, np.ndarray] = {}  # uint64[4, room]: a hull a row

    def add(self, entry: Entry) -> None:
        self.entries[entry.name] = entry
        if len(self.entries) > _FEW and not self.rows:
            for one in self.entries.values():
                self._append(one)
        elif self.rows:
            self._append(entry)

    def remove(self, entry: Entry) -> None:
        del self.entries[entry.name]
        if self.rows:
            self.names[self.rows.pop(entry.name)] = ""

    def near(self, entry: Entry) -> list[Entry]:
        """Entries that may overlap: none is missing that does."""
        if not self.rows:
            return list(self.entries.values())
        left = np.arange(len(self.names))
        hulls = sorted(hulls_of(entry).items(), key=lambda item: -item[1][0].bit_count())
        for subject, hull in hulls:
            column = self.columns.get(subject)
            if column is None:
                continue
            mask, value, low, high = (np.uint64(n) for n in hull)
            # Most entries have no part in what the first and most exact subject leaves.
            masks, values, lows, highs = (
                column[:, : len(self.names)] if len(left) == len(self.names) else column[:, left]
            )
            near = ((values ^ value) & masks & mask == 0) & (lows <= high) & (highs >= low)
            left = left[near]
        return [self.entries[self.names[row]] for row in left if self.names[row]]

    def _append(self, entry: Entry) -> None:
        row = self.rows[entry.name] = len(self.names)
        self.names.append(entry.name)
        for subject, hull in hulls_of(entry).items():
            if subject not in self.columns:
                self.columns[subject] = _anything(max(64, 2 * row))
            if row >= self.columns[subject].shape[1]:
                self.columns[subject] = np.hstack([self.columns[subject], _anything(row + 64)])
            self.columns[subject][:, row] = hull
        for subject, column in self.columns.items():
            if row >= column.shape[1]:
                self.columns[subject] = np.hstack([column, _anything(row + 64)])
        if len(self.names) > 64 + 2 * len(self.rows):
            self._forget_removed()

    def _forget_removed(self) -> None:
        self.rows, self.names, self.columns = {}, [], {}
        for entry in self.entries.values():
            self._append(entry)


def _anything(rows: int) -> np.ndarray:
    hulls = np.zeros((4, rows), np.uint64)
    hulls[3] = _ALL
    return hulls


def hulls_of(entry: Entry) -> dict[Subject, Hull]:
    """The hull of each term; an address has three: its upper and lower half and its family."""
    out: dict[Subject, Hull] = {}
    for term in entry.match:
        if not term.patterns:
            continue
        field = FIELD_BY_NAME.get(term.name) if term.kind == "field" else None
        if field is not None and field.words == 2:
            ternaries = term_ternaries(term)
            out[term.kind, term.name, "high"] = _of_ternaries([(v >> 64, m >> 64) for v, m, _ in ternaries])
            out[term.kind, term.name, "low"] = _of_ternaries([(v & _ALL, m & _ALL) for v, m, _ in ternaries])
            families = [(f, 0xFF if f else 0) for _, _, f in ternaries]
            out[term.kind, term.name, "family"] = _of_ternaries(families)
        elif all(p.high is not None for p in term.patterns):
            low = min(p.value for p in term.patterns)
            high = max(p.high or 0 for p in term.patterns)
            mask = _ALL ^ ((1 << (low ^ high).bit_length()) - 1)
            out[term.kind, term.name, ""] = (mask, low & mask, low, high)
        else:
            out[term.kind, term.name, ""] = _of_ternaries([(v, m) for v, m, _ in term_ternaries(term)])
    return out


def _of_ternaries(patterns: list[tuple[int, int]]) -> Hull:
    value, mask = patterns[0]
    for other_value, other_mask in patterns[1:]:
        mask &= other_mask & ~(value ^ other_value)
    mask &= _ALL
    lowest = min(v & m for v, m in patterns) & _ALL
    highest = max(v & m | (_ALL ^ (m & _ALL)) for v, m in patterns) & _ALL
    return mask, value & mask, lowest, highest

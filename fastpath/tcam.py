"""A ternary table in hardware: entries lie in an array, the first that matches wins, and making room moves entries.

Where overlapping entries stand matters, where others do does not. So an entry goes to any free address behind the
overlapping entries of higher priority and before those of lower priority. Without one, entries move: the first
overlapping entry behind it makes room by going to where its own first overlapping entry behind was, and so on to a
free address; or the same in front, whichever moves fewer. On prefixes this is the chain-ancestor ordering of Shah and
Gupta ("Fast incremental updates on Ternary-CAMs for routing lookups and packet classification", Hot Interconnects 8,
2000), which moves at most half the longest chain of nested prefixes if the free addresses are in the middle.

Entries that do not nest can stand so that no address is both behind the ones and before the others; then the
entries of that stretch are put in order of priority, with the new one among them.

``order="priority"`` keeps all entries in strict order of priority without gaps, as simple drivers do: an insertion
moves every entry behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from oppcache.opp.arrays import CELL_NO_KEY
from oppcache.opp.errors import InputError, near_miss
from oppcache.opp.fields import Layout
from oppcache.opp.overlaps import takes_none
from oppcache.opp.program import Program, Stage
from oppcache.opp.rows import RowMaker

ORDERS = ("chain", "priority")


@dataclass(frozen=True)
class Row:
    """One ternary entry: ``value`` and ``mask`` of each subject, larger priorities win."""

    owner: int
    priority: int
    mask: tuple[int, ...]
    value: tuple[int, ...]


class Tcam:
    """The ternary table of one stage.

    Attributes:
        size: addresses.
        used: addresses in use.
        writes: entries written, moved ones too.
        shifts: of them, entries moved.
    """

    def __init__(self, size: int, subjects: int, order: str = "chain") -> None:
        """Make an empty table.

        Args:
            size: addresses.
            subjects: words that an entry compares.
            order: one of :data:`ORDERS`.

        Raises:
            InputError: there is no such order.
        """
        if order not in ORDERS:
            expected = ", ".join(ORDERS)
            raise InputError(
                f"TCAM: got order {order!r}, expected {expected} {near_miss(order, ORDERS)}".strip()
            )
        self.size, self.order = size, order
        self.writes = self.shifts = 0
        self._owner = np.full(size, -1, np.int64)
        self._priority = np.zeros(size, np.int64)
        self._mask = np.zeros((size, max(subjects, 1)), np.uint64)
        self._value = np.zeros((size, max(subjects, 1)), np.uint64)

    @property
    def used(self) -> int:
        return int(np.count_nonzero(self._owner >= 0))

    def addresses(self, owner: int) -> list[int]:
        """Where an owner's entries are."""
        return [int(a) for a in np.flatnonzero(self._owner == owner)]

    def look_up(self, words: Sequence[int]) -> int:
        """Owner of the first entry that matches, −1 without one."""
        key = np.array(words, np.uint64)
        matching = (self._owner >= 0) & ((key & self._mask) == self._value).all(axis=1)
        return int(self._owner[matching.argmax()]) if matching.any() else -1

    def insert(self, row: Row) -> int:
        """Add an entry; returns how many had to move, −1 if the table is full (and then nothing has changed).

        Entries of one priority must not overlap, but for those of one owner.
        """
        if self.used == self.size:
            return -1
        free = self._owner < 0
        if self.order == "priority":
            return self._insert_in_order(row)
        low, high = self._bounds(
            row.owner, row.priority, np.array(row.mask, np.uint64), np.array(row.value, np.uint64)
        )
        if low > high:
            return self._rearrange(high, low, row)
        gap = np.flatnonzero(free[low + 1 : high]) + low + 1
        if len(gap):
            middle = (low + high) / 2
            self._write(int(gap[np.abs(gap - middle).argmin()]), row)
            return 0
        chains = [c for c in (self._chain(high, 1), self._chain(low, -1)) if c]
        chain = min(chains, key=len)
        for source, target in zip(chain[-2::-1], chain[:0:-1], strict=True):
            self._move(source, target)
        self._write(chain[0], row)
        return len(chain) - 1

    def remove(self, owner: int) -> int:
        """Take out all entries of an owner; returns how many there were. Their addresses need no writing again."""
        mine = self._owner == owner
        self._owner[mine] = -1
        if self.order == "priority":
            self._close_gaps()
        return int(mine.sum())

    def _bounds(self, owner: int, priority: int, mask: np.ndarray, value: np.ndarray) -> tuple[int, int]:
        """The last overlapping entry of higher priority and the first of lower; −1 and the size without."""
        over = (self._owner >= 0) & (self._owner != owner)
        over &= (((self._value ^ value) & self._mask & mask) == 0).all(axis=1)
        before = np.flatnonzero(over & (self._priority > priority))
        behind = np.flatnonzero(over & (self._priority < priority))
        return (int(before[-1]) if len(before) else -1), (int(behind[0]) if len(behind) else self.size)

    def _chain(self, start: int, step: int) -> list[int]:
        """Addresses from which each entry goes to the next one's, the last being free; empty if there is none."""
        chain, at = [], start
        while 0 <= at < self.size:
            chain.append(at)
            low, high = self._bounds(
                int(self._owner[at]), int(self._priority[at]), self._mask[at], self._value[at]
            )
            end = high if step > 0 else low
            between = np.arange(at + step, end, step)
            free = between[self._owner[between] < 0]
            if len(free):
                return [*chain, int(free[0])]
            at = end
        return []

    def _rearrange(self, first: int, last: int, row: Row) -> int:
        """Put the entries of a stretch, which reaches to the nearest free address, and a new one in order of priority."""
        free = np.flatnonzero(self._owner < 0)
        distance = np.maximum(first - free, free - last).clip(0)
        nearest = int(free[distance.argmin()])
        first, last = min(first, nearest), max(last, nearest)
        stretch = np.arange(first, last + 1)
        old = stretch[self._owner[stretch] >= 0]
        order = old[np.argsort(-self._priority[old], kind="stable")]
        place = int((self._priority[order] >= row.priority).sum())
        # Close up before the new entry, leave the other free addresses behind all.
        targets = [first + i + (i >= place) for i in range(len(order))]
        columns = [array[order].copy() for array in self._columns()]
        moved = int((order != np.array(targets)).sum())
        self._owner[stretch] = -1
        for array, column in zip(self._columns(), columns, strict=True):
            array[targets] = column
        self.writes += moved
        self.shifts += moved
        self._write(first + place, row)
        return moved

    def _insert_in_order(self, row: Row) -> int:
        used = self.used
        place = int((self._priority[:used] >= row.priority).sum())
        for array in self._columns():
            array[place + 1 : used + 1] = array[place:used].copy()
        self.writes += used - place
        self.shifts += used - place
        self._write(place, row)
        return used - place

    def _close_gaps(self) -> None:
        kept = np.flatnonzero(self._owner >= 0)
        moved = int((kept != np.arange(len(kept))).sum())
        columns = [array[kept].copy() for array in self._columns()]
        self._owner[:] = -1
        for array, column in zip(self._columns(), columns, strict=True):
            array[: len(kept)] = column
        self.writes += moved
        self.shifts += moved

    def _columns(self) -> tuple[np.ndarray, ...]:
        return self._owner, self._priority, self._mask, self._value

    def _move(self, source: int, target: int) -> None:
        for array in self._columns():
            array[target] = array[source]
        self._owner[source] = -1
        self.writes += 1
        self.shifts += 1

    def _write(self, address: int, row: Row) -> None:
        self._owner[address], self._priority[address] = row.owner, row.priority
        self._mask[address], self._value[address] = row.mask, row.value
        self.writes += 1


def rows_of_stage(program: Program, stage: Stage, layout: Layout) -> tuple[list[list[Row]], int]:
    """The ternary entries that each entry of a stage comes to, and the number of subjects that they compare.

    Args:
        program: checked.
        stage: one of its stages.
        layout: of the header vectors.

    Returns:
        rows of each entry, ranges and lists expanded, whose owner is its number in the stage.
    """
    maker = RowMaker(program, layout)
    subjects: dict[tuple[int, int], int] = {(CELL_NO_KEY, 0): 0}
    made = []
    for entry in stage.entries:
        no_key = (CELL_NO_KEY, 0, 1, int(takes_none(entry)))
        rows = [[*cells, no_key] for cells in maker.ternary(entry, stage)]
        for cells in rows:
            for kind, index, *_ in cells:
                subjects.setdefault((kind, index), len(subjects))
        made.append(rows)
    out: list[list[Row]] = []
    for number, (entry, rows) in enumerate(zip(stage.entries, made, strict=True)):
        out.append([])
        for cells in rows:
            mask, value = [0] * len(subjects), [0] * len(subjects)
            for kind, index, wanted, bits in cells:
                mask[subjects[kind, index]] |= wanted
                value[subjects[kind, index]] |= bits
            out[-1].append(Row(number, entry.priority, tuple(mask), tuple(value)))
    return out, len(subjects)

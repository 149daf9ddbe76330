"""Which entries an entry must not be without, or it would win packets that another one should have.

Entry e depends directly on every entry that some packet of e would go to next if e were not there: the matching entry
of next higher priority (CacheFlow, section 3). A list of entries that has, for each of its entries, those that it
depends on directly gives no packet to a wrong entry: if it gave p to e but some higher entry matched p, then the
next higher one that does would be in the list and would have won.

An overlap is left out only where one single entry between the two covers it whole. So a few dependencies more are
reported than there are, which costs room and is never wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from oppcache._jit import kernel
from oppcache.opp.fields import Layout
from oppcache.opp.program import Program, Stage

from .shapes import Shapes, row_counts, shapes_of

_COVERING = 512  # so many entries between are looked at


@dataclass(frozen=True)
class Dependencies:
    """Direct dependencies among the entries of a stage.

    Entry ``len(stage.entries)`` is what becomes of packets that no entry matches: the default, or nothing.

    Attributes:
        rows: ``int64[entries + 1]``: ternary rows of each; 0 for the last.
        above: for each entry, the entries of higher priority that it depends on directly.
        below: the same the other way round: those that depend on it.
    """

    rows: np.ndarray
    above: tuple[np.ndarray, ...]
    below: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def closure(self, entry: int, most: int) -> list[int] | None:
        """An entry and all that it depends on, however far; None if they take more than ``most`` rows."""
        found, open_ = {entry}, [entry]
        rows = int(self.rows[entry])
        while open_ and rows <= most:
            for other in self.above[open_.pop()].tolist():
                if other not in found:
                    found.add(other)
                    open_.append(other)
                    rows += int(self.rows[other])
        return sorted(found) if rows <= most else None


def dependencies_of(program: Program, stage: Stage, layout: Layout) -> Dependencies:
    """Find the dependencies of a stage's entries.

    Args:
        program: checked: entries of equal priority do not overlap.
        stage: one of its stages.
        layout: of the header vectors.
    """
    shapes = shapes_of(program, stage, layout)
    above: list[set[int]] = [set() for _ in range(len(stage.entries) + 1)]
    for lower, higher in _edges(shapes):
        above[lower].update(higher)
    below: list[list[int]] = [[] for _ in above]
    for lower, found in enumerate(above):
        for higher_one in sorted(found):
            below[higher_one].append(lower)
    return Dependencies(
        row_counts(stage),
        tuple(np.array(sorted(found), np.int64) for found in above),
        tuple(np.array(found, np.int64) for found in below),
    )


def _edges(shapes: Shapes) -> Iterator[tuple[int, set[int]]]:
    out = np.zeros(len(shapes.entry), np.int64)
    for rule in range(len(shapes.entry)):
        count = int(_direct(shapes, rule, out))
        yield int(shapes.entry[rule]), set(shapes.entry[out[:count]].tolist())


@kernel
def _direct(shapes, rule, out):
    """Rules above that share packets with a rule which no single rule between has all of; returns how many."""
    count = np.int64(0)
    subjects = shapes.mask.shape[1]
    for other in range(rule - 1, -1, -1):
        if shapes.entry[other] == shapes.entry[rule]:
            continue
        apart = False
        for s in range(subjects):
            both = shapes.mask[rule, s] & shapes.mask[other, s]
            if (
                (shapes.bits[rule, s] ^ shapes.bits[other, s]) & both != np.uint64(0)
                or shapes.low[rule, s] > shapes.high[other, s]
                or shapes.low[other, s] > shapes.high[rule, s]
            ):
                apart = True
                break
        if apart:
            continue
        hidden = False
        for i in range(min(count, np.int64(_COVERING))):
            if _covers(shapes, out[i], rule, other):
                hidden = True
                break
        if not hidden:
            out[count] = other
            count += 1
    return count


@kernel
def _covers(shapes, between, one, other):
    """Whether a rule lets every packet through that two others both do."""
    for s in range(shapes.mask.shape[1]):
        wanted = shapes.mask[between, s]
        known = shapes.mask[one, s] | shapes.mask[other, s]
        if wanted & known != wanted:
            return False
        bits = shapes.bits[one, s] | shapes.bits[other, s]
        if (bits ^ shapes.bits[between, s]) & wanted != np.uint64(0):
            return False
        low = max(shapes.low[one, s], shapes.low[other, s])
        high = min(shapes.high[one, s], shapes.high[other, s])
        if low < shapes.low[between, s] or high > shapes.high[between, s]:
            return False
    return True

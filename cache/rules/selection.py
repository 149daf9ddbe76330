"""Choosing entries by traffic: dependent sets, cover sets, or whichever is the better buy (CacheFlow, section 4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oppcache.opp.errors import InputError, near_miss

from .dependencies import Dependencies

ALGORITHMS = ("dependent-sets", "cover-sets", "mixed-sets")


@dataclass(frozen=True)
class Selection:
    """Which entries the NIC holds.

    Attributes:
        cached: ``bool[entries + 1]``: those that the NIC runs; the last one: it knows that no entry matches.
        covers: ``bool[entries + 1]``: those of which it only knows that their packets go to the CPU.
        order: the cached entries as they were chosen, the best first.
    """

    cached: np.ndarray
    covers: np.ndarray
    order: tuple[int, ...]

    @property
    def present(self) -> np.ndarray:
        """``bool[entries + 1]``: entries that take rows."""
        present: np.ndarray = self.cached | self.covers
        return present


def select(dependencies: Dependencies, weights: np.ndarray, room: int, algorithm: str) -> Selection:
    """Choose greedily what brings most packets a row.

    A *dependent set* is an entry and all that it depends on, directly or not. A *cover set* is an entry and covers for
    those that it depends on directly; a cover has the entry's match and sends its packets to the CPU. Sets share
    rows, so what is there already costs nothing. *Mixed* takes the better of the two each time.

    Args:
        dependencies: of the stage.
        weights: ``float64`` or ``int64[entries + 1]``: packets of each entry; the last: packets that none matches.
        room: ternary rows.
        algorithm: one of :data:`ALGORITHMS`.

    Raises:
        InputError: there is no such algorithm.
    """
    if algorithm not in ALGORITHMS:
        hint = near_miss(algorithm, ALGORITHMS)
        raise InputError(f"rule caching: got {algorithm!r}, expected {', '.join(ALGORITHMS)} {hint}".strip())
    return _Greedy(dependencies, np.asarray(weights, np.float64), room, algorithm).run()


class _Greedy:
    """The rows that each set would still cost and the packets that it would still bring, kept up to date."""

    def __init__(self, dependencies: Dependencies, weights: np.ndarray, room: int, algorithm: str) -> None:
        self.dependencies, self.weights, self.room = dependencies, weights, room
        count = len(dependencies)
        self.cached = np.zeros(count, bool)
        self.present = np.zeros(count, bool)
        self.order: list[int] = []
        self.covering = algorithm != "dependent-sets"
        self.whole = algorithm != "cover-sets"
        if self.covering:
            rows = dependencies.rows
            self.cover_cost = rows + np.array([rows[a].sum() for a in dependencies.above], np.int64)
        if self.whole:
            self.closures = [dependencies.closure(e, room) for e in range(count)]
            self.in_closures: list[list[int]] = [[] for _ in range(count)]
            for entry, closure in enumerate(self.closures):
                for member in closure or ():
                    self.in_closures[member].append(entry)
            never = room + 1
            self.whole_cost = np.array(
                [never if c is None else dependencies.rows[c].sum() for c in self.closures], np.int64
            )
            self.whole_gain = np.array([0.0 if c is None else weights[c].sum() for c in self.closures])

    def run(self) -> Selection:
        left = self.room
        while True:
            best, by_cover = self._best(left)
            if best < 0:
                break
            if by_cover:
                left -= int(self.cover_cost[best])
                for member in self.dependencies.above[best].tolist():
                    self._place(member)
                self._cache(best)
            else:
                left -= int(self.whole_cost[best])
                for member in self.closures[best] or ():
                    self._cache(member)
        return Selection(self.cached, self.present & ~self.cached, tuple(self.order))

    def _best(self, left: int) -> tuple[int, bool]:
        """The set of most packets a row that fits, and whether it is a cover set; −1 if none brings any."""
        found, best, by_cover = -1, 0.0, False
        if self.covering:
            gain = np.where(self.cached, 0.0, self.weights)
            found, best = _argmax(gain, self.cover_cost, left)
            by_cover = True
        if self.whole:
            other, ratio = _argmax(self.whole_gain, self.whole_cost, left)
            if ratio > best:
                found, by_cover = other, False
        return found, by_cover

    def _place(self, entry: int) -> None:
        """Note that an entry's rows are there."""
        if self.present[entry]:
            return
        self.present[entry] = True
        rows = self.dependencies.rows[entry]
        if self.covering:
            self.cover_cost[entry] -= rows
            self.cover_cost[self.dependencies.below[entry]] -= rows
        if self.whole:
            self.whole_cost[self.in_closures[entry]] -= rows

    def _cache(self, entry: int) -> None:
        if self.cached[entry]:
            return
        self._place(entry)
        self.cached[entry] = True
        self.order.append(entry)
        if self.whole:
            self.whole_gain[self.in_closures[entry]] -= self.weights[entry]


def _argmax(gain: np.ndarray, cost: np.ndarray, left: int) -> tuple[int, float]:
    """The first of highest gain a row among those that fit and gain something; (−1, 0) without one."""
    ratio = np.where((gain > 1e-9) & (cost <= left), gain / np.maximum(cost, 1e-3), 0.0)
    best = int(ratio.argmax())
    return (best, float(ratio[best])) if ratio[best] > 0 else (-1, 0.0)

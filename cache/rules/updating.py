"""Getting from one choice of entries to a better one, a limited number of changes at a time, each of them safe.

At every moment the list is one that gives no packet to a wrong entry: an entry is put in behind the covers that it
needs, and what others need goes only after they have gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from .dependencies import Dependencies
from .selection import Selection, select


@dataclass(frozen=True)
class Change:
    """One change of the NIC's list.

    Attributes:
        kind: ``cover`` (rows that send to the CPU are written), ``cache`` (the entry itself is), ``remove``.
        entry: number in the stage; the number of entries: whether the NIC knows that no entry matches.
        rows: ternary rows written, or freed.
        new: whether the rows are new ones; else only what they do changes.
    """

    kind: str
    entry: int
    rows: int
    new: bool


class RuleCache:
    """The entries of one stage that a NIC holds, as traffic changes.

    Attributes:
        cached: ``bool[entries + 1]``: entries that the NIC runs.
        covers: ``bool[entries + 1]``: entries whose packets it sends to the CPU.
        weights: ``float64[entries + 1]``: packets of each entry, older ones counting less.
    """

    def __init__(
        self, dependencies: Dependencies, room: int, algorithm: str = "cover-sets", memory: float = 0.5
    ) -> None:
        """Start with an empty list.

        Args:
            dependencies: of the stage.
            room: ternary rows of the NIC.
            algorithm: see :func:`~.selection.select`.
            memory: what an older packet counts after an update, as a share.
        """
        self.dependencies, self.room = dependencies, room
        self.algorithm, self.memory = algorithm, memory
        count = len(dependencies)
        self.cached, self.covers = np.zeros(count, bool), np.zeros(count, bool)
        self.weights = np.zeros(count)

    @property
    def rows(self) -> int:
        """Ternary rows in use."""
        return int(self.dependencies.rows[self.cached | self.covers].sum())

    @property
    def safe(self) -> bool:
        """Whether every cached entry has what it depends on beside it, within the room."""
        present = self.cached | self.covers
        above = self.dependencies.above
        return self.rows <= self.room and all(
            present[above[entry]].all() for entry in np.flatnonzero(self.cached)
        )

    def update(self, packets: np.ndarray, changes: int) -> list[Change]:
        """Take note of traffic and change the list, at most so often.

        Args:
            packets: ``int64[entries + 1]``: packets of each entry since the last update, wherever they ran.
            changes: most changes to make.

        Returns:
            the changes, in the order in which they were made.
        """
        self.weights = self.weights * self.memory + packets
        wanted = select(self.dependencies, self.weights, self.room, self.algorithm)
        return list(islice(self._towards(wanted), max(changes, 0)))

    def _towards(self, wanted: Selection) -> Iterator[Change]:
        """Changes to a choice, those that bring most first; the caller stops when it has enough."""
        for entry in wanted.order:
            if self.cached[entry]:
                continue
            needed = [d for d in self.dependencies.above[entry].tolist() if not self._present(d)]
            for cover in needed:
                yield from self._make_room(int(self.dependencies.rows[cover]), wanted)
                yield self._set(cover, "cover")
            if not self._present(entry):
                yield from self._make_room(int(self.dependencies.rows[entry]), wanted)
            yield self._set(entry, "cache")
        for entry in self._unwanted(wanted):
            yield from self._drop(entry, wanted)

    def _present(self, entry: int) -> bool:
        return bool(self.cached[entry] or self.covers[entry])

    def _unwanted(self, wanted: Selection) -> list[int]:
        """Entries to go: those of lowest priority first, since what others need is above them."""
        present = self.cached | self.covers
        gone = np.flatnonzero(present & ~wanted.present)
        return sorted(gone.tolist(), key=lambda e: (-len(self.dependencies.above[e]), self.weights[e]))

    def _make_room(self, rows: int, wanted: Selection) -> Iterator[Change]:
        """Take unwanted entries out, those of least traffic first, until so many rows are free."""
        while self.rows + rows > self.room:
            candidates = np.flatnonzero((self.cached | self.covers) & ~wanted.present)
            worth = np.where(self.cached[candidates], self.weights[candidates], 0.0)
            yield from self._drop(int(candidates[worth.argmin()]), wanted)

    def _drop(self, entry: int, wanted: Selection) -> Iterator[Change]:
        """Take an entry out, after the entries that depend on it: those become covers or go too."""
        for other in self.dependencies.below[entry].tolist():
            if self.cached[other]:
                if wanted.present[other] or self._needed(other):
                    yield self._set(other, "cover")
                else:
                    yield from self._drop(other, wanted)
        if self._present(entry):
            yield self._set(entry, "remove")

    def _needed(self, entry: int) -> bool:
        """Whether a cached entry depends directly on this one."""
        return bool(self.cached[self.dependencies.below[entry]].any())

    def _set(self, entry: int, kind: str) -> Change:
        new = not self._present(entry)
        self.cached[entry], self.covers[entry] = kind == "cache", kind == "cover"
        return Change(kind, entry, int(self.dependencies.rows[entry]), new)

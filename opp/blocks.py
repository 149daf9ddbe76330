"""Structured arrays whose rows are given out in runs and taken back, for programs that change while they run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_SLACK = 64


class Blocks:
    """Arrays by name, each with room to grow.

    Runs that were taken back serve again for runs of the same length, so an array stays as long as it once had to be.
    """

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self.arrays = dict(arrays)
        self._used = {name: len(array) for name, array in arrays.items()}
        self._free: dict[tuple[str, int], list[int]] = {}

    def put(self, name: str, rows: Sequence[tuple[Any, ...]]) -> int:
        """Store rows next to each other; returns the first one's number, 0 for none at all."""
        count = len(rows)
        if not count:
            return 0
        free = self._free.get((name, count))
        first = free.pop() if free else self._fresh(name, count)
        self.arrays[name][first : first + count] = rows
        return first

    def take_back(self, name: str, first: int, count: int) -> None:
        """Give up a run that was put, or that was there from the beginning."""
        if count:
            self._free.setdefault((name, count), []).append(first)

    def _fresh(self, name: str, count: int) -> int:
        first = self._used[name]
        self._used[name] += count
        array = self.arrays[name]
        if self._used[name] > len(array):
            more = np.zeros(count + len(array) // 2 + _SLACK, array.dtype)
            self.arrays[name] = np.concatenate([array, more])
        return first

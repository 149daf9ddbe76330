"""Series over virtual time, in windows of packets, at most a few hundred points whatever the run's length."""

from __future__ import annotations

import numpy as np

from .account import CROSSED, LOOKED_UP

MAX_POINTS = 512
FIRST_WINDOW = 256


class HitSeries:
    """Hit rate over time: windows of equal numbers of packets, merged in pairs when there are too many."""

    def __init__(self) -> None:
        self._window = FIRST_WINDOW
        self._rows: list[tuple[int, int, int, int]] = []  # time of the last packet ns, packets, lookups, hits
        self._open = (0, 0, 0, 0)

    def add(self, now: np.ndarray, flags: np.ndarray) -> None:
        """Add packets: ``uint64`` stamps and ``uint8`` outcome flags."""
        start = 0
        while start < len(flags):
            stop = min(len(flags), start + self._window - self._open[1])
            part = flags[start:stop]
            looked = int(np.count_nonzero(part & LOOKED_UP))
            crossed = int(np.count_nonzero(part & CROSSED))
            _, packets, lookups, hits = self._open
            self._open = (
                int(now[stop - 1]),
                packets + stop - start,
                lookups + looked,
                hits + looked - crossed,
            )
            start = stop
            if self._open[1] == self._window:
                self._rows.append(self._open)
                self._open = (0, 0, 0, 0)
                if len(self._rows) > MAX_POINTS:
                    self._merge()

    def _merge(self) -> None:
        pairs = zip(self._rows[::2], self._rows[1::2], strict=False)
        odd = self._rows[-1] if len(self._rows) % 2 else (0, 0, 0, 0)
        self._rows = [(b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]) for a, b in pairs]
        self._open = tuple(x + y for x, y in zip(odd, self._open, strict=True))  # type: ignore[assignment]
        self._window *= 2

    def columns(self) -> dict[str, np.ndarray]:
        """``time`` (s, end of the window), ``packets`` in it, ``hit_rate`` (NaN without lookups)."""
        rows = [*self._rows, *([self._open] if self._open[1] else [])]
        table = np.array(rows, np.int64).reshape(-1, 4)
        with np.errstate(invalid="ignore", divide="ignore"):
            rate = table[:, 3] / table[:, 2]
        return {"time": table[:, 0] / 1e9, "packets": table[:, 1], "hit_rate": rate}

"""What every source of packets offers: chunks of header vectors, counts, and a description of itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from oppcache.opp.fields import Layout


@dataclass
class Chunk:
    """Some consecutive packets of a source.

    The arrays may be buffers that the source uses again: they are valid until the next chunk is asked for.
    A consumer may write to ``vectors`` (rewritten headers, metadata).

    Attributes:
        vectors: ``uint64[n, layout.words]``, C-contiguous, one header vector a packet.
        data: ``uint8`` bytes in which the frames stand, or None for packets without bytes.
        offsets: ``int64[n]``, where each frame starts in ``data``, or None.
        captured: ``int32[n]``, captured bytes of each frame, or None.
        kinds: ``uint8[n]``, link type of each frame (KIND_* of :mod:`oppcache.traffic.headers`); None: Ethernet.
    """

    vectors: np.ndarray
    data: np.ndarray | None = None
    offsets: np.ndarray | None = None
    captured: np.ndarray | None = None
    kinds: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    def head(self, n: int) -> Chunk:
        """Return the first ``n`` packets as views of the same buffers."""
        return Chunk(
            self.vectors[:n],
            self.data,
            None if self.offsets is None else self.offsets[:n],
            None if self.captured is None else self.captured[:n],
            None if self.kinds is None else self.kinds[:n],
        )


@runtime_checkable
class PacketSource(Protocol):
    """A capture, a generator, or a wrapper around either.

    Packets are numbered from 0 in the order of delivery (word ``W_ID``); ``W_NOW`` is monotone.
    """

    def chunks(self, layout: Layout) -> Iterator[Chunk]:
        """Begin a pass: yield all packets from the first on, as header vectors of ``layout``."""
        ...

    def counts(self) -> dict[str, int]:
        """Counts of the last pass, so far as it has come: ``packets_read``, ``packets``, ``skipped_*``,
        ``parse_*`` by :class:`~oppcache.traffic.parser.Reason`, ``time_steps_back``, ``truncated_file`` …
        Counts that stayed 0 are absent, except the first two."""
        ...

    def describe(self) -> dict[str, Any]:
        """What a run's manifest says about this source: its kind, and its file's SHA-256 or its parameters."""
        ...

    def inputs(self) -> list[Path]:
        """Files that the packets depend on."""
        ...

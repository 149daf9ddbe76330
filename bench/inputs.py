"""Inputs that several benchmarks share: generated traffic as a capture of headers in a temporary folder."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from oppcache.opp.fields import W_LENGTH, W_NOW
from oppcache.traffic import frame_layout, frames, make_generator

SNAPLEN = 96
TRAFFIC = {"model": "caida-like", "flows": 100_000, "zipf": 1.1}


def write_headers(path: Path, packets: int, seed: int = 0, snaplen: int = SNAPLEN) -> None:
    """Write generated packets as a pcap (ns stamps, Ethernet), each frame cut to ``snaplen`` bytes."""
    layout = frame_layout()
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, snaplen, 1))
        for chunk in make_generator(TRAFFIC, seed, packets).chunks(layout):
            whole = frames(chunk, layout)
            assert whole.data is not None
            assert whole.offsets is not None
            assert whole.captured is not None
            sizes = np.minimum(whole.captured, snaplen).tolist()
            starts, stamps = whole.offsets.tolist(), whole.vectors[:, W_NOW].tolist()
            data = whole.data.tobytes()
            for start, size, stamp, length in zip(
                starts, sizes, stamps, whole.vectors[:, W_LENGTH].tolist(), strict=True
            ):
                file.write(struct.pack("<IIII", stamp // 10**9, stamp % 10**9, size, length))
                file.write(data[start : start + size])


@contextmanager
def headers_capture(packets: int) -> Iterator[Path]:
    """A temporary capture of generated packets' headers."""
    with tempfile.TemporaryDirectory(prefix="oppcache-bench-") as folder:
        path = Path(folder) / "traffic.pcap"
        write_headers(path, packets)
        yield path

"""Miss counts of libCacheSim, for ``libcachesim_counts.json`` beside this file, which the tests compare ours with.

Made with libcachesim 0.3.5 (the ``[bench]`` extra). To make them again::

    python tests/cache/libcachesim_counts.py [FOLDER OF TRACES]

Each id is requested with size 1. Sizes at which libCacheSim's policy does not work are left out: below 4 for
SLRU and TwoQ and below 20 for S3FIFO it never caches a newcomer, as a part of the cache rounds to nothing or one
entry, and WTinyLFU below 100.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

ZIPF = [(2_000, 30_000, alpha, seed) for alpha in (0.7, 1.0, 1.3) for seed in (1, 2, 3)]
SIZES = (1, 3, 4, 7, 20, 50, 101, 151, 400)
CLOUD = "cloudPhysicsIO.oracleGeneral.bin"
CLOUD_SIZES = (50, 489, 490, 2_449, 4_897)
CLASSES = {
    "fifo": ("FIFO", 1),
    "lru": ("LRU", 1),
    "clock": ("Clock", 1),
    "sieve": ("Sieve", 1),
    "lfu": ("LFU", 1),
    "belady": ("Belady", 1),
    "arc": ("ARC", 1),
    "slru": ("SLRU", 4),
    "twoq": ("TwoQ", 4),
    "s3fifo": ("S3FIFO", 20),
    "wtinylfu": ("WTinyLFU", 100),
}


def zipf(keys: int, requests: int, alpha: float, seed: int) -> np.ndarray:
    """Zipf-distributed requests by inversion: the same numbers wherever NumPy's PCG64 is."""
    cdf = np.cumsum(1.0 / np.arange(1, keys + 1) ** alpha)
    uniform = np.random.Generator(np.random.PCG64(seed)).random(requests)
    return np.searchsorted(cdf / cdf[-1], uniform)


def counts(ids: list[int], sizes: tuple[int, ...]) -> dict[str, dict[str, int]]:
    """Misses by policy and size."""
    import libcachesim

    following, last = [2**63 - 1] * len(ids), {}
    for i in range(len(ids) - 1, -1, -1):
        following[i] = last.get(ids[i], 2**63 - 1)
        last[ids[i]] = i
    out: dict[str, dict[str, int]] = {}
    for name, (cls, least) in CLASSES.items():
        for size in sizes:
            if size < least:
                continue
            cache, request, misses = getattr(libcachesim, cls)(size, hashpower=16), libcachesim.Request(), 0
            request.obj_size = 1
            for key, use in zip(ids, following, strict=True):
                request.obj_id, request.next_access_vtime = key, use
                misses += not cache.get(request)
            out.setdefault(name, {})[str(size)] = misses
    return out


def main() -> None:
    """Write the counts."""
    golden = [{"zipf": trace, "misses": counts(zipf(*trace).tolist(), SIZES)} for trace in ZIPF]
    if len(sys.argv) > 1:
        records = np.fromfile(
            Path(sys.argv[1]) / CLOUD, [("t", "<u4"), ("id", "<u8"), ("s", "<u4"), ("n", "<i8")]
        )
        golden.append({"file": CLOUD, "misses": counts(records["id"].tolist(), CLOUD_SIZES)})
    Path(__file__).with_suffix(".json").write_text("[\n" + ",\n".join(map(json.dumps, golden)) + "\n]\n")


if __name__ == "__main__":
    main()

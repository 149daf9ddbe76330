"""The trace simulator beside libCacheSim's Python package: the same trace, the same policies, one core."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from oppcache.cache import load_policy
from oppcache.cache.ids import dense_ids, next_uses
from oppcache.cache.replay import replay

TITLE = "the trace simulator, Zipf(1.0) over 1 M ids, caches of 1 % and 10 % of them, by processor time"
UNIT = "requests"
EXCLUDES = (
    "imports, kernel compilation, making the trace; oppcache has the ids in memory as 64-bit numbers, libCacheSim "
    "in a file of its own binary format in the page cache, next accesses included, which oppcache finds itself"
)
PEERS = ("libcachesim",)
CPU_TIME = True  # all are of one thread
RATIO = "{:,.3g} x libCacheSim"
ROUNDS = 3

# Ours, and the peer's class.
POLICIES = {
    "fifo": "FIFO",
    "lru": "LRU",
    "clock": "Clock",
    "sieve": "Sieve",
    "s3fifo": "S3FIFO",
    "lfu": "LFU",
    "lfu-aged": "LFUDA",
    "slru": "SLRU",
    "twoq": "TwoQ",
    "arc": "ARC",
    "wtinylfu": "WTinyLFU",
    "lirs": "LIRS",
    "random": "Random",
    "belady": "Belady",
}
_OURS, _DENSE, _PEER = "oppcache", "oppcache, from dense ids,", "libCacheSim"


def against(name: str) -> str:
    """The candidate that one is compared with; a peer with none."""
    for ours in (_DENSE, _OURS):
        if name.startswith(ours):
            return _PEER + name.removeprefix(ours)
    return ""


def _zipf_ids(objects: int, requests: int) -> np.ndarray:
    """Zipf(1.0) by inversion, the objects' ids any 64-bit numbers."""
    rng = np.random.default_rng(42)
    shares = np.cumsum(1.0 / np.arange(1, objects + 1))
    ranks = np.searchsorted(shares / shares[-1], rng.random(requests))
    names = np.random.default_rng(1).integers(0, 2**63, objects, dtype=np.uint64)
    ids: np.ndarray = names[ranks]
    return ids


@contextmanager
def candidates(quick: bool) -> Iterator[dict[str, Callable[[], int]]]:
    """Every policy at both sizes: from 64-bit ids, from dense ids, and the peer."""
    objects, requests = (10_000, 50_000) if quick else (1_000_000, 5_000_000)
    ids = _zipf_ids(objects, requests)
    dense, keys = dense_ids(ids)
    peer = importlib.util.find_spec("libcachesim") is not None
    found: dict[str, Callable[[], int]] = {}
    with tempfile.TemporaryDirectory(prefix="oppcache-bench-") as folder:
        trace = Path(folder) / "zipf.oracleGeneral.bin"
        if peer:
            _write_oracle_general(trace, ids, next_uses(dense, keys))
        for name, peers_class in POLICIES.items():
            for size in (objects // 100, objects // 10):
                where = f" {name} {size:,}"
                found[_OURS + where] = _ours(name, size, ids)
                found[_DENSE + where] = _ours_dense(name, size, dense, keys)
                if peer:
                    found[_PEER + where] = _peers(peers_class, size, trace, requests)
        yield found


def _ours(name: str, size: int, ids: np.ndarray) -> Callable[[], int]:
    policy = load_policy(name)

    def run() -> int:
        dense, keys = dense_ids(ids)
        replay(policy, dense, keys, size)
        return len(ids)

    return run


def _ours_dense(name: str, size: int, dense: np.ndarray, keys: int) -> Callable[[], int]:
    policy = load_policy(name)

    def run() -> int:
        replay(policy, dense, keys, size)
        return len(dense)

    return run


def _peers(name: str, size: int, trace: Path, requests: int) -> Callable[[], int]:
    import libcachesim

    plain: Any = libcachesim.ReaderInitParam(ignore_obj_size=True)
    reader = libcachesim.TraceReader(str(trace), libcachesim.TraceType.ORACLE_GENERAL_TRACE, plain)
    made = getattr(libcachesim, name)

    def run() -> int:
        reader.reset()
        made(size).process_trace(reader)
        return requests

    return run


def _write_oracle_general(path: Path, ids: np.ndarray, uses: np.ndarray) -> None:
    records = np.zeros(len(ids), [("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")])
    records["id"], records["size"] = ids, 1
    records["next"] = np.where(uses < 0, 2**63 - 1, uses)
    records.tofile(path)

"""The model checker: distinct states a second, on one core.

``cas-hold`` with three packets, a promotion and a dropped packet or marker, on a lossy channel: the search forward
(safety), the same with liveness, and the same with hash compaction. The report's figures are distinct states; each is
reached by about five transitions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from oppcache.consistency import load_protocol
from oppcache.consistency.checker import Model, check

TITLE = "states of cas-hold, three packets, a promotion and a ring drop, lossy channel"
UNIT = "states"
EXCLUDES = "imports, kernel compilation, loading and analysing the protocol"
RATIO = "safety runs at {:,.3g} x"


@contextmanager
def candidates(quick: bool) -> Iterator[dict[str, Callable[[], int]]]:
    """Safety, with liveness, and with hash compaction."""
    protocol = load_protocol("cas-hold")
    model = Model(packets=1 if quick else 3, promotions=1, ring_drops=0 if quick else 1, lossy=True)

    def search(liveness: bool, compact: bool) -> Callable[[], int]:
        return lambda: check(protocol, model.but(liveness=liveness), compact=compact).states

    yield {
        "safety": search(False, False),
        "with liveness": search(True, False),
        "safety, hashes": search(False, True),
    }

"""Series over virtual time: windows of equal numbers of packets, merged in pairs when there are too many."""

from __future__ import annotations

import numpy as np

from oppcache.opp.errors import OppCacheError

from ..series import FIRST_WINDOW, MAX_POINTS
from . import state as S

ROWS = MAX_POINTS + 2
_SUMS = {"packets": S.M_PACKETS, "lookups": S.M_LOOKUPS, "hits": S.M_HITS, "drops": S.M_DROPS}
_SUMS |= {"moves": S.M_MOVES, "insert_failures": S.M_FAILURES}
_DEPTHS = {"nic_queue": S.M_NIC, "rx_ring": S.M_RX, "cpu_queue": S.M_CPU, "tx_ring": S.M_TX}
_DEPTHS |= {"control_queue": S.M_CONTROL}


def begin(world: S.World) -> None:
    """Counting begins: the first window opens."""
    world.clock[S.T_SAMPLES] = 0
    world.clock[S.T_WINDOW] = world.clock[S.T_SAMPLE_AT] = FIRST_WINDOW


def halve(world: S.World) -> None:
    """Merge windows in pairs: sums are since the beginning, so the later of two has them; of depths the larger counts."""
    count = int(world.clock[S.T_SAMPLES]) // 2
    if not count:
        raise OppCacheError("a series without windows is full")
    rows = world.samples[: 2 * count]
    kept = rows[1::2].copy()
    for word in _DEPTHS.values():
        kept[:, word] = np.maximum(rows[::2, word], rows[1::2, word])
    world.samples[:count] = kept
    world.clock[S.T_SAMPLES] = count
    world.clock[S.T_WINDOW] *= 2
    world.clock[S.T_SAMPLE_AT] = kept[-1, S.M_PACKETS] + world.clock[S.T_WINDOW]


def columns(world: S.World) -> dict[str, np.ndarray]:
    """Columns by name: see the page "Time"."""
    rows = world.samples[: int(world.clock[S.T_SAMPLES])]
    sums = {name: np.diff(rows[:, word], prepend=0) for name, word in _SUMS.items()}
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = sums["hits"] / sums["lookups"]
    found = {"time": rows[:, S.M_TIME] * 1e-12, "packets": sums["packets"], "hit_rate": rate}
    found |= {name: sums[name] for name in ("drops", "moves", "insert_failures")}
    found["contexts"] = rows[:, S.M_CONTEXTS].copy()
    return found | {name: rows[:, word].copy() for name, word in _DEPTHS.items()}

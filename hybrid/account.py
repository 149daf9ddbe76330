"""What both engines keep count of: packets, their flows, and what became of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from oppcache._jit import kernel

from .counters import COUNTS, Count

# Kernels know plain integers, not enumerations.
_PACKETS, _BYTES = int(Count.PACKETS), int(Count.BYTES)
_LOOKED_UP, _LOOKED_UP_BYTES = int(Count.LOOKED_UP), int(Count.LOOKED_UP_BYTES)
_HITS, _HIT_BYTES, _OFFLOADED = int(Count.HITS), int(Count.HIT_BYTES), int(Count.OFFLOADED)
_COVERED, _NONE = int(Count.COVERED), int(Count.NONE)

# Flags of a packet's outcome.
LOOKED_UP = 1
CROSSED = 2

# What the engine remembers of a record's flow; one row a record.
FLOW_DTYPE = np.dtype(
    [
        ("packets", np.int64),  # since the run's start
        ("newest", np.int64),  # number of the newest of them, + 1
        ("last", np.int64),  # ns
        ("gap", np.int64),  # moving average of the gaps between packets, ns; weight 1/8 for the newest
        ("admitted", np.int64),  # 1 from the first admission on
        ("measured", np.int64),  # packets since the warm-up ended
        ("covered", np.int64),  # of these, packets behind the first admission
        ("closing", np.int64),  # 1: its connection's last packets were seen, see .release
    ],
    align=True,
)


class Tally(NamedTuple):
    """What a run counts."""

    counts: np.ndarray  # int64[COUNTS]
    lookups: np.ndarray  # int64[tables]
    hits: np.ndarray  # int64[tables]
    cursor: np.ndarray  # int64[1]: lookups so far
    flows: np.ndarray  # FLOW_DTYPE, all tables
    flow_at: np.ndarray  # int64[tables]: first row of each table's records


@kernel
def meet(tally, table, first, record, now, number):
    """Note a packet of a flow; return the flow's row. Coverage is counted in the ``first`` table alone."""
    row = tally.flow_at[table] + record
    if tally.flows["newest"][row] == number + 1:
        return row  # met in an earlier stage, on the same table
    tally.flows["newest"][row] = number + 1
    packets = tally.flows["packets"][row]
    if packets > 0:
        gap = now - tally.flows["last"][row]
        old = tally.flows["gap"][row]
        tally.flows["gap"][row] = gap if packets == 1 else old + (gap - old) // 8
    tally.flows["packets"][row] = packets + 1
    tally.flows["last"][row] = now
    tally.flows["measured"][row] += 1
    if tally.flows["admitted"][row] == 1:
        tally.flows["covered"][row] += 1
        if table == first:
            tally.counts[_COVERED] += 1
    return row


@kernel
def rate(tally, row):
    """Packets/s of a flow, 0 before its second packet."""
    if tally.flows["packets"][row] < 2:
        return np.int64(0)
    return np.int64(1_000_000_000) // max(tally.flows["gap"][row], np.int64(1))


@kernel
def enter(tally, length):
    """Account for a packet that came in."""
    tally.counts[_PACKETS] += 1
    tally.counts[_BYTES] += length


@kernel
def leave(tally, length, verdict, flags):
    """Account for a packet that has gone through all its stages; ``verdict`` −1: it was lost on its way."""
    if verdict >= 0:
        tally.counts[_NONE + verdict] += 1
    crossed = flags & CROSSED
    if crossed == 0:
        tally.counts[_OFFLOADED] += 1
    if flags & LOOKED_UP:
        tally.counts[_LOOKED_UP] += 1
        tally.counts[_LOOKED_UP_BYTES] += length
        if crossed == 0:
            tally.counts[_HITS] += 1
            tally.counts[_HIT_BYTES] += length


def make_tally(tables: int) -> Tally:
    """Counters at zero, without rows for flows yet."""
    zeros = np.zeros(tables, np.int64)
    return Tally(
        np.zeros(COUNTS, np.int64),
        zeros.copy(),
        zeros.copy(),
        np.zeros(1, np.int64),
        np.zeros(0, FLOW_DTYPE),
        zeros.copy(),
    )

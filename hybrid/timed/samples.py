"""Samples of a run as it goes on, for its series: written by the kernel at the end of each window of packets."""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.slowpath.queues import waiting

from ..counters import Count
from .state import (
    M_CONTEXTS,
    M_CONTROL,
    M_CPU,
    M_DROPS,
    M_FAILURES,
    M_HITS,
    M_LOOKUPS,
    M_MOVES,
    M_NIC,
    M_PACKETS,
    M_RX,
    M_TIME,
    M_TX,
    Q_INPUT,
    Q_INSERT,
    Q_RX,
    Q_TO_NIC,
    Q_TX,
    STOP_SAMPLES,
    T_SAMPLE_AT,
    T_SAMPLES,
    T_STOP,
    T_WINDOW,
)

_PACKETS, _LOOKUPS, _HITS = int(Count.PACKETS), int(Count.LOOKED_UP), int(Count.HITS)
_NIC, _RING = int(Count.DROPS_NIC), int(Count.DROPS_RING)
_QUEUE, _PROTOCOL = int(Count.DROPS_QUEUE), int(Count.DROPS_PROTOCOL)


@kernel
def _inside(queues, k, now):
    """Items of a delay line that have not left it by now."""
    rows = queues.rows
    gone, tail = rows["gone"][k], rows["tail"][k]
    while gone < tail and queues.ready[rows["first"][k] + (gone & rows["mask"][k])] <= now:
        gone += 1
    return tail - gone


@kernel(forceinline=False)
def take_sample(w, now):
    """Note how things stand at the end of a window."""
    at, counts, row = w.clock[T_SAMPLES], w.tally.counts, w.samples[w.clock[T_SAMPLES]]
    w.clock[T_SAMPLES] = at + 1
    w.clock[T_SAMPLE_AT] += w.clock[T_WINDOW]
    if at + 2 > w.samples.shape[0]:
        w.clock[T_STOP] |= STOP_SAMPLES
    row[M_TIME] = now
    row[M_PACKETS], row[M_LOOKUPS], row[M_HITS] = counts[_PACKETS], counts[_LOOKUPS], counts[_HITS]
    row[M_DROPS] = counts[_NIC] + counts[_RING] + counts[_QUEUE] + counts[_PROTOCOL]
    row[M_MOVES], row[M_FAILURES], row[M_CONTEXTS] = np.int64(0), np.int64(0), np.int64(0)
    tables = w.tables.rows
    for t in range(tables.shape[0]):
        row[M_MOVES] += tables["moves"][t]
        row[M_FAILURES] += tables["failures"][t]
        row[M_CONTEXTS] += tables["fresh"][t] - tables["freed"][t]
    row[M_RX], row[M_CPU] = np.int64(0), np.int64(0)
    for core in range(w.cores.shape[0]):
        row[M_RX] = max(row[M_RX], _inside(w.queues, Q_RX + 2 * core, now))
        row[M_CPU] = max(row[M_CPU], waiting(w.queues, Q_RX + 2 * core + 1))
    row[M_NIC], row[M_TX] = _inside(w.queues, Q_INPUT, now), _inside(w.queues, Q_TX, now)
    row[M_CONTROL] = _inside(w.queues, Q_INSERT, now) + _inside(w.queues, Q_TO_NIC, now)

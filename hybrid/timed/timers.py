"""Timers: a line for each length, in which they run out in the order in which they were started."""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.slowpath.queues import send

from .state import P_TIMER, Q_TIMER, RUNS_OUT, STOP_QUEUE, T_STOP

_MARGIN = 64


@kernel
def note_nearly_full(w, queue):
    """Ask for a longer line if one is nearly full."""
    rows = w.queues.rows
    if rows["tail"][queue] - min(rows["head"][queue], rows["gone"][queue]) + _MARGIN > rows["mask"][queue]:
        w.clock[T_STOP] |= STOP_QUEUE


@kernel
def start_timer(w, side, kind, table, record, row, now):
    """Start a timer of a context: of the kind whose length is not 0, in a side's place or BFENCE's."""
    until = now + w.knobs[P_TIMER + kind]
    w.rows.sides[row, RUNS_OUT + side] = until
    item = (np.int64(side) << np.int64(60)) | (np.int64(table) << np.int64(32)) | record
    send(w.queues, Q_TIMER + kind, now, until, item)
    note_nearly_full(w, Q_TIMER + kind)

"""Small faults: what the control channel does to messages, and rings to what is put into them.

Every draw is from the stream of its own component, so that the faults of one do not shift those of another.
"""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.opp.kernel_random import next_unit
from oppcache.slowpath.queues import put_in_order

from ..counters import Count
from .pool import new_item
from .state import (
    F_DELAY,
    FAULT_DUPLICATE,
    FAULT_LOSS,
    FAULT_REORDER,
    FAULT_RING,
    Q_LATE,
    STREAM_CONTROL,
    STREAM_RING,
    T_FAULT,
)
from .timers import note_nearly_full

_FAULTS = int(Count.CONTROL_FAULTS)
# What becomes of a message.
ARRIVES, LOST, LATE = 0, 1, 2


@kernel
def _happens(w, kind, stream):
    """Whether a fault of a kind happens now; a kind that cannot happen draws nothing."""
    share = w.faults.shares[kind]
    return share > 0.0 and next_unit(w.faults.random[stream]) < share


@kernel
def _lateness(w):
    return np.int64(next_unit(w.faults.random[STREAM_CONTROL]) * w.faults.clock[F_DELAY])


@kernel
def _come_late(w, item, side, now, ready):
    """Let a message arrive at a side at a time of its own, whatever was sent before or after it."""
    w.pool.items["port"][item] = side
    put_in_order(w.queues, Q_LATE, now, ready, item)
    w.clock[T_FAULT] = min(w.clock[T_FAULT], ready)
    note_nearly_full(w, Q_LATE)


@kernel(forceinline=False)
def befall(w, item, side, now, ready):
    """Draw what the control channel does to a message.

    Args:
        item: the message.
        side: to which it is sent.
        ready: when it would arrive.

    Returns:
        ARRIVES: it goes its way; LOST: the item is the caller's to free; LATE: it has been seen to.
    """
    if _happens(w, FAULT_LOSS, STREAM_CONTROL):
        w.tally.counts[_FAULTS] += 1
        return np.int64(LOST)
    if _happens(w, FAULT_DUPLICATE, STREAM_CONTROL):
        w.tally.counts[_FAULTS] += 1
        copy = new_item(w)
        w.pool.items[copy] = w.pool.items[item]
        for i in range(w.pool.message.shape[1]):
            w.pool.message[copy, i] = w.pool.message[item, i]
        for i in range(w.pool.vectors.shape[1]):
            w.pool.vectors[copy, i] = w.pool.vectors[item, i]
        _come_late(w, copy, side, now, ready + _lateness(w))
    if _happens(w, FAULT_REORDER, STREAM_CONTROL):
        w.tally.counts[_FAULTS] += 1
        _come_late(w, item, side, now, ready + _lateness(w))
        return np.int64(LATE)
    return np.int64(ARRIVES)


@kernel(forceinline=False)
def ring_drops(w):
    """Draw whether a ring drops what is put into it."""
    return _happens(w, FAULT_RING, STREAM_RING)

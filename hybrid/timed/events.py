"""The events of a timed run, one after the other: the kernel that takes packets through both machines."""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.consistency.vocabulary import CPU, EV_TIMEOUT, TIMER_WRITEBACK
from oppcache.opp.ahead import fetch_vector
from oppcache.opp.contexts import has_room
from oppcache.opp.fields import W_ID, W_LENGTH, W_NOW
from oppcache.opp.machine import RESERVE
from oppcache.slowpath.cores import IDLE
from oppcache.slowpath.queues import FOREVER, due, pass_through, take

from ..account import enter
from ..counters import Count
from .ahead import look_ahead
from .arriving import nic_message
from .cpu import arrive, cpu_message, finish, settle_wishes
from .crash import fault_event, lose_in_crash
from .fences import fence_bounce
from .handover import set_timer
from .leaving import lose_entering
from .nic import visit
from .pool import pull
from .reference import world_at
from .samples import take_sample
from .signals import tell_alone
from .state import (
    BFENCE_TIMER,
    MEASURED,
    NOBODY,
    PACKET,
    Q_INPUT,
    Q_INSERT,
    Q_LATE,
    Q_RX,
    Q_TIMER,
    Q_TO_CPU,
    Q_TO_NIC,
    Q_TX,
    RUNS_OUT,
    STOP_STORE,
    STOP_STUCK,
    T_FAULT,
    T_FINAL,
    T_INSERTER,
    T_MEASURED,
    T_NEXT,
    T_NEXT_KIND,
    T_NIC_UP,
    T_NOW,
    T_ORIGIN,
    T_PATIENCE,
    T_PIPELINE,
    T_SAMPLE_AT,
    T_STOP,
    TIMER_KINDS,
    W_BOUNCED,
)

_NIC_DROPS, _PACKETS = int(Count.DROPS_NIC), int(Count.PACKETS)
_DROPS_CRASH = int(Count.DROPS_CRASH)
_FOREVER = np.int64(FOREVER)
_PS = np.int64(1000)
# Kinds of events besides those that are numbered by their queue.
_DONE = 1 << 20


@kernel
def _earlier(first, time, kind):
    """The earlier of two events, each its time and kind; of two at one time, the first."""
    return (time, np.int64(kind)) if time < first[0] else first


@kernel
def find_next(w):
    """Find the next event that is not a packet's entering the NIC; of several at one time, the first listed here."""
    first = _earlier((_FOREVER, np.int64(Q_LATE)), w.clock[T_FAULT], Q_LATE)
    busy = w.clock[T_INSERTER]
    first = _earlier(first, max(due(w.queues, Q_TO_NIC), busy), Q_TO_NIC)
    first = _earlier(first, max(due(w.queues, Q_INSERT), busy), Q_INSERT)
    first = _earlier(first, due(w.queues, Q_TO_CPU), Q_TO_CPU)
    for core in range(w.cores.shape[0]):
        first = _earlier(first, due(w.queues, Q_RX + 2 * core), Q_RX + 2 * core)
        if w.cores["current"][core] != IDLE:
            first = _earlier(first, w.cores["done"][core], _DONE + core)
    for kind in range(1, TIMER_KINDS):
        if kind != TIMER_WRITEBACK or w.clock[T_FINAL] == 0:
            first = _earlier(first, due(w.queues, Q_TIMER + kind), Q_TIMER + kind)
    w.clock[T_NEXT], w.clock[T_NEXT_KIND] = first


def other_event(here, item, seed):
    """Take an event that is not a packet's entering the NIC.

    Args:
        item: what has come over the TX ring; NOBODY for the next event of the others.

    Returns:
        1 if the item is a packet, which now enters the pipeline again.
    """
    w = world_at(here)
    if item != NOBODY:
        return _come_back(w, item, w.clock[T_NOW])
    _take_event(w, seed)
    find_next(w)
    return np.int64(0)


@kernel
def _take_event(w, seed):
    now, kind = w.clock[T_NEXT], w.clock[T_NEXT_KIND]
    w.clock[T_NOW] = now
    if kind >= _DONE:
        finish(w, kind - _DONE, now, seed)
    elif kind >= Q_RX:
        arrive(w, take(w.queues, kind), (kind - Q_RX) // 2, now)
    elif kind == Q_LATE:
        fault_event(w, now)
    elif kind >= Q_TIMER:
        _ring(w, due(w.queues, kind), take(w.queues, kind), now)
    elif kind == Q_TO_CPU:
        cpu_message(w, take(w.queues, kind), now)
    else:
        nic_message(w, take(w.queues, kind), now)


@kernel
def _come_back(w, item, now):
    if w.pool.items["kind"][item] != PACKET:
        nic_message(w, item, now)
        find_next(w)
        return np.int64(0)
    if now < w.clock[T_NIC_UP]:
        lose_in_crash(w, item, now)
        return np.int64(0)
    if w.pool.items["stage"][item] == w.program.stages.shape[0]:
        settle_wishes(w, item, now)
    return np.int64(1)


@kernel
def _ring(w, time, item, now):
    """A timer has run out, unless it was set again or stopped meanwhile."""
    if w.clock[T_FINAL] == 1:
        w.clock[T_PATIENCE] -= 1
        if w.clock[T_PATIENCE] < 0:
            w.clock[T_STOP] |= STOP_STUCK
    side = item >> np.int64(60)
    table, record = (item >> np.int64(32)) & np.int64(0xFFF_FFFF), item & np.int64(0xFFFF_FFFF)
    row = w.tally.flow_at[table] + record
    if w.rows.sides[row, RUNS_OUT + side] != time:
        return
    if side == BFENCE_TIMER:
        if w.rows.waits[row, W_BOUNCED] > 0:
            fence_bounce(w, table, record, row, now, np.bool_(True))
        return
    if side == CPU and w.rows.marks["queued"][row] > 0:
        set_timer(w, side, table, record, row, now)  # what has not been sent yet is not late
        return
    tell_alone(w, side, EV_TIMEOUT, table, record, now)


@kernel
def admit_packet(w, vector, came, leaver):
    """Make item 0 of a packet that has come in at ``came``."""
    items = w.pool.items
    items["kind"][0] = PACKET
    items["id"][0] = np.int64(vector[W_ID])
    items["ingress"][0] = came
    items["length"][0] = np.int64(vector[W_LENGTH])
    items["stage"][0] = 0
    items["seen"][0] = 0
    items["applied"][0] = 0
    items["verdict"][0] = 0
    items["port"][0] = 0
    items["touched"][0] = 0
    items["going"][0] = 0
    items["leaver"][0] = leaver
    items["flags"][0] = 0
    if w.clock[T_MEASURED]:
        items["flags"][0] = MEASURED
        enter(w.tally, items["length"][0])


def run_events(here, vectors, leavers, start, stop, seed):
    """Take packets ``start`` to ``stop`` into the NIC, and every other event that is due before.

    Args:
        leavers: ``int64`` per packet: row in ``World.lines``; empty where the program's first table tells.

    Returns:
        the packet to go on with. It is ``stop`` with nothing in ``T_STOP`` when the packets are used up (and with
        ``T_FINAL``, when all is quiet).
    """
    w = world_at(here)
    i = known = first = start
    while True:
        if w.clock[T_STOP] != 0:
            return i
        if not has_room(w.store, RESERVE):
            w.clock[T_STOP] |= STOP_STORE
            return i
        item = np.int64(NOBODY)
        came, time = _FOREVER, w.clock[T_NOW]
        if w.again[0, 0] != NOBODY:
            item = pull(w, w.again, np.int64(0), 0)
            if w.pool.items["kind"][item] != PACKET:
                w.calls.other(here, item, seed)
                continue
        else:
            if i < stop:
                came = (np.int64(vectors[i, W_NOW]) - w.clock[T_ORIGIN]) * _PS
            elif w.clock[T_FINAL] == 0:
                return i
            back = due(w.queues, Q_TX)
            time = min(came, back)
            if time < _FOREVER:
                time = max(time, w.clock[T_PIPELINE])
            if w.clock[T_NEXT] <= time:
                if w.clock[T_NEXT] == _FOREVER:
                    return i
                w.calls.other(here, item, seed)
                continue
            w.clock[T_NOW] = time
            if back <= came:
                pass_through(w.queues, Q_INPUT, back, time)
                item = take(w.queues, Q_TX)
                if w.calls.other(here, item, seed) == 0:
                    continue
        if item == NOBODY:
            if i == known:
                first, known = i, look_ahead(w, vectors, i, i == start)
            leaver = leavers[i] if leavers.shape[0] > 0 else np.int64(-1)
            fetch_vector(vectors, i)
            admit_packet(w, vectors[i], came, leaver)
            i += 1
            if w.tally.counts[_PACKETS] >= w.clock[T_SAMPLE_AT] and w.clock[T_MEASURED]:
                take_sample(w, came)
            if came < w.clock[T_NIC_UP] or not pass_through(w.queues, Q_INPUT, came, time):
                w.tally.counts[_DROPS_CRASH if came < w.clock[T_NIC_UP] else _NIC_DROPS] += 1
                lose_entering(w, np.int64(0), vectors[i - 1], came)
                continue
            item = np.int64(0)
        vector = vectors[i - 1] if item == 0 else w.pool.vectors[item]
        ahead = i - first if item == 0 else np.int64(0)
        if visit(w, item, vector, ahead, time, seed) or item > 0:
            find_next(w)

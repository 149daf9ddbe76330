"""Large faults: a NIC reset, a crash of the CPU's software, checkpoints, and how each side comes back.

They mean what the model checker means by them. A NIC reset takes its contexts, what it holds and what is in the TX ring;
its next incarnation begins with empty slots. A CPU crash takes what the cores hold or are serving; its contexts, copies of
the NIC's included, are what the last checkpoint made of them, and every key begins in its table's restart state. The RX
ring and its queue, the TX ring at a CPU crash, and control messages under way survive. While a side is down, what comes
to it is lost, but for the RX ring.
"""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.consistency.interpreter import reset_entry
from oppcache.consistency.vocabulary import (
    CPU,
    E_G,
    E_STATE,
    EV_SUSPECT,
    EV_TIMEOUT,
    INCARNATION_SHIFT,
    N_COUNTER,
    N_INCARNATION,
    N_PEER,
    NIC,
)
from oppcache.opp import arrays as A
from oppcache.opp.contexts import reset
from oppcache.opp.kernel_random import next_exponential
from oppcache.slowpath.cores import DOWN, IDLE
from oppcache.slowpath.queues import FOREVER, due, take, waiting

from ..counters import Count
from .arriving import nic_message
from .contexts import cpu_base, end_owning, give_slot_back
from .cpu import cpu_message, start
from .leaving import lose
from .log import LOG_CHECKPOINT, LOG_CRASH, note_event
from .pool import free_item, pull
from .signals import tell_alone
from .standing import note_standing
from .state import (
    AWAY,
    BFENCE_TIMER,
    DOOMED,
    F_AT,
    F_CHECKPOINT,
    F_DOWN,
    F_INTERVAL,
    F_MEAN,
    F_RANDOM,
    F_RESTART,
    F_SUSPECT,
    NOBODY,
    P_CONTROL,
    PACKET,
    PARKED,
    Q_LATE,
    Q_TX,
    RUNS_OUT,
    STREAM_NIC,
    T_CPU_UP,
    T_FAULT,
    T_FINAL,
    T_HELD,
    T_NIC_UP,
    W_BEHIND,
    W_BOUNCED,
    W_FENCES,
)

_DROPS, _RESETS, _CRASHES = int(Count.DROPS_CRASH), int(Count.NIC_RESETS), int(Count.CPU_CRASHES)
_FOREVER = np.int64(FOREVER)
_ZERO = np.uint64(0)
_NS = np.int64(1000)


@kernel
def lose_in_crash(w, item, now):
    """A packet or marker is lost with the side that had it."""
    if w.pool.items["kind"][item] == PACKET:
        w.tally.counts[_DROPS] += 1
        lose(w, item, now)
    else:
        free_item(w, item)


@kernel
def next_fault(w):
    """Note when the next event of this module comes."""
    clock, at = w.faults.clock, w.faults.clock[F_AT]
    time = min(due(w.queues, Q_LATE), clock[F_RESTART], clock[F_SUSPECT], clock[F_CHECKPOINT])
    if at < w.faults.schedule.shape[0]:
        time = min(time, w.faults.schedule[at, 0])
    if w.clock[T_FINAL] == 0:
        time = min(time, clock[F_RANDOM + NIC], clock[F_RANDOM + CPU])
    w.clock[T_FAULT] = time


@kernel(forceinline=False)
def fault_event(w, now):
    """Take the next event of this module, which is due: of several, the first listed here."""
    clock, at, schedule = w.faults.clock, w.faults.clock[F_AT], w.faults.schedule
    if due(w.queues, Q_LATE) <= now:
        item = take(w.queues, Q_LATE)
        if w.pool.items["port"][item] == NIC:
            nic_message(w, item, now)
        else:
            cpu_message(w, item, now)
    elif clock[F_CHECKPOINT] <= now:
        checkpoint(w, now)
    elif at < schedule.shape[0] and schedule[at, 0] <= now:
        clock[F_AT] = at + 1
        _crash(w, schedule[at, 1], now)
    elif clock[F_RANDOM + NIC] <= now and w.clock[T_FINAL] == 0:
        _draw_next(w, np.int64(NIC), now)
        _crash(w, np.int64(NIC), now)
    elif clock[F_RANDOM + CPU] <= now and w.clock[T_FINAL] == 0:
        _draw_next(w, np.int64(CPU), now)
        _crash(w, np.int64(CPU), now)
    elif clock[F_RESTART] <= now:
        clock[F_RESTART] = _FOREVER
        _restart_cpu(w, now)
    elif clock[F_SUSPECT] <= now:
        clock[F_SUSPECT] = _FOREVER
        _suspect(w, now)
    next_fault(w)


@kernel
def _draw_next(w, side, now):
    clock = w.faults.clock
    gap = next_exponential(w.faults.random[STREAM_NIC + side], np.float64(clock[F_MEAN + side]))
    clock[F_RANDOM + side] = (now + np.int64(gap)) // _NS * _NS + _NS  # in whole ns, as a file may say it


@kernel
def _crash(w, side, now):
    note_event(w, np.int64(LOG_CRASH), np.int64(side))
    if side == NIC:
        _reset_nic(w, now)
    else:
        _crash_cpu(w, now)
    w.node[side, N_INCARNATION] += 1
    w.node[side, N_COUNTER] = 0
    w.node[side, N_PEER] = 0


@kernel
def _reset_nic(w, now):
    w.tally.counts[_RESETS] += 1
    up = now + w.faults.clock[F_DOWN]
    w.clock[T_NIC_UP] = up
    w.faults.clock[F_SUSPECT] = up + w.knobs[P_CONTROL]
    for table in range(w.store.tables.shape[0]):
        first = w.tally.flow_at[table]
        for record in range(w.store.tables["used"][table]):
            row = first + record
            if w.rows.marks["slot"][row] > 0:
                _empty_slot(w, np.int64(table), np.int64(record), row)
            if w.rows.marks["heir"][row] > 0:
                free_item(w, w.rows.marks["heir"][row])
                w.rows.marks["heir"][row] = 0
            _forget(w, np.int64(NIC), table, row, now)
    # Losing one may let another go, which then comes after the reset.
    for _ in range(waiting(w.queues, Q_TX)):
        lose_in_crash(w, take(w.queues, Q_TX), now)
    _lose_parked(w, np.int64(NIC), now)
    for stage in range(w.image_of.shape[0]):
        for i in range(w.image_of.shape[1] - 1):
            w.image_of[stage, i, 0] = 0


@kernel
def _lose_parked(w, side, now):
    """Packets that wait at a side for older ones of their flow are lost with it; none of them lets another go."""
    items = w.pool.items
    for item in range(1, items.shape[0]):
        if items["kind"][item] == PACKET and items["flags"][item] & PARKED:
            if (items["flags"][item] & AWAY != 0) == (side == CPU):
                items["flags"][item] = items["flags"][item] & ~PARKED | DOOMED
    for item in range(1, items.shape[0]):
        if items["kind"][item] == PACKET and items["flags"][item] & DOOMED:
            items["flags"][item] &= ~DOOMED
            if side == NIC:
                w.clock[T_HELD] -= 1
            lose_in_crash(w, item, now)


@kernel
def _forget_waits(w, row, now):
    """What the CPU has kept back of a context for packets under way: markers, packets behind a bounced one."""
    if w.rows.waits.shape[0] == 0:
        return
    w.rows.waits[row, W_BOUNCED] = 0
    w.rows.sides[row, RUNS_OUT + BFENCE_TIMER] = NOBODY
    item = pull(w, w.rows.waits, row, W_FENCES)
    while item != NOBODY:
        free_item(w, item)
        item = pull(w, w.rows.waits, row, W_FENCES)
    item = pull(w, w.rows.waits, row, W_BEHIND)
    while item != NOBODY:
        lose_in_crash(w, item, now)
        item = pull(w, w.rows.waits, row, W_BEHIND)


@kernel
def _empty_slot(w, table, record, row):
    state = w.protocol.states[NIC, w.rows.nic[row, E_STATE]]
    home = cpu_base(w, table, record)
    if w.store.memory[home + A.C_PLACE] != _ZERO and w.faults.fallen.shape[0] > 0:
        w.faults.fallen[row] = w.rows.marks["applied"][row] + 1
    if state["owns"] == 1:
        end_owning(w, table, row, np.int64(0))
    give_slot_back(w, table, record, row)


@kernel
def _forget(w, side, table, row, now):
    """A side forgets a key, and the packets that it holds for it are lost.

    Of a table for which the NIC has no place there is nobody to ask: its keys begin anew as at first.
    """
    item = pull(w, w.rows.sides, row, 2 * side)
    while item != NOBODY:
        w.clock[T_HELD] -= 1
        lose_in_crash(w, item, now)
        item = pull(w, w.rows.sides, row, 2 * side)
    w.rows.sides[row, RUNS_OUT + side] = NOBODY
    w.rows.marks["resent"][row] = 0
    if side == NIC:
        w.rows.marks["stalled"][row] = 0
    elsewhere = w.tables.rows["contexts"][table] > 0
    reset_entry(w.protocol, side, w.rows.nic[row] if side == NIC else w.rows.cpu[row], elsewhere)
    note_standing(w, row)


@kernel
def _crash_cpu(w, now):
    w.tally.counts[_CRASHES] += 1
    up = now + w.faults.clock[F_DOWN]
    w.clock[T_CPU_UP] = up
    w.faults.clock[F_RESTART] = up
    for core in range(w.cores.shape[0]):
        current = w.cores["current"][core]
        if current >= 0:
            lose_in_crash(w, current, now)
        w.cores["current"][core] = DOWN
        w.cores["done"][core] = _FOREVER
        w.deferred[1 + core, 0, 0] = 0
        item = pull(w, w.again, 1 + core, 0)
        while item != NOBODY:
            lose_in_crash(w, item, now)
            item = pull(w, w.again, 1 + core, 0)
    for table in range(w.store.tables.shape[0]):
        first = w.tally.flow_at[table]
        for record in range(w.store.tables["used"][table]):
            row = first + record
            _restore(w, np.int64(table), np.int64(record), row)
            _forget_waits(w, row, now)
            _forget(w, np.int64(CPU), table, row, now)
            w.rows.marks["again"][row] = 0
            w.rows.marks["since"][row] = NOBODY
    _lose_parked(w, np.int64(CPU), now)


@kernel
def _restore(w, table, record, row):
    """A context on the CPU is what the last checkpoint had of it, which may be nothing."""
    base, copies = cpu_base(w, table, record), w.faults.copies
    place = w.store.memory[base + A.C_PLACE]
    if place == _ZERO or w.protocol.states["owns"][CPU, w.rows.cpu[row, E_STATE]] == 1:
        w.faults.fallen[row] = w.rows.marks["applied"][row] + 1
    if copies[row, A.C_PLACE] == _ZERO:
        reset(w.program, w.store.memory, table, base)
        w.store.memory[base + A.C_VERSION] = _ZERO
        w.store.memory[base + A.C_WITNESS] = _ZERO
    else:
        for i in range(w.program.tables["stride"][table]):
            w.store.memory[base + i] = copies[row, i]
    w.store.memory[base + A.C_PLACE] = place


@kernel
def checkpoint(w, now):
    """Copy every context on the CPU, shadow copies included; the next one comes if there is still a crash to come."""
    clock = w.faults.clock
    if now >= w.clock[T_CPU_UP]:
        for table in range(w.store.tables.shape[0]):
            first = w.tally.flow_at[table]
            for record in range(w.store.tables["used"][table]):
                base = cpu_base(w, np.int64(table), np.int64(record))
                for i in range(w.program.tables["stride"][table]):
                    w.faults.copies[first + record, i] = w.store.memory[base + i]
                w.faults.copies[first + record, A.C_PLACE] = np.uint64(1)  # there is one
        note_event(w, np.int64(LOG_CHECKPOINT), np.int64(CPU))
    clock[F_CHECKPOINT] += clock[F_INTERVAL]
    if not _cpu_may_crash(w):
        clock[F_CHECKPOINT] = _FOREVER


@kernel
def _cpu_may_crash(w):
    if w.clock[T_FINAL] == 0 and w.faults.clock[F_RANDOM + CPU] < _FOREVER:
        return True
    for i in range(w.faults.clock[F_AT], w.faults.schedule.shape[0]):
        if w.faults.schedule[i, 1] == CPU:
            return True
    return False


@kernel
def _restart_cpu(w, now):
    """The CPU is up again: it asks who owns its contexts, and its cores go on with what is in their rings."""
    for table in range(w.store.tables.shape[0]):
        first = w.tally.flow_at[table]
        for record in range(w.store.tables["used"][table]):
            state = w.rows.cpu[first + record, E_STATE]
            if state == w.protocol.roles["restart"][CPU] and w.protocol.states["timer"][CPU, state] > 0:
                _own_event(w, np.int64(EV_TIMEOUT), np.int64(table), np.int64(record), now)
    for core in range(w.cores.shape[0]):
        w.cores["current"][core] = IDLE
        w.cores["batch"][core] = 0
        start(w, np.int64(core), now)


@kernel
def _suspect(w, now):
    """The CPU hears that the NIC was reset: its control session is gone."""
    if now < w.clock[T_CPU_UP]:
        return
    for table in range(w.store.tables.shape[0]):
        first = w.tally.flow_at[table]
        for record in range(w.store.tables["used"][table]):
            tenancy = w.rows.cpu[first + record, E_G] >> np.int64(INCARNATION_SHIFT)
            if 0 < tenancy < w.node[NIC, N_INCARNATION]:
                _own_event(w, np.int64(EV_SUSPECT), np.int64(table), np.int64(record), now)
    for core in range(w.cores.shape[0]):
        if w.again[1 + core, 0] != NOBODY and w.cores["current"][core] == IDLE:
            start(w, np.int64(core), now)


@kernel
def _own_event(w, event, table, record, now):
    """An event of the CPU's own, where its table knows it."""
    state = w.rows.cpu[w.tally.flow_at[table] + record, E_STATE]
    if w.protocol.cells["rows"][CPU, state, event] <= 0:
        return
    tell_alone(w, CPU, event, table, record, now)

"""The NIC: one visit of a packet to the pipeline, from the stage where it goes on.

A visit is one step at the time at which the packet enters the pipeline: packets pass every stage in the order in which
they enter, and what the control channel changes travels down the pipeline like a packet, so nothing can come between
a packet's stages. When it leaves the pipeline, and what it waits for on its way, is reckoned from there.
"""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.consistency.lower import PROCESSES
from oppcache.consistency.vocabulary import (
    E_STATE,
    EV_BOUNCED,
    EV_PACKET,
    EV_UNRUNNABLE,
    NIC,
)
from oppcache.opp import arrays as A
from oppcache.opp.fields import W_FAMILY, W_ID, W_NOW
from oppcache.opp.step import begin, carry_out, choose, find_context

from ..account import LOOKED_UP, meet
from ..counters import Count
from ..release import slot_used
from .contexts import count_applied, exists, nic_base, reckon, take_slot
from .flushing import flush_later_stages
from .following import follow
from .future import next_use, note_next_use
from .handover import RUN
from .hazards import remember, see_stale, wait_for_hazard
from .keeping import asks_after, has_no_answer, keep_back, must_stall, note_before, stall
from .leaving import depart, lose_entering
from .log import note_application, note_choices
from .order import is_behind, line_up, step_out
from .pool import clear_tag, free_item, keep
from .signals import PUNT, do_deferred, react, want_evict
from .standing import nic_owns, nic_runs
from .state import (
    BOUNCED,
    DELAYED,
    HAZARD_STALE,
    MEASURED,
    NOBODY,
    OWNED,
    P_ALONE,
    P_BUS,
    P_BUS_SHIFT,
    P_CYCLE,
    P_FIRST_TABLE,
    P_FIXED,
    P_HAZARD,
    P_INSTANT,
    P_KEEPS,
    P_LATENCY,
    P_ORDERED,
    P_SHORT_BYTES,
    P_SHORT_CYCLES,
    P_TAKES,
    T_EXIT,
    T_NOW,
    T_PIPELINE,
)
from .watching import note_lookup, release_due, show
from .written import note_others

_DUPLICATE, _REORDERS = int(Count.DUPLICATE_UPDATES), int(Count.REORDERS)
_NIC_DROPS, _FROZEN, _ENTRY = int(Count.DROPS_NIC), int(Count.DROPS_PROTOCOL), int(Count.ENTRY_EVICTIONS)
_ONE = np.int64(1)


@kernel
def resume(w, item, vector, seed):
    """Put into the scratch words what a packet brings with it."""
    begin(w.scratch, vector, seed)
    w.scratch[A.S_VERDICT] = np.uint64(w.pool.items["verdict"][item])
    w.scratch[A.S_PORT] = np.uint64(w.pool.items["port"][item])


@kernel
def suspend(w, item):
    """Take from the scratch words what goes on with a packet."""
    w.pool.items["verdict"][item] = np.int64(w.scratch[A.S_VERDICT])
    w.pool.items["port"][item] = np.int64(w.scratch[A.S_PORT])


@kernel
def look(w, item, stage, table, record, vector):
    """Account for a packet's lookup in a stage, the first time; return the row."""
    items = w.pool.items
    row = w.tally.flow_at[table] + record
    bit = _ONE << stage
    if items["seen"][item] & bit:
        return row
    if w.policies.next_uses.shape[0] > 0:
        note_next_use(w, item, row)
    items["seen"][item] |= bit
    items["flags"][item] |= LOOKED_UP
    if w.knobs[P_ORDERED] and items["leaver"][item] < 0 and table == w.knobs[P_FIRST_TABLE]:
        items["leaver"][item] = 2 * record + np.int64(w.scratch[A.S_DIRECTION])
    meet(w.tally, table, w.knobs[P_FIRST_TABLE], record, np.int64(vector[W_NOW]), np.int64(vector[W_ID]))
    if w.policies.hooks.notes:
        note_lookup(w, table, record, w.clock[T_NOW])
    if items["flags"][item] & MEASURED:
        w.tally.lookups[table] += 1
        if nic_owns(w, row):
            w.tally.hits[table] += 1
    return row


@kernel
def apply(w, item, stage, row, base):
    """Note that a packet is about to be run on a copy of a context, and what would be wrong with that."""
    items, marks, counts = w.pool.items, w.rows.marks, w.tally.counts
    bit = _ONE << stage
    if items["applied"][item] & bit:
        counts[_DUPLICATE] += 1
    items["applied"][item] |= bit
    count_applied(w, row, np.int64(w.store.memory[base + A.C_VERSION]))
    if w.log.shape[0] > 0:
        note_application(w, item, stage, row, base)
    if w.plan["ordered"][stage]:
        number = items["id"][item] + 1
        if number < marks["newest"][row]:
            counts[_REORDERS] += 1
        else:
            marks["newest"][row] = number


@kernel
def may_run(w, stage, vector):
    """Whether the NIC can run a stage for this packet."""
    if w.plan["runs"][stage] == 0:
        return False
    family = vector[W_FAMILY]
    if family == np.uint64(4):
        return w.plan["not_v4"][stage] == 0
    if family == np.uint64(6):
        return w.plan["not_v6"][stage] == 0
    return True


@kernel(forceinline=False)
def _ask(w, event, table, record, item, vector, stage, now):
    """Let the protocol say what becomes of a packet whose context the NIC does not simply run; RUN or GONE."""
    kept = keep(w, item, vector)
    line_up(w, kept)
    suspend(w, kept)
    w.pool.items["stage"][kept] = stage
    row = w.tally.flow_at[table] + record
    state = w.protocol.states[NIC, w.rows.nic[row, E_STATE]]
    if state["owns"] == 0 and state["context"] == 0 and w.rows.marks["slot"][row] > 0:
        w.pool.items["flags"][kept] |= DELAYED
    clear_tag(w, kept)
    note_away(w, kept, table, record)
    if w.knobs[P_TAKES] and w.rows.marks["slot"][row] == 0:
        take_slot(w, table, record, row, now)
    if event == EV_UNRUNNABLE and w.protocol.cells["rows"][NIC, w.rows.nic[row, E_STATE], event] < 0:
        # A table that knows of no such entries: the context goes, and the packet behind it.
        want_evict(w, table, record, now)
        w.tally.counts[_ENTRY] += 1
        event = np.int64(PUNT if nic_owns(w, row) else EV_PACKET)
    flush_later_stages(w, stage, vector, now)
    answer = react(w, np.int64(NIC), event, table, record, kept, np.int64(NOBODY), now)
    if answer == RUN and kept != item:
        step_out(w, kept)
        w.pool.items["flags"][item] = w.pool.items["flags"][kept]
        free_item(w, kept)
    return answer


@kernel
def note_away(w, item, table, record):
    """Note that a packet is on its way to or on the CPU with a context in mind (for ``instant``)."""
    if w.knobs[P_INSTANT] == 0:
        return
    count = w.pool.items["touched"][item]
    key = (np.int64(table) << np.int64(32)) | record
    if count < w.touched.shape[1] and (count == 0 or w.touched[item, count - 1] != key):
        w.touched[item, count] = key
        w.pool.items["touched"][item] = count + 1
        w.rows.marks["away"][w.tally.flow_at[table] + record] += 1


@kernel(forceinline=False)
def _give_up(w, item, vector, table, record, stage, now):
    """Punt a packet whose stage the NIC cannot run and whose context, if any, it does not have."""
    if w.knobs[P_ALONE]:
        w.tally.counts[_FROZEN] += 1
        lose_entering(w, item, vector, now)
        return
    kept = keep(w, item, vector)
    line_up(w, kept)
    suspend(w, kept)
    w.pool.items["stage"][kept] = stage
    clear_tag(w, kept)
    if table >= 0:
        note_away(w, kept, table, record)
    flush_later_stages(w, stage, vector, now)
    react(w, np.int64(NIC), np.int64(PUNT), table, record, kept, np.int64(NOBODY), now)


@kernel
def cycles_of(w, length):
    """Cycles for which a packet keeps the pipeline's entry busy."""
    padded, shift = length + w.knobs[P_BUS] - 1, w.knobs[P_BUS_SHIFT]
    cycles = max(_ONE, padded >> shift if shift >= 0 else padded // w.knobs[P_BUS])
    if length <= w.knobs[P_SHORT_BYTES]:
        return max(cycles, w.knobs[P_SHORT_CYCLES])
    return cycles


@kernel
def _runs_here(w, item, stage, table, record, row, vector, now):
    """Whether the NIC runs a packet in a stage; if not, the packet is on its way elsewhere."""
    can = may_run(w, stage, vector)
    if record >= 0:
        flags = w.pool.items["flags"]
        if flags[item] & OWNED:
            flags[item] &= ~np.int64(OWNED)
            w.rows.marks["again"][row] -= 1
        if can:
            if nic_runs(w, row) == PROCESSES:
                return True
            if w.knobs[P_KEEPS] and asks_after(w, row):
                flags[item] &= ~np.int64(BOUNCED)
                return not _stalls(w, item, vector, stage, row)
            event = np.int64(EV_BOUNCED) if flags[item] & BOUNCED else np.int64(EV_PACKET)
            flags[item] &= ~np.int64(BOUNCED)
            return _ask(w, event, table, record, item, vector, stage, now) == RUN
        elif nic_owns(w, row):
            _refuse(w, item, vector, table, record, stage, now)
            return False
    if not can:
        _give_up(w, item, vector, table, record, stage, now)
    return can


@kernel(forceinline=False)
def _stalls(w, item, vector, stage, row):
    """Whether a packet has to wait behind one that waits for kept outputs; it does so then."""
    if must_stall(w, row):
        suspend(w, stall(w, item, vector, stage, row))
        return True
    return False


@kernel(forceinline=False)
def _refuse(w, item, vector, table, record, stage, now):
    """The NIC cannot run a packet in a stage although it has the context, if there is one."""
    if record >= 0 and w.knobs[P_KEEPS] and has_no_answer(w, w.tally.flow_at[table] + record):
        suspend(w, stall(w, item, vector, stage, w.tally.flow_at[table] + record))
    elif record >= 0:
        event = np.int64(EV_UNRUNNABLE)
        _ask(w, event, table, record, item, vector, stage, now)
    else:
        _give_up(w, item, vector, table, record, stage, now)


@kernel
def _note_use(w, item, stage, table, row, base, now):
    """A packet is about to be run on the NIC's copy of a context."""
    apply(w, item, stage, row, base)
    state = w.policies.eviction[w.policies.eviction_at[table] : w.policies.eviction_at[table + 1]]
    slot = w.rows.marks["slot"][row] - 1
    w.calls.hit(state, slot, now // 1000, next_use(w, row))
    slot_used(w.policies.release, table, slot, now // 1000)


@kernel
def _look_after(w, table, record, row, base, vector, now):
    """After a packet was run on a context: whether the context goes, of itself or because a policy says so."""
    if w.policies.looks and show(w, table, record, row, vector, now):
        return True
    if exists(w, base) or w.rows.marks["again"][row] > 0:
        return False
    want_evict(w, table, record, now)
    return True


@kernel
def visit(w, item, vector, ahead, now, seed):
    """Take a packet through the pipeline, then do what had to wait until it has left.

    Returns:
        whether anything but the packet and its contexts has changed.
    """
    changed = _pass_through(w, item, vector, ahead, now, seed)
    return do_deferred(w, np.int64(NIC), np.int64(NOBODY), now) or changed


@kernel
def _pass_through(w, item, vector, ahead, now, seed):
    """Take a packet through the pipeline from its stage on.

    Args:
        item: 0 for the packet that is just entering, whose header vector is not in the pool yet.
        vector: its header vector.
        ahead: its place among the packets of which keys were read ahead, + 1; 0: it is none of them.
        now: the time; the packet enters the pipeline then, or when what is in it has moved on.

    Returns:
        whether anything but the packet and its contexts has changed.
    """
    items = w.pool.items
    stages = w.program.stages.shape[0]
    cycles = cycles_of(w, items["length"][item])
    entered = max(now, w.clock[T_PIPELINE])
    w.clock[T_PIPELINE] = entered + cycles * w.knobs[P_CYCLE]
    stage = items["stage"][item]
    delay, changed = np.int64(0), False
    resume(w, item, vector, seed)
    w.scratch[A.S_AHEAD] = np.uint64(ahead)
    while stage < stages:
        record = find_context(w.program, w.store, stage, vector, w.scratch)
        table, row, base, image = np.int64(-1), np.int64(0), np.int64(-1), np.int64(-1)
        if record >= 0:
            table = w.program.stages["table"][stage]
            if w.policies.lets_go and release_due(w, table, now):
                changed = True
            row = look(w, item, stage, table, record, vector)
        if not _runs_here(w, item, stage, table, record, row, vector, now):
            return True
        if record >= 0:
            base = nic_base(w, table, row)
            if w.knobs[P_HAZARD] > 0:
                delay = wait_for_hazard(w, stage, row, entered, delay, cycles)
                if delay < 0:
                    w.tally.counts[_NIC_DROPS] += 1
                    lose_entering(w, item, vector, now)
                    return True
            if w.knobs[P_HAZARD] == HAZARD_STALE:
                image = see_stale(w, table, stage, row, base, entered, delay)
        keeps = w.knobs[P_KEEPS] > 0 and record >= 0 and asks_after(w, row)
        if keeps:
            note_before(w, table, base)
        entry = choose(w.program, w.store, w.variables, stage, record, base, vector, w.scratch)
        taken = entry if entry >= 0 else w.program.entries.shape[0] + stage
        if w.runnable[taken] == 0:
            _refuse(w, item, vector, table, record, stage, now)
            return True
        w.taken[NIC, taken] += 1
        if record >= 0:
            _note_use(w, item, stage, table, row, base, now)
        ran = stage
        stage = carry_out(w.program, w.store, w.variables, stage, entry, record, base, vector, w.scratch)
        if w.log.shape[0] > 0 and w.scratch[A.S_CHOICES] > np.uint64(0):
            note_choices(w, item, np.int64(NIC), ran)
        note_others(w, item, np.int64(NIC), ran, entry)
        if image >= 0:
            remember(w, table, ran, base, image)
            reckon(w, row, np.int64(w.store.memory[base + A.C_VERSION]))
        kept = np.int64(NOBODY)
        if keeps:
            kept = keep_back(w, item, vector, stage, table, record, row, base, now)
        if record >= 0 and _look_after(w, table, record, row, base, vector, now):
            changed = True
        if kept != NOBODY:
            suspend(w, kept)
            return True
    verdict = np.int64(w.scratch[A.S_VERDICT])
    items["port"][item] = np.int64(w.scratch[A.S_PORT])
    out = max(entered + w.knobs[P_LATENCY] + delay, w.clock[T_EXIT])
    w.clock[T_EXIT] = out
    if is_behind(w, item) and verdict != A.VERDICT_DROP:
        follow(w, item, vector, verdict, now)
        changed = True
    else:
        depart(w, item, vector, verdict, out + w.knobs[P_FIXED])
    return changed

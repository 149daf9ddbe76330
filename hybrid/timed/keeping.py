"""Outputs that are kept back: packets that have changed a context and leave when the CPU has the change.

Where a state's table runs a packet whatever its guards say, the packet is run before the table is asked, so that the
answer to ``changes-label`` is known: whether label, registers or timers of the context differ from before. What is kept
back has been run at its stage, and goes on behind it.
"""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.consistency.lower import PROCESSES_FIRST
from oppcache.consistency.vocabulary import E_HELD, E_STATE, E_VERSION, EV_PACKET, EV_UNRUNNABLE, NIC
from oppcache.opp import arrays as A

from .order import line_up, step_out
from .pool import clear_tag, free_item, hold, keep, push
from .signals import react
from .standing import nic_runs
from .state import NOBODY, T_HELD, T_UNCHANGED

_ZERO = np.uint64(0)


@kernel
def asks_after(w, row):
    """Whether a packet is run on a context on the NIC before the table is asked, in a protocol that keeps outputs back."""
    return nic_runs(w, row) == PROCESSES_FIRST


@kernel
def note_before(w, table, base):
    """Remember a context before a packet is run on it, in the place of item 0, whose vector is not in the pool."""
    for i in range(w.program.tables["stride"][table]):
        w.pool.vectors[0, i] = w.store.memory[base + i]


@kernel
def _differs(w, table, base):
    """Whether what a context says is not what was remembered. A use is a change where an idle timer runs."""
    memory, before = w.store.memory, w.pool.vectors
    for i in range(w.program.tables["stride"][table]):
        if i == A.C_VERSION or i == A.C_WITNESS or i == A.C_PLACE:
            continue
        if i == A.C_LAST and memory[base + A.C_IDLE] == _ZERO:
            continue
        if memory[base + i] != before[0, i]:
            return True
    return False


@kernel(forceinline=False)
def keep_back(w, item, vector, stage, table, record, row, base, now):
    """Let the protocol say whether a packet that was just run on the NIC leaves or is kept back.

    Args:
        stage: where the packet goes on.

    Returns:
        the item under which it is kept back, NOBODY if it goes on.
    """
    changed = _differs(w, table, base)
    if changed:
        w.rows.nic[row, E_VERSION] = np.int64(w.store.memory[base + A.C_VERSION])
    kept = keep(w, item, vector)
    line_up(w, kept)
    w.pool.items["stage"][kept] = stage
    clear_tag(w, kept)
    w.clock[T_UNCHANGED] = np.int64(0) if changed else np.int64(1)
    nobody = np.int64(NOBODY)
    answer = react(w, np.int64(NIC), np.int64(EV_PACKET), table, record, kept, nobody, now)
    w.clock[T_UNCHANGED] = 0
    if answer == 0:
        return kept
    if kept != item:
        step_out(w, kept)
        w.pool.items["flags"][item] = w.pool.items["flags"][kept]
        free_item(w, kept)
    return nobody


@kernel
def must_stall(w, row):
    """Whether packets of a context wait for the outputs that are kept back, as one does that the NIC cannot run."""
    return w.rows.marks["stalled"][row] != 0


@kernel
def has_no_answer(w, row):
    """Whether the table keeps outputs back, and does not say what becomes of a packet that the NIC cannot run meanwhile."""
    return asks_after(w, row) and w.protocol.cells["rows"][NIC, w.rows.nic[row, E_STATE], EV_UNRUNNABLE] < 0


@kernel
def stall(w, item, vector, stage, row):
    """Let a packet wait at its stage, behind what is kept back; return the item under which it waits."""
    kept = keep(w, item, vector)
    line_up(w, kept)
    w.pool.items["stage"][kept] = stage
    clear_tag(w, kept)
    hold(w, row, np.int64(0), kept)
    w.rows.nic[row, E_HELD] += 1
    w.rows.marks["stalled"][row] = 1
    return kept


@kernel
def stall_marker(w, item, row):
    """Let a marker wait behind the packets that wait; the most that was held counts packets alone."""
    push(w, w.rows.sides, row, np.int64(0), item)
    w.rows.nic[row, E_HELD] += 1
    w.clock[T_HELD] += 1

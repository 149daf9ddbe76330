"""Messages that reach the NIC, and room in its tables for the contexts that they ask for or bring."""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.consistency.vocabulary import (
    CPU,
    E_G,
    E_STATE,
    EV_BFENCE,
    EV_INSTALL,
    EV_WATCH,
    M_G,
    M_KEY,
    M_KIND,
    NIC,
)

from ..counters import Count
from .contexts import choose_victim, take_slot
from .handover import leave_nic, set_timer
from .keeping import must_stall, stall_marker
from .link import home_of, put_rx
from .pool import free_item
from .signals import react, want_evict
from .standing import nic_owns
from .state import NOBODY, P_EVICTS, P_FETCHES, P_KEEPS, P_RESERVE, RUNS_OUT, T_NIC_UP
from .watching import prefers

_EVICTIONS = int(Count.EVICTIONS)


@kernel
def make_room(w, table, record, row, now):
    """Reserve a slot for a context, evicting another if need be.

    Returns:
        1 if there is one now, 0 if there is none; −1 − row of a context that is on its way out of one.
    """
    if w.tables.rows["contexts"][table] == 0:
        return np.int64(0)
    if take_slot(w, table, record, row, now):
        return np.int64(1)
    loser = _evict_one(w, table, record, row, now)
    if loser < 0:
        return np.int64(0)
    if take_slot(w, table, record, row, now):
        return np.int64(1)
    return -1 - (w.tally.flow_at[table] + loser)


@kernel
def _evict_one(w, table, record, row, now):
    """Have the context that the eviction policy chooses leave for another; return its record, −1: none can."""
    if w.knobs[P_EVICTS] == 0:
        return np.int64(-1)
    loser = choose_victim(w, table, record, row, now)
    if loser < 0:
        return np.int64(-1)
    if w.policies.hooks.prefers and not w.knobs[P_FETCHES] and not prefers(w, table, record, loser):
        return np.int64(-1)
    want_evict(w, table, loser, now)
    if nic_owns(w, w.tally.flow_at[table] + loser):
        return np.int64(-1)  # its outputs are still kept back
    w.tally.counts[_EVICTIONS] += 1
    return loser


@kernel(forceinline=False)
def nic_message(w, item, now):
    """A control message or a marker has reached the NIC, or one can be taken that has waited for a slot."""
    while item != NOBODY:
        item = _take_message(w, item, now)


@kernel
def _take_message(w, item, now):
    """Take a message; return the one that has waited for the slot that it frees, NOBODY if there is none."""
    kind = w.pool.message[item, M_KIND]
    key = w.pool.message[item, M_KEY]
    table, record = key >> np.int64(32), key & np.int64(0xFFFF_FFFF)
    row = w.tally.flow_at[table] + record
    if w.rows.marks["queued"][row] == item:
        w.rows.marks["queued"][row] = 0
        if w.rows.sides[row, RUNS_OUT + CPU] != NOBODY:
            set_timer(w, np.int64(CPU), table, record, row, now)  # an answer can be awaited from now on
    down = now < w.clock[T_NIC_UP]
    if down or (kind == EV_BFENCE and w.protocol.cells["rows"][NIC, w.rows.nic[row, E_STATE], kind] < 0):
        # It is lost, or the table does not speak of it.
        if down or not put_rx(w, item, home_of(w, table, record), leave_nic(w, now)):
            free_item(w, item)
        return np.int64(NOBODY)
    if kind == EV_BFENCE and w.knobs[P_KEEPS] and must_stall(w, row):
        stall_marker(w, item, row)  # the bounced packet before it is among those that wait
        return np.int64(NOBODY)
    room = np.int64(0)
    if _wants_slot(w, kind, item, row):
        room = make_room(w, table, record, row, now)
        waits = kind == EV_WATCH or w.knobs[P_FETCHES] > 0
        if room < 0 and waits and w.rows.marks["heir"][-1 - room] == 0:
            w.rows.marks["heir"][-1 - room] = item
            return np.int64(NOBODY)
        if room <= 0 and w.knobs[P_FETCHES]:
            free_item(w, item)  # it is sent again
            return np.int64(NOBODY)
    for i in range(w.message.shape[0]):
        w.message[i] = w.pool.message[item, i]
    react(w, np.int64(NIC), kind, table, record, item, np.int64(NOBODY), now)
    if room > 0:
        _keep_room(w, table, record, row, now)
    free_item(w, item)
    heir = w.rows.marks["heir"][row]
    if heir == 0 or w.rows.marks["slot"][row] > 0:
        return np.int64(NOBODY)
    w.rows.marks["heir"][row] = 0
    return heir


@kernel
def _wants_slot(w, kind, item, row):
    """Whether what a message asks for, or brings, needs a slot that is not there yet."""
    if w.rows.marks["slot"][row] > 0:
        return False
    if w.knobs[P_FETCHES]:
        return kind == EV_INSTALL and w.pool.message[item, M_G] == w.rows.nic[row, E_G]
    return kind == EV_WATCH or kind == EV_INSTALL


@kernel
def _keep_room(w, table, record, row, now):
    """Where an eviction takes a round trip, begin the next one before its slot is asked for."""
    rows = w.tables.rows
    used = rows["fresh"][table] - rows["freed"][table]
    if rows["contexts"][table] - used < w.knobs[P_RESERVE] and rows["owned"][table] > w.knobs[P_RESERVE]:
        _evict_one(w, table, record, row, now)

"""The two copies of a context and the NIC's slot: finding them, copying between them, making room for one."""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.consistency.vocabulary import CPU, E_STATE, E_VERSION, EV_WB, NIC
from oppcache.fastpath.tables import (
    candidates,
    insert,
    is_owned,
    occupant,
    own,
    remove,
    retain,
)
from oppcache.opp import arrays as A
from oppcache.opp.contexts import hash_key

from ..counters import Count
from ..release import slot_emptied, slot_taken
from .ahead import fetch_victim
from .future import next_use
from .log import LOG_FREE, LOG_TAKE, note_context
from .state import P_MOVE, STOP_FAULT, T_INSERTER, T_STOP

_FAULT, _LOST, _STALE = int(Count.FAULT), int(Count.LOST_UPDATES), int(Count.STALE_READS)
_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_EXISTS = np.uint64(A.CONTEXT_EXISTS)
_POISON = np.uint64(0xDEADDEADDEADDEAD)


@kernel
def cpu_base(w, table, record):
    """Word of the CPU's copy."""
    return w.store.tables["base"][table] + record * w.program.tables["stride"][table]


@kernel
def nic_base(w, table, row):
    """Word of the NIC's copy; there must be a slot."""
    slot = w.rows.marks["slot"][row] - 1
    return w.store.tables["nic_base"][table] + slot * w.program.tables["stride"][table]


@kernel
def exists(w, base):
    """Whether the context at a word exists."""
    return w.store.memory[base + A.C_STATE] & _EXISTS != _ZERO


@kernel
def note_version(w, side, table, record, row):
    """Bring the version in a side's protocol entry up to date with its copy."""
    if side == NIC:
        if w.rows.marks["slot"][row] > 0:
            w.rows.nic[row, E_VERSION] = np.int64(w.store.memory[nic_base(w, table, row) + A.C_VERSION])
    else:
        w.rows.cpu[row, E_VERSION] = np.int64(w.store.memory[cpu_base(w, table, record) + A.C_VERSION])


@kernel
def pack_context(w, side, table, record, row, item):
    """Copy a side's context into a message."""
    base = nic_base(w, table, row) if side == NIC else cpu_base(w, table, record)
    for i in range(w.program.tables["stride"][table]):
        w.pool.vectors[item, i] = w.store.memory[base + i]


@kernel
def unpack_context(w, side, table, record, row, item):
    """Replace a side's context by the one in a message; updates that only the old copy had are lost with it."""
    marks = w.rows.marks
    home = cpu_base(w, table, record)
    base = home
    place = w.store.memory[home + A.C_PLACE]
    if side == NIC:
        base = nic_base(w, table, row)
    for i in range(w.program.tables["stride"][table]):
        w.store.memory[base + i] = w.pool.vectors[item, i]
    if side == NIC:
        w.store.memory[base + A.C_PLACE] = np.uint64(record) + _ONE
        w.store.memory[home + A.C_PLACE] = np.uint64(marks["slot"][row])
    elif w.pool.items["kind"][item] == EV_WB + 1 and (place != _ZERO or not _cpu_owns(w, row)):
        w.store.memory[home + A.C_PLACE] = place  # a copy to recover from, and a newer one may be under way
    else:
        w.store.memory[home + A.C_PLACE] = _ZERO
        reckon(w, row, np.int64(w.store.memory[home + A.C_VERSION]))
    if w.log.shape[0] > 0:
        note_context(w, np.int64(LOG_TAKE), np.int64(side), table, record, base)


@kernel
def first_context(w, table, record, row):
    """Give a NIC slot the context of a key never seen, which is what the CPU's copy is where the CPU runs nothing."""
    home, base = cpu_base(w, table, record), nic_base(w, table, row)
    for i in range(w.program.tables["stride"][table]):
        w.store.memory[base + i] = w.store.memory[home + i]
    w.store.memory[base + A.C_PLACE] = np.uint64(record) + _ONE
    w.store.memory[home + A.C_PLACE] = np.uint64(w.rows.marks["slot"][row])


@kernel
def begin_anew(w, table, record, row):
    """What was applied to a context that has ended is not missing in the next one of its key."""
    version = w.store.memory[cpu_base(w, table, record) + A.C_VERSION]
    w.rows.marks["lost"][row] = w.rows.marks["applied"][row] - np.int64(version)


@kernel
def _cpu_owns(w, row):
    return w.protocol.states["owns"][CPU, w.rows.cpu[row, E_STATE]] == 1


@kernel
def reckon(w, row, version):
    """One copy is left, of this version: count the updates that it lacks."""
    marks = w.rows.marks
    lost = marks["applied"][row] - version
    if lost > marks["lost"][row]:
        w.tally.counts[_LOST] += lost - marks["lost"][row]
        marks["lost"][row] = lost


@kernel
def count_applied(w, row, version):
    """A packet is about to be applied to a copy of a context, of this version."""
    marks = w.rows.marks
    if version < marks["applied"][row] - marks["lost"][row]:
        fall_behind(w, row, version)
    marks["applied"][row] += 1


@kernel(forceinline=False)
def fall_behind(w, row, version):
    """A packet is about to run on a copy that lacks updates: a crash has set it back, or the read is stale."""
    if w.faults.fallen.shape[0] > 0 and w.faults.fallen[row] == w.rows.marks["applied"][row] + 1:
        reckon(w, row, version)
    else:
        w.tally.counts[_STALE] += 1


@kernel
def spoil(w, table, record):
    """Overwrite the CPU's copy when its content is elsewhere, but for what is not content (for tests).

    Its version becomes that of a copy without a packet, so that a table which compares versions takes what comes back.
    """
    base = cpu_base(w, table, record)
    version, witness, place = A.C_VERSION, A.C_WITNESS, A.C_PLACE
    for i in range(A.C_HEADER_WORDS):
        if i != version and i != witness and i != place:
            w.store.memory[base + i] = _POISON
    w.store.memory[base + version] = _ZERO
    first = base + A.C_HEADER_WORDS + w.program.tables["key_words"][table]
    for i in range(w.program.tables["registers"][table]):
        w.store.memory[first + i] = _POISON


@kernel
def take_slot(w, table, record, row, now):
    """Reserve a NIC slot for a context if there is one; return whether there is."""
    base = cpu_base(w, table, record) + A.C_HEADER_WORDS
    key = hash_key(w.store.memory, base, w.program.tables["key_words"][table])
    handle, moves = insert(w.tables, table, key, record)
    w.clock[T_INSERTER] = max(w.clock[T_INSERTER], now) + moves * w.knobs[P_MOVE]
    if handle < 0:
        return False
    w.rows.marks["slot"][row] = handle + 1
    return True


@kernel
def give_slot_back(w, table, record, row):
    """Free a context's NIC slot."""
    home = cpu_base(w, table, record)
    if w.store.memory[home + A.C_PLACE] != _ZERO:
        w.store.memory[home + A.C_PLACE] = _ZERO
    remove(w.tables, table, w.rows.marks["slot"][row] - 1)
    w.rows.marks["slot"][row] = 0
    if w.log.shape[0] > 0:
        note_context(w, np.int64(LOG_FREE), np.int64(NIC), table, record, np.int64(-1))


@kernel
def choose_victim(w, table, record, row, now):
    """The record whose context the eviction policy gives up for another; −1 where none can go."""
    home = cpu_base(w, table, record) + A.C_HEADER_WORDS
    key = hash_key(w.store.memory, home, w.program.tables["key_words"][table])
    count = candidates(w.tables, table, key, w.policies.candidates)
    if count < 0:
        return np.int64(-1)
    state = w.policies.eviction[w.policies.eviction_at[table] : w.policies.eviction_at[table + 1]]
    slot = w.calls.victim(state, w.policies.candidates, count, record, now // 1000, next_use(w, row))
    if slot == -1:
        return np.int64(-1)  # it declines
    if not is_owned(w.tables, table, slot):
        w.tally.counts[_FAULT] = slot + 1 if slot >= 0 else slot
        w.clock[T_STOP] |= STOP_FAULT
        return np.int64(-1)
    loser = occupant(w.tables, table, slot)
    fetch_victim(w, table, loser, w.tally.flow_at[table] + loser, slot)
    return loser


@kernel
def begin_owning(w, table, record, row, now):
    """The NIC owns a context from now on."""
    slot = w.rows.marks["slot"][row] - 1
    own(w.tables, table, slot)
    state = w.policies.eviction[w.policies.eviction_at[table] : w.policies.eviction_at[table + 1]]
    w.calls.insert(state, slot, record, now // 1000, next_use(w, row))
    slot_taken(w.policies.release, table, slot, now // 1000)


@kernel
def end_owning(w, table, row, evicted):
    """The NIC owns a context no longer; its slot stays reserved."""
    slot = w.rows.marks["slot"][row] - 1
    retain(w.tables, table, slot)
    state = w.policies.eviction[w.policies.eviction_at[table] : w.policies.eviction_at[table + 1]]
    w.calls.remove(state, slot, evicted)
    slot_emptied(w.policies.release, table, slot)

"""A cache of bundles: which connections are on the NIC with their contexts, and what makes room for one.

See :mod:`.bundles`, which runs packets through it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from oppcache._jit import kernel
from oppcache.cache.hooks import Hooks
from oppcache.consistency.migrate import demote, promote
from oppcache.fastpath.slots import Slots, free_slot, make_slots, occupant, occupy, take_slot
from oppcache.opp import arrays as A
from oppcache.opp.contexts import location

from .account import Tally, make_tally
from .counters import Count
from .release import Release, slot_emptied, slot_to_release

# Kernels know plain integers, not enumerations.
_PROMOTIONS, _DEMOTIONS, _EVICTIONS = int(Count.PROMOTIONS), int(Count.DEMOTIONS), int(Count.EVICTIONS)
_RELEASES, _FAULT = int(Count.RELEASES), int(Count.FAULT)

_ZERO = np.uint64(0)
_EXISTS = np.uint64(A.CONTEXT_EXISTS)
RECORD = 0xFFFF_FFFF  # of table << 32 | record
MEMBERS = 16  # contexts of a bundle at most; what a connection looks up beyond stays on the CPU

# Why a bundle goes: it has no context left, it gives its slot up, another needs it.
ENDED, RELEASED, EVICTED = 0, 1, 2


class Bundles(NamedTuple):
    """What is cached: bundles, their contexts, and the policies' states."""

    slots: Slots  # one table: the connection that is in each bundle's slot
    tables: Slots  # the context tables
    eviction: np.ndarray  # int64 state
    admission: np.ndarray
    candidates: np.ndarray  # int64: scratch for victim
    next_uses: np.ndarray  # int64 per packet with a connection, empty unless the policy needs them
    first_table: int  # of the program's first stateful stage
    hooks: Hooks
    release: Release  # ages of bundles stand where table 0's would
    connections: Tally  # of which only the rows of flows are used, one a connection
    place: np.ndarray  # int64[connections]: bundle's slot + 1, 0: not cached
    members: np.ndarray  # int64[bundles, MEMBERS]: table << 32 | record
    epochs: np.ndarray  # int64[bundles, MEMBERS]: the context's epoch when it joined
    sizes: np.ndarray  # int64[bundles]: members
    holders: np.ndarray  # int64 per record, as tally.flows: bundles that hold its context
    epoch: np.ndarray  # int64 per record: how often its context left the NIC
    touched: (
        np.ndarray
    )  # int64[stages + 1]: contexts that the packet looked up; their number in the last item


@kernel
def place_of(program, store, table, record):
    at = store.tables["base"][table] + record * program.tables["stride"][table]
    return np.int64(store.memory[at + A.C_PLACE])


@kernel
def exists(program, store, table, record):
    base = location(program, store, table, record)
    return store.memory[base + A.C_STATE] & _EXISTS != _ZERO


@kernel
def take_off(program, store, bundles, tally, table, record, poison):
    """Move a context that no bundle holds any longer off the NIC."""
    slot = demote(program, store, table, record, poison)
    free_slot(bundles.tables, table, slot)
    row = tally.flow_at[table] + record
    bundles.holders[row] = 0
    bundles.epoch[row] += 1


@kernel
def drop(program, store, bundles, tally, slot, why, remove, poison):
    """Take a bundle out, and off the NIC what no other one holds."""
    for m in range(bundles.sizes[slot]):
        key = bundles.members[slot, m]
        table, record = key >> np.int64(32), key & np.int64(RECORD)
        row = tally.flow_at[table] + record
        if bundles.epochs[slot, m] != bundles.epoch[row]:
            continue
        bundles.holders[row] -= 1
        if bundles.holders[row] == 0:
            take_off(program, store, bundles, tally, table, record, poison)
            tally.counts[_DEMOTIONS] += 1
            if why == EVICTED:
                tally.counts[_EVICTIONS] += 1
            elif why == RELEASED:
                tally.counts[_RELEASES] += 1
    bundles.sizes[slot] = 0
    bundles.place[occupant(bundles.slots, 0, slot)] = 0
    free_slot(bundles.slots, 0, slot)
    remove(bundles.eviction, slot, np.int64(0 if why == ENDED else 1))
    slot_emptied(bundles.release, 0, slot)


@kernel
def evict(program, store, bundles, tally, own, connection, now, next_use, victim, remove, poison):
    """Evict one bundle; −1 where the policies would have none go, −2 if its choice is impossible, else 0."""
    rows = bundles.slots.tables
    if rows["fresh"][0] - rows["freed"][0] == 0:
        return np.int64(-1)
    slot = victim(bundles.eviction, bundles.candidates, np.int64(0), connection, now, next_use)
    if slot == -1:
        return np.int64(-1)
    loser = occupant(bundles.slots, 0, slot)
    if loser < 0:
        tally.counts[_FAULT] = slot + 1 if slot >= 0 else slot
        return np.int64(-2)
    if slot == own:
        return np.int64(-1)
    if bundles.hooks.prefers and bundles.hooks.prefer(bundles.admission, connection, loser) == 0:
        return np.int64(-1)
    drop(program, store, bundles, tally, slot, EVICTED, remove, poison)
    return np.int64(0)


@kernel
def _missing(program, store, bundles, table):
    """How many contexts of a table the packet has looked up that have no slot there, beyond the free ones."""
    rows = bundles.tables.tables
    missing = rows["fresh"][table] - rows["freed"][table] - rows["capacity"][table]
    for i in range(bundles.touched[bundles.touched.shape[0] - 1]):
        key = bundles.touched[i]
        record = key & np.int64(RECORD)
        if key >> np.int64(32) == table and place_of(program, store, table, record) == 0:
            missing += 1
    return missing


@kernel
def make_room(program, store, bundles, tally, own, connection, now, next_use, victim, remove, poison):
    """Evict bundles until there is a slot for everything that the packet looked up; 0 if so, else as :func:`evict`."""
    for i in range(bundles.touched[bundles.touched.shape[0] - 1]):
        table = bundles.touched[i] >> np.int64(32)
        while _missing(program, store, bundles, table) > 0:
            done = evict(
                program, store, bundles, tally, own, connection, now, next_use, victim, remove, poison
            )
            if done < 0:
                return done
    return np.int64(0)


@kernel
def _is_member(bundles, slot, key, epoch):
    for m in range(bundles.sizes[slot]):
        if bundles.members[slot, m] == key and bundles.epochs[slot, m] == epoch:
            return True
    return False


@kernel
def forget_gone(bundles, tally, slot):
    """Strike the members of a bundle that have left the NIC."""
    kept = np.int64(0)
    for m in range(bundles.sizes[slot]):
        key = bundles.members[slot, m]
        row = tally.flow_at[key >> np.int64(32)] + (key & np.int64(RECORD))
        if bundles.epochs[slot, m] == bundles.epoch[row]:
            bundles.members[slot, kept] = key
            bundles.epochs[slot, kept] = bundles.epoch[row]
            kept += 1
    bundles.sizes[slot] = kept


@kernel
def join(program, store, bundles, tally, slot, poison):
    """Let what the packet looked up join its bundle; for each there is a slot."""
    for i in range(bundles.touched[bundles.touched.shape[0] - 1]):
        key = bundles.touched[i]
        table, record = key >> np.int64(32), key & np.int64(RECORD)
        row = tally.flow_at[table] + record
        on_nic = place_of(program, store, table, record) > 0
        if bundles.sizes[slot] == MEMBERS or (on_nic and _is_member(bundles, slot, key, bundles.epoch[row])):
            continue
        if not on_nic:
            free = take_slot(bundles.tables, table)
            promote(program, store, table, record, free, poison)
            occupy(bundles.tables, table, free, record)
            tally.counts[_PROMOTIONS] += 1
        at = bundles.sizes[slot]
        bundles.members[slot, at] = key
        bundles.epochs[slot, at] = bundles.epoch[row]
        bundles.sizes[slot] = at + 1
        bundles.holders[row] += 1


@kernel
def release_due(program, store, bundles, tally, now, remove, poison):
    """Take out the bundles that the policy gives up or that were idle too long; return whether all is sound."""
    while True:
        slot = slot_to_release(bundles.release, bundles.hooks, bundles.eviction, 0, now)
        if slot == -1:
            return True
        if occupant(bundles.slots, 0, slot) < 0:
            tally.counts[_FAULT] = slot + 1 if slot >= 0 else slot
            return False
        drop(program, store, bundles, tally, slot, RELEASED, remove, poison)


def make_bundles(
    program: A.ProgramArrays,
    contexts: int,
    states: tuple[np.ndarray, np.ndarray],
    next_uses: np.ndarray,
    first_table: int,
    hooks: Hooks,
    release: Release,
) -> Bundles:
    """Nothing is cached, and there is no room yet for connections and records.

    Args:
        program: the lowered program.
        contexts: slots of each context table, and for bundles.
        states: of the eviction and the admission policy.
    """
    nothing = np.zeros(0, np.int64)
    slots = max(contexts, 1)
    return Bundles(
        make_slots(1, contexts),
        make_slots(len(program.tables), contexts),
        *states,
        np.zeros(1, np.int64),
        next_uses,
        first_table,
        hooks,
        release,
        make_tally(1),
        nothing,
        np.zeros((slots, MEMBERS), np.int64),
        np.zeros((slots, MEMBERS), np.int64),
        np.zeros(slots, np.int64),
        nothing,
        nothing,
        np.zeros(len(program.stages) + 1, np.int64),
    )

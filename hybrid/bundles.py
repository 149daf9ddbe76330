"""The hybrid without time where the cache's unit is the bundle: all contexts of a connection come and go together.

A packet never crosses to the CPU only if all contexts that it looks up are on the NIC, so half a connection there is
worth nothing. A *bundle* is a connection (bidirectional 5-tuple) with its contexts: those that its packets looked up
while it was cached. It has one slot of ``nic.contexts``, as has each of its contexts in its table. The policies see bundles:
a key is a connection's number, a hit a packet of a cached connection. After its last stage a packet of a connection
that is not cached may be admitted, with all contexts that it looked up; a further context that a cached one's packet
looks up joins it. Either evicts whole bundles until there is a slot for each of them.

A context may belong to several connections (a counter a host, say). It leaves when the last bundle that holds it does.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from oppcache._jit import JIT_DISABLED, kernel
from oppcache.cache import load_admission, load_policy
from oppcache.cache.hooks import hooks_of
from oppcache.fastpath.slots import occupy, take_slot
from oppcache.opp import arrays as A
from oppcache.opp.contexts import has_room, location, make_store
from oppcache.opp.fields import W_ID, W_LENGTH, W_NOW
from oppcache.opp.lower import lower
from oppcache.opp.machine import RESERVE
from oppcache.opp.program import Program
from oppcache.opp.step import begin, find_context, run_stage

from .account import CROSSED, LOOKED_UP, make_tally, meet, rate
from .bundle_cache import (
    ENDED,
    RECORD,
    RELEASED,
    drop,
    evict,
    exists,
    forget_gone,
    join,
    make_bundles,
    make_room,
    place_of,
    release_due,
    take_off,
)
from .counters import Count
from .engine import close, compiled, make_outcomes
from .release import (
    ReleaseSettings,
    is_closing,
    make_release,
    note_flags,
    slot_taken,
    slot_used,
)

# Kernels know plain integers, not enumerations.
_PUNTS, _BOUNCES, _CROSSINGS = int(Count.PUNTS), int(Count.BOUNCES), int(Count.CROSSINGS)
_ZERO = np.uint64(0)
_NIC, _CPU = 0, 1


@kernel
def _meet(program, store, bundles, tally, connection, now, number, hit, remove, poison):
    """A packet that looks up a context, before its first lookup: returns (is all sound, its next use)."""
    if bundles.slots.tables["capacity"][0] == 0:
        return True, np.int64(-1)
    if (bundles.hooks.releases or bundles.release.idle > 0) and not release_due(
        program, store, bundles, tally, now, remove, poison
    ):
        return False, np.int64(-1)
    if connection < 0:
        return True, np.int64(-1)
    meet(bundles.connections, 0, -1, connection, now, number)
    next_use = np.int64(-1)
    if bundles.next_uses.shape[0] > 0:
        next_use = bundles.next_uses[number]
    if bundles.hooks.notes:
        bundles.hooks.note(bundles.admission, connection, now)
    slot = bundles.place[connection] - 1
    if slot >= 0:
        hit(bundles.eviction, slot, now, next_use)
        slot_used(bundles.release, 0, slot, now)
    return True, next_use


@kernel
def _look(program, store, bundles, tally, table, record, now, number, side):
    """Account for one lookup; return the side that runs the stage."""
    meet(tally, table, bundles.first_table, record, now, number)
    count = bundles.touched[bundles.touched.shape[0] - 1]
    key = (np.int64(table) << np.int64(32)) | record
    known = False
    for i in range(count):
        known = known or bundles.touched[i] == key
    if not known:
        bundles.touched[count] = key
        bundles.touched[bundles.touched.shape[0] - 1] = count + 1
    tally.lookups[table] += 1
    if place_of(program, store, table, record) > 0:
        tally.hits[table] += 1
        if side == _CPU:
            tally.counts[_BOUNCES] += 1
            tally.counts[_CROSSINGS] += 1
        return np.int64(_NIC)
    if side == _NIC:
        tally.counts[_PUNTS] += 1
        tally.counts[_CROSSINGS] += 1
    return np.int64(_CPU)


@kernel
def _release_gone(program, store, bundles, tally, scratch, poison):
    """Take off the NIC the contexts that ceased to exist."""
    for i in range(np.int64(scratch[A.S_GONE])):
        table = np.int64(scratch[A.S_GONE_LIST + 2 * i])
        record = np.int64(scratch[A.S_GONE_LIST + 2 * i + 1])
        if place_of(program, store, table, record) > 0 and not exists(program, store, table, record):
            take_off(program, store, bundles, tally, table, record, poison)
    scratch[A.S_GONE] = _ZERO


@kernel
def _keep_existing(program, store, bundles, tally, vector, poison):
    """Strike from what the packet looked up what does not exist; return whether any of the rest is about to end."""
    last = bundles.touched.shape[0] - 1
    kept, closing = np.int64(0), False
    for i in range(bundles.touched[last]):
        key = bundles.touched[i]
        table, record = key >> np.int64(32), key & np.int64(RECORD)
        row = tally.flow_at[table] + record
        note_flags(bundles.release, vector, tally.flows, row)
        if not exists(program, store, table, record):
            if place_of(program, store, table, record) > 0:
                take_off(program, store, bundles, tally, table, record, poison)
            continue
        base = location(program, store, table, record)
        if bundles.release.ends == 1 and is_closing(
            bundles.release, store.memory, base, table, tally.flows, row
        ):
            closing = True
        bundles.touched[kept] = key
        kept += 1
    bundles.touched[last] = kept
    return closing


@kernel
def _admit(program, store, bundles, tally, connection, now, next_use, victim, insert, remove, admit, poison):
    """Ask the policies about a connection that is not cached; return whether all is sound."""
    last = bundles.touched.shape[0] - 1
    packets = bundles.connections.flows["packets"][connection]
    if admit(bundles.admission, connection, packets, rate(bundles.connections, connection), now) == 0:
        return True
    for i in range(bundles.touched[last]):
        key = bundles.touched[i]
        tally.flows["admitted"][tally.flow_at[key >> np.int64(32)] + (key & np.int64(RECORD))] = 1
    rows, none = bundles.slots.tables, np.int64(-1)
    done = np.int64(0)
    if rows["fresh"][0] - rows["freed"][0] == rows["capacity"][0]:
        done = evict(program, store, bundles, tally, none, connection, now, next_use, victim, remove, poison)
    if done == 0:
        done = make_room(
            program, store, bundles, tally, none, connection, now, next_use, victim, remove, poison
        )
    if done < 0:
        return done != -2
    slot = take_slot(bundles.slots, 0)
    occupy(bundles.slots, 0, slot, connection)
    bundles.place[connection] = slot + 1
    bundles.sizes[slot] = 0
    insert(bundles.eviction, slot, connection, now, next_use)
    slot_taken(bundles.release, 0, slot, now)
    join(program, store, bundles, tally, slot, poison)
    return True


@kernel
def _settle(
    program, store, bundles, tally, connection, vector, now, next_use, victim, insert, remove, admit, poison
):
    """After a packet's last stage: its bundle grows, or ends, or is admitted; return whether all is sound."""
    if bundles.slots.tables["capacity"][0] == 0:
        return True
    last = bundles.touched.shape[0] - 1
    closing = _keep_existing(program, store, bundles, tally, vector, poison)
    if connection < 0:
        return True
    slot = bundles.place[connection] - 1
    if slot >= 0:
        if closing:
            drop(program, store, bundles, tally, slot, RELEASED, remove, poison)
            return True
        forget_gone(bundles, tally, slot)
        done = make_room(
            program, store, bundles, tally, slot, connection, now, next_use, victim, remove, poison
        )
        if done == 0:
            join(program, store, bundles, tally, slot, poison)
        if bundles.sizes[slot] == 0:
            drop(program, store, bundles, tally, slot, ENDED, remove, poison)
        return done != -2
    if closing or bundles.touched[last] == 0:
        return True
    return _admit(
        program, store, bundles, tally, connection, now, next_use, victim, insert, remove, admit, poison
    )


def run_bundles(
    program, store, variables, bundles, tally, vectors, connections, numbers, start, stop, seed, outcomes, scratch, poison, hit, victim, insert, remove, admit
):  # fmt: skip
    """Take packets ``start`` to ``stop`` through both paths.

    Args:
        connections: ``int64`` per packet: its connection's number, −1 without one.
        numbers: ``int64`` per packet: its number among those with a connection.

    Returns:
        as :func:`.engine.run_packets`.
    """
    stages = program.stages.shape[0]
    last = bundles.touched.shape[0] - 1
    for i in range(start, stop):
        if not has_room(store, RESERVE):
            return i
        vector = vectors[i]
        now = np.int64(vector[W_NOW])
        begin(scratch, vector, seed)
        side, flags, stage, next_use = np.int64(_NIC), np.int64(0), np.int64(0), np.int64(-1)
        bundles.touched[last] = 0
        while stage < stages:
            record = find_context(program, store, stage, vector, scratch)
            if record >= 0:
                if flags & LOOKED_UP == 0:
                    flags |= LOOKED_UP
                    sound, next_use = _meet(
                        program, store, bundles, tally, connections[i], now, numbers[i], hit, remove, poison
                    )
                    if not sound:
                        return i
                table = program.stages["table"][stage]
                side = _look(program, store, bundles, tally, table, record, now, np.int64(vector[W_ID]), side)
                if side == _CPU:
                    flags |= CROSSED
            stage = run_stage(program, store, variables, stage, record, vector, scratch)
            if scratch[A.S_GONE] != _ZERO:
                _release_gone(program, store, bundles, tally, scratch, poison)
        if flags & LOOKED_UP and not _settle(
            program, store, bundles, tally, connections[i], vector, now, next_use, victim, insert, remove, admit, poison
        ):  # fmt: skip
            return i
        outcomes.verdict[i] = np.uint8(scratch[A.S_VERDICT])
        outcomes.port[i] = np.uint32(scratch[A.S_PORT])
        outcomes.flags[i] = np.uint8(flags)
        close(tally, scratch, np.int64(vector[W_LENGTH]), side, flags)
    return stop


@cache
def engine() -> Any:
    """The compiled :func:`run_bundles`: one signature, whatever the program, the policies and the traffic."""
    if JIT_DISABLED:
        return run_bundles
    lowered = lower(Program("none"))
    empty = np.zeros(0, np.int64)
    hooks = hooks_of(load_policy("lru"), load_admission("always"))
    release = make_release(ReleaseSettings(), Program("none"), [])
    return compiled(
        run_bundles,
        lowered.arrays,
        make_store(lowered.arrays),
        lowered.arrays.globals,
        make_bundles(lowered.arrays, 0, (empty, empty), empty, 0, hooks, release),
        make_tally(0),
        np.zeros((0, 1), np.uint64),
        empty,
        empty,
        0,
        0,
        np.uint64(0),
        make_outcomes(0),
        np.zeros(A.S_WORDS, np.uint64),
        False,
    )

"""The hybrid in virtual time, for an ideal NIC with instant migration: which side runs each stage, who moves.

A packet starts on the NIC. At a stateful stage it runs where the context is: on the NIC if the context is
there, else on the CPU, to which it crosses (a punt). On the CPU, a later stage whose context the NIC owns runs
there on the way out. A context that a packet looked up on the CPU may be promoted after the stage.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types

from oppcache._jit import JIT_DISABLED, kernel, straight
from oppcache.cache import load_admission, load_policy
from oppcache.cache.contract import ADMISSION_SIGNATURES, EVICTION_SIGNATURES
from oppcache.cache.hooks import Hooks, hooks_of
from oppcache.consistency.migrate import demote, promote
from oppcache.fastpath.slots import Slots, free_slot, make_slots, occupant, occupy, take_slot
from oppcache.opp import arrays as A
from oppcache.opp.ahead import fetch_vector, read_ahead
from oppcache.opp.contexts import has_room, location, make_store
from oppcache.opp.fields import W_ID, W_LENGTH, W_NOW
from oppcache.opp.lower import lower
from oppcache.opp.machine import RESERVE
from oppcache.opp.program import Program
from oppcache.opp.step import begin, find_context, note_gone, run_stage

from .account import CROSSED, LOOKED_UP, enter, leave, make_tally, meet, rate
from .counters import Count
from .release import (
    Release,
    ReleaseSettings,
    first_register,
    is_closing,
    label_of,
    make_release,
    note_flags,
    slot_emptied,
    slot_taken,
    slot_to_release,
    slot_used,
)

# Kernels know plain integers, not enumerations.
_PUNTS, _BOUNCES, _CROSSINGS = int(Count.PUNTS), int(Count.BOUNCES), int(Count.CROSSINGS)
_PROMOTIONS, _DEMOTIONS, _EVICTIONS = int(Count.PROMOTIONS), int(Count.DEMOTIONS), int(Count.EVICTIONS)
_RELEASES, _FAULT = int(Count.RELEASES), int(Count.FAULT)

_ZERO = np.uint64(0)
_EXISTS = np.uint64(A.CONTEXT_EXISTS)
_NIC, _CPU = 0, 1


class Cache(NamedTuple):
    """The NIC's slots and the policies' states; states of table t stand at [t], [t + 1] of the offsets."""

    slots: Slots
    eviction: np.ndarray  # int64 states of all tables
    eviction_at: np.ndarray  # int64[tables + 1]
    admission: np.ndarray
    admission_at: np.ndarray
    candidates: np.ndarray  # int64: scratch for victim
    next_uses: np.ndarray  # int64 per lookup of the run, empty unless the policy needs them
    first_table: int  # of the program's first stateful stage
    hooks: Hooks
    release: Release


class Outcomes(NamedTuple):
    """Per packet of a chunk."""

    verdict: np.ndarray  # uint8
    port: np.ndarray  # uint32
    flags: np.ndarray  # uint8: LOOKED_UP | CROSSED


@kernel
def _admit(
    program, store, cache, tally, table, record, row, now, next_use, victim, insert, remove, admit, poison
):
    """Ask the policies about a context on the CPU and promote it if they agree; return whether all is sound."""
    capacity = cache.slots.tables["capacity"][table]
    if capacity == 0:
        return True
    state = cache.admission[cache.admission_at[table] : cache.admission_at[table + 1]]
    if admit(state, record, tally.flows["packets"][row], rate(tally, row), now) == 0:
        return True
    tally.flows["admitted"][row] = 1
    notes = state
    state = cache.eviction[cache.eviction_at[table] : cache.eviction_at[table + 1]]
    slot = take_slot(cache.slots, table)
    if slot < 0:
        slot = victim(state, cache.candidates, np.int64(0), record, now, next_use)
        if slot == -1:
            return True  # it declines
        loser = occupant(cache.slots, table, slot)
        if loser < 0:
            tally.counts[_FAULT] = slot + 1 if slot >= 0 else slot
            return False
        if cache.hooks.prefers and cache.hooks.prefer(notes, record, loser) == 0:
            return True
        demote(program, store, table, loser, poison)
        remove(state, slot, np.int64(1))
        slot_emptied(cache.release, table, slot)
        tally.counts[_DEMOTIONS] += 1
        tally.counts[_EVICTIONS] += 1
    promote(program, store, table, record, slot, poison)
    occupy(cache.slots, table, slot, record)
    insert(state, slot, record, now, next_use)
    slot_taken(cache.release, table, slot, now)
    tally.counts[_PROMOTIONS] += 1
    if cache.hooks.observes:
        _observe(program, store, cache, table, record, slot, now)
    return True


@kernel
def _observe(program, store, cache, table, record, slot, now):
    """Show the eviction policy what is in a slot."""
    memory, base = store.memory, location(program, store, table, record)
    state = cache.eviction[cache.eviction_at[table] : cache.eviction_at[table + 1]]
    r0 = first_register(program, memory, base, table)
    cache.hooks.observe(state, slot, label_of(memory, base), r0, now)


@kernel
def _vacate(program, store, cache, table, record, remove, evicted, poison):
    """Empty the slot of a context, which ceased to exist (0) or is released (1)."""
    slot = demote(program, store, table, record, poison)
    free_slot(cache.slots, table, slot)
    remove(cache.eviction[cache.eviction_at[table] : cache.eviction_at[table + 1]], slot, evicted)
    slot_emptied(cache.release, table, slot)


@kernel
def _release_due(program, store, cache, tally, table, now, remove, poison):
    """Empty the slots of a table that its policy gives up or that were idle too long; return whether all is sound."""
    state = cache.eviction[cache.eviction_at[table] : cache.eviction_at[table + 1]]
    while True:
        slot = slot_to_release(cache.release, cache.hooks, state, table, now)
        if slot == -1:
            return True
        record = occupant(cache.slots, table, slot)
        if record < 0:
            tally.counts[_FAULT] = slot + 1 if slot >= 0 else slot
            return False
        _vacate(program, store, cache, table, record, remove, np.int64(1), poison)
        tally.counts[_DEMOTIONS] += 1
        tally.counts[_RELEASES] += 1


@kernel
def _show(program, store, cache, tally, table, record, row, vector, now, remove, poison):
    """After a packet was run on a context, show it to those who ask; return whether it may have a slot."""
    note_flags(cache.release, vector, tally.flows, row)
    at = store.tables["base"][table] + record * program.tables["stride"][table]
    slot = np.int64(store.memory[at + A.C_PLACE]) - 1
    base = location(program, store, table, record)
    if store.memory[base + A.C_STATE] & _EXISTS == _ZERO:
        return True
    closing = cache.release.ends == 1 and is_closing(
        cache.release, store.memory, base, table, tally.flows, row
    )
    if slot < 0:
        return not closing
    if closing:
        _vacate(program, store, cache, table, record, remove, np.int64(1), poison)
        tally.counts[_DEMOTIONS] += 1
        tally.counts[_RELEASES] += 1
        return False
    if cache.hooks.observes:
        _observe(program, store, cache, table, record, slot, now)
    return True


@kernel
def _wants_slot(program, store, table, record, was_on_nic, scratch):
    """Whether a context is a candidate for promotion after its stage; one that expired on the NIC goes.

    A context that was on the NIC and was deleted and made anew by the same packet waits for its next lookup.
    """
    at = store.tables["base"][table] + record * program.tables["stride"][table]
    on_nic = store.memory[at + A.C_PLACE] != _ZERO
    base = location(program, store, table, record)
    if store.memory[base + A.C_STATE] & _EXISTS == _ZERO:
        if on_nic:  # noted twice does no harm
            note_gone(table, record, scratch)
        return False
    return not on_nic and not was_on_nic


@kernel
def _release_gone(program, store, cache, scratch, remove, poison):
    for i in range(np.int64(scratch[A.S_GONE])):
        table = np.int64(scratch[A.S_GONE_LIST + 2 * i])
        record = np.int64(scratch[A.S_GONE_LIST + 2 * i + 1])
        at = store.tables["base"][table] + record * program.tables["stride"][table]
        if store.memory[at + A.C_PLACE] != _ZERO:
            base = location(program, store, table, record)
            if store.memory[base + A.C_STATE] & _EXISTS == _ZERO:
                _vacate(program, store, cache, table, record, remove, np.int64(0), poison)
    scratch[A.S_GONE] = _ZERO


@kernel
def _lookup(program, store, cache, tally, table, record, now, number, side, hit):
    """Account for one lookup; return (side that runs the stage, flow row, next use, was on the NIC)."""
    row = meet(tally, table, cache.first_table, record, now, number)
    cursor = tally.cursor[0]
    tally.cursor[0] = cursor + 1
    next_use = np.int64(-1)
    if cache.next_uses.shape[0] > 0:
        next_use = cache.next_uses[cursor]
    tally.lookups[table] += 1
    if cache.hooks.notes and cache.slots.tables["capacity"][table] > 0:
        cache.hooks.note(
            cache.admission[cache.admission_at[table] : cache.admission_at[table + 1]], record, now
        )
    at = store.tables["base"][table] + record * program.tables["stride"][table]
    place = np.int64(store.memory[at + A.C_PLACE])
    if place > 0:
        tally.hits[table] += 1
        hit(cache.eviction[cache.eviction_at[table] : cache.eviction_at[table + 1]], place - 1, now, next_use)
        slot_used(cache.release, table, place - 1, now)
        if side == _CPU:
            tally.counts[_BOUNCES] += 1
            tally.counts[_CROSSINGS] += 1
        return np.int64(_NIC), row, next_use, True
    if side == _NIC:
        tally.counts[_PUNTS] += 1
        tally.counts[_CROSSINGS] += 1
    return np.int64(_CPU), row, next_use, False


@kernel
def close(tally, scratch, length, side, flags):
    """Account for a packet that has gone through all its stages."""
    verdict = np.int64(scratch[A.S_VERDICT])
    if side == _CPU and verdict != A.VERDICT_DROP:
        tally.counts[_CROSSINGS] += 1  # it leaves through the NIC
    enter(tally, length)
    leave(tally, length, verdict, flags)


def run_packets(
    program, store, variables, cache, tally, vectors, start, stop, seed, outcomes, scratch, poison, hit, victim, insert, remove, admit
):  # fmt: skip
    """Take packets ``start`` to ``stop`` through both paths.

    Returns:
        the packet to go on with: ``stop`` when done; earlier if the store must grow first, or if
        ``Count.FAULT`` is set because a policy chose an impossible slot.
    """
    stages = program.stages.shape[0]
    releases = cache.hooks.releases == 1 or cache.release.idle > 0
    shows = cache.hooks.observes == 1 or cache.release.ends == 1
    known = first = start
    for i in range(start, stop):
        if not has_room(store, RESERVE):
            return i
        if i == known:
            first, known = i, read_ahead(program, store, vectors, i, i == start, True, scratch)
        vector = vectors[i]
        fetch_vector(vectors, i)
        now = np.int64(vector[W_NOW])
        begin(scratch, vector, seed)
        scratch[A.S_AHEAD] = np.uint64(i - first + 1)
        side, flags, stage = np.int64(_NIC), np.int64(0), np.int64(0)
        while stage < stages:
            record = find_context(program, store, stage, vector, scratch)
            table, row, next_use, was_on_nic = np.int64(-1), np.int64(0), np.int64(-1), True
            if record >= 0:
                table = program.stages["table"][stage]
                flags |= LOOKED_UP
                if releases and not _release_due(program, store, cache, tally, table, now, remove, poison):
                    return i
                side, row, next_use, was_on_nic = _lookup(
                    program, store, cache, tally, table, record, now, np.int64(vector[W_ID]), side, hit
                )
                if side == _CPU:
                    flags |= CROSSED
            stage = run_stage(program, store, variables, stage, record, vector, scratch)
            wanted = record >= 0 and _wants_slot(program, store, table, record, was_on_nic, scratch)
            if shows and record >= 0:
                fit = _show(program, store, cache, tally, table, record, row, vector, now, remove, poison)
                wanted = wanted and fit
            if scratch[A.S_GONE] != _ZERO:
                _release_gone(program, store, cache, scratch, remove, poison)
            if wanted and not _admit(
                program, store, cache, tally, table, record, row, now, next_use, victim, insert, remove, admit, poison
            ):  # fmt: skip
                return i
        outcomes.verdict[i] = np.uint8(scratch[A.S_VERDICT])
        outcomes.port[i] = np.uint32(scratch[A.S_PORT])
        outcomes.flags[i] = np.uint8(flags)
        close(tally, scratch, np.int64(vector[W_LENGTH]), side, flags)
    return stop


def make_outcomes(packets: int) -> Outcomes:
    """Room for the outcomes of a chunk."""
    return Outcomes(np.zeros(packets, np.uint8), np.zeros(packets, np.uint32), np.zeros(packets, np.uint8))


def compiled(run: Any, *examples: Any) -> Any:
    """A kernel that takes what the examples are, then the policies' functions, compiled for nothing else."""
    policies = [EVICTION_SIGNATURES[name] for name in ("hit", "victim", "insert", "remove")]
    policies.append(ADMISSION_SIGNATURES["admit"])
    arguments = [numba.typeof(value) for value in examples] + [types.FunctionType(p) for p in policies]
    return straight(kernel(run, signature=types.int64(*arguments)))


@cache
def engine() -> Any:
    """The compiled :func:`run_packets`: one signature, whatever the program, the policies and the traffic."""
    if JIT_DISABLED:
        return run_packets
    lowered = lower(Program("none"))
    empty = np.zeros(0, np.int64)
    hooks = hooks_of(load_policy("lru"), load_admission("always"))
    release = make_release(ReleaseSettings(), Program("none"), [])
    return compiled(
        run_packets,
        lowered.arrays,
        make_store(lowered.arrays),
        lowered.arrays.globals,
        Cache(make_slots(0, 0), empty, empty, empty, empty, empty, empty, 0, hooks, release),
        make_tally(0),
        np.zeros((0, 1), np.uint64),
        0,
        0,
        np.uint64(0),
        make_outcomes(0),
        np.zeros(A.S_WORDS, np.uint64),
        False,
    )

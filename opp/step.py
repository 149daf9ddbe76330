"""The one packet step: what a stage does with a packet, in the order that the machine's definition gives.

A driver (the software machine, the hybrid) loops over stages: :func:`find_context` extracts the key and finds
or makes the context's record, the driver decides where the context is, :func:`run_stage` does the rest and
returns the stage to run next. Numbers follow the page "The machine" in the documentation.
"""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel

from . import arrays as A
from .ahead import foreseen, keep_hint, row_of
from .allocation import allocate
from .alu import compute, holds
from .arrays import (
    C_HEADER_WORDS,
    C_PLACE,
    C_STATE,
    CONTEXT_EXISTS,
    STATE_MASK,
)
from .classifier import classify
from .contexts import find_or_insert, has_key, hash_key, location, reset, touch, witness
from .emission import announce, generate
from .fields import W_ID, W_LENGTH, W_NOW
from .keys import extract_key
from .operands import load
from .rewriting import set_word

NO_KEY = -1
STATELESS = -2

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_EVERY = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_EXISTS = np.uint64(CONTEXT_EXISTS)
_STATE = np.uint64(STATE_MASK)
_32 = np.uint64(32)
_DROP = np.uint64(A.VERDICT_DROP)


@kernel
def begin(scratch, vector, seed):
    """Reset the scratch words for a new packet."""
    scratch[A.S_VERDICT] = _ZERO
    scratch[A.S_PORT] = _ZERO
    scratch[A.S_GONE] = _ZERO
    scratch[A.S_CHOICES] = _ZERO
    scratch[A.S_WRITTEN] = _ZERO
    scratch[A.S_ROOT] = vector[W_ID]
    scratch[A.S_INDEX] = _ZERO
    scratch[A.S_MADE] = _ZERO
    scratch[A.S_SEED] = seed
    scratch[A.S_AHEAD] = _ZERO
    scratch[A.S_CHANGED] = _ZERO


@kernel
def find_context(program, store, stage, vector, scratch):
    """Extract a stage's lookup key and find its record, making one at the key's first sight.

    Sets the stage's direction in the scratch words.

    Returns:
        the record's number, :data:`NO_KEY` where the key has an absent part, or :data:`STATELESS`.
    """
    scratch[A.S_DIRECTION] = _ZERO
    table = program.stages["table"][stage]
    if table < 0:
        return np.int64(STATELESS)
    key = program.stages["lookup"][stage]
    row = _read_before(program, stage, key, scratch)
    if row >= 0:
        return _recall(program, store, table, row, scratch)
    direction = extract_key(program, key, vector, scratch, A.S_KEY)
    if direction < 0:
        return np.int64(NO_KEY)
    scratch[A.S_DIRECTION] = np.uint64(direction)
    column, place = program.stages["hint"][stage], np.int64(scratch[A.S_AHEAD]) - 1
    hinted = column >= 0 and place >= 0
    if hinted:
        record = foreseen(store, column, place, scratch)
        if record >= 0 and has_key(program, store, table, record, scratch, A.S_KEY):
            return record
    h = hash_key(scratch, A.S_KEY, program.keys["words"][key])
    record = find_or_insert(program, store, table, scratch, A.S_KEY, h)
    if hinted:
        keep_hint(store, column, place, record, scratch)
    return record


@kernel
def _recall(program, store, table, row, scratch):
    """As :func:`find_context`, by what was read ahead of a key that has not changed."""
    if scratch[row + A.AHEAD_DIRECTION] == _ZERO:
        return np.int64(NO_KEY)
    scratch[A.S_DIRECTION] = scratch[row + A.AHEAD_DIRECTION] - _ONE
    record = np.int64(scratch[row + A.AHEAD_RECORD]) - 1
    if record >= 0 and has_key(program, store, table, record, scratch, row + A.AHEAD_KEY):
        return record
    return find_or_insert(program, store, table, scratch, row + A.AHEAD_KEY, scratch[row + A.AHEAD_HASH])


@kernel
def _read_before(program, stage, key, scratch):
    """Where what was read ahead of this packet's key in a stage stands, -1 if it was not or has changed."""
    slot = program.stages["ahead"][stage]
    if slot < 0:
        return np.int64(-1)
    scratch[A.S_VISITS + slot] += _ONE
    place = np.int64(scratch[A.S_AHEAD]) - 1
    if place < 0 or scratch[A.S_READ + slot] == _ZERO:
        return np.int64(-1)
    if scratch[A.S_CHANGED] & program.keys["reads"][key] != _ZERO:
        return np.int64(-1)
    return row_of(slot, place)


@kernel
def run_stage(program, store, variables, stage, record, vector, scratch):
    """Run one stage on its context, which is wherever :func:`~.contexts.location` says.

    Args:
        program, store: the named tuples of arrays.
        variables: ``uint64`` global variables.
        stage: number in the pipeline.
        record: what :func:`find_context` returned.
        vector: ``uint64`` header vector, changed in place.
        scratch: ``uint64[S_WORDS]``.

    Returns:
        the next stage's number; the number of stages at the end of the pipeline or after a drop.
    """
    base = np.int64(-1)
    if record >= 0:
        base = location(program, store, program.stages["table"][stage], record)
    entry = choose(program, store, variables, stage, record, base, vector, scratch)
    return carry_out(program, store, variables, stage, entry, record, base, vector, scratch)


@kernel
def choose(program, store, variables, stage, record, base, vector, scratch):
    """The first half of a stage: timers, temporaries, conditions and the match, on the context at ``base``.

    A driver that has several copies of a context says which one the stage runs on, and may leave it at this half
    (a NIC that cannot run the entry): doing it again, there or on a copy, gives the same.

    Args:
        base: word in the store's memory at which the context stands, −1 without one.

    Returns:
        the entry that the packet takes, -1 for none.
    """
    table = program.stages["table"][stage]
    now = vector[W_NOW]
    if record >= 0:
        if program.tables["event"][table] >= 0:
            announce(program, store, variables, table, base, vector, scratch)
        now = touch(program, store.memory, table, base, now, program.stages["on_write"][stage] == 0)
    scratch[A.S_NOW] = now
    scratch[A.S_SITE] = np.uint64(stage << 16)
    if program.stages["temporaries"][stage] > 0 or program.stages["conditions"][stage] > 0:
        _prepare(program, store, variables, stage, table, base, vector, scratch)
    else:
        scratch[A.S_CONDITIONS] = _ZERO
        scratch[A.S_PRESENT] = _ZERO
    return match(program, store, stage, record, base, vector, scratch)


@kernel
def carry_out(program, store, variables, stage, entry, record, base, vector, scratch):
    """The second half: count the packet as applied to the context and do the entry; return the next stage."""
    if record >= 0:
        witness(store.memory, base, vector[W_ID])
    if entry < 0:
        return program.stages["next"][stage]
    table = program.stages["table"][stage]
    run_entry(program, store, variables, entry, table, record, base, vector, scratch)
    return _after(program, stage, entry, scratch)


@kernel
def _after(program, stage, entry, scratch):
    """The stage that follows an entry."""
    last = np.int64(program.stages.shape[0])
    if scratch[A.S_VERDICT] == _DROP:
        return last
    goto = program.entries["goto"][entry]
    if goto == A.GOTO_NEXT:
        return program.stages["next"][stage]
    if goto == A.GOTO_END:
        following = stage + 1
        while following < last and program.stages["commit"][following] == 0:
            following += 1
        return following
    return goto


@kernel
def _prepare(program, store, variables, stage, table, base, vector, scratch):
    """Compute the stage's temporaries, then its conditions."""
    scratch[A.S_PRESENT] = _ZERO
    first = program.stages["first_temporary"][stage]
    for i in range(program.stages["temporaries"][stage]):
        o = first + i
        a, a_there = load(program, store, variables, program.operations["a"][o], table, base, vector, scratch)
        b, b_there = load(program, store, variables, program.operations["b"][o], table, base, vector, scratch)
        if a_there and b_there:
            result = compute(program, o, a, b, _ZERO)
            scratch[A.S_TEMPORARIES + program.operations["target"][o]] = result
            scratch[A.S_PRESENT] |= _ONE << np.uint64(i)
    bits = _ZERO
    first = program.stages["first_condition"][stage]
    for i in range(program.stages["conditions"][stage]):
        c = first + i
        a, a_there = load(program, store, variables, program.conditions["a"][c], table, base, vector, scratch)
        b, b_there = load(program, store, variables, program.conditions["b"][c], table, base, vector, scratch)
        if a_there and b_there and holds(program, c, a, b):
            bits |= _ONE << np.uint64(i)
    scratch[A.S_CONDITIONS] = bits


@kernel
def match(program, store, stage, record, base, vector, scratch):
    """Return the entry that the packet takes in a stage: the best match, the default, or -1 for none."""
    none = record == NO_KEY
    state = _ZERO
    if base >= 0:
        state = store.memory[base + C_STATE] & _STATE
    classifier = program.stages["classifier"][stage]
    if classifier >= 0:
        entry = classify(program.matching, classifier, state, none, vector, scratch)
        if entry >= 0 or none:
            return entry
        return program.stages["default"][stage]
    first = program.stages["first_row"][stage]
    for row in range(first, first + program.stages["rows"][stage]):
        if (program.rows["none"][row] == 1) != none:
            continue
        fits = True
        start = program.rows["first_cell"][row]
        for cell in range(start, start + program.rows["cells"][row]):
            kind = program.cells["kind"][cell]
            if kind == A.CELL_WORD:
                value = vector[program.cells["index"][cell]]
            elif kind == A.CELL_STATE:
                value = state
            elif kind == A.CELL_DIRECTION:
                value = scratch[A.S_DIRECTION]
            else:
                value = scratch[A.S_CONDITIONS]
            if value & program.cells["mask"][cell] != program.cells["value"][cell]:
                fits = False
                break
        if fits:
            return program.rows["entry"][row]
    if none:
        return np.int64(-1)
    return program.stages["default"][stage]


@kernel
def run_entry(program, store, variables, entry, table, record, base, vector, scratch):
    """Do an entry: read all operands, then the actions, then the writes, in order."""
    scratch[A.S_SITE] = program.entries["site"][entry]
    program.entries["packets"][entry] += _ONE
    program.entries["bytes"][entry] += vector[W_LENGTH]
    program.entries["last_hit"][entry] = scratch[A.S_NOW]
    _read_operands(program, store, variables, entry, table, base, vector, scratch)
    first = program.entries["first_action"][entry]
    for i in range(program.entries["actions"][entry]):
        _act(program, store, first + i, i, vector, scratch)
    at = program.entries["actions"][entry]
    first = program.entries["first_write"][entry]
    for w in range(first, first + program.entries["writes"][entry]):
        _write(program, store, variables, w, at, table, record, base, vector, scratch)
        at += 2 * program.writes["updates"][w]


@kernel
def _read_operands(program, store, variables, entry, table, base, vector, scratch):
    """Read every operand of the entry (but those of written contexts) before anything changes."""
    slot = np.int64(0)
    first = program.entries["first_action"][entry]
    for a in range(first, first + program.entries["actions"][entry]):
        _keep(program, store, variables, program.actions["operand"][a], slot, table, base, vector, scratch)
        slot += 1
    first = program.entries["first_write"][entry]
    for w in range(first, first + program.entries["writes"][entry]):
        start = program.writes["first_update"][w]
        for u in range(start, start + program.writes["updates"][w]):
            _keep(program, store, variables, program.operations["a"][u], slot, table, base, vector, scratch)
            _keep(
                program, store, variables, program.operations["b"][u], slot + 1, table, base, vector, scratch
            )
            slot += 2


@kernel
def _keep(program, store, variables, operand, slot, table, base, vector, scratch):
    if program.operands["kind"][operand] == A.O_WRITTEN:
        return
    value, there = load(program, store, variables, operand, table, base, vector, scratch)
    scratch[A.S_VALUES + slot] = value
    scratch[A.S_VALUE_PRESENT + slot] = _ONE if there else _ZERO


@kernel
def _act(program, store, action, slot, vector, scratch):
    kind = program.actions["kind"][action]
    value = scratch[A.S_VALUES + slot]
    there = scratch[A.S_VALUE_PRESENT + slot] == _ONE
    if kind == A.A_SET:
        companion = slot + program.actions["companion"][action]
        if there and scratch[A.S_VALUE_PRESENT + companion] == _ONE:
            set_word(program, action, value, vector)
            word = np.uint64(program.actions["target"][action] & 63)
            scratch[A.S_CHANGED] |= _ONE << word if program.actions["mirrors"][action] == 0 else _EVERY
    elif kind == A.A_DEC_TTL:
        scratch[A.S_CHANGED] = _EVERY
        for word in (program.actions["target"][action], program.actions["other"][action]):
            # The word of the header that is not there is 0.
            if vector[word] > _ZERO:
                vector[word] -= _ONE
    elif kind == A.A_OUTPUT:
        if there:
            scratch[A.S_VERDICT] = np.uint64(A.VERDICT_FORWARD)
            scratch[A.S_PORT] = value & program.actions["mask"][action]
    elif kind == A.A_DROP:
        scratch[A.S_VERDICT] = _DROP
    elif kind == A.A_ALLOC:
        scratch[A.S_CHANGED] = _EVERY
        allocate(program, store, action, slot, vector, scratch)
    elif kind == A.A_GENERATE:
        generate(program, action, slot, vector, scratch)
    elif kind == A.A_CONTROLLER:
        scratch[A.S_VERDICT] = np.uint64(A.VERDICT_CONTROLLER)


@kernel
def _write(program, store, variables, w, at, own_table, own_record, own_base, vector, scratch):
    """Apply one write to the context that it names, wherever that is."""
    table = program.writes["table"][w]
    record, base = own_record, own_base
    foreign = program.writes["key"][w] != A.KEY_LOOKED_UP
    if foreign:
        key = program.writes["key"][w]
        if extract_key(program, key, vector, scratch, A.S_FOREIGN_KEY) < 0:
            return
        h = hash_key(scratch, A.S_FOREIGN_KEY, program.keys["words"][key])
        record = find_or_insert(program, store, table, scratch, A.S_FOREIGN_KEY, h)
        base = location(program, store, table, record)
    elif own_record < 0:
        return
    now = scratch[A.S_NOW]
    if base != own_base:
        if program.tables["event"][table] >= 0:
            announce(program, store, variables, table, base, vector, scratch)
        now = touch(program, store.memory, table, base, vector[W_NOW], np.bool_(True))
        _note_written(store.memory, table, record, base, scratch)
        witness(store.memory, base, vector[W_ID])
    else:
        store.memory[base + C_STATE] |= _EXISTS
        store.memory[base + A.C_LAST] = now
    _results(program, store, variables, w, at, table, base, vector, scratch)
    deleted = program.writes["next"][w] == A.NEXT_DELETE
    if deleted:
        reset(program, store.memory, table, base)
        if store.memory[base + C_PLACE] != _ZERO:
            note_gone(table, record, scratch)
    else:
        _set_state_and_timers(program, store.memory, w, base, now)
    _store_results(program, store, variables, w, table, base, deleted, scratch)


@kernel
def _note_written(memory, table, record, base, scratch):
    """Tell the driver that a context of another key is about to be written."""
    count = np.int64(scratch[A.S_WRITTEN])
    if count < A.MAX_WRITTEN:
        at = A.S_WRITTEN_LIST + A.WRITTEN_WORDS * count
        scratch[at], scratch[at + 1] = np.uint64(table), np.uint64(record)
        scratch[at + 2], scratch[at + 3] = memory[base + A.C_VERSION], memory[base + A.C_WITNESS]
        scratch[A.S_WRITTEN] = np.uint64(count + 1)


@kernel
def note_gone(table, record, scratch):
    """Tell the driver that a context on the NIC was deleted."""
    count = np.int64(scratch[A.S_GONE])
    scratch[A.S_GONE_LIST + 2 * count] = np.uint64(table)
    scratch[A.S_GONE_LIST + 2 * count + 1] = np.uint64(record)
    scratch[A.S_GONE] = np.uint64(count + 1)


@kernel
def _results(program, store, variables, w, at, table, base, vector, scratch):
    """Compute every result of a write's updates before any is stored."""
    first = program.writes["first_update"][w]
    for i in range(program.writes["updates"][w]):
        u = first + i
        slot = at + 2 * i
        for side in range(2):
            operand = program.operations["a"][u] if side == 0 else program.operations["b"][u]
            if program.operands["kind"][operand] == A.O_WRITTEN:
                value, there = load(program, store, variables, operand, table, base, vector, scratch)
                scratch[A.S_VALUES + slot + side] = value
                scratch[A.S_VALUE_PRESENT + slot + side] = _ONE if there else _ZERO
        a, b = scratch[A.S_VALUES + slot], scratch[A.S_VALUES + slot + 1]
        target = program.operations["target"][u]
        if program.operations["target_kind"][u] == A.O_GLOBAL:
            old = variables[target]
        else:
            old = store.memory[base + C_HEADER_WORDS + program.tables["key_words"][table] + target]
        scratch[A.S_RESULTS + i] = compute(program, u, a, b, old)
        # An operation with an absent operand has no result.
        present = scratch[A.S_VALUE_PRESENT + slot] & scratch[A.S_VALUE_PRESENT + slot + 1]
        scratch[A.S_RESULT_PRESENT + i] = present


@kernel
def _set_state_and_timers(program, memory, w, base, now):
    if program.writes["next"][w] == A.NEXT_SET:
        memory[base + C_STATE] = _EXISTS | program.writes["state"][w]
    if program.writes["hard_set"][w] == 1:
        timeout = program.writes["hard"][w]
        memory[base + A.C_HARD] = now + timeout if timeout > _ZERO else _ZERO
        rollback = program.writes["hard_to"][w] if timeout > _ZERO else _ZERO
        memory[base + A.C_ROLLBACK] = (memory[base + A.C_ROLLBACK] & _STATE) | (rollback << _32)
    if program.writes["idle_set"][w] == 1:
        timeout = program.writes["idle"][w]
        memory[base + A.C_IDLE] = timeout
        rollback = program.writes["idle_to"][w] if timeout > _ZERO else _ZERO
        memory[base + A.C_ROLLBACK] = (memory[base + A.C_ROLLBACK] >> _32 << _32) | rollback


@kernel
def _store_results(program, store, variables, w, table, base, deleted, scratch):
    first = program.writes["first_update"][w]
    registers = base + C_HEADER_WORDS + program.tables["key_words"][table]
    for i in range(program.writes["updates"][w]):
        if scratch[A.S_RESULT_PRESENT + i] == _ZERO:
            continue
        target = program.operations["target"][first + i]
        if program.operations["target_kind"][first + i] == A.O_GLOBAL:
            variables[target] = scratch[A.S_RESULTS + i]
        elif not deleted:
            store.memory[registers + target] = scratch[A.S_RESULTS + i]

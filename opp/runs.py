"""The loops of the software machine: packets of a batch, the packets that they make, and contexts that expire."""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel

from . import arrays as A
from .ahead import fetch_vector, read_ahead
from .arrays import Store
from .contexts import expire, has_room, location, passed_timer
from .emission import announce, has_queue_room, next_made
from .fields import W_ID, W_NOW
from .program import MAX_RECORDS
from .step import begin, find_context, run_stage

DUE_DTYPE = np.dtype([("deadline", np.uint64), ("table", np.int64), ("record", np.int64)])

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_SWEPT = np.uint64(1 << 63)


@kernel
def _run(program, store, variables, stage, vector, scratch):
    """Take a packet through the pipeline from a stage on."""
    stages = program.stages.shape[0]
    while stage < stages:
        record = find_context(program, store, stage, vector, scratch)
        stage = run_stage(program, store, variables, stage, record, vector, scratch)


@kernel
def run_made(program, store, variables, words, scratch):
    """Run the packets that wait in the queue; False where store or queue must grow first."""
    while scratch[A.S_HEAD] != scratch[A.S_TAIL]:
        if not has_room(store, MAX_RECORDS) or not has_queue_room(scratch):
            return False
        row = next_made(scratch, words)
        vector = scratch[row + A.Q_VECTOR : row + A.Q_VECTOR + words]
        _run(program, store, variables, np.int64(scratch[row + A.Q_STAGE]), vector, scratch)
        scratch[row + A.Q_VERDICT] = scratch[A.S_VERDICT]
        scratch[row + A.Q_PORT] = scratch[A.S_PORT]
    return True


@kernel
def process_packets(program, store, variables, vectors, start, seed, verdicts, ports, scratch):
    """Run packets from ``start`` on, each with all that it makes.

    Returns:
        the packet before which store or queue must grow, or their number; packets may still wait in the queue.
    """
    known, first, roomy = start, start, False
    for i in range(start, vectors.shape[0]):
        if not run_made(program, store, variables, vectors.shape[1], scratch):
            return i
        if i == known:
            first, known = i, read_ahead(program, store, vectors, i, i == start, True, scratch)
            # Where packets make none, there may be room for all that were read.
            roomy = scratch[A.S_NEED] == _ZERO and has_room(store, MAX_RECORDS * A.AHEAD_PACKETS)
        if not roomy and (not has_room(store, MAX_RECORDS) or not has_queue_room(scratch)):
            return i
        vector = vectors[i]
        fetch_vector(vectors, i)
        begin(scratch, vector, seed)
        scratch[A.S_AHEAD] = np.uint64(i - first + 1)
        _run(program, store, variables, np.int64(0), vector, scratch)
        verdicts[i] = np.uint8(scratch[A.S_VERDICT])
        ports[i] = np.uint32(scratch[A.S_PORT])
    run_made(program, store, variables, vectors.shape[1], scratch)
    return vectors.shape[0]


@kernel
def sweep_contexts(program, store, variables, due, start, now, seed, scratch, vector):
    """Expire contexts from ``start`` on if they are still overdue, each with all that it makes.

    Args:
        due: ``DUE_DTYPE`` rows in order.
        vector: a header vector to work in.

    Returns:
        as :func:`process_packets`.
    """
    for i in range(start, due.shape[0]):
        if not run_made(program, store, variables, vector.shape[0], scratch):
            return i
        if not has_room(store, MAX_RECORDS) or not has_queue_room(scratch):
            return i
        table = due["table"][i]
        base = location(program, store, table, due["record"][i])
        timer, rollback = passed_timer(store.memory, base, now)
        if timer == 0:
            continue  # a packet that an earlier one made has used it
        vector[W_ID] = _SWEPT | scratch[A.S_SWEPT]
        vector[W_NOW] = now
        begin(scratch, vector, seed)
        scratch[A.S_SWEPT] += _ONE
        if program.tables["event"][table] >= 0:
            announce(program, store, variables, table, base, vector, scratch)
        expire(program, store.memory, table, base, rollback)
    run_made(program, store, variables, vector.shape[0], scratch)
    return due.shape[0]


@kernel
def _collect_due(program, store, table, now, due, at):
    """Add a table's overdue contexts to ``due`` from ``at`` on; return where the next would stand."""
    for record in range(store.tables["used"][table]):
        base = location(program, store, table, record)
        timer, _ = passed_timer(store.memory, base, now)
        if timer != 0:
            hard = store.memory[base + A.C_HARD]
            idle = store.memory[base + A.C_LAST] + store.memory[base + A.C_IDLE]
            due["deadline"][at] = hard if timer == 1 else idle
            due["table"][at] = table
            due["record"][at] = record
            at += 1
    return at


def overdue(program: A.ProgramArrays, store: Store, now_ns: int) -> np.ndarray:
    """The contexts whose deadline has passed, as ``DUE_DTYPE`` rows in order of deadline, table and record."""
    due = np.zeros(int(store.tables["used"].sum()), DUE_DTYPE)
    at = 0
    with np.errstate(over="ignore"):
        for table in range(len(store.tables)):
            at = int(_collect_due(program, store, table, np.uint64(now_ns), due, at))
    due = due[:at]
    return due[np.lexsort((due["record"], due["table"], due["deadline"]))]


def waiting(scratch: np.ndarray) -> bool:
    """Whether packets that were made are still to run."""
    return bool(scratch[A.S_HEAD] != scratch[A.S_TAIL])

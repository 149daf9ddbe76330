"""Running a program once without a NIC, to learn its lookups beforehand.

Policies that look ahead (Belady's) need each lookup's next use, and some policies' state is sized by the number of
distinct keys. What a program looks up does not depend on where its contexts are, so one run in software tells.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from oppcache._jit import kernel
from oppcache._memory import full
from oppcache.opp import arrays as A
from oppcache.opp.contexts import grow, has_room, make_store
from oppcache.opp.lower import Lowered
from oppcache.opp.machine import RESERVE
from oppcache.opp.step import begin, find_context, run_stage


@dataclass(frozen=True)
class Rehearsal:
    """What a run will look up.

    Attributes:
        next_uses: ``int64`` per lookup in the run's order: number, among the lookups of the same table, of the
            next lookup of the same key; −1 if there is none. Empty if it was not asked for.
        keys: ``int64`` per table: distinct keys looked up.
        first: ``int64`` per packet and one more: number of its first lookup in the run. Empty with ``next_uses``.
    """

    next_uses: np.ndarray
    keys: np.ndarray
    first: np.ndarray


def nothing_rehearsed(tables: int) -> Rehearsal:
    """What is known of a run that was not rehearsed."""
    return Rehearsal(np.zeros(0, np.int64), np.zeros(tables, np.int64), np.zeros(0, np.int64))


@kernel
def _lookups(program, store, variables, vectors, start, seed, scratch, tables, records, at, first):
    """Run packets and note every lookup's table and record from ``at[0]`` on, each packet's first; return where to go on."""
    stages = program.stages.shape[0]
    for i in range(start, vectors.shape[0]):
        if not has_room(store, RESERVE) or at[0] + stages > records.shape[0]:
            return i
        vector = vectors[i]
        first[i] = at[0]
        begin(scratch, vector, seed)
        stage = np.int64(0)
        while stage < stages:
            record = find_context(program, store, stage, vector, scratch)
            if record >= 0:
                tables[at[0]] = np.uint8(program.stages["table"][stage])
                records[at[0]] = np.int32(record)
                at[0] += 1
            stage = run_stage(program, store, variables, stage, record, vector, scratch)
    return vectors.shape[0]


@kernel
def _next_uses(tables, records, first, last_seen, numbers, out):
    """From the end, note for each lookup when its key comes next. ``numbers`` holds each table's lookup count."""
    for i in range(tables.shape[0] - 1, -1, -1):
        table = np.int64(tables[i])
        row = first[table] + np.int64(records[i])
        out[i] = last_seen[row]
        numbers[table] -= 1
        last_seen[row] = numbers[table]


def rehearse(lowered: Lowered, chunks: Iterable[np.ndarray], seed: int, *, next_uses: bool) -> Rehearsal:
    """Run the whole traffic in software.

    Args:
        lowered: the program.
        chunks: header vectors of the run, from its first packet; they are changed.
        seed: of the ``random`` operand.
        next_uses: whether to compute them (13 bytes a lookup, 8 a packet).
    """
    program = lowered.arrays._replace(
        entries=lowered.arrays.entries.copy()
    )  # what it counts, is not the run's
    store = make_store(program, capacity=4 * RESERVE)
    variables, scratch = program.globals.copy(), np.zeros(A.S_WORDS, np.uint64)
    tables, records = np.zeros(1 << 16, np.uint8), np.zeros(1 << 16, np.int32)
    at, firsts = np.zeros(1, np.int64), []
    with np.errstate(all="ignore"):
        for vectors in chunks:
            done, first = 0, np.zeros(len(vectors), np.int64)
            if next_uses:
                firsts.append(first)
            while True:
                done = int(
                    _lookups(
                        program,
                        store,
                        variables,
                        vectors,
                        done,
                        np.uint64(seed),
                        scratch,
                        tables,
                        records,
                        at,
                        first,
                    )
                )
                if done == len(vectors):
                    break
                if not has_room(store, RESERVE):
                    store = grow(program, store, RESERVE)
                if not next_uses:
                    at[0] = 0
                elif at[0] + len(program.stages) > len(records):
                    tables, records = (np.concatenate([a, np.zeros_like(a)]) for a in (tables, records))
    keys = store.tables["used"].astype(np.int64)
    if not next_uses:
        return Rehearsal(np.zeros(0, np.int64), keys, np.zeros(0, np.int64))
    tables, records = tables[: at[0]], records[: at[0]]
    rows = np.concatenate([[0], np.cumsum(keys)]).astype(np.int64)
    numbers = np.bincount(tables, minlength=len(keys)).astype(np.int64)
    out = np.zeros(len(records), np.int64)
    _next_uses(tables, records, rows, full(rows[-1] + 1, -1, np.int64), numbers, out)
    return Rehearsal(out, keys, np.concatenate([*firsts, at]))

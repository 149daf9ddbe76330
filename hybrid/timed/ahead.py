"""Having fetched what the engine knows of the contexts of the next packets, as :mod:`oppcache.opp.ahead` says."""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.consistency.vocabulary import ENTRY_WORDS
from oppcache.opp import arrays as A
from oppcache.opp.ahead import fetch_words, read_ahead, row_of
from oppcache.opp.prefetch import prefetch

from .state import L_WORDS, P_KEEPS, P_ORDERED, SIDE_WORDS

_ZERO = np.uint64(0)


@kernel
def look_ahead(w, vectors, first, anew):
    """As :func:`~oppcache.opp.ahead.read_ahead`, and have the rows of the contexts fetched."""
    known = read_ahead(w.program, w.store, vectors, first, anew, False, w.scratch)
    for stage in range(w.program.stages.shape[0]):
        slot = w.program.stages["ahead"][stage]
        if slot >= 0 and w.scratch[A.S_READ + slot] != _ZERO:
            table = w.program.stages["table"][stage]
            for place in range(known - first):
                record = np.int64(w.scratch[row_of(slot, place) + A.AHEAD_RECORD]) - 1
                if record >= 0:
                    _fetch_rows(w, w.tally.flow_at[table] + record, record)
            for place in range(known - first):
                record = np.int64(w.scratch[row_of(slot, place) + A.AHEAD_RECORD]) - 1
                if record >= 0:
                    _fetch_copy(w, table, record, w.tally.flow_at[table] + record)
    return known


@kernel
def _fetch_rows(w, row, record):
    # A row is as long as a line of the cache, and begins with one where rows are many.
    prefetch(w.rows.marks, row)
    prefetch(w.tally.flows, row)
    if w.knobs[P_ORDERED]:
        prefetch(w.lines, 2 * L_WORDS * record)


@kernel
def fetch_far(w, table, record, row):
    """Have fetched what there is of a context on the CPU, to which a packet is on its way."""
    stride = w.program.tables["stride"][table]
    fetch_words(w.store, w.store.tables["base"][table] + record * stride, stride)
    prefetch(w.rows.cpu, row * ENTRY_WORDS)
    prefetch(w.rows.sides, row * SIDE_WORDS)


@kernel
def fetch_victim(w, table, record, row, slot):
    """Have fetched all of a context that is about to leave the NIC: it was not used for long."""
    prefetch(w.rows.marks, row)
    prefetch(w.rows.nic, row * ENTRY_WORDS)
    fetch_far(w, table, record, row)
    stride = w.program.tables["stride"][table]
    fetch_words(w.store, w.store.tables["nic_base"][table] + slot * stride, stride)


@kernel
def _fetch_copy(w, table, record, row):
    """The NIC's copy of a context, if it has one, and what the eviction policy knows of it."""
    stride = w.program.tables["stride"][table]
    place = np.int64(w.store.memory[w.store.tables["base"][table] + record * stride + A.C_PLACE])
    if place > 0:
        copy = w.store.tables["nic_base"][table] + (place - 1) * stride
        prefetch(w.store.memory, copy)
        prefetch(w.store.memory, copy + A.C_ROLLBACK)
        if w.program.tables["registers"][table] > 0:
            prefetch(w.store.memory, copy + stride - 1)  # behind the key, which is not looked at
        prefetch(
            w.policies.eviction, w.policies.eviction_at[table] + place * w.policies.eviction_words[table]
        )
    if place == 0 or w.knobs[P_KEEPS]:
        prefetch(w.rows.nic, row * ENTRY_WORDS)  # the table will be asked

"""What a packet does besides running on the context that it looks up: it writes others, and meets globals."""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.consistency.vocabulary import CPU, NIC
from oppcache.opp import arrays as A

from .contexts import count_applied, cpu_base
from .log import note_globals, note_write

_ZERO = np.uint64(0)


@kernel
def note_others(w, item, side, stage, entry):
    """Account for what else a packet has touched in the stage that it was just run in."""
    if w.scratch[A.S_WRITTEN] > _ZERO:
        _note_writes(w, item, stage)
    if w.log.shape[0] > 0 and w.plan["globals"][stage]:
        note_globals(w, item, side, stage, entry)


@kernel(forceinline=False)
def _note_writes(w, item, stage):
    """Count a packet as applied to the contexts of other keys that it has written."""
    scratch = w.scratch
    for i in range(np.int64(scratch[A.S_WRITTEN])):
        at = A.S_WRITTEN_LIST + A.WRITTEN_WORDS * i
        table, record = np.int64(scratch[at]), np.int64(scratch[at + 1])
        version, order = np.int64(scratch[at + 2]), np.int64(scratch[at + 3])
        row = w.tally.flow_at[table] + record
        count_applied(w, row, version)
        if w.log.shape[0] > 0:
            there = w.store.memory[cpu_base(w, table, record) + A.C_PLACE] != _ZERO
            note_write(w, item, np.int64(NIC if there else CPU), stage, table, record, version, order)
    scratch[A.S_WRITTEN] = _ZERO

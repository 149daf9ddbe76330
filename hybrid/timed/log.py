"""The log of what happens to contexts, for the history checker: written by kernels, read by an observer.

A row has :data:`~.state.LOG_WORDS` words: kind, side, packet, stage, key (table << 32 | record), version, witness, time.

| kind | side | packet, stage | key | version, witness |
|---|---|---|---|---|
| LOG_APPLY | where it is run | the packet's | the context | of the copy, before it is run |
| LOG_TAKE | which takes a copy into its own place | −1 | the context | of the copy |
| LOG_FREE | NIC: its slot is free | −1 | the context | 0 |
| LOG_CHECKPOINT | CPU: copies all its contexts | −1 | −1 | 0 |
| LOG_CRASH | which crashes | −1 | −1 | 0 |
| LOG_CHOICE | where it is run | the packet's | what an allocation found | 1, 0: found nothing |
| LOG_WRITE | where that context is | the packet's | a context of another key than it looked up | of the copy, before it is written |
| LOG_GLOBALS | where it is run | the packet's, in a stage that has globals whose order matters | entry, −1: none | 0 |

Rows stand in the order in which things happen.
"""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.consistency.vocabulary import CPU, NIC
from oppcache.opp import arrays as A

from .state import STOP_LOG, T_LOGGED, T_NOW, T_STOP

LOG_APPLY, LOG_TAKE, LOG_FREE, LOG_CHECKPOINT, LOG_CRASH, LOG_CHOICE, LOG_WRITE, LOG_GLOBALS = range(8)
_MARGIN = 1024
_NOBODY = np.int64(-1)


@kernel
def _write(w, kind, side, packet, stage, key, base, now):
    """Append a row; ``base``: word of the copy whose version and witness belong to it, −1: none."""
    at = w.clock[T_LOGGED]
    w.clock[T_LOGGED] = at + 1
    if at + _MARGIN > w.log.shape[0]:
        w.clock[T_STOP] |= STOP_LOG
    row = w.log[at]
    row[0], row[1], row[2], row[3], row[4], row[7] = np.int64(kind), side, packet, stage, key, now
    row[5] = row[6] = np.int64(0)
    if base >= 0:
        row[5] = np.int64(w.store.memory[base + A.C_VERSION])
        row[6] = np.int64(w.store.memory[base + A.C_WITNESS])


@kernel(forceinline=False)
def note_application(w, item, stage, row, base):
    """Write that a packet is about to be run on the copy of a context that stands at ``base``."""
    table = w.program.stages["table"][stage]
    on_nic = base >= w.store.tables["nic_base"][table]
    key = (np.int64(table) << np.int64(32)) | (row - w.tally.flow_at[table])
    side = np.int64(NIC) if on_nic else np.int64(CPU)
    _write(w, LOG_APPLY, side, w.pool.items["id"][item], np.int64(stage), key, base, w.clock[T_NOW])


@kernel(forceinline=False)
def note_choices(w, item, side, stage):
    """Write what the allocations of a packet's stage found."""
    for i in range(np.int64(w.scratch[A.S_CHOICES])):
        _write(
            w, LOG_CHOICE, side, w.pool.items["id"][item], np.int64(stage), np.int64(w.scratch[A.S_CHOICE_LIST + 2 * i]),
            np.int64(-1), w.clock[T_NOW],
        )  # fmt: skip
        w.log[w.clock[T_LOGGED] - 1, 5] = np.int64(w.scratch[A.S_CHOICE_LIST + 2 * i + 1])
    w.scratch[A.S_CHOICES] = np.uint64(0)


@kernel(forceinline=False)
def note_context(w, kind, side, table, record, base):
    """Write that a side has taken a copy of a context, or has none any more (``base`` −1)."""
    key = (np.int64(table) << np.int64(32)) | np.int64(record)
    _write(w, kind, side, _NOBODY, _NOBODY, key, base, w.clock[T_NOW])


@kernel(forceinline=False)
def note_event(w, kind, side):
    """Write a crash or a checkpoint."""
    if w.log.shape[0] > 0:
        _write(w, kind, side, _NOBODY, _NOBODY, _NOBODY, np.int64(-1), w.clock[T_NOW])


@kernel(forceinline=False)
def note_write(w, item, side, stage, table, record, version, order):
    """Write that a packet writes a context of another key than it looked up, with what the copy was before."""
    key = (np.int64(table) << np.int64(32)) | record
    packet, now = w.pool.items["id"][item], w.clock[T_NOW]
    _write(w, LOG_WRITE, side, packet, np.int64(stage), key, np.int64(-1), now)
    at = w.clock[T_LOGGED] - 1
    w.log[at, 5], w.log[at, 6] = version, order


@kernel(forceinline=False)
def note_globals(w, item, side, stage, entry):
    """Write that a packet has taken an entry in a stage that reads or writes globals whose order matters."""
    packet, now = w.pool.items["id"][item], w.clock[T_NOW]
    _write(w, LOG_GLOBALS, side, packet, np.int64(stage), np.int64(entry), np.int64(-1), now)

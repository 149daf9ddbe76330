"""Moving one context between a CPU record and a NIC slot, in one step."""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.opp.arrays import C_HEADER_WORDS, C_PLACE

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_POISON = np.uint64(0xDEADDEADDEADDEAD)


@kernel
def promote(program, store, table, record, slot, poison):
    """Move a record's context into an empty NIC slot; the NIC owns it from now on.

    Args:
        poison: overwrite the copy that stays behind, so that any use of it shows (for tests).
    """
    stride = program.tables["stride"][table]
    source = store.tables["base"][table] + record * stride
    target = store.tables["nic_base"][table] + slot * stride
    _copy(store.memory, source, target, stride)
    store.memory[source + C_PLACE] = np.uint64(slot) + _ONE
    store.memory[target + C_PLACE] = np.uint64(record) + _ONE
    if poison:
        _spoil(program, store.memory, table, source)


@kernel
def demote(program, store, table, record, poison):
    """Move a record's context from its NIC slot back to the CPU; return the slot."""
    stride = program.tables["stride"][table]
    target = store.tables["base"][table] + record * stride
    slot = np.int64(store.memory[target + C_PLACE]) - 1
    source = store.tables["nic_base"][table] + slot * stride
    _copy(store.memory, source, target, stride)
    store.memory[target + C_PLACE] = _ZERO
    if poison:
        _spoil(program, store.memory, table, source)
    return slot


@kernel
def _copy(memory, source, target, words):
    for i in range(words):
        memory[target + i] = memory[source + i]


@kernel
def _spoil(program, memory, table, at):
    for i in range(C_PLACE):
        memory[at + i] = _POISON
    first = at + C_HEADER_WORDS + program.tables["key_words"][table]
    for i in range(program.tables["registers"][table]):
        memory[first + i] = _POISON

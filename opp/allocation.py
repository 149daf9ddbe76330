"""Allocation: the first value of a range with which a key is in no context of a table."""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel

from . import arrays as A
from .contexts import find, hash_key, is_free, location
from .fields import W_NOW
from .keys import extract_key
from .rewriting import can_set, set_word

_ZERO = np.uint64(0)
_ONE = np.uint64(1)


@kernel
def allocate(program, store, action, slot, vector, scratch):
    """Do the allocation of an action row, whose operands stand in the four slots before its own.

    Where there is a free value it is set; ``found`` tells, and the choice is noted in the scratch words.
    """
    a = program.actions["target"][action]
    setter = action - 1
    value, found = _ZERO, False
    if can_set(program, setter, vector):
        if extract_key(program, program.allocs["key"][a], vector, scratch, A.S_FOREIGN_KEY) >= 0:
            value, found = _search(program, store, a, slot, vector, scratch)
    if found:
        set_word(program, setter, value, vector)
    elif program.allocs["drop"][a] == 1:
        scratch[A.S_VERDICT] = np.uint64(A.VERDICT_DROP)
    word = program.allocs["found"][a]
    if word >= 0:
        vector[word] = _ONE if found else _ZERO
    count = np.int64(scratch[A.S_CHOICES])
    if count < A.MAX_CHOICES:
        scratch[A.S_CHOICE_LIST + 2 * count] = value
        scratch[A.S_CHOICE_LIST + 2 * count + 1] = _ONE if found else _ZERO
    scratch[A.S_CHOICES] = np.uint64(count + 1)


@kernel
def _search(program, store, a, slot, vector, scratch):
    """(first free value, whether there is one) for the key in the scratch words."""
    for s in range(slot - 4, slot - 1):
        if scratch[A.S_VALUE_PRESENT + s] == _ZERO:
            return _ZERO, False
    mask = program.allocs["mask"][a]
    low, high = scratch[A.S_VALUES + slot - 4] & mask, scratch[A.S_VALUES + slot - 3] & mask
    if low > high:
        return _ZERO, False
    # One less than the size: the size itself may be 2^64.
    span = high - low
    value = scratch[A.S_VALUES + slot - 2] & mask
    if value < low or value > high:
        value = low + value % (span + _ONE)
    table, key = program.allocs["table"][a], program.allocs["key"][a]
    words = program.keys["words"][key]
    at = A.S_FOREIGN_KEY + program.allocs["word"][a]
    shift = program.allocs["shift"][a]
    rest = scratch[at] & ~(mask << shift)
    for i in range(program.allocs["tries"][a]):
        scratch[at] = rest | (value << shift)
        record = find(
            program, store, table, scratch, A.S_FOREIGN_KEY, hash_key(scratch, A.S_FOREIGN_KEY, words)
        )
        if record < 0 or is_free(store.memory, location(program, store, table, record), vector[W_NOW]):
            return value, True
        if np.uint64(i) == span:
            break
        value = low if value == high else value + _ONE
    return _ZERO, False

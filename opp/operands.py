"""Reading operands: constants, words of the packet, registers, globals, temporaries, time, random."""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel

from . import arrays as A
from .arrays import C_HEADER_WORDS, STATE_MASK
from .contexts import splitmix64
from .fields import W_HEADERS, W_ID

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_STATE = np.uint64(STATE_MASK)


@kernel
def load(program, store, variables, operand, table, base, vector, scratch):
    """Read an operand.

    Returns:
        (value, present).
    """
    kind = program.operands["kind"][operand]
    index = program.operands["index"][operand]
    if kind == A.O_CONST:
        return program.operands["value"][operand], True
    if kind == A.O_WORD:
        header = program.operands["header"][operand]
        if header >= 0 and (vector[W_HEADERS] >> np.uint64(header)) & _ONE == _ZERO:
            return _ZERO, False
        return vector[index], True
    if kind == A.O_REGISTER or kind == A.O_WRITTEN:
        if base < 0:
            return _ZERO, False
        return store.memory[base + C_HEADER_WORDS + program.tables["key_words"][table] + index], True
    if kind == A.O_GLOBAL:
        return variables[index], True
    if kind == A.O_TEMPORARY:
        present = (scratch[A.S_PRESENT] >> np.uint64(index)) & _ONE == _ONE
        return scratch[A.S_TEMPORARIES + index], present
    if kind == A.O_NOW:
        return scratch[A.S_NOW] // program.operands["value"][operand], True
    if kind == A.O_DIRECTION:
        return scratch[A.S_DIRECTION], True
    drawn = splitmix64(splitmix64(splitmix64(scratch[A.S_SEED]) ^ vector[W_ID]) ^ scratch[A.S_SITE])
    return drawn & _STATE, True

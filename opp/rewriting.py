"""Setting words of the header vector, with every other word that stands for the same bits."""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel

from .fields import W_HEADERS

_ZERO = np.uint64(0)
_ONE = np.uint64(1)


@kernel
def can_set(program, action, vector):
    """Whether what an action row sets is there in the packet."""
    header = program.actions["header"][action]
    if header >= 0 and (vector[W_HEADERS] >> np.uint64(header)) & _ONE == _ZERO:
        return False
    return program.actions["other"][action] == 0 or vector[program.actions["target"][action]] != _ZERO


@kernel
def set_word(program, action, value, vector):
    """Set an action row's word under its mask, and what follows it, if it is there."""
    if not can_set(program, action, vector):
        return
    word, mask = program.actions["target"][action], program.actions["mask"][action]
    value = value & mask
    vector[word] = (vector[word] & ~mask) | value
    first = program.actions["first_mirror"][action]
    for m in range(first, first + program.actions["mirrors"][action]):
        need = program.mirrors["need"][m]
        if vector[W_HEADERS] & need != need or vector[W_HEADERS] & program.mirrors["unless"][m] != _ZERO:
            continue
        word, mask = program.mirrors["word"][m], program.mirrors["mask"][m]
        follows = (value >> program.mirrors["right"][m]) << program.mirrors["left"][m]
        vector[word] = (vector[word] & ~mask) | (follows & mask)

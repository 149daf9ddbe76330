"""Reading a key from a packet: its packed words, and which direction of a symmetric one the packet is."""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel

from . import arrays as A
from .fields import W_HEADERS

_ZERO = np.uint64(0)


@kernel
def extract_key(program, key, vector, scratch, at):
    """Write a key's packed words to ``scratch[at:]``.

    Returns:
        0 or 1, the direction; -1 where a part is absent.
    """
    headers = program.keys["headers"][key]
    if vector[W_HEADERS] & headers != headers:
        return np.int64(-1)
    temporaries = program.keys["temporaries"][key]
    if temporaries != _ZERO and scratch[A.S_PRESENT] & temporaries != temporaries:
        return np.int64(-1)
    direction = _direction(program, key, vector)
    packed = _ZERO
    first = program.keys["first_part"][key]
    for p in range(first, first + program.keys["parts"][key]):
        kind = program.parts["kind"][p]
        index = program.parts["swapped"][p] if direction == 1 else program.parts["index"][p]
        if kind == A.O_WORD:
            value = vector[index]
        elif kind == A.O_TEMPORARY:
            value = scratch[A.S_TEMPORARIES + index]
        else:
            value = program.parts["value"][p]
        shift = program.parts["shift"][p]
        value = (value & program.parts["mask"][p]) << shift
        packed = value if shift == _ZERO else packed | value  # a word's first part is its lowest
        scratch[at + program.parts["word"][p]] = packed
    return direction


@kernel
def _direction(program, key, vector):
    """1 if the sources, pair by pair, are larger than the destinations, else 0."""
    order = np.int64(0)
    first = program.keys["first_pair"][key]
    for p in range(first, first + program.keys["pairs"][key]):
        source = program.pairs["source"][p]
        destination = program.pairs["destination"][p]
        for i in range(program.pairs["words"][p]):
            a = vector[source + i]
            b = vector[destination + i]
            # Without a branch: which way a packet goes is not to be foreseen.
            order = order if order != 0 else np.int64(a > b) - np.int64(a < b)
    return np.int64(order > 0)

"""Finding the best rule among many: the compiled half of the classifier; :mod:`.tuples` builds what it reads.

Tuple space search (Srinivasan, Suri, Varghese, SIGCOMM 1999): rules whose masks agree on some bits share a
subtable, a hash table on those bits. As in TupleMerge (Daly et al., IEEE/ACM ToN 2019) a subtable leaves out
bits that its rules could tell, so that there are few subtables. Before any is hashed, a few bytes of the header
say which subtables can hold a match at all (the tuple pruning of the first paper), and a subtable is skipped
whose best priority does not beat the match found so far.
"""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel

from . import arrays as A
from .arrays import C_STATE, STATE_MASK

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_BYTE = np.uint64(0xFF)
_STATE = np.uint64(STATE_MASK)
_EVERY = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_START = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_29 = np.uint64(29)
_32 = np.uint64(32)
_58 = np.uint64(58)
# Place of a lone bit: (bit * de Bruijn number) >> 58 is another for each.
_DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)
_PLACE = np.zeros(64, np.int64)
for _i in range(64):
    _PLACE[((0x03F79D71B4CB0A89 << _i) & 0xFFFF_FFFF_FFFF_FFFF) >> 58] = _i
_LOWEST = np.int64(-(2**63))


@kernel
def classify(program, store, stage, no_key, base, vector, scratch):
    """Return the entry of the best rule that matches the packet, or -1."""
    m = program.matching
    c = program.stages["classifier"][stage]
    _gather(m, c, store, no_key, base, vector, scratch)
    left = _EVERY
    first = m.classifiers["first_chunk"][c]
    for i in range(first, first + m.classifiers["chunks"][c]):
        byte = (scratch[A.S_SUBJECTS + m.chunks["subject"][i]] >> m.chunks["shift"][i]) & _BYTE
        left &= m.candidates[i * A.CHUNK_VALUES + np.int64(byte)]
    first_rule = m.classifiers["first_rule"][c]
    best, entry = _LOWEST, np.int64(-1)
    while left != _ZERO:
        bit = left & (~left + _ONE)
        left ^= bit
        subtable = m.classifiers["first_subtable"][c] + _PLACE[(bit * _DE_BRUIJN) >> _58]
        if m.subtables["best"][subtable] <= best:
            continue
        tag = _hash(m, subtable, scratch)
        place = m.subtables["first_bucket"][subtable] + np.int64(
            (tag >> _32) & m.subtables["bucket_mask"][subtable]
        )
        rule = m.buckets[m.classifiers["first_bucket"][c] + place]
        while rule >= 0:
            at = first_rule + rule
            priority = m.rules["priority"][at]
            if priority <= best:
                break
            if m.rules["tag"][at] == tag and _fits(m, c, rule, m.rules["cells"][at], scratch):
                best, entry = priority, m.rules["entry"][at]
                break
            rule = m.rules["next"][at]
    return entry


@kernel
def _gather(m, c, store, no_key, base, vector, scratch):
    """Write what the rules look at to the scratch words."""
    first = m.classifiers["first_subject"][c]
    for i in range(m.classifiers["subjects"][c]):
        kind = m.subjects["kind"][first + i]
        value = _ZERO
        if kind == A.CELL_WORD:
            value = vector[m.subjects["index"][first + i]]
        elif kind == A.CELL_STATE:
            if base >= 0:
                value = store.memory[base + C_STATE] & _STATE
        elif kind == A.CELL_DIRECTION:
            value = scratch[A.S_DIRECTION]
        elif kind == A.CELL_CONDITIONS:
            value = scratch[A.S_CONDITIONS]
        elif no_key:
            value = _ONE
        scratch[A.S_SUBJECTS + i] = value


@kernel
def _hash(m, subtable, scratch):
    """Hash the bits that the subtable's rules share; its builder computes the same."""
    h = _START
    first = subtable * A.MAX_HASH_PARTS
    for i in range(first, first + m.subtables["parts"][subtable]):
        h = (h ^ (scratch[A.S_SUBJECTS + m.parts["subject"][i]] & m.parts["mask"][i])) * _MIX
        h = h ^ (h >> _29)
    return h


@kernel
def _fits(m, c, rule, cells, scratch):
    first = m.classifiers["first_cell"][c] + rule * m.classifiers["stride"][c]
    for i in range(first, first + cells):
        value = scratch[A.S_SUBJECTS + m.cells["subject"][i]] & m.cells["mask"][i]
        if value - m.cells["low"][i] > m.cells["span"][i]:
            return False
    return True

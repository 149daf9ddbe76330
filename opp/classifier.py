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

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_BYTE = np.uint64(0xFF)
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


@kernel
def classify(words, c, state, no_key, vector, scratch):
    """Find the best rule that matches the packet.

    Args:
        words: ``uint64``, the program's classifiers.
        c: word at which the stage's one starts.
        state: ``uint64`` label of the looked-up context, 0 without one.
        no_key: whether the stage's key is absent.

    Returns:
        the rule's entry, or -1.
    """
    _gather(words, c, state, no_key, vector, scratch)
    left = _EVERY
    at = np.int64(words[c + A.K_FIRST_CHUNK])
    table = np.int64(words[c + A.K_CANDIDATES])
    for _ in range(np.int64(words[c + A.K_CHUNKS])):
        byte = (scratch[A.S_SUBJECTS + np.int64(words[at])] >> words[at + 1]) & _BYTE
        left &= words[table + np.int64(byte)]
        at += 2
        table += A.CHUNK_VALUES
    buckets = np.int64(words[c + A.K_BUCKETS])
    rules = np.int64(words[c + A.K_RULES])
    size = np.int64(words[c + A.K_RULE_WORDS])
    best, entry = _ZERO, np.int64(-1)
    while left != _ZERO:
        bit = left & (~left + _ONE)
        left ^= bit
        t = np.int64(words[c + A.K_SUBTABLES]) + _PLACE[(bit * _DE_BRUIJN) >> _58] * A.T_WORDS
        if words[t + A.T_BEST] <= best:
            continue
        tag = _hash(words, t, scratch)
        place = np.int64((tag >> _32) & words[t + A.T_BUCKET_MASK])
        slot = words[buckets + np.int64(words[t + A.T_FIRST_BUCKET]) + place]
        while slot != _ZERO:
            rule = rules + (np.int64(slot) - 1) * size
            if words[rule + A.R_PRIORITY] <= best:
                break
            if words[rule + A.R_TAG] == tag and _fits(words, rule, scratch):
                best, entry = words[rule + A.R_PRIORITY], np.int64(words[rule + A.R_ENTRY])
                break
            slot = words[rule + A.R_NEXT]
    return entry


@kernel
def _gather(words, c, state, no_key, vector, scratch):
    """Write what the rules look at to the scratch words."""
    at = np.int64(words[c + A.K_FIRST_SUBJECT])
    for i in range(np.int64(words[c + A.K_SUBJECTS])):
        kind = np.int64(words[at])
        if kind == A.CELL_WORD:
            value = vector[np.int64(words[at + 1])]
        elif kind == A.CELL_STATE:
            value = state
        elif kind == A.CELL_DIRECTION:
            value = scratch[A.S_DIRECTION]
        elif kind == A.CELL_CONDITIONS:
            value = scratch[A.S_CONDITIONS]
        else:
            value = _ONE if no_key else _ZERO
        scratch[A.S_SUBJECTS + i] = value
        at += 2


@kernel
def _hash(words, t, scratch):
    """Hash the bits that a subtable's rules share; its builder computes the same."""
    h = _START
    at = t + A.T_PART
    for _ in range(np.int64(words[t + A.T_PARTS])):
        h = (h ^ (scratch[A.S_SUBJECTS + np.int64(words[at])] & words[at + 1])) * _MIX
        h = h ^ (h >> _29)
        at += 2
    return h


@kernel
def _fits(words, rule, scratch):
    at = rule + A.R_CELL
    for _ in range(np.int64(words[rule + A.R_CELLS])):
        value = scratch[A.S_SUBJECTS + np.int64(words[at])] & words[at + 1]
        if value - words[at + 2] > words[at + 3]:
            return False
        at += 4
    return True

"""From 64-bit ids to dense ones: numbers from 0 in order of first appearance, and when each is requested next."""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache._memory import full, zeros
from oppcache.opp.prefetch import prefetch

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio
_FIRST_BITS = 16
_GROWTH = 2  # bits
_AHEAD = 16  # requests
_LONG = 1 << 18  # requests of a trace whose ids are worth counting beforehand
_SAMPLE_BITS = 6  # an id is counted if so many bits of its hash are zero


@kernel
def _number(ids, start, dense, table, keys, shift, known, most):
    """Number ids from ``start`` on until ``most`` are known; returns (where it stopped, ids known).

    A cell of the table holds an id's number + 1, 0 where there is none: small cells keep the table in the cache,
    and the ids requested most were mostly seen first, so that theirs lie close together in ``keys``. Cells are asked for
    well before they are read, and the ids that they point to a little later.
    """
    mask = np.int64(table.shape[0] - 1)
    for i in range(start, ids.shape[0]):
        if known >= most:
            return np.int64(i), known
        if i + 2 * _AHEAD < ids.shape[0]:
            prefetch(table, np.int64((ids[i + 2 * _AHEAD] * _GOLDEN) >> shift))
            prefetch(keys, np.int64(table[np.int64((ids[i + _AHEAD] * _GOLDEN) >> shift)]) - 1)
        key = ids[i]
        place = np.int64((key * _GOLDEN) >> shift)
        while True:
            number = table[place]
            if number == 0:
                keys[known] = key
                known += np.int64(1)
                table[place] = known
                dense[i] = known - 1
                break
            if keys[number - 1] == key:
                dense[i] = number - 1
                break
            place = (place + 1) & mask
    return np.int64(ids.shape[0]), known


@kernel
def _fill(keys, known, table, shift):
    mask = np.int64(table.shape[0] - 1)
    for number in range(known):
        place = np.int64((keys[number] * _GOLDEN) >> shift)
        while table[place] != 0:
            place = (place + 1) & mask
        table[place] = number + 1


@kernel
def _count_sampled(ids, table, shift):
    """Count the distinct ids of a sample by their hash, in a table of ids; −1 if they fill more than half of it."""
    mask, found = np.int64(table.shape[0] - 1), np.int64(0)
    for i in range(ids.shape[0]):
        mixed = ids[i] * _GOLDEN
        if mixed >> np.uint64(64 - _SAMPLE_BITS) != np.uint64(0):
            continue
        key = ids[i] + np.uint64(1)  # the last id is not told from an empty cell: an estimate
        place = np.int64((mixed << np.uint64(_SAMPLE_BITS)) >> shift)
        while table[place] != np.uint64(0) and table[place] != key:
            place = (place + 1) & mask
        if table[place] == np.uint64(0):
            table[place] = key
            found += 1
            if 2 * found > table.shape[0]:
                return np.int64(-1)
    return found


def _first_bits(ids: np.ndarray) -> int:
    """Of the table to begin with: that of all ids where there are many, so that it need not grow."""
    if len(ids) < _LONG:
        return _FIRST_BITS
    bits = max((len(ids) >> _SAMPLE_BITS).bit_length() + 1, 10)
    found = int(_count_sampled(ids, np.zeros(1 << bits, np.uint64), np.uint64(64 - bits)))
    return max(_FIRST_BITS, int(1.05 * (max(found, 0) << _SAMPLE_BITS)).bit_length() + 1)


def dense_ids(ids: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the ids in order of their first appearance.

    Args:
        ids: any integers, ``[requests]``.

    Returns:
        the numbers, ``int32[requests]``, and how many there are.
    """
    if ids.dtype not in (np.uint64, np.int64):
        ids = ids.astype(np.int64)
    ids = np.ascontiguousarray(ids).view(np.uint64)
    dense = np.empty(len(ids), np.int32)
    with np.errstate(over="ignore"):
        bits, at, known = _first_bits(ids), 0, 0
        keys, table = np.empty(1 << (bits - 1), np.uint64), zeros(1 << bits, np.int32)
        while True:
            most = 1 << (bits - 1)
            stopped = _number(ids, at, dense, table, keys, np.uint64(64 - bits), np.int64(known), most)
            at, known = map(int, stopped)
            if at == len(ids):
                return dense, known
            bits += _GROWTH
            keys = np.concatenate([keys, np.empty((1 << (bits - 1)) - len(keys), np.uint64)])
            table = zeros(1 << bits, np.int32)
            _fill(keys, known, table, np.uint64(64 - bits))


@kernel
def _fill_next_uses(dense, last, out):
    for i in range(dense.shape[0] - 1, -1, -1):
        key = dense[i]
        out[i] = last[key]
        last[key] = i


def next_uses(dense: np.ndarray, keys: int) -> np.ndarray:
    """For each request the index of the next one for the same id, −1 for none: ``int64[requests]``."""
    out = np.empty(len(dense), np.int64)
    _fill_next_uses(dense, full(keys, -1, np.int64), out)
    return out

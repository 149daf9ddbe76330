"""The misses of LRU for every size of the cache in one pass over a trace, exactly or from a sample.

The stack distance of a request is the number of distinct ids requested since the last request for its id, that one included
(Mattson et al., IBM Systems Journal 9(2), 1970): LRU hits with that many slots or more. It is counted in a Fenwick
tree over the moments of last requests (Olken, 1981), which are numbered anew when they run out.
"""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache._memory import full, zeros

_MIX = np.uint64(0xD6E8FEB86659FD93)
_32 = np.uint64(32)


@kernel
def _add(tree, moment, amount):
    """Change the count at a moment (from 1)."""
    while moment < tree.shape[0]:
        tree[moment] += amount
        moment += moment & -moment


@kernel
def _up_to(tree, moment):
    """Sum of the counts up to a moment."""
    total = np.int64(0)
    while moment > 0:
        total += tree[moment]
        moment -= moment & -moment
    return total


@kernel
def _number_anew(tree, key_at, last, moment):
    """Close the gaps between the moments of last requests; returns the newest moment."""
    kept = np.int64(0)
    for old in range(1, moment + 1):
        key = key_at[old]
        if key >= 0 and last[key] == old:
            kept += 1
            key_at[kept] = key
            last[key] = kept
    tree[:] = 0
    for i in range(1, kept + 1):
        tree[i] += 1
        above = i + (i & -i)
        if above < tree.shape[0]:
            tree[above] += tree[i]
    for i in range(kept + 1, tree.shape[0]):
        # No last request lies there: the partial sums of what lies below.
        above = i + (i & -i)
        if above < tree.shape[0]:
            tree[above] += tree[i]
    return kept


@kernel
def _count(dense, tree, key_at, last, histogram):
    """Fill ``histogram[d]`` with the requests of stack distance d; [0] counts first requests."""
    moment, known = np.int64(0), np.int64(0)
    for i in range(dense.shape[0]):
        key = np.int64(dense[i])
        if moment + 1 == tree.shape[0]:
            moment = _number_anew(tree, key_at, last, moment)
        before = np.int64(last[key])
        if before > 0:
            histogram[known - _up_to(tree, before) + 1] += 1
            _add(tree, before, np.int32(-1))
        else:
            histogram[0] += 1
            known += 1
        moment += 1
        _add(tree, moment, np.int32(1))
        key_at[moment] = key
        last[key] = moment


def distance_counts(dense: np.ndarray, keys: int) -> np.ndarray:
    """Requests by stack distance: ``int64[keys + 1]``, [0] the first requests for an id.

    Args:
        dense: ids from 0, ``int32[requests]``.
        keys: how many there are.
    """
    moments = max(2 * keys, 16) + 1
    histogram = np.zeros(keys + 1, np.int64)
    tree, key_at, last = zeros(moments, np.int32), full(moments, -1, np.int32), zeros(keys, np.int32)
    _count(dense, tree, key_at, last, histogram)
    return histogram


def lru_misses(counts: np.ndarray, capacities: np.ndarray) -> np.ndarray:
    """Misses of LRU with these numbers of slots, from :func:`distance_counts`: ``int64[capacities]``."""
    hits = np.cumsum(counts) - counts[0]
    misses: np.ndarray = counts.sum() - hits[np.minimum(capacities, len(counts) - 1)]
    return misses


def sample_group(ids: np.ndarray, groups: int) -> np.ndarray:
    """Which of ``groups`` equal shares of all 64-bit ids each id belongs to, by a hash: ``int64[ids]``.

    All requests for an id are in one share, so that each share is a small copy of the whole trace (SHARDS: Waldspurger
    et al., FAST 2015).
    """
    with np.errstate(over="ignore"):
        mixed = ids.astype(np.int64).view(np.uint64) * _MIX
        mixed = (mixed ^ (mixed >> _32)) * _MIX
        mixed = mixed ^ (mixed >> _32)
        return (((mixed >> _32) * np.uint64(groups)) >> _32).astype(np.int64)

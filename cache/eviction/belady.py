"""Belady's MIN (IBM Systems Journal 5(2), 1966): evict what is needed again last. The bound, not a policy.

State: a heap of slots, the latest next use first.
"""

from oppcache.cache.heap import heap_drop, heap_first, heap_init, heap_rank, heap_words

NEEDS_NEXT_USE = True
_NEVER = 2**62


def state_size(capacity, keys):
    return heap_words(capacity)


def init(state, capacity):
    heap_init(state, 0, capacity)


def _rank(next_use):
    return -next_use if next_use >= 0 else -_NEVER


def hit(state, slot, now, next_use):
    heap_rank(state, 0, slot, _rank(next_use))


def victim(state, candidates, n, key, now, next_use):
    return heap_first(state, 0, candidates, n)


def insert(state, slot, key, now, next_use):
    heap_rank(state, 0, slot, _rank(next_use))


def remove(state, slot, evicted):
    heap_drop(state, 0, slot)

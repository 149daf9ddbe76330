"""Evict the context whose register R0 is lowest (FlowBlaze, NSDI 2019, lets the program's registers choose).

What R0 means is the program's: with packets counted in it, the smallest flow leaves; with a time in it, the oldest.
Of equals the one whose R0 was seen longest ago leaves. A context not looked at yet counts as 0. State: a heap of slots.
"""

from oppcache.cache.heap import heap_drop, heap_first, heap_init, heap_rank, heap_words


def state_size(capacity, keys):
    return heap_words(capacity)


def init(state, capacity):
    heap_init(state, 0, capacity)


def hit(state, slot, now, next_use):
    pass


def victim(state, candidates, n, key, now, next_use):
    return heap_first(state, 0, candidates, n)


def insert(state, slot, key, now, next_use):
    heap_rank(state, 0, slot, 0)


def observe(state, slot, label, r0, now):
    heap_rank(state, 0, slot, r0)


def remove(state, slot, evicted):
    heap_drop(state, 0, slot)

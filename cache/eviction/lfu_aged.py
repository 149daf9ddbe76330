"""LFU with dynamic ageing (Arlitt et al., Performance Evaluation Review 27(4), 2000: LFU-DA): what was popular once goes in time.

A context ranks by its uses since its insertion plus the age of the cache when it was last used; the age is the rank
of the last victim. Of equal ranks the one used longest ago is evicted. State: the age, then each slot's uses, then a
heap of slots.
"""

from oppcache.cache.heap import heap_drop, heap_first, heap_init, heap_rank, heap_rank_of, heap_words


def state_size(capacity, keys):
    return 1 + capacity + heap_words(capacity)


def init(state, capacity):
    state[0] = 0
    heap_init(state, 1 + capacity, capacity)


def _heap(state):
    return 1 + (state.shape[0] - 4) // 5


def _use(state, slot):
    state[1 + slot] += 1
    heap_rank(state, _heap(state), slot, state[0] + state[1 + slot])


def hit(state, slot, now, next_use):
    _use(state, slot)


def victim(state, candidates, n, key, now, next_use):
    return heap_first(state, _heap(state), candidates, n)


def insert(state, slot, key, now, next_use):
    state[1 + slot] = 0
    _use(state, slot)


def remove(state, slot, evicted):
    if evicted == 1:
        state[0] = max(state[0], heap_rank_of(state, _heap(state), slot))
    heap_drop(state, _heap(state), slot)

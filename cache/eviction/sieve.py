"""SIEVE (Zhang et al., NSDI 2024): a FIFO queue, one visited bit, and a hand that goes from old to new.

The hand passes over visited contexts, clearing their bits, and evicts the first that was not visited; it
stays where it is between evictions, and new contexts enter at the head.
"""

from oppcache.cache.lists import TAIL, list_init, list_words, newer_than, push_head, stamp_of, unlink

# State: the list, then the hand (slot + 1, 0: at the tail), then a visited bit a slot.


def state_size(capacity, keys):
    return list_words(capacity) + 2 + capacity


def init(state, capacity):
    list_init(state)
    state[list_words(capacity)] = 0
    # The functions below learn the capacity from the state's length.


def _hand(state):
    return 3 + 3 * ((state.shape[0] - 5) // 4)


def hit(state, slot, now, next_use):
    state[_hand(state) + 2 + slot] = 1


def victim(state, candidates, n, key, now, next_use):
    hand = _hand(state)
    visited = hand + 2
    if n > 0:
        return _local_victim(state, candidates, n, visited)
    slot = state[hand] - 1
    if slot < 0:
        slot = state[TAIL]
    while state[visited + slot] == 1:
        state[visited + slot] = 0
        slot = newer_than(state, slot)
        if slot < 0:
            slot = state[TAIL]
    state[hand] = slot + 1
    return slot


def _local_victim(state, candidates, n, visited):
    """Among a few candidates: the oldest that was not visited; if all were, clear their bits, the oldest."""
    best = -1
    for i in range(n):
        slot = candidates[i]
        if state[visited + slot] == 0 and (best < 0 or stamp_of(state, slot) < stamp_of(state, best)):
            best = slot
    if best >= 0:
        return best
    best = candidates[0]
    for i in range(n):
        state[visited + candidates[i]] = 0
        if stamp_of(state, candidates[i]) < stamp_of(state, best):
            best = candidates[i]
    return best


def insert(state, slot, key, now, next_use):
    state[_hand(state) + 2 + slot] = 0
    push_head(state, slot)


def remove(state, slot, evicted):
    hand = _hand(state)
    if state[hand] == slot + 1:
        state[hand] = newer_than(state, slot) + 1
    unlink(state, slot)

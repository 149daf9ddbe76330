"""LRU that also gives up what was idle for 15 s, as an offload that ages its entries does.

A slot that no one uses is then free for the next newcomer, which need not wait for an eviction. (Linux's flow tables
drop an idle UDP entry after 30 s, and a NIC's ageing is usually shorter than the software's.) State: a list of slots,
then for each slot when it was used last.
"""

from oppcache.cache.lists import TAIL, list_init, list_words, move_to_head, oldest, push_head, unlink

TIMEOUT = 15_000_000_000  # ns


def state_size(capacity, keys):
    return list_words(capacity) + capacity


def init(state, capacity):
    list_init(state)


def _last(state, slot):
    return 3 + 3 * ((state.shape[0] - 3) // 4) + slot


def hit(state, slot, now, next_use):
    state[_last(state, slot)] = now
    move_to_head(state, slot)


def release(state, now):
    slot = state[TAIL]
    if slot >= 0 and now - state[_last(state, slot)] > TIMEOUT:
        return slot
    return -1


def victim(state, candidates, n, key, now, next_use):
    return oldest(state, candidates, n)


def insert(state, slot, key, now, next_use):
    state[_last(state, slot)] = now
    push_head(state, slot)


def remove(state, slot, evicted):
    unlink(state, slot)

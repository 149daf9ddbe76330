"""LRU that also gives up what was idle for 15 s, as an offload that ages its entries does.

A slot that no one uses is then free for the next newcomer, which need not wait for an eviction. (Linux's flow tables
drop an idle UDP entry after 30 s, and a NIC's ageing is usually shorter than the software's.) State: the slots by their
last use.
"""

from oppcache.cache.ageing import age_begin, age_due, age_end, age_init, age_use, age_words
from oppcache.cache.lists import oldest

TIMEOUT = 15_000_000_000  # ns


def state_size(capacity, keys):
    return age_words(capacity)


def init(state, capacity):
    age_init(state)


def release(state, now):
    return age_due(state, now, TIMEOUT)


def hit(state, slot, now, next_use):
    age_use(state, slot, now)


def victim(state, candidates, n, key, now, next_use):
    return oldest(state, candidates, n)


def insert(state, slot, key, now, next_use):
    age_begin(state, slot, now)


def remove(state, slot, evicted):
    age_end(state, slot)

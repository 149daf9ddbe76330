"""First in, first out: evict what was inserted longest ago."""

from oppcache.cache.lists import list_init, list_words, oldest, push_head, unlink


def state_size(capacity, keys):
    return list_words(capacity)


def init(state, capacity):
    list_init(state)


def hit(state, slot, now, next_use):
    pass


def victim(state, candidates, n, key, now, next_use):
    return oldest(state, candidates, n)


def insert(state, slot, key, now, next_use):
    push_head(state, slot)


def remove(state, slot, evicted):
    unlink(state, slot)

"""2Q (Johnson and Shasha, VLDB 1994): a FIFO for newcomers, an LRU for what comes back after it left the FIFO.

The FIFO takes a quarter of the slots (at least one) and is evicted from while it holds more; keys evicted from it are
remembered, half as many as there are slots. A remembered key goes into the LRU when it comes again.
"""

from oppcache.cache.queues import (
    length_of,
    oldest_among,
    oldest_in,
    put,
    renew,
    set_tag,
    tag_of,
    take,
)
from oppcache.cache.remembering import ghosts_at, keys_at, parts_init, parts_words, recall, remember, returns

_SLOTS, _FIFO_LIMIT, _AT = 0, 1, 2  # words; queues, keys of the slots and ghosts follow
_Q, _FIFO, _LRU = 2, 0, 1


def _keys(state):
    return keys_at(_AT, _Q, state[_SLOTS])


def _ghosts(state):
    return ghosts_at(_AT, _Q, state[_SLOTS])


def _remembered(capacity):
    return max(capacity // 2, 1)


def state_size(capacity, keys):
    return _AT + parts_words(_Q, capacity, 1, _remembered(capacity))


def init(state, capacity):
    state[_SLOTS] = capacity
    state[_FIFO_LIMIT] = max(capacity // 4, 1)
    parts_init(state, _AT, _Q, capacity, 1, _remembered(capacity))


def hit(state, slot, now, next_use):
    if tag_of(state, _AT, _Q, slot) == _LRU:
        renew(state, _AT, _Q, _LRU, slot)


def _choose(state, candidates, n):
    if n == 0:
        first, second = oldest_in(state, _AT, _FIFO), oldest_in(state, _AT, _LRU)
    else:
        first = oldest_among(state, _AT, _Q, candidates, n, _FIFO, _FIFO)
        second = oldest_among(state, _AT, _Q, candidates, n, _LRU, _LRU)
    if second < 0 or (first >= 0 and length_of(state, _AT, _FIFO) > state[_FIFO_LIMIT]):
        return first
    return second


def victim(state, candidates, n, key, now, next_use):
    slot = _choose(state, candidates, n)
    recall(state, _ghosts(state), slot, key)
    return slot


def insert(state, slot, key, now, next_use):
    again = returns(state, _ghosts(state), slot, key)
    queue = _LRU if again else _FIFO
    state[_keys(state) + slot] = key
    set_tag(state, _AT, _Q, slot, queue)
    put(state, _AT, _Q, queue, slot)


def remove(state, slot, evicted):
    queue = tag_of(state, _AT, _Q, slot)
    take(state, _AT, _Q, queue, slot)
    if evicted == 1 and queue == _FIFO:
        remember(state, _ghosts(state), 1, 0, state[_keys(state) + slot], 0)

"""Admit a flow that surely sent k packets by the SpaceSaving summary: ``{spacesaving: k}``, eight unless given.

The summary (Metwally, Agrawal, El Abbadi, ICDT 2005) has a counter a slot. A flow without one takes the smallest counter and
its count, which is from then on the flow's possible error: it surely sent its count less its error.

State: k, number of counters, counters used, a heap of counters by count, each counter's key and error, a map of keys.
"""

from oppcache.cache.heap import heap_first, heap_init, heap_rank, heap_rank_of, heap_words
from oppcache.cache.keymap import map_drop, map_get, map_init, map_set, map_words

DEFAULT = 8
_LEAST, _SIZE, _USED, _HEAP = 0, 1, 2, 3


def state_size(capacity, keys):
    return _HEAP + heap_words(capacity) + 2 * capacity + map_words(capacity)


def init(state, capacity):
    state[_LEAST] = DEFAULT
    state[_SIZE] = capacity
    heap_init(state, _HEAP, capacity)
    map_init(state, _map(state), capacity)


def configure(state, value):
    state[_LEAST] = value


def _keys(state):
    return _HEAP + heap_words(state[_SIZE])


def _errors(state):
    return _keys(state) + state[_SIZE]


def _map(state):
    return _errors(state) + state[_SIZE]


def admit(state, key, packets, rate, now):
    counter, count = map_get(state, _map(state), key), 0
    if counter >= 0:
        count = heap_rank_of(state, _HEAP, counter)
    else:
        if state[_USED] < state[_SIZE]:
            counter = state[_USED]
            state[_USED] = counter + 1
        else:
            counter = heap_first(state, _HEAP, state, 0)
            count = heap_rank_of(state, _HEAP, counter)
            map_drop(state, _map(state), state[_keys(state) + counter])
        state[_keys(state) + counter] = key
        state[_errors(state) + counter] = count
        map_set(state, _map(state), key, counter)
    heap_rank(state, _HEAP, counter, count + 1)
    return 1 if count + 1 - state[_errors(state) + counter] >= state[_LEAST] else 0

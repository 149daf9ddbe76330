"""S3-FIFO (Yang et al., SOSP 2023): a small FIFO for newcomers, a main FIFO with reinsertion, and ghosts.

The small queue takes a tenth of the slots (at least one). Its oldest goes to the main queue if it had two hits or more,
else it is evicted and remembered; nine tenths as many keys as there are slots are. A remembered key goes to the main
queue when it comes again. The main queue is evicted from while it is over its size: its oldest goes round again with one hit less
(of three at most), or is evicted if it has none.

As in libCacheSim, newcomers go to the main queue while the small one is full and nothing was evicted yet.
"""

from oppcache.cache.queues import (
    length_of,
    oldest_among,
    oldest_in,
    put,
    set_tag,
    tag_of,
    take,
)
from oppcache.cache.remembering import ghosts_at, keys_at, parts_init, parts_words, recall, remember, returns

_SLOTS, _SMALL_LIMIT, _EVICTED, _AT = 0, 1, 2, 3  # words; queues, keys of the slots and ghosts follow
_Q, _SMALL, _MAIN = 2, 0, 1
_IN_MAIN = 2**40  # a tag is the hits, plus this in the main queue
_WARM, _MOST = 2, 3


def _keys(state):
    return keys_at(_AT, _Q, state[_SLOTS])


def _ghosts(state):
    return ghosts_at(_AT, _Q, state[_SLOTS])


def _remembered(capacity):
    return max(int(capacity * 0.9), 1)


def state_size(capacity, keys):
    return _AT + parts_words(_Q, capacity, 1, _remembered(capacity))


def init(state, capacity):
    state[_SLOTS] = capacity
    state[_SMALL_LIMIT] = max(int(capacity * 0.1), 1)
    state[_EVICTED] = 0
    parts_init(state, _AT, _Q, capacity, 1, _remembered(capacity))


def hit(state, slot, now, next_use):
    set_tag(state, _AT, _Q, slot, tag_of(state, _AT, _Q, slot) + 1)


def _enter_main(state, slot, hits):
    set_tag(state, _AT, _Q, slot, _IN_MAIN + hits)
    put(state, _AT, _Q, _MAIN, slot)


def _main_is_due(state):
    main = state[_SLOTS] - state[_SMALL_LIMIT]
    return length_of(state, _AT, _MAIN) > main or length_of(state, _AT, _SMALL) == 0


def _from_main(state):
    """The oldest of the main queue without a hit, the others going round; the queue is not empty."""
    while True:
        slot = oldest_in(state, _AT, _MAIN)
        hits = tag_of(state, _AT, _Q, slot) - _IN_MAIN
        if hits == 0:
            return slot
        take(state, _AT, _Q, _MAIN, slot)
        _enter_main(state, slot, min(hits, _MOST) - 1)


def _from_all(state):
    while not _main_is_due(state):
        slot = oldest_in(state, _AT, _SMALL)
        while slot >= 0:
            if tag_of(state, _AT, _Q, slot) < _WARM:
                return slot
            take(state, _AT, _Q, _SMALL, slot)
            _enter_main(state, slot, 0)
            slot = oldest_in(state, _AT, _SMALL)
    return _from_main(state)


def _from_candidates(state, candidates, n):
    """The same choice among a few, each queue keeping its own order."""
    in_small = oldest_among(state, _AT, _Q, candidates, n, 0, _IN_MAIN - 1) >= 0
    in_main = oldest_among(state, _AT, _Q, candidates, n, _IN_MAIN, 2 * _IN_MAIN) >= 0
    if in_small and not (in_main and _main_is_due(state)):
        slot = oldest_among(state, _AT, _Q, candidates, n, 0, _WARM - 1)
        if slot >= 0:
            return slot
        for i in range(n):
            slot = candidates[i]
            if tag_of(state, _AT, _Q, slot) < _IN_MAIN:
                take(state, _AT, _Q, _SMALL, slot)
                _enter_main(state, slot, 0)
    while True:
        slot = oldest_among(state, _AT, _Q, candidates, n, _IN_MAIN, _IN_MAIN)
        if slot >= 0:
            return slot
        for i in range(n):
            hits = tag_of(state, _AT, _Q, candidates[i]) - _IN_MAIN
            if hits > 0:
                set_tag(state, _AT, _Q, candidates[i], _IN_MAIN + min(hits, _MOST) - 1)


def victim(state, candidates, n, key, now, next_use):
    state[_EVICTED] = 1
    slot = _from_all(state) if n == 0 else _from_candidates(state, candidates, n)
    recall(state, _ghosts(state), slot, key)
    return slot


def insert(state, slot, key, now, next_use):
    again = returns(state, _ghosts(state), slot, key)
    state[_keys(state) + slot] = key
    if again or (state[_EVICTED] == 0 and length_of(state, _AT, _SMALL) >= state[_SMALL_LIMIT]):
        _enter_main(state, slot, 0)
    else:
        set_tag(state, _AT, _Q, slot, 0)
        put(state, _AT, _Q, _SMALL, slot)


def remove(state, slot, evicted):
    if tag_of(state, _AT, _Q, slot) >= _IN_MAIN:
        take(state, _AT, _Q, _MAIN, slot)
        return
    take(state, _AT, _Q, _SMALL, slot)
    if evicted == 1:
        remember(state, _ghosts(state), 1, 0, state[_keys(state) + slot], 0)

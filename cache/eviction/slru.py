"""Segmented LRU (Karedla, Love, Wherry, IEEE Computer 27(3), 1994): four LRU queues, a hit moves a context one up.

Each segment holds a quarter of the slots. A newcomer enters the lowest segment that has room, else the lowest of all.
A segment that a hit overfills gives its oldest down to the next lower one. The victim is the oldest of the
lowest segment that has any.

With a capacity that four does not divide, the lowest segment also takes the remainder once all are full; a hit
there that sends another context down is followed by giving up the lowest segment's oldest ones (:func:`release`), as
libCacheSim does it. Below four slots there is a segment a slot.
"""

from oppcache.cache.queues import (
    length_of,
    oldest_among,
    oldest_in,
    put,
    queue_words,
    queues_init,
    renew,
    set_tag,
    tag_of,
    take,
)

_SEGMENTS, _LIMIT, _OVERFULL, _AT = 0, 1, 2, 3  # words; the queues follow
_Q = 4


def state_size(capacity, keys):
    return _AT + queue_words(_Q, capacity)


def init(state, capacity):
    state[_SEGMENTS] = min(_Q, capacity)
    state[_LIMIT] = capacity // state[_SEGMENTS]
    queues_init(state, _AT, _Q)


def _enter(state, segment, slot):
    set_tag(state, _AT, _Q, slot, segment)
    put(state, _AT, _Q, segment, slot)


def hit(state, slot, now, next_use):
    segment = tag_of(state, _AT, _Q, slot)
    if segment == state[_SEGMENTS] - 1:
        renew(state, _AT, _Q, segment, slot)
        return
    take(state, _AT, _Q, segment, slot)
    _enter(state, segment + 1, slot)
    if length_of(state, _AT, segment + 1) > state[_LIMIT]:
        down = oldest_in(state, _AT, segment + 1)
        take(state, _AT, _Q, segment + 1, down)
        _enter(state, segment, down)
        if segment == 0 and length_of(state, _AT, 0) > state[_LIMIT]:
            state[_OVERFULL] = 1


def release(state, now):
    if state[_OVERFULL] == 1:
        if length_of(state, _AT, 0) > state[_LIMIT]:
            return oldest_in(state, _AT, 0)
        state[_OVERFULL] = 0
    return -1


def victim(state, candidates, n, key, now, next_use):
    for segment in range(_Q):
        if n == 0:
            slot = oldest_in(state, _AT, segment)
        else:
            slot = oldest_among(state, _AT, _Q, candidates, n, segment, segment)
        if slot >= 0:
            return slot
    return -1


def insert(state, slot, key, now, next_use):
    segment = 0
    while segment < state[_SEGMENTS] and length_of(state, _AT, segment) >= state[_LIMIT]:
        segment += 1
    _enter(state, segment if segment < state[_SEGMENTS] else 0, slot)


def remove(state, slot, evicted):
    take(state, _AT, _Q, tag_of(state, _AT, _Q, slot), slot)

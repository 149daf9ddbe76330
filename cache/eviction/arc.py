"""ARC (Megiddo and Modha, FAST 2003): two LRU queues, seen once and seen more, and ghosts of both that shift their sizes.

The names are the paper's: T1 and T2 are the queues, B1 and B2 their ghosts, p the size that T1 should have (a
real number, as in most implementations; the paper leaves that open).
"""

import numpy as np

from oppcache.cache.ghosts import (
    ghost_drop,
    ghost_drop_oldest,
    ghost_find,
    ghost_queue,
    ghosts_in,
    promise,
    promised,
)
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
from oppcache.cache.remembering import ghosts_at, keys_at, parts_init, parts_words, remember

_SLOTS, _P, _FORGET, _AT = 0, 1, 2, 3  # words; queues, keys of the slots and ghosts follow
_Q, _T1, _T2 = 2, 0, 1
_B1, _B2 = 0, 1


def _keys(state):
    return keys_at(_AT, _Q, state[_SLOTS])


def _ghosts(state):
    return ghosts_at(_AT, _Q, state[_SLOTS])


def state_size(capacity, keys):
    return _AT + parts_words(_Q, capacity, 2, capacity)


def init(state, capacity):
    state[_SLOTS] = capacity
    state.view(np.float64)[_P] = 0.0
    state[_FORGET] = -1  # the slot whose key is not to become a ghost
    parts_init(state, _AT, _Q, capacity, 2, capacity)


def hit(state, slot, now, next_use):
    if tag_of(state, _AT, _Q, slot) == _T2:
        renew(state, _AT, _Q, _T2, slot)
    else:
        take(state, _AT, _Q, _T1, slot)
        set_tag(state, _AT, _Q, slot, _T2)
        put(state, _AT, _Q, _T2, slot)


def _recall(state, ghost):
    """A ghost comes again: move p towards its queue and forget it; returns the queue of ghosts it was in."""
    ghosts, p = _ghosts(state), state.view(np.float64)
    b1, b2 = ghosts_in(state, ghosts, _B1), ghosts_in(state, ghosts, _B2)
    where = ghost_queue(state, ghosts, 2, ghost)
    if where == _B1:
        p[_P] = min(p[_P] + max(b2 / b1, 1.0), float(state[_SLOTS]))
    else:
        p[_P] = max(p[_P] - max(b1 / b2, 1.0), 0.0)
    ghost_drop(state, ghosts, 2, ghost)
    return where


def _replace(state, candidates, n, from_b2):
    if n == 0:
        first, second = oldest_in(state, _AT, _T1), oldest_in(state, _AT, _T2)
    else:
        first = oldest_among(state, _AT, _Q, candidates, n, _T1, _T1)
        second = oldest_among(state, _AT, _Q, candidates, n, _T2, _T2)
    t1, p = length_of(state, _AT, _T1), state.view(np.float64)[_P]
    if second < 0 or (first >= 0 and (t1 > p or (t1 == p and from_b2))):
        return first
    return second


def victim(state, candidates, n, key, now, next_use):
    ghosts = _ghosts(state)
    state[_FORGET] = -1
    ghost = ghost_find(state, ghosts, 2, key)
    if ghost >= 0:
        where = _recall(state, ghost)
        slot = _replace(state, candidates, n, where == _B2)
        promise(state, ghosts, 2, slot, key)
        return slot
    t1, t2 = length_of(state, _AT, _T1), length_of(state, _AT, _T2)
    b1, b2 = ghosts_in(state, ghosts, _B1), ghosts_in(state, ghosts, _B2)
    alone = False
    if t1 + b1 >= state[_SLOTS]:
        alone = b1 == 0
        ghost_drop_oldest(state, ghosts, 2, _B1)
    elif t1 + t2 + b1 + b2 >= 2 * state[_SLOTS]:
        ghost_drop_oldest(state, ghosts, 2, _B2)
    slot = _replace(state, candidates, n, False)
    if alone:
        if n == 0:
            slot = oldest_in(state, _AT, _T1)
        state[_FORGET] = slot
    promise(state, ghosts, 2, slot, -1)
    return slot


def insert(state, slot, key, now, next_use):
    ghosts = _ghosts(state)
    queue = _T2 if promised(state, ghosts, 2, slot, key) else _T1
    ghost = ghost_find(state, ghosts, 2, key)
    if ghost >= 0:
        _recall(state, ghost)
        queue = _T2
    state[_keys(state) + slot] = key
    set_tag(state, _AT, _Q, slot, queue)
    put(state, _AT, _Q, queue, slot)


def remove(state, slot, evicted):
    queue = tag_of(state, _AT, _Q, slot)
    take(state, _AT, _Q, queue, slot)
    if evicted == 0 or state[_FORGET] == slot:
        return
    ghosts = _ghosts(state)
    oldest_of = _B2 if ghosts_in(state, ghosts, _B2) > 0 else _B1
    remember(state, ghosts, 2, queue, state[_keys(state) + slot], oldest_of)

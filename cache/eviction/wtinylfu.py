"""W-TinyLFU (Einziger, Friedman, Manes, ACM TOS 13(4), 2017): a small LRU window, and a main cache entered only on merit.

The window takes a hundredth of the slots (at least one); the main cache is a segmented LRU, a fifth probation and four
fifths protected. When all is full, the window's oldest stands against the main cache's victim: the one that a
sketch has seen more often stays, in doubt the one in the main cache.

Its tuning is libCacheSim's: the sketch counts insertions, hits in the main cache and each context that was judged, and is
halved when the main cache had 32 hits a slot. (libCacheSim goes on evicting while the window wins, which leaves
slots empty; here a newcomer costs one context.)
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
from oppcache.cache.sketch import MOST, sketch_count, sketch_init, sketch_tick, sketch_use, sketch_words

# Words: slots, limits, who won last and how often in a row; queues, keys of the slots and the sketch follow.
_SLOTS, _WINDOW_LIMIT, _PROBATION_LIMIT, _PROTECTED_LIMIT, _WINNER, _WON, _AT = 0, 1, 2, 3, 4, 5, 6
_Q, _WINDOW, _PROBATION, _PROTECTED = 3, 0, 1, 2
_SAMPLE, _COUNTERS = 32, 14  # a slot of the main cache
_MOST_WINS = 64


def _keys(state):
    return _AT + queue_words(_Q, state[_SLOTS])


def _sketch(state):
    return _keys(state) + state[_SLOTS]


def state_size(capacity, keys):
    return _AT + queue_words(_Q, capacity) + capacity + sketch_words(_COUNTERS * capacity)


def init(state, capacity):
    state[_SLOTS] = capacity
    state[_WINDOW_LIMIT] = max(capacity // 100, 1)
    main = capacity - state[_WINDOW_LIMIT]
    state[_PROBATION_LIMIT] = main // 5
    state[_WINNER] = -1
    state[_PROTECTED_LIMIT] = main * 4 // 5
    queues_init(state, _AT, _Q)
    sketch_init(state, _sketch(state), _COUNTERS * max(main, 1), _SAMPLE * max(main, 1))


def _key_of(state, slot):
    return state[_keys(state) + slot]


def _enter(state, queue, slot):
    set_tag(state, _AT, _Q, slot, queue)
    put(state, _AT, _Q, queue, slot)


def _enter_main(state, slot):
    room = length_of(state, _AT, _PROBATION) < state[_PROBATION_LIMIT]
    if room or length_of(state, _AT, _PROTECTED) >= state[_PROTECTED_LIMIT]:
        _enter(state, _PROBATION, slot)
    else:
        _enter(state, _PROTECTED, slot)


def hit(state, slot, now, next_use):
    if state[_WINNER] == slot:
        state[_WINNER] = -1
    queue = tag_of(state, _AT, _Q, slot)
    if queue == _PROBATION:
        take(state, _AT, _Q, _PROBATION, slot)
        _enter(state, _PROTECTED, slot)
        if length_of(state, _AT, _PROTECTED) > state[_PROTECTED_LIMIT]:
            down = oldest_in(state, _AT, _PROTECTED)
            take(state, _AT, _Q, _PROTECTED, down)
            _enter(state, _PROBATION, down)
    else:
        renew(state, _AT, _Q, queue, slot)
    if queue != _WINDOW:
        sketch = _sketch(state)
        sketch_use(state, sketch, _key_of(state, slot), MOST)
        sketch_tick(state, sketch)


def _oldest(state, candidates, n, queue):
    if n == 0:
        return oldest_in(state, _AT, queue)
    return oldest_among(state, _AT, _Q, candidates, n, queue, queue)


def victim(state, candidates, n, key, now, next_use):
    newcomer = _oldest(state, candidates, n, _WINDOW)
    resident = _oldest(state, candidates, n, _PROBATION)
    if resident < 0:
        resident = _oldest(state, candidates, n, _PROTECTED)
    if newcomer < 0:
        return resident
    if resident < 0:
        return newcomer
    if length_of(state, _AT, _WINDOW) < state[_WINDOW_LIMIT]:
        return resident  # the window has room: it need not send anything on
    sketch, key = _sketch(state), _key_of(state, newcomer)
    wins = sketch_count(state, sketch, key) > sketch_count(state, sketch, _key_of(state, resident))
    sketch_use(state, sketch, key, MOST)
    state[_WON] = state[_WON] + 1 if state[_WINNER] == resident else 1
    state[_WINNER] = resident
    if not wins and state[_WON] <= _MOST_WINS:
        return newcomer
    state[_WINNER] = -1
    # The newcomer enters in the resident's place; remove() finds the resident where it stands.
    take(state, _AT, _Q, _WINDOW, newcomer)
    _enter(state, _PROBATION, newcomer)
    return resident


def insert(state, slot, key, now, next_use):
    sketch_use(state, _sketch(state), key, MOST)
    state[_keys(state) + slot] = key
    if length_of(state, _AT, _WINDOW) >= state[_WINDOW_LIMIT]:
        # Nothing had to go: the main cache has room for the window's oldest.
        older = oldest_in(state, _AT, _WINDOW)
        take(state, _AT, _Q, _WINDOW, older)
        _enter_main(state, older)
    _enter(state, _WINDOW, slot)


def remove(state, slot, evicted):
    if state[_WINNER] == slot:
        state[_WINNER] = -1
    take(state, _AT, _Q, tag_of(state, _AT, _Q, slot), slot)

"""Least frequently used: evict the context with the fewest hits since its insertion; of equals, by age at that count.

Counts begin at 1 with every insertion and are forgotten with the eviction. O(1): contexts of one count stand in a
list (oldest at that count first), the lists of all counts that occur in another (Shah, Mitra, Matani 2010).

State: number of slots, the lowest list, a stack of unused lists, a clock; per slot its newer and older neighbour,
its list and the clock when it came to that list; per list the count, its oldest and newest slot, the next lower
and the next higher list. −1 means none.
"""

_SLOTS, _LOWEST, _UNUSED, _CLOCK, _HEADER = 0, 1, 2, 3, 4
_NEWER, _OLDER, _LIST, _STAMP = 0, 1, 2, 3
_COUNT, _OLDEST, _NEWEST, _LOWER, _HIGHER = 0, 1, 2, 3, 4


def state_size(capacity, keys):
    return _HEADER + 4 * capacity + 5 * (capacity + 1)


def init(state, capacity):
    state[_SLOTS] = capacity
    state[_LOWEST] = -1
    state[_UNUSED] = 0
    for i in range(capacity + 1):
        state[_list(state, i) + _HIGHER] = i + 1 if i < capacity else -1


def _slot(slot):
    return _HEADER + 4 * slot


def _list(state, number):
    return _HEADER + 4 * state[_SLOTS] + 5 * number


def _make_list(state, count, lower):
    """Make the list of a count, behind the next lower list (−1: as the lowest)."""
    made = state[_UNUSED]
    me = _list(state, made)
    state[_UNUSED] = state[me + _HIGHER]
    higher = state[_LOWEST] if lower < 0 else state[_list(state, lower) + _HIGHER]
    state[me + _COUNT] = count
    state[me + _OLDEST] = -1
    state[me + _NEWEST] = -1
    state[me + _LOWER] = lower
    state[me + _HIGHER] = higher
    if lower < 0:
        state[_LOWEST] = made
    else:
        state[_list(state, lower) + _HIGHER] = made
    if higher >= 0:
        state[_list(state, higher) + _LOWER] = made
    return made


def _drop_list(state, number):
    me = _list(state, number)
    lower, higher = state[me + _LOWER], state[me + _HIGHER]
    if lower < 0:
        state[_LOWEST] = higher
    else:
        state[_list(state, lower) + _HIGHER] = higher
    if higher >= 0:
        state[_list(state, higher) + _LOWER] = lower
    state[me + _HIGHER] = state[_UNUSED]
    state[_UNUSED] = number


def _append(state, number, slot):
    me, home = _slot(slot), _list(state, number)
    newest = state[home + _NEWEST]
    state[_CLOCK] += 1
    state[me + _NEWER] = -1
    state[me + _OLDER] = newest
    state[me + _LIST] = number
    state[me + _STAMP] = state[_CLOCK]
    if newest >= 0:
        state[_slot(newest) + _NEWER] = slot
    else:
        state[home + _OLDEST] = slot
    state[home + _NEWEST] = slot


def _unlink(state, slot):
    """Take a slot out of its list; the list stays, even if it is empty now."""
    me = _slot(slot)
    home = _list(state, state[me + _LIST])
    newer, older = state[me + _NEWER], state[me + _OLDER]
    if newer >= 0:
        state[_slot(newer) + _OLDER] = older
    else:
        state[home + _NEWEST] = older
    if older >= 0:
        state[_slot(older) + _NEWER] = newer
    else:
        state[home + _OLDEST] = newer


def hit(state, slot, now, next_use):
    number = state[_slot(slot) + _LIST]
    home = _list(state, number)
    count = state[home + _COUNT] + 1
    higher = state[home + _HIGHER]
    there = higher >= 0 and state[_list(state, higher) + _COUNT] == count
    if not there and state[home + _OLDEST] == state[home + _NEWEST]:
        state[home + _COUNT] = count  # alone on its list: the list goes up with it
        state[_CLOCK] += 1
        state[_slot(slot) + _STAMP] = state[_CLOCK]
        return
    _unlink(state, slot)
    if not there:
        higher = _make_list(state, count, number)
    if state[home + _OLDEST] < 0:
        _drop_list(state, number)
    _append(state, higher, slot)


def _count_of(state, slot):
    return state[_list(state, state[_slot(slot) + _LIST]) + _COUNT]


def victim(state, candidates, n, key, now, next_use):
    if n == 0:
        return state[_list(state, state[_LOWEST]) + _OLDEST]
    best = candidates[0]
    for i in range(1, n):
        slot = candidates[i]
        mine, least = _count_of(state, slot), _count_of(state, best)
        if mine < least or (mine == least and state[_slot(slot) + _STAMP] < state[_slot(best) + _STAMP]):
            best = slot
    return best


def insert(state, slot, key, now, next_use):
    number = state[_LOWEST]
    if number < 0 or state[_list(state, number) + _COUNT] != 1:
        number = _make_list(state, 1, -1)
    _append(state, number, slot)


def remove(state, slot, evicted):
    number = state[_slot(slot) + _LIST]
    _unlink(state, slot)
    if state[_list(state, number) + _OLDEST] < 0:
        _drop_list(state, number)

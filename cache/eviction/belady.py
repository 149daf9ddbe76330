"""Belady's MIN (IBM Systems Journal 5(2), 1966): evict what is needed again last. The bound, not a policy.

State: the heap's size, then a binary max-heap of slots by next use, then each slot's place in it (+1), then
each slot's next use.
"""

NEEDS_NEXT_USE = True
_NEVER = 2**62


def state_size(capacity, keys):
    return 1 + 3 * capacity


def init(state, capacity):
    state[0] = 0


def _capacity(state):
    return (state.shape[0] - 1) // 3


def _later(state, a, b):
    uses = 1 + 2 * _capacity(state)
    return state[uses + a] > state[uses + b]


def _put(state, place, slot):
    state[1 + place] = slot
    state[1 + _capacity(state) + slot] = place + 1


def _up(state, place):
    slot = state[1 + place]
    while place > 0:
        parent = (place - 1) // 2
        if not _later(state, slot, state[1 + parent]):
            break
        _put(state, place, state[1 + parent])
        place = parent
    _put(state, place, slot)
    return place


def _down(state, place):
    slot = state[1 + place]
    size = state[0]
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and _later(state, state[2 + child], state[1 + child]):
            child += 1
        if not _later(state, state[1 + child], slot):
            break
        _put(state, place, state[1 + child])
        place = child
    _put(state, place, slot)


def _set_use(state, slot, next_use):
    state[1 + 2 * _capacity(state) + slot] = next_use if next_use >= 0 else _NEVER


def hit(state, slot, now, next_use):
    _set_use(state, slot, next_use)
    _down(state, _up(state, state[1 + _capacity(state) + slot] - 1))


def victim(state, candidates, n, key, now, next_use):
    if n == 0:
        return state[1]
    best = candidates[0]
    for i in range(1, n):
        if _later(state, candidates[i], best):
            best = candidates[i]
    return best


def insert(state, slot, key, now, next_use):
    _set_use(state, slot, next_use)
    size = state[0]
    state[0] = size + 1
    _put(state, size, slot)
    _up(state, size)


def remove(state, slot, evicted):
    place = state[1 + _capacity(state) + slot] - 1
    last = state[0] - 1
    state[0] = last
    moved = state[1 + last]
    state[1 + _capacity(state) + slot] = 0
    if moved != slot:
        _put(state, place, moved)
        _down(state, _up(state, place))

"""Random: evict any context, all equally likely.

The draws are those of a multiplicative congruential generator (Park and Miller, CACM 31(10), 1988; multiplier 48271),
seeded by the run's seed. State: the generator, the number of occupied slots, these slots, each slot's place among them.
"""

_MODULUS, _MULTIPLIER = 2**31 - 1, 48271
_DRAWN, _SIZE, _HEADER = 0, 1, 2


def state_size(capacity, keys):
    return _HEADER + 2 * capacity


def init(state, capacity):
    state[_DRAWN] = 1
    state[_SIZE] = 0


def seed(state, number):
    state[_DRAWN] = number


def hit(state, slot, now, next_use):
    pass


def victim(state, candidates, n, key, now, next_use):
    state[_DRAWN] = state[_DRAWN] * _MULTIPLIER % _MODULUS
    among = n if n > 0 else state[_SIZE]
    index = state[_DRAWN] * among // _MODULUS
    return candidates[index] if n > 0 else state[_HEADER + index]


def insert(state, slot, key, now, next_use):
    size = state[_SIZE]
    state[_HEADER + size] = slot
    state[_places(state) + slot] = size
    state[_SIZE] = size + 1


def _places(state):
    return _HEADER + (state.shape[0] - _HEADER) // 2


def remove(state, slot, evicted):
    places = _places(state)
    last = state[_SIZE] - 1
    moved = state[_HEADER + last]
    state[_HEADER + state[places + slot]] = moved
    state[places + moved] = state[places + slot]
    state[_SIZE] = last

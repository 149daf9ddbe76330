"""Admit a flow that HeavyKeeper has counted to k: ``{heavykeeper: k}``, eight unless given.

HeavyKeeper (Gong et al., USENIX ATC 2018) has two arrays of buckets, here two buckets a slot in each. A flow counts in its own
bucket; in another's it lowers the count with probability 1.08**−count and takes the bucket when that reaches
zero. So a large flow keeps its bucket and small ones pass.

State: k, the draws, buckets an array, then (key + 1, count) of each bucket of both arrays.
"""

DEFAULT = 8
_LEAST, _DRAWN, _BUCKETS, _HEADER = 0, 1, 2, 3
_ARRAYS = 2
_DECAY = 1.08
_MODULUS, _MULTIPLIER = 2**31 - 1, 48271  # Park and Miller, CACM 31(10), 1988


def state_size(capacity, keys):
    return _HEADER + 2 * _ARRAYS * 2 * capacity


def init(state, capacity):
    state[_LEAST] = DEFAULT
    state[_DRAWN] = 1
    state[_BUCKETS] = 2 * capacity


def seed(state, number):
    state[_DRAWN] = number


def configure(state, value):
    state[_LEAST] = value


def _bucket(state, key, array):
    """Word of a key's bucket in an array."""
    mixed = ((key + 1) * (2654435761 if array == 0 else 2246822519)) & 0xFFFFFFFF
    mixed ^= mixed >> 15
    place = (((mixed * 668265263) & 0xFFFFFFFF) * state[_BUCKETS]) >> 32
    return _HEADER + 2 * (array * state[_BUCKETS] + place)


def _draw(state):
    """A number from 0 up to 1."""
    state[_DRAWN] = state[_DRAWN] * _MULTIPLIER % _MODULUS
    return state[_DRAWN] / _MODULUS


def admit(state, key, packets, rate, now):
    most = 0
    for array in range(_ARRAYS):
        bucket = _bucket(state, key, array)
        if state[bucket] != key + 1:
            if state[bucket + 1] > 0 and _draw(state) < _DECAY ** -state[bucket + 1]:
                state[bucket + 1] -= 1
            if state[bucket + 1] > 0:
                continue
            state[bucket] = key + 1
        state[bucket + 1] += 1
        most = max(most, state[bucket + 1])
    return 1 if most >= state[_LEAST] else 0

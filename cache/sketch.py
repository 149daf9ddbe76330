"""A sketch of how often keys were used (count-min: Cormode and Muthukrishnan, J. Algorithms 55(1), 2005), aged by halving.

Kept in a policy's state array from word ``at`` on: the number of counters, a count towards the next halving, the count at
which it is due, then the counters: 15 bits each, four in a word. A key has :data:`ROWS` counters, places of a double hash
(Kirsch and Mitzenmacher, 2008). Keys are dense ids below 2**31.
"""

from __future__ import annotations

from numba import int64

from oppcache._jit import kernel

ROWS = 8
MOST = 0x7FFF
_COUNTERS = 3  # words before the counters
_MIX1, _MIX2 = 0x7FEB352D, 0x2C1B3C6D  # below 2**31, so that no product overflows
_LOW = 0xFFFFFFFF
_HALVES = 0x3FFF3FFF3FFF3FFF


@kernel
def sketch_words(counters):
    """Words of state that a sketch of at least ``counters`` counters takes."""
    return int64(_COUNTERS) + (counters + 3) // 4


@kernel
def sketch_init(state, at, counters, sample):
    """Set all counters to zero (the words are); they are halved at every ``sample``-th :func:`sketch_tick`."""
    state[at] = (counters + 3) // 4 * 4
    state[at + 1] = 0
    state[at + 2] = sample


@kernel
def _mix(key):
    """A hash of 32 bits, of the shape of MurmurHash3's finaliser."""
    x = ((key + 1) * int64(_MIX1)) & int64(_LOW)
    x ^= x >> 15
    x = (x * int64(_MIX2)) & int64(_LOW)
    return x ^ (x >> 13)


@kernel
def _counter(state, at, first, step, row):
    """The number of a key's counter in a row."""
    return ((((first + row * step) & int64(_LOW)) * state[at]) >> 32) + 4 * (at + _COUNTERS)


@kernel
def sketch_count(state, at, key):
    """The key's uses, or more where others share all its counters."""
    first = _mix(key)
    step = _mix(first) | 1
    least = int64(MOST)
    for row in range(ROWS):
        counter = _counter(state, at, first, step, row)
        least = min(least, (state[counter >> 2] >> (16 * (counter & 3))) & int64(MOST))
    return least


@kernel
def sketch_use(state, at, key, most):
    """Count a use: raise those of the key's counters that are at ``most`` or below, and not full.

    With :data:`MOST` all are raised; with the key's :func:`sketch_count` only the lowest, which keeps errors small
    (conservative update: Estan and Varghese, SIGCOMM 2002).
    """
    first = _mix(key)
    step = _mix(first) | 1
    for row in range(ROWS):
        counter = _counter(state, at, first, step, row)
        lane = 16 * (counter & 3)
        count = (state[counter >> 2] >> lane) & int64(MOST)
        if count <= most and count < MOST:
            state[counter >> 2] += int64(1) << lane


@kernel
def sketch_tick(state, at):
    """Count towards the next halving, and halve all counters when it is due."""
    state[at + 1] += 1
    if state[at + 1] >= state[at + 2]:
        state[at + 1] = 0
        for word in range(at + _COUNTERS, at + _COUNTERS + state[at] // 4):
            state[word] = (state[word] >> 1) & int64(_HALVES)

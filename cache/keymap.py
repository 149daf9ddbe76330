"""A map from keys to numbers of bounded size, kept in a policy's state array from word ``at`` on.

Open addressing with linear probing; taking a key out moves those behind it back, so that no marks of removed keys
pile up. At most half full. Keys are dense ids below 2**31. :func:`map_words` words: the shift of the hash, the
mask, then two words a cell: the key + 1 (0: empty), the number.
"""

from __future__ import annotations

from numba import int64

from oppcache._jit import kernel

_CELLS = 2
_GOLDEN = 2654435761  # 2**32 over the golden ratio (Knuth, The Art of Computer Programming 3, section 6.4)


@kernel
def _bits(entries):
    bits = int64(2)
    while (int64(1) << bits) < int64(2) * entries:
        bits += 1
    return bits


@kernel
def map_words(entries):
    """Words of state that a map of at most ``entries`` keys takes."""
    return int64(_CELLS) + (int64(2) << _bits(entries))


@kernel
def map_init(state, at, entries):
    """Make the map empty; its words are zero."""
    bits = _bits(entries)
    state[at] = 32 - bits
    state[at + 1] = (int64(1) << bits) - 1


@kernel
def _home(state, at, key):
    return ((key * int64(_GOLDEN)) & int64(0xFFFFFFFF)) >> state[at]


@kernel
def _find(state, at, key):
    """Word of the key's cell, or of the empty cell where it would stand."""
    mask = state[at + 1]
    place = _home(state, at, key)
    while True:
        cell = at + _CELLS + 2 * place
        if state[cell] == 0 or state[cell] == key + 1:
            return cell
        place = (place + 1) & mask


@kernel
def map_get(state, at, key):
    """The key's number, or −1."""
    cell = _find(state, at, key)
    return state[cell + 1] if state[cell] != 0 else int64(-1)


@kernel
def map_set(state, at, key, number):
    """Set the key's number; a new key needs room."""
    cell = _find(state, at, key)
    state[cell] = key + 1
    state[cell + 1] = number


@kernel
def map_drop(state, at, key):
    """Take a key out, if it is there."""
    mask = state[at + 1]
    cell = _find(state, at, key)
    if state[cell] == 0:
        return
    hole = (cell - at - _CELLS) >> 1
    place = hole
    while True:
        place = (place + 1) & mask
        cell = at + _CELLS + 2 * place
        if state[cell] == 0:
            break
        home = _home(state, at, state[cell] - 1)
        # It may move back unless its home lies behind the hole.
        if ((place - home) & mask) >= ((place - hole) & mask):
            state[at + _CELLS + 2 * hole] = state[cell]
            state[at + _CELLS + 2 * hole + 1] = state[cell + 1]
            hole = place
    state[at + _CELLS + 2 * hole] = 0

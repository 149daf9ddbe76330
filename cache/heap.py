"""A binary heap over slots, lowest rank first, kept in a policy's state array from word ``at`` on.

:func:`heap_words` words: the size and the clock, then for each place three words (rank, stamp, slot) and for each slot
its place + 1 (0: not in the heap). The stamp is the clock when the slot was last ranked: of equal ranks
the one ranked longest ago comes first.
"""

from __future__ import annotations

from numba import int64

from oppcache._jit import kernel

_PLACES = 3  # words before the places: size, clock, slots


@kernel
def heap_words(slots):
    """Words of state that a heap over ``slots`` slots takes."""
    return int64(_PLACES) + int64(4) * slots


@kernel
def heap_init(state, at, slots):
    """Make the heap empty; its words are zero."""
    state[at] = 0
    state[at + 1] = 0
    state[at + 2] = slots


@kernel
def _place_word(state, at, slot):
    return at + _PLACES + 3 * state[at + 2] + slot


@kernel
def _settle(state, at, place, rank, stamp, slot):
    cell = at + _PLACES + 3 * place
    state[cell], state[cell + 1], state[cell + 2] = rank, stamp, slot
    state[_place_word(state, at, slot)] = place + 1


@kernel
def _before(state, cell, rank, stamp):
    """Whether the entry at a cell comes before the one with this rank and stamp."""
    return state[cell] < rank or (state[cell] == rank and state[cell + 1] < stamp)


@kernel
def _rise(state, at, place, rank, stamp, slot):
    """Put an entry at a place, or above it."""
    while place > 0:
        parent = (place - 1) >> 1
        cell = at + _PLACES + 3 * parent
        if _before(state, cell, rank, stamp):
            break
        _settle(state, at, place, state[cell], state[cell + 1], state[cell + 2])
        place = parent
    _settle(state, at, place, rank, stamp, slot)


@kernel
def _sink(state, at, place, rank, stamp, slot):
    """Put an entry at a place, or below it."""
    size = state[at]
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        cell = at + _PLACES + 3 * child
        if child + 1 < size and _before(state, cell + 3, state[cell], state[cell + 1]):
            child += 1
            cell += 3
        if not _before(state, cell, rank, stamp):
            break
        _settle(state, at, place, state[cell], state[cell + 1], state[cell + 2])
        place = child
    _settle(state, at, place, rank, stamp, slot)


@kernel
def _move(state, at, place, rank, stamp, slot):
    if place > 0 and not _before(state, at + _PLACES + 3 * ((place - 1) >> 1), rank, stamp):
        _rise(state, at, place, rank, stamp, slot)
    else:
        _sink(state, at, place, rank, stamp, slot)


@kernel
def heap_rank(state, at, slot, rank):
    """Give a slot a rank; it joins the heap if it is not in it."""
    state[at + 1] += 1
    place = state[_place_word(state, at, slot)] - 1
    if place < 0:
        place = state[at]
        state[at] += 1
        _rise(state, at, place, rank, state[at + 1], slot)
    else:
        _move(state, at, place, rank, state[at + 1], slot)


@kernel
def heap_drop(state, at, slot):
    """Take a slot out of the heap."""
    place = state[_place_word(state, at, slot)] - 1
    last = state[at] - 1
    state[at] = last
    state[_place_word(state, at, slot)] = 0
    if place != last:
        cell = at + _PLACES + 3 * last
        _move(state, at, place, state[cell], state[cell + 1], state[cell + 2])


@kernel
def heap_size(state, at):
    """Number of slots in the heap."""
    return state[at]


@kernel
def heap_rank_of(state, at, slot):
    """The rank of a slot that is in the heap."""
    return state[at + _PLACES + 3 * (state[_place_word(state, at, slot)] - 1)]


@kernel
def heap_first(state, at, candidates, n):
    """The first slot of the heap, or the first among ``n`` > 0 candidates."""
    if n == 0:
        return state[at + _PLACES + 2]
    best, cell = candidates[0], at + _PLACES + 3 * (state[_place_word(state, at, candidates[0])] - 1)
    for i in range(1, n):
        other = at + _PLACES + 3 * (state[_place_word(state, at, candidates[i])] - 1)
        if _before(state, other, state[cell], state[cell + 1]):
            best, cell = candidates[i], other
    return best

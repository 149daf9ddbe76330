"""The slots of a table by their last use, kept in a state array: which has been idle longer than it may.

:func:`age_words` words: a list (:mod:`.lists`), then for each slot the time of its last use in ns.
"""

from __future__ import annotations

from numba import int64

from oppcache._jit import kernel

from .lists import SLOTS, TAIL, list_init, list_words, move_to_head, push_head, unlink


@kernel
def age_words(capacity):
    """Words of state that the ages of ``capacity`` slots take."""
    return list_words(capacity) + capacity


@kernel
def age_init(state):
    """No slot is in use."""
    list_init(state)


@kernel
def _last(state, slot):
    return SLOTS + 3 * ((state.shape[0] - SLOTS) // 4) + slot


@kernel
def age_begin(state, slot, now):
    """An empty slot is used from now on."""
    state[_last(state, slot)] = now
    push_head(state, slot)


@kernel
def age_use(state, slot, now):
    """A slot is used."""
    state[_last(state, slot)] = now
    move_to_head(state, slot)


@kernel
def age_end(state, slot):
    """A slot was emptied."""
    unlink(state, slot)


@kernel
def age_due(state, now, timeout):
    """The slot that has been idle longest if that is longer than ``timeout`` ns, else −1."""
    slot = state[TAIL]
    if slot >= 0 and now - state[_last(state, slot)] > timeout:
        return slot
    return int64(-1)

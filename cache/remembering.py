"""What policies that remember keep, from word ``at`` of their state on: queues over the slots, each slot's key, and ghosts.

The parts are those of :mod:`.queues` and :mod:`.ghosts`. :func:`recall` and :func:`returns` are for policies with one queue
of ghosts: whoever comes again while remembered is a ghost no longer, from the eviction that makes room on.
"""

from __future__ import annotations

from oppcache._jit import kernel

from .ghosts import (
    ghost_drop,
    ghost_drop_oldest,
    ghost_find,
    ghost_put,
    ghost_words,
    ghosts_full,
    ghosts_init,
    promise,
    promised,
)
from .queues import queue_words, queues_init


@kernel
def parts_words(queues, slots, ghost_queues, remembered):
    """Words of state for so many queues over so many slots, and queues of at most ``remembered`` ghosts in all."""
    return queue_words(queues, slots) + slots + ghost_words(ghost_queues, remembered, slots)


@kernel
def parts_init(state, at, queues, slots, ghost_queues, remembered):
    """Make all queues empty; their words are zero."""
    queues_init(state, at, queues)
    ghosts_init(state, ghosts_at(at, queues, slots), ghost_queues, remembered, slots)


@kernel
def keys_at(at, queues, slots):
    """Word of slot 0's key."""
    return at + queue_words(queues, slots)


@kernel
def ghosts_at(at, queues, slots):
    """Word at which the ghosts begin."""
    return keys_at(at, queues, slots) + slots


@kernel
def recall(state, ghosts, slot, key):
    """A slot is to be emptied for a key: forget the key's ghost, and promise the slot to it if it had one."""
    ghost = ghost_find(state, ghosts, 1, key)
    if ghost >= 0:
        ghost_drop(state, ghosts, 1, ghost)
        promise(state, ghosts, 1, slot, key)
    else:
        promise(state, ghosts, 1, slot, -1)


@kernel
def returns(state, ghosts, slot, key):
    """Whether a key that is put into a slot was remembered, until :func:`recall` or now; it is a ghost no longer."""
    again = promised(state, ghosts, 1, slot, key)
    ghost = ghost_find(state, ghosts, 1, key)
    if ghost >= 0:
        ghost_drop(state, ghosts, 1, ghost)
        again = True
    return again


@kernel
def remember(state, ghosts, ghost_queues, q, key, oldest_of):
    """Make a key the newest ghost of queue ``q``; without room the oldest of queue ``oldest_of`` is forgotten."""
    if ghosts_full(state, ghosts):
        ghost_drop_oldest(state, ghosts, ghost_queues, oldest_of)
    ghost_put(state, ghosts, ghost_queues, q, key)

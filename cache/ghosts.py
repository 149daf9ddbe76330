"""Ghosts: keys that were evicted and are remembered for a while, in one or more queues of bounded total length.

Kept in a policy's state array from word ``at`` on: the queues' nodes (:mod:`.queues`), a map from keys to nodes
(:mod:`.keymap`), a stack of unused nodes, each node's key, and for each slot a *promise*: ``victim`` takes the
incoming key out of the ghosts before it adds the victim's, notes it as promised to the victim's slot, and
``insert`` asks what was promised. So an eviction and the insertion that it makes room for need not follow each
other at once.
"""

from __future__ import annotations

from numba import int64

from oppcache._jit import kernel

from .keymap import map_drop, map_get, map_init, map_set, map_words
from .queues import length_of, oldest_in, put, queue_words, queues_init, set_tag, tag_of, take

# Words: entries, slots, unused nodes on the stack, nodes ever used; then the parts below.
_HEADER = 4


@kernel
def _map_at(at, queues, entries):
    return at + _HEADER + queue_words(queues, entries)


@kernel
def _stack_at(state, at, queues):
    entries = state[at]
    return _map_at(at, queues, entries) + map_words(entries)


@kernel
def _keys_at(state, at, queues):
    return _stack_at(state, at, queues) + state[at]


@kernel
def _promises_at(state, at, queues):
    return _stack_at(state, at, queues) + 2 * state[at]


@kernel
def ghost_words(queues, entries, slots):
    """Words of state for ``queues`` queues of at most ``entries`` ghosts in all, beside ``slots`` slots."""
    return int64(_HEADER) + queue_words(queues, entries) + map_words(entries) + int64(2) * entries + slots


@kernel
def ghosts_init(state, at, queues, entries, slots):
    """Make all queues of ghosts empty; their words are zero."""
    state[at] = entries
    state[at + 1] = slots
    state[at + 2] = 0
    state[at + 3] = 0
    queues_init(state, at + _HEADER, queues)
    map_init(state, _map_at(at, queues, entries), entries)


@kernel
def ghost_find(state, at, queues, key):
    """The node of a ghost, or −1."""
    return map_get(state, _map_at(at, queues, state[at]), key)


@kernel
def ghost_queue(state, at, queues, node):
    """The queue in which a ghost is."""
    return tag_of(state, at + _HEADER, queues, node)


@kernel
def ghosts_in(state, at, q):
    """Number of ghosts in queue ``q``."""
    return length_of(state, at + _HEADER, q)


@kernel
def ghost_drop(state, at, queues, node):
    """Forget a ghost."""
    take(state, at + _HEADER, queues, ghost_queue(state, at, queues, node), node)
    map_drop(state, _map_at(at, queues, state[at]), state[_keys_at(state, at, queues) + node])
    state[_stack_at(state, at, queues) + state[at + 2]] = node
    state[at + 2] += 1


@kernel
def ghost_drop_oldest(state, at, queues, q):
    """Forget the oldest ghost of queue ``q``, if there is one."""
    node = oldest_in(state, at + _HEADER, q)
    if node >= 0:
        ghost_drop(state, at, queues, node)


@kernel
def ghosts_full(state, at):
    """Whether there is room for no ghost more."""
    return state[at + 2] == 0 and state[at + 3] == state[at]


@kernel
def ghost_put(state, at, queues, q, key):
    """Remember a key as the newest of queue ``q``; there must be room, and the key no ghost already."""
    if state[at + 2] > 0:
        state[at + 2] -= 1
        node = state[_stack_at(state, at, queues) + state[at + 2]]
    else:
        node = state[at + 3]
        state[at + 3] += 1
    state[_keys_at(state, at, queues) + node] = key
    map_set(state, _map_at(at, queues, state[at]), key, node)
    set_tag(state, at + _HEADER, queues, node, q)
    put(state, at + _HEADER, queues, q, node)


@kernel
def promise(state, at, queues, slot, key):
    """Note that a key that was a ghost is to come into a slot; key −1 takes a promise back."""
    state[_promises_at(state, at, queues) + slot] = key + 1


@kernel
def promised(state, at, queues, slot, key):
    """Whether the slot was promised to this key; the promise is spent."""
    word = _promises_at(state, at, queues) + slot
    kept = state[word] == key + 1
    state[word] = 0
    return kept

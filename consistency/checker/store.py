"""Where states are kept: an arena of short forms in order of discovery, and an open-addressing table of them.

A slot of the table is the upper 32 bits of a state's hash over its number + 1, and the hash's uppermost bits say which
slot: so a larger table is filled in the order of the old one, without a look at the states. Exactly: a slot whose bits
agree is compared word by word. With hash compaction only a 64-bit hash of each state stays, and the arena forgets what
has been expanded.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from oppcache._jit import kernel

from ..vocabulary import PROPERTIES
from .layout import STORED_MAX
from .moves import MOVES_MAX

MAX_LOAD_PERCENT = 60
LARGE = 1 << 26  # bytes of an array from which on it is given all the room that it may need
BYTES_MIN = 24  # that a state takes, in whatever way it is kept
PER_STATE = ("parents", "hashes", "quiet", "edge_starts")
# Words of `counters`.
(
    N_NEXT,  # number of the next state to expand
    N_STATES,
    N_WORDS,  # of the arena that are in use
    N_EDGES,
    N_TRANSITIONS,
    N_FIRST,  # number of the first state that the arena still holds
    N_SEEN,  # violations so far
    N_DEPTH,
    N_LEVEL_END,  # number after the last state of the present depth
    N_SHIFT,  # a hash shifted right by it is a slot of the table
) = range(10)
COUNTERS = 10


class Store(NamedTuple):
    """Arrays of a search.

    Attributes:
        arena: uint32, short forms of the states from N_FIRST on, one after the other.
        starts: int64, where each of those begins, and one more.
        parents: uint32, the state from which each was found first.
        table: uint64, a power of two of slots; 0 is empty.
        hashes: uint64, one a state with hash compaction, else empty.
        quiet: uint8, one a state: whether it is quiet (with liveness).
        edges: uint32, successors by steps that a quiet system makes (with liveness), a state's together.
        edge_starts: int64, where each state's begin, and one more.
        counters: int64[COUNTERS].
        first: int64[PROPERTIES], the state in whose moves each property was violated first, -1: none.
    """

    arena: np.ndarray
    starts: np.ndarray
    parents: np.ndarray
    table: np.ndarray
    hashes: np.ndarray
    quiet: np.ndarray
    edges: np.ndarray
    edge_starts: np.ndarray
    counters: np.ndarray
    first: np.ndarray


def make_store(liveness: bool, compact: bool, states: int = 1 << 14) -> Store:
    """An empty store with room for about ``states`` states."""
    counters = np.zeros(COUNTERS, np.int64)
    counters[N_LEVEL_END], counters[N_SHIFT] = 1, 65 - (states * 2).bit_length()
    return Store(
        np.empty(states * 16, np.uint32),
        np.zeros(states + 1, np.int64),
        np.empty(states, np.uint32),
        np.zeros(states * 2, np.uint64),
        np.empty(states if compact else 0, np.uint64),
        np.zeros(states if liveness else 0, np.uint8),
        np.empty(states * 4 if liveness else 0, np.uint32),
        np.zeros(states + 1 if liveness else 0, np.int64),
        counters,
        np.full(len(PROPERTIES), -1, np.int64),
    )


def grown(store: Store, memory: int) -> Store:
    """The store with more room wherever there may soon be none.

    Args:
        memory: bytes that the search may use in all.
    """
    states, words, edges = (int(store.counters[i]) for i in (N_STATES, N_WORDS, N_EDGES))
    needed = {
        "arena": words + MOVES_MAX * STORED_MAX,
        "starts": states - int(store.counters[N_FIRST]) + MOVES_MAX + 1,
        **dict.fromkeys(PER_STATE, states + MOVES_MAX + 1),
        "edges": edges + MOVES_MAX,
    }
    changed = {}
    for name, length in needed.items():
        array = getattr(store, name)
        if len(array) and length >= len(array):
            changed[name] = _longer(array, length, memory // (4 if name in ("arena", "edges") else BYTES_MIN))
    if states * 100 >= len(store.table) * MAX_LOAD_PERCENT - (MOVES_MAX + 1) * 100:
        table = np.zeros(len(store.table) * 2, np.uint64)
        store.counters[N_SHIFT] -= 1
        rehash(store.table, table, np.uint64(store.counters[N_SHIFT]))
        changed["table"] = table
    return store._replace(**changed)


def _longer(array: np.ndarray, at_least: int, most: int) -> np.ndarray:
    """A longer copy: twice as long, or from LARGE bytes on as long as it can ever become.

    Pages that are not touched yet cost nothing, so nothing large is ever there twice.
    """
    little = at_least + at_least // 8 + 1
    try:
        longer = np.empty(max(little, most if array.nbytes >= LARGE else 2 * len(array)), array.dtype)
    except MemoryError:  # the system gives no more than it has
        longer = np.empty(little, array.dtype)
    longer[: len(array)] = array
    return longer


@kernel
def has_room(store):
    """Whether one more state can be expanded, whatever comes of it."""
    states = store.counters[N_STATES]
    room = MOVES_MAX + 1
    return (
        store.counters[N_WORDS] + MOVES_MAX * STORED_MAX < len(store.arena)
        and states - store.counters[N_FIRST] + room < len(store.starts)
        and states + room < len(store.parents)
        and (len(store.hashes) == 0 or states + room < len(store.hashes))
        and (len(store.quiet) == 0 or states + room < min(len(store.quiet), len(store.edge_starts)))
        and (len(store.edges) == 0 or store.counters[N_EDGES] + MOVES_MAX < len(store.edges))
        and (states + room) * 100 < len(store.table) * MAX_LOAD_PERCENT
    )


@kernel
def warm(store, scratch, count):
    """Touch what the look-ups of several states will read, one kind after the other, so that the misses overlap."""
    shift, touched = np.uint64(store.counters[N_SHIFT]), np.uint64(0)
    for i in range(count):
        touched ^= store.table[np.int64(scratch.hashes[i] >> shift)]
    if len(store.hashes):
        return touched
    for stage in range(2):
        for i in range(count):
            entry = store.table[np.int64(scratch.hashes[i] >> shift)]
            if (entry ^ scratch.hashes[i]) & np.uint64(0xFFFFFFFF00000000) == np.uint64(0) and entry:
                start = store.starts[np.int64(entry & np.uint64(0xFFFFFFFF)) - 1]
                touched ^= np.uint64(start if stage == 0 else store.arena[start])
    return touched


@kernel
def find_or_add(store, words, length, h, parent):
    """Number of a state; a new one is appended (the caller sees it by its number)."""
    mask = np.int64(len(store.table) - 1)
    tag = h & np.uint64(0xFFFFFFFF00000000)
    slot = np.int64(h >> np.uint64(store.counters[N_SHIFT]))
    while True:
        entry = store.table[slot]
        if entry == np.uint64(0):
            break
        if entry & np.uint64(0xFFFFFFFF00000000) == tag:
            number = np.int64(entry & np.uint64(0xFFFFFFFF)) - 1
            if is_same(store, number, words, length, h):
                return number
        slot = (slot + 1) & mask
    number = store.counters[N_STATES]
    store.table[slot] = tag | np.uint64(number + 1)
    store.counters[N_STATES] = number + 1
    store.parents[number] = np.uint32(parent)
    if len(store.hashes):
        store.hashes[number] = h
    place = number - store.counters[N_FIRST]
    at = store.counters[N_WORDS]
    store.starts[place] = at
    for i in range(length):
        store.arena[at + i] = words[i]
    store.counters[N_WORDS] = at + length
    store.starts[place + 1] = at + length
    return number


@kernel
def is_same(store, number, words, length, h):
    """Whether a stored state is this one."""
    if len(store.hashes):
        return store.hashes[number] == h
    at = store.starts[number]
    same = store.starts[number + 1] - at == length
    for i in range(length if same else 0):
        same = same and store.arena[at + i] == words[i]
    return same


@kernel(forceinline=False)
def rehash(old, new, shift):
    """Move a table's entries into a larger one."""
    mask = np.int64(len(new) - 1)
    for i in range(len(old)):
        entry = old[i]
        if entry == np.uint64(0):
            continue
        slot = np.int64(entry >> shift)
        while new[slot] != np.uint64(0):
            slot = (slot + 1) & mask
        new[slot] = entry

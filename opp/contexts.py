"""The store of contexts: hash index, lookup, creation, timers; and its growth between packets.

Kernels never allocate: :func:`has_room` says before each packet whether it could need more records than
there are, and the driver grows the store (:func:`grow`) and calls the kernel again at that packet.
"""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache._memory import zeros

from . import arrays as A
from .arrays import (
    C_HARD,
    C_HEADER_WORDS,
    C_IDLE,
    C_LAST,
    C_PLACE,
    C_ROLLBACK,
    C_STATE,
    C_VERSION,
    C_WITNESS,
    CONTEXT_EXISTS,
    ROLLBACK_DELETE,
    STATE_MASK,
    Store,
)

INITIAL_CAPACITY = 1024
MAX_RECORDS = 2**31
MAX_HINTS = 2**20  # flows of which a store has hints

_EXISTS = np.uint64(CONTEXT_EXISTS)
_STATE = np.uint64(STATE_MASK)
_DELETE = np.uint64(ROLLBACK_DELETE)
_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_32 = np.uint64(32)
_29 = np.uint64(29)
_27 = np.uint64(27)
_31 = np.uint64(31)
_30 = np.uint64(30)
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)


@kernel
def splitmix64(x):
    """One step of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): uint64 to uint64, a bijection."""
    z = x + _GAMMA
    z = (z ^ (z >> _30)) * _MIX1
    z = (z ^ (z >> _27)) * _MIX2
    return z ^ (z >> _31)


@kernel
def hash_key(words, first, count):
    """Hash ``count`` packed key words; multiply-xorshift per word, SplitMix64's finaliser at the end."""
    h = _GAMMA
    for i in range(count):
        h = (h ^ words[first + i]) * _MIX1
        h = h ^ (h >> _29)
    h = h * _MIX2
    return h ^ (h >> _32)


@kernel
def find(program, store, table, words, first, h):
    """Return the record that has this key, or -1."""
    mask = store.tables["index_mask"][table]
    at = store.tables["index_base"][table]
    tag = h >> _32
    place = h & mask
    while True:
        found = store.buckets[at + np.int64(place)]
        if found == _ZERO:
            return np.int64(-1)
        if found >> _32 == tag:
            record = np.int64(found & _STATE) - 1
            if has_key(program, store, table, record, words, first):
                return record
        place = (place + _ONE) & mask


@kernel
def has_key(program, store, table, record, words, first):
    """Whether a record is that of the packed key that stands at ``words[first:]``."""
    key = store.tables["base"][table] + record * program.tables["stride"][table] + C_HEADER_WORDS
    count, same = program.tables["key_words"][table], np.int64(0)
    while same < count and store.memory[key + same] == words[first + same]:
        same += 1
    return same == count


@kernel
def insert(program, store, table, words, first, h):
    """Append a record for a new key, with the table's defaults, not yet existing; return its number.

    The caller has made sure, by :func:`has_room`, that there is room.
    """
    record = store.tables["used"][table]
    store.tables["used"][table] = record + 1
    base = store.tables["base"][table] + record * program.tables["stride"][table]
    for i in range(C_HEADER_WORDS):
        store.memory[base + i] = _ZERO
    for i in range(program.tables["key_words"][table]):
        store.memory[base + C_HEADER_WORDS + i] = words[first + i]
    reset(program, store.memory, table, base)
    mask = store.tables["index_mask"][table]
    at = store.tables["index_base"][table]
    place = h & mask
    while store.buckets[at + np.int64(place)] != _ZERO:
        place = (place + _ONE) & mask
    store.buckets[at + np.int64(place)] = ((h >> _32) << _32) | np.uint64(record + 1)
    return record


@kernel
def find_or_insert(program, store, table, words, first, h):
    """Return the record of a key, a new one at its first sight."""
    record = find(program, store, table, words, first, h)
    return insert(program, store, table, words, first, h) if record < 0 else record


@kernel
def reset(program, memory, table, base):
    """Give a context the table's defaults: initial state and registers, never used, no timers, not existing."""
    memory[base + C_STATE] = program.tables["initial_state"][table]
    memory[base + C_LAST] = _ZERO
    memory[base + C_HARD] = _ZERO
    memory[base + C_IDLE] = _ZERO
    memory[base + C_ROLLBACK] = _ZERO
    first = program.tables["first_register"][table]
    at = base + C_HEADER_WORDS + program.tables["key_words"][table]
    for i in range(program.tables["registers"][table]):
        memory[at + i] = program.registers[first + i]


@kernel
def location(program, store, table, record):
    """Return the word at which a record's context is now: its NIC slot if it has one, else the CPU's record."""
    stride = program.tables["stride"][table]
    base = store.tables["base"][table] + record * stride
    place = np.int64(store.memory[base + C_PLACE])
    if place > 0:
        return store.tables["nic_base"][table] + (place - 1) * stride
    return base


@kernel
def touch(program, memory, table, base, now, create):
    """What every use of a context begins with: stage time, timers, existence, last use.

    Args:
        now: the packet's ingress stamp, ns.
        create: whether a context that does not exist comes into being.

    Returns:
        max(now, the context's last use).
    """
    if memory[base + C_LAST] > now:
        now = memory[base + C_LAST]
    timer, rollback = passed_timer(memory, base, now)
    if timer != 0:
        expire(program, memory, table, base, rollback)
    if create:
        memory[base + C_STATE] |= _EXISTS
    if memory[base + C_STATE] & _EXISTS:
        memory[base + C_LAST] = now
    return now


@kernel
def is_free(memory, base, now):
    """Whether no context stands at ``base``, or one whose passed timer will delete it at the next use."""
    if memory[base + C_STATE] & _EXISTS == _ZERO:
        return True
    timer, rollback = passed_timer(memory, base, max(now, memory[base + C_LAST]))
    return timer != 0 and rollback == _DELETE


@kernel
def passed_timer(memory, base, now):
    """Which timer of a context has passed: (0 none, 1 hard, 2 idle; its rollback label)."""
    if memory[base + C_STATE] & _EXISTS == _ZERO:
        return np.int64(0), _ZERO
    hard, idle = memory[base + C_HARD], memory[base + C_IDLE]
    if hard != _ZERO and now > hard:
        return np.int64(1), memory[base + C_ROLLBACK] >> _32
    if idle != _ZERO and now > memory[base + C_LAST] + idle:
        return np.int64(2), memory[base + C_ROLLBACK] & _STATE
    return np.int64(0), _ZERO


@kernel
def expire(program, memory, table, base, rollback):
    """Let a passed timer do its work: roll the context back, or delete it."""
    if rollback == _DELETE:
        reset(program, memory, table, base)
        return
    memory[base + C_STATE] = _EXISTS | rollback
    memory[base + C_HARD] = _ZERO
    memory[base + C_IDLE] = _ZERO
    memory[base + C_ROLLBACK] = _ZERO


@kernel
def witness(memory, base, packet):
    """Count one application of a packet to a context: version + 1, order witness w <- H(w, packet)."""
    memory[base + C_VERSION] += _ONE
    memory[base + C_WITNESS] = splitmix64(memory[base + C_WITNESS] ^ packet)


@kernel
def has_room(store, reserve):
    """Whether every table has at least ``reserve`` free records (what one packet can create)."""
    for table in range(store.tables.shape[0]):
        if store.tables["used"][table] + reserve > store.tables["capacity"][table]:
            return False
    return True


@kernel
def rehash(program, store, table):
    """Fill a table's (empty) index from its records."""
    key_words = program.tables["key_words"][table]
    stride = program.tables["stride"][table]
    mask = store.tables["index_mask"][table]
    at = store.tables["index_base"][table]
    for record in range(store.tables["used"][table]):
        key = store.tables["base"][table] + record * stride + C_HEADER_WORDS
        h = hash_key(store.memory, key, key_words)
        place = h & mask
        while store.buckets[at + np.int64(place)] != _ZERO:
            place = (place + _ONE) & mask
        store.buckets[at + np.int64(place)] = ((h >> _32) << _32) | np.uint64(record + 1)


def make_store(program: A.ProgramArrays, nic_slots: int = 0, capacity: int = INITIAL_CAPACITY) -> Store:
    """Make an empty store.

    Args:
        program: the lowered program.
        nic_slots: NIC slots per table, 0 for a machine without a NIC.
        capacity: CPU records per table to begin with; the store grows.
    """
    count = len(program.tables)
    return allocate(program, np.full(count, capacity, np.int64), np.full(count, nic_slots, np.int64))


def allocate(program: A.ProgramArrays, capacities: np.ndarray, nic_slots: np.ndarray) -> Store:
    """Make an empty store with these numbers of records and of NIC slots, ``int64``, one a table."""
    tables = np.zeros(len(program.tables), A.STORE_TABLE_DTYPE)
    words = index_words = 0
    for t in range(len(tables)):
        stride = int(program.tables["stride"][t])
        size = 1 << max(4, int(2 * capacities[t] - 1).bit_length())
        tables[t] = (
            words,
            capacities[t],
            0,
            index_words,
            size - 1,
            words + int(capacities[t]) * stride,
            nic_slots[t],
        )
        words += (int(capacities[t]) + int(nic_slots[t])) * stride
        index_words += size
    hinted = int(program.stages["hint"].max(initial=-1)) + 1
    rows = min(1 << int(2 * capacities.max(initial=1) - 1).bit_length(), MAX_HINTS)
    return Store(
        tables,
        zeros(max(words, 1), np.uint64),
        zeros(max(index_words, 1), np.uint64),
        zeros((rows, hinted), np.uint64),
    )


def grow(program: A.ProgramArrays, store: Store, reserve: int) -> Store:
    """Return a store with the same contexts and at least twice the records in every table that is short.

    Raises:
        MemoryError: a table would need more than :data:`MAX_RECORDS` records.
    """
    old = store.tables
    short = old["used"] + reserve > old["capacity"]
    capacities = np.where(short, np.maximum(old["capacity"] * 2, old["used"] + reserve), old["capacity"])
    if (capacities > MAX_RECORDS).any():
        raise MemoryError(f"more than {MAX_RECORDS} contexts in one table")
    new = allocate(program, capacities, old["nic_slots"])
    for t in range(len(old)):
        stride = int(program.tables["stride"][t])
        used, slots = int(old["used"][t]) * stride, int(old["nic_slots"][t]) * stride
        for size, name in ((used, "base"), (slots, "nic_base")):
            source, target = int(old[name][t]), int(new.tables[name][t])
            new.memory[target : target + size] = store.memory[source : source + size]
        new.tables["used"][t] = old["used"][t]
        with np.errstate(over="ignore"):
            rehash(program, new, t)
    return new


def renew(program: A.ProgramArrays, store: Store, reserve: int) -> Store:
    """As :func:`grow`, but records of keys that have no context are left out first, and their places in the index.

    So a store needs room for the contexts that live, not for every key that was ever seen. Records get other numbers:
    nothing may hold on to one. Not for stores with NIC slots.

    Raises:
        MemoryError: a table would need more than :data:`MAX_RECORDS` records.
    """
    old = store.tables
    living = []
    for t in range(len(old)):
        stride, base, used = int(program.tables["stride"][t]), int(old["base"][t]), int(old["used"][t])
        records = store.memory[base : base + used * stride].reshape(used, stride)
        living.append(records[(records[:, C_STATE] & _EXISTS) != _ZERO])
    counts = np.array([len(records) for records in living], np.int64)
    # At least half of the records are free then, or this would be done over and over.
    capacities = np.maximum(old["capacity"], 2 * (counts + reserve))
    if (capacities > MAX_RECORDS).any():
        raise MemoryError(f"more than {MAX_RECORDS} contexts in one table")
    new = allocate(program, capacities, old["nic_slots"])
    for t, records in enumerate(living):
        base = int(new.tables["base"][t])
        new.memory[base : base + records.size] = records.ravel()
        new.tables["used"][t] = len(records)
        with np.errstate(over="ignore"):
            rehash(program, new, t)
    return new

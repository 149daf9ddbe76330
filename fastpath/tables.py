"""The NIC's context tables: which context is where, what must move to make room, and what does not fit.

A context in a table has a **handle**, from 0 to the table's ``contexts`` − 1, which it keeps until it is removed: it
is the slot that eviction policies speak of and where the context's memory lies. Where the hardware would find the
context is its **place**; only places change when contexts move. All organisations run the same kernels, which read
from the table's row how many choices, ways, stash places and moves there are (:mod:`.organisations`).

Keys are told apart by their 64-bit hash (:func:`oppcache.opp.contexts.hash_key`). The bucket in sub-table c is
``splitmix64(hash ^ seed_c)``, of which the high 32 bits are scaled to the number of buckets; the seeds are drawn from
the run's seed, so no traffic can be made to collide without knowing it.

A context whose insertion a protocol has only begun, or that it keeps after an eviction until the other side has it,
is *reserved*: it counts as used but is no candidate for eviction.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from oppcache._jit import kernel
from oppcache._memory import full, zeros
from oppcache.opp.contexts import splitmix64
from oppcache.opp.random_streams import kernel_state, stream

from .organisations import MAX_CHOICES, Organisation
from .walk import fits_word, leave, place_of, put, room, settle

TABLE_DTYPE = np.dtype(
    [
        (name, np.int64)
        for name in (
            "first",  # row of handle 0 among all tables' contexts
            "contexts",  # handles
            "fresh",  # handles from here on were never used
            "freed",  # handles on the free stack
            "owned",  # contexts that are not merely reserved
            "first_place",
            "choices",  # 0: fully associative, there are no places
            "buckets",  # of each sub-table
            "ways",
            "stash",
            "stashed",
            "moves_most",  # of one insertion
            "kick_back",  # 1: a context that lost its place may take it back at once
            "in_word",  # 1: ``elsewhere`` says where contexts may be
            "inserts",  # insertions tried
            "full",  # of them, those that found as many contexts in use as there may be
            "failures",  # of them, those that found no place although another context would have had one
            "moves",  # contexts moved by insertions, failed ones too
            "moves_max",  # most of one insertion
            "drained",  # contexts that went from the stash to a place that a removal had emptied
        )
    ],
    align=True,
)


class Tables(NamedTuple):
    """All context tables of a NIC."""

    rows: np.ndarray  # TABLE_DTYPE, per table
    keys: np.ndarray  # uint64, per handle of all tables: hash of its context's key
    records: np.ndarray  # int32, per handle: its context's record, −1: it is free
    owned: np.ndarray  # uint8, per handle: 1 where its context is owned
    places: np.ndarray  # int32, per place of all tables: the handle there, −1: none
    taken: np.ndarray  # uint8, per place: 1 where a handle is
    elsewhere: np.ndarray  # uint64, per place: where else its context may be, see :mod:`.walk`
    free: np.ndarray  # int64, per table a stack of handles that were freed
    seeds: np.ndarray  # uint64, MAX_CHOICES per table
    random: np.ndarray  # uint64, per table: state of the walk's random numbers
    buckets: np.ndarray  # int32, ``choices`` per handle: first place of its key's bucket in each sub-table
    walk: np.ndarray  # int64: places that an insertion went through


def make_tables(organisation: Organisation, places: list[int], seed: int) -> Tables:
    """Return empty tables, one for each item of ``places``.

    Args:
        organisation: of all of them.
        places: places of each, its stash not counted; rounded up to whole buckets. It holds ``organisation.load`` of
            them, rounded down.
        seed: of the run; seeds the hash functions and the walks.
    """
    rows = np.zeros(len(places), TABLE_DTYPE)
    first = first_place = 0
    for row, wanted in zip(rows, places, strict=True):
        row["first"], row["first_place"] = first, first_place
        row["contexts"] = max(min(wanted, 1), int(wanted * organisation.load + 1e-9))
        for name in ("choices", "ways", "stash"):
            row[name] = getattr(organisation, name)
        row["moves_most"], row["kick_back"] = organisation.moves, organisation.kick_back
        in_buckets = organisation.choices * organisation.ways
        row["buckets"] = -(-wanted // in_buckets) if in_buckets else 0
        row["in_word"] = fits_word(row)
        first += int(row["contexts"])
        first_place += int(row["buckets"]) * in_buckets + organisation.stash
    hashing = stream(seed, "nic.contexts.hash").integers(
        0, 1 << 64, (len(places), MAX_CHOICES), dtype=np.uint64
    )
    walks = [kernel_state(seed, f"nic.contexts.walk.{table}") for table in range(len(places))]
    return Tables(
        rows,
        zeros(max(first, 1), np.uint64),
        full(max(first, 1), -1, np.int32),
        zeros(max(first, 1), np.uint8),
        full(max(first_place, 1), -1, np.int32),
        zeros(max(first_place, 1), np.uint8),
        zeros(max(first_place, 1), np.uint64),
        zeros(max(first, 1), np.int64),
        hashing.reshape(-1),
        np.concatenate([*walks, np.zeros(1, np.uint64)]),
        zeros(max(first, 1) * max(organisation.choices, 1), np.int32),
        np.zeros(organisation.moves + 1, np.int64),
    )


_HALF = np.uint64(32)


@kernel
def _bucket(tables, table, choice, key):
    """First place of a key's bucket in a sub-table, within the table."""
    buckets = tables.rows["buckets"][table]
    mixed = splitmix64(key ^ tables.seeds[table * MAX_CHOICES + choice])
    bucket = np.int64(((mixed >> _HALF) * np.uint64(buckets)) >> _HALF)
    return (choice * buckets + bucket) * tables.rows["ways"][table]


@kernel
def _note_buckets(tables, table, handle, key):
    """Keep where a key's buckets are, so that moving it needs no hashing."""
    at = (tables.rows["first"][table] + handle) * tables.rows["choices"][table]
    for choice in range(tables.rows["choices"][table]):
        tables.buckets[at + choice] = np.int32(_bucket(tables, table, np.int64(choice), key))


@kernel
def insert(tables, table, key, record):
    """Put a context that is not there into a table, reserved.

    Args:
        tables, table: all tables, and the number of the one.
        key: ``uint64`` hash of its key.
        record: what the handle stands for, not negative.

    Returns:
        (handle, moves): −1 where there was no room, and then nothing has changed; the moves were made all the same,
        and undone. An insertion keeps the table's insertion logic busy for moves × ``contexts.move_time``.
    """
    rows = tables.rows
    rows["inserts"][table] += 1
    first = rows["first"][table]
    if rows["freed"][table] > 0:
        handle = tables.free[first + rows["freed"][table] - 1]
    elif rows["fresh"][table] < rows["contexts"][table]:
        handle = rows["fresh"][table]
    else:
        rows["full"][table] += 1
        return np.int64(-1), np.int64(0)
    tables.keys[first + handle] = key
    moves = np.int64(0)
    if rows["choices"][table] > 0:
        _note_buckets(tables, table, handle, key)
        place = room(tables, table, handle)
        if place >= 0:
            put(tables, table, handle, place)
        else:
            settled, moves = settle(tables, table, handle)
            rows["moves"][table] += moves
            rows["moves_max"][table] = max(rows["moves_max"][table], moves)
            if not settled:
                rows["failures"][table] += 1
                return np.int64(-1), moves
    if rows["freed"][table] > 0:
        rows["freed"][table] -= 1
    else:
        rows["fresh"][table] += 1
    tables.records[first + handle] = record
    tables.owned[first + handle] = 0
    return handle, moves


@kernel
def own(tables, table, handle):
    """Make a reserved context one that can be evicted."""
    at = tables.rows["first"][table] + handle
    if tables.owned[at] == 0:
        tables.owned[at] = 1
        tables.rows["owned"][table] += 1


@kernel
def retain(tables, table, handle):
    """Make a context reserved: it stays where it is, but is no candidate for eviction."""
    at = tables.rows["first"][table] + handle
    if tables.owned[at] == 1:
        tables.owned[at] = 0
        tables.rows["owned"][table] -= 1


@kernel
def remove(tables, table, handle):
    """Take a context out and free its handle; one of the stash may go to the place."""
    rows = tables.rows
    at = rows["first"][table] + handle
    retain(tables, table, handle)
    tables.records[at] = -1
    tables.free[rows["first"][table] + rows["freed"][table]] = handle
    rows["freed"][table] += 1
    place = place_of(tables, table, handle)
    if place < 0:
        return
    leave(tables, table, place)
    stash = rows["choices"][table] * rows["buckets"][table] * rows["ways"][table]
    if place >= stash:
        rows["stashed"][table] -= 1
    elif rows["stashed"][table] > 0:
        _drain(tables, table, place, stash)


@kernel
def _drain(tables, table, place, stash):
    """Move a context of the stash to a place that was emptied, if it may be there."""
    rows = tables.rows
    ways = rows["ways"][table]
    choice = place // (rows["buckets"][table] * ways)
    for i in range(stash, stash + rows["stash"][table]):
        handle = np.int64(tables.places[rows["first_place"][table] + i])
        if handle >= 0:
            at = (rows["first"][table] + handle) * rows["choices"][table] + choice
            if np.int64(tables.buckets[at]) == place - place % ways:
                leave(tables, table, i)
                put(tables, table, handle, place)
                rows["stashed"][table] -= 1
                rows["drained"][table] += 1
                return


@kernel
def candidates(tables, table, key, out):
    """Contexts of which one must be removed before a key can be inserted.

    Without a free handle, any context will do, unless the key's own places are taken and nothing can move. Otherwise
    it must be one of the key's own places or of the stash.

    Args:
        tables, table: all tables, and the number of the one.
        key: ``uint64`` hash of the key.
        out: ``int64`` array with room for :func:`candidates_most` handles.

    Returns:
        how many handles were written; 0: any owned context of the table; −1: none can be evicted.
    """
    rows = tables.rows
    if rows["owned"][table] == 0:
        return np.int64(-1)
    if rows["choices"][table] == 0:
        return np.int64(0)
    full = rows["freed"][table] == 0 and rows["fresh"][table] == rows["contexts"][table]
    if full and rows["moves_most"][table] > 0:
        return np.int64(0)
    count = np.int64(0)
    for choice in range(rows["choices"][table]):
        start = rows["first_place"][table] + _bucket(tables, table, np.int64(choice), key)
        for place in range(start, start + rows["ways"][table]):
            if full and tables.places[place] < 0:
                return np.int64(0)
            count = _collect(tables, rows["first"][table], place, out, count)
    start = rows["first_place"][table] + rows["choices"][table] * rows["buckets"][table] * rows["ways"][table]
    for place in range(start, start + rows["stash"][table]):
        count = _collect(tables, rows["first"][table], place, out, count)
    return count if count > 0 else np.int64(-1)


@kernel
def _collect(tables, first, place, out, count):
    handle = np.int64(tables.places[place])
    if handle >= 0 and tables.owned[first + handle] == 1:
        out[count] = handle
        return count + 1
    return count


@kernel
def occupant(tables, table, handle):
    """The record of a handle, −1 where it is free or no handle."""
    if handle < 0 or handle >= tables.rows["contexts"][table]:
        return np.int64(-1)
    return np.int64(tables.records[tables.rows["first"][table] + handle])


@kernel
def is_owned(tables, table, handle):
    """Whether a handle is in use and not merely reserved."""
    return occupant(tables, table, handle) >= 0 and (tables.owned[tables.rows["first"][table] + handle] == 1)


@kernel
def look_up(tables, table, key):
    """The handle of a key, −1 if it is not there; looks where the hardware would."""
    rows = tables.rows
    if rows["choices"][table] == 0:
        for handle in range(rows["fresh"][table]):
            at = rows["first"][table] + handle
            if tables.records[at] >= 0 and tables.keys[at] == key:
                return np.int64(handle)
        return np.int64(-1)
    for choice in range(rows["choices"][table] + 1):
        if choice < rows["choices"][table]:
            start, count = _bucket(tables, table, np.int64(choice), key), rows["ways"][table]
        else:
            start, count = (
                rows["choices"][table] * rows["buckets"][table] * rows["ways"][table],
                rows["stash"][table],
            )
        for place in range(start, start + count):
            there = np.int64(tables.places[rows["first_place"][table] + place])
            if there >= 0 and tables.keys[rows["first"][table] + there] == key:
                return there
    return np.int64(-1)


def candidates_most(tables: Tables) -> int:
    """Most handles that :func:`candidates` writes."""
    rows = tables.rows
    return int((rows["choices"] * rows["ways"] + rows["stash"]).max(initial=0)) + 1


class Occupancy(NamedTuple):
    """What a table holds and what its insertions took."""

    places: int  # stash not counted; those of a fully associative table are its contexts
    contexts: int  # that it can hold
    used: int
    owned: int  # the others are reserved
    stashed: int
    load: float  # used / places
    inserts: int
    full: int  # insertions that found as many contexts in use as there may be
    failures: int  # insertions that found no place all the same
    moves: int
    moves_max: int


def occupancy(tables: Tables, table: int) -> Occupancy:
    """Count what a table holds now and what it has done since it was made."""
    row = tables.rows[table]
    places = int(row["choices"] * row["buckets"] * row["ways"]) or int(row["contexts"])
    used = int(row["fresh"] - row["freed"])
    counts = (int(row[name]) for name in ("inserts", "full", "failures", "moves", "moves_max"))
    return Occupancy(
        places,
        int(row["contexts"]),
        used,
        int(row["owned"]),
        int(row["stashed"]),
        used / places if places else 0.0,
        *counts,
    )

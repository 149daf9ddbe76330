"""Reading ahead: the keys of the next packets of a batch, so that their contexts are in the cache when they run.

A context that is not in the processor's cache costs as much time as all the rest of a packet's step. So a driver that
has packets in a batch reads the lookup keys of some of them first, hashes them, and has the memory fetched in which
their index entries and records stand. A stage whose key is made of header fields takes it from there, unless an action
has changed one of its words since. A stage that few packets come to is not read ahead.

Keys of metadata, and of what earlier stages rewrite (behind a NAT, say), are not known before the packet runs. But
packets of one flow mostly come to the same contexts: so the store keeps, for each flow, to which record of such a stage
its last packet came. These hints are read ahead too, and the records fetched; a packet whose key there is the record's
need not ask the index. If it is not, nothing is lost. The flow is the longest of the keys that are read ahead.
"""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel

from . import arrays as A
from .contexts import hash_key
from .keys import extract_key
from .prefetch import prefetch

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_32 = np.uint64(32)
_RECORD = np.uint64(0xFFFF_FFFF)
_FEW = np.uint64(A.AHEAD_PACKETS // 4)
_FAR = 2 * A.AHEAD_PACKETS
LINE = 8  # words of a line of the processor's cache


@kernel
def row_of(slot, place):
    """Where in the scratch words what was read of a packet for one of the keys begins."""
    return A.S_AHEAD_KEYS + (slot * A.AHEAD_PACKETS + place) * A.AHEAD_WORDS


@kernel
def read_ahead(program, store, vectors, first, anew, entire, scratch):
    """Read the keys of the packets from ``first`` on; return the first packet of which none was read.

    A driver says with ``S_AHEAD``, after :func:`~.step.begin`, which of them it runs.

    Args:
        entire: whether records are fetched to be run on; else of each the key and the place on the NIC.
        anew: whether these are the first of a batch: how often the keys are looked up is not known yet.
    """
    count = min(np.int64(A.AHEAD_PACKETS), vectors.shape[0] - first)
    for stage in range(program.stages.shape[0]):
        slot = program.stages["ahead"][stage]
        if slot < 0:
            continue
        flow = program.stages["flow"][stage] == 1
        often = anew or flow or scratch[A.S_VISITS + slot] >= _FEW
        scratch[A.S_READ + slot] = _ONE if often else _ZERO
        scratch[A.S_VISITS + slot] = _ZERO
        if often:
            _read_keys(program, store, stage, slot, vectors, first, count, scratch)
            if flow:
                _read_flows(store, slot, count, scratch)
            _fetch_records(program, store, stage, slot, count, entire, scratch)
    for stage in range(program.stages.shape[0]):
        column = program.stages["hint"][stage]
        if column >= 0:
            _fetch_hinted(program, store, program.stages["table"][stage], column, count, entire, scratch)
    return first + count


@kernel
def fetch_vector(vectors, i):
    """With packet ``i``, have the header vector fetched that will be read ahead when all that are have run.

    One a packet: fetched together they would wait for each other.
    """
    words = vectors.shape[1]
    first = (i + _FAR) * words
    for word in range(0, words, LINE):
        prefetch(vectors, first + word)


@kernel
def _read_flows(store, slot, count, scratch):
    for i in range(count):
        row = row_of(slot, i)
        there = scratch[row + A.AHEAD_DIRECTION]
        # The two directions of a connection stand side by side.
        scratch[A.S_FLOWS + i] = scratch[row + A.AHEAD_HASH] + there if there != _ZERO else _ZERO
        prefetch(store.hints, _hints_of(store, i, scratch) * store.hints.shape[1])


@kernel
def _hints_of(store, place, scratch):
    """The row of a packet's hints."""
    return np.int64(scratch[A.S_FLOWS + place] & np.uint64(store.hints.shape[0] - 1))


@kernel
def foreseen(store, column, place, scratch):
    """The record that a packet of a known flow comes to in a stage, most likely; -1: nothing is known of it."""
    hint = store.hints[_hints_of(store, place, scratch), column]
    if hint >> _32 != scratch[A.S_FLOWS + place] >> _32:
        return np.int64(-1)
    return np.int64(hint & _RECORD) - 1


@kernel
def keep_hint(store, column, place, record, scratch):
    """Note the record that a packet came to in a stage."""
    tag = scratch[A.S_FLOWS + place] >> _32 << _32
    store.hints[_hints_of(store, place, scratch), column] = tag | np.uint64(record + 1)


@kernel
def _fetch_hinted(program, store, table, column, count, entire, scratch):
    for i in range(count):
        record = foreseen(store, column, i, scratch)
        if record >= 0:
            _fetch_record(program, store, table, record, entire)


@kernel
def _read_keys(program, store, stage, slot, vectors, first, count, scratch):
    key, table = program.stages["lookup"][stage], program.stages["table"][stage]
    words = program.keys["words"][key]
    mask, at = store.tables["index_mask"][table], store.tables["index_base"][table]
    for i in range(count):
        row = row_of(slot, i)
        direction = extract_key(program, key, vectors[first + i], scratch, row + A.AHEAD_KEY)
        scratch[row + A.AHEAD_DIRECTION] = np.uint64(direction + 1)
        if direction >= 0:
            h = hash_key(scratch, row + A.AHEAD_KEY, words)
            scratch[row + A.AHEAD_HASH] = h
            prefetch(store.buckets, at + np.int64(h & mask))


@kernel
def _fetch_records(program, store, stage, slot, count, entire, scratch):
    table = program.stages["table"][stage]
    mask, at = store.tables["index_mask"][table], store.tables["index_base"][table]
    for i in range(count):
        row = row_of(slot, i)
        scratch[row + A.AHEAD_RECORD] = _ZERO
        if scratch[row + A.AHEAD_DIRECTION] == _ZERO:
            continue
        h = scratch[row + A.AHEAD_HASH]
        place = h & mask
        found = store.buckets[at + np.int64(place)]
        while found != _ZERO and found >> _32 != h >> _32:
            place = (place + _ONE) & mask
            found = store.buckets[at + np.int64(place)]
        if found != _ZERO:  # most likely the key's, which is not compared here
            scratch[row + A.AHEAD_RECORD] = found & _RECORD
            _fetch_record(program, store, table, np.int64(found & _RECORD) - 1, entire)


@kernel
def _fetch_record(program, store, table, record, entire):
    stride = program.tables["stride"][table]
    base = store.tables["base"][table] + record * stride
    if entire:
        fetch_words(store, base, stride)
    else:
        prefetch(store.memory, base + A.C_PLACE)
        prefetch(store.memory, base + A.C_PLACE + program.tables["key_words"][table])


@kernel
def fetch_words(store, first, count):
    """Have so many words of contexts fetched."""
    for word in range(first, first + count - 1, LINE):
        prefetch(store.memory, word)
    prefetch(store.memory, first + count - 1)

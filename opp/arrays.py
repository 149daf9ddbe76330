"""The lowered program's arrays and the store of contexts: their dtypes and the words of a context record.

A program and the contexts it works on reach the kernels as two named tuples of NumPy arrays,
:class:`ProgramArrays` and :class:`Store`. Numbers that are data (values, masks, keys, registers) are
``uint64``; numbers that say where something is are ``int64``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .program import MAX_DELETES, MAX_TEMPORARIES, MAX_UPDATES

# Words of a context record, before its key and registers.
C_STATE = 0  # state label; CONTEXT_EXISTS is set above it
C_VERSION = 1  # packets and writes applied so far
C_WITNESS = 2  # order witness: w <- H(w, packet number)
C_LAST = 3  # time of last use, ns
C_HARD = 4  # hard deadline, ns; 0: none
C_IDLE = 5  # idle timeout, ns; 0: none
C_ROLLBACK = 6  # rollback labels: idle | hard << 32; ROLLBACK_DELETE: delete
C_PLACE = 7  # NIC slot + 1 in the CPU's record, CPU record + 1 in a NIC slot; 0: not on the NIC
C_HEADER_WORDS = 8

CONTEXT_EXISTS = 1 << 32
STATE_MASK = 0xFFFF_FFFF
ROLLBACK_DELETE = 0xFFFF_FFFF

MAX_KEY_WORDS = 16  # of 512 bits: fields are not split over words, so 8 will not do

# Where an operand comes from.
O_CONST, O_WORD, O_REGISTER, O_WRITTEN, O_GLOBAL, O_TEMPORARY, O_NOW, O_DIRECTION, O_RANDOM = range(9)
# What a cell of a match row looks at.
CELL_WORD, CELL_STATE, CELL_DIRECTION, CELL_CONDITIONS, CELL_NO_KEY = range(5)
# Actions.
A_SET, A_DEC_TTL, A_OUTPUT, A_DROP, A_CONTROLLER = range(5)
A_VALUE = 5  # does nothing: holds an operand, or what is set, for an action behind it
A_ALLOC = 6
A_GENERATE = 7
# Verdicts.
VERDICT_NONE, VERDICT_FORWARD, VERDICT_DROP, VERDICT_CONTROLLER = range(4)
# Where an entry goes on.
GOTO_NEXT, GOTO_END = -1, -2
# Key of a write.
KEY_LOOKED_UP = -1
# State of a write.
NEXT_STAY, NEXT_SET, NEXT_DELETE = range(3)


def _dtype(*fields: str) -> np.dtype:
    """An aligned record of 8-byte members; names ending in ``:u`` are unsigned."""
    return np.dtype(
        [(f.removesuffix(":u"), np.uint64 if f.endswith(":u") else np.int64) for f in fields], align=True
    )


TABLE_DTYPE = _dtype(
    "key_words",
    "registers",
    "first_register",
    "stride",
    "initial_state:u",
    "event",  # template of the packet that a passed timer makes, -1: none
    "event_timers",  # bits: 1 hard, 2 idle
)
STAGE_DTYPE = _dtype(
    "table",  # -1: stateless
    "lookup",  # key number, -1: none
    "on_write",
    "commit",
    "first_temporary",
    "temporaries",
    "first_condition",
    "conditions",
    "first_row",
    "rows",
    "default",  # entry number, -1: none
    "next",  # stage that runs after this one; the number of stages: none
    "classifier",  # word of its header in matching; -1: few rows, which are tried one after the other
    "ahead",  # place of its lookup key among those that are read ahead, see .ahead; -1: it is not
    "flow",  # 1: this key says of which flow a packet is
    "hint",  # place of its context among those of which hints tell; -1: none does
)
KEY_DTYPE = _dtype(
    "first_part",
    "parts",  # in order of the packed words
    "words",
    "first_pair",
    "pairs",
    "headers:u",
    "temporaries:u",
    "reads:u",  # bit per word of the header vector that it is made of (modulo 64)
)
PART_DTYPE = _dtype("kind", "index", "swapped", "word", "shift:u", "value:u", "mask:u")
PAIR_DTYPE = _dtype("source", "destination", "words")
OPERAND_DTYPE = _dtype("kind", "index", "header", "value:u")
OPERATION_DTYPE = _dtype("op", "a", "b", "k:u", "width:u", "mask:u", "target_kind", "target", "target_mask:u")
CONDITION_DTYPE = _dtype("op", "a", "b", "width:u", "mask:u")
ROW_DTYPE = _dtype("entry", "first_cell", "cells", "none")
CELL_DTYPE = _dtype("kind", "index", "mask:u", "value:u")
ENTRY_DTYPE = _dtype(
    "first_action",
    "actions",
    "first_write",
    "writes",
    "goto",
    "site:u",
    # What the machine counts as it runs: packets and bytes that took the entry, and when the last one did (its now).
    "packets:u",
    "bytes:u",
    "last_hit:u",
)
ACTION_DTYPE = _dtype(
    "kind",
    "target",  # word
    "other",  # dec_ttl: the other word; set: 1 where a word that is 0 stays so
    "header",
    "operand",
    "mask:u",
    "companion",  # which slot further on must have a value as well; 0: none
    "first_mirror",
    "mirrors",
)
# An allocation. The four actions before it hold its range's low and high end, its start, and what it sets.
ALLOC_DTYPE = _dtype(
    "table",
    "key",
    "word",  # of the packed key, in which the value stands
    "shift:u",
    "mask:u",
    "tries",
    "found",  # metadata's word, -1: none
    "drop",
)
# A packet to be made. What is set in it are actions: those right before a generating one, or of its own.
TEMPLATE_DTYPE = _dtype(
    "stage",
    "blank",
    "anew",  # whether it has headers of its own
    "headers:u",
    "quote",
    "proto",  # of its layer 4, -1: as it is
    "first_action",  # of an event's
    "actions",
    "first_move",
    "moves",
)
# A word of a made packet that is filled from another: of the packet (own 0), of itself (1) or of a key (2).
MOVE_DTYPE = _dtype("own", "source", "word", "need:u", "unless:u", "right:u", "left:u", "mask:u")
PLACE_DTYPE = _dtype("word", "header")  # every word of a field, with the header that it needs
# Words that follow one that is set: they get value >> right << left under the mask.
MIRROR_DTYPE = _dtype("word", "need:u", "unless:u", "right:u", "left:u", "mask:u")
WRITE_DTYPE = _dtype(
    "table",
    "key",
    "next",
    "state:u",
    "idle_set",
    "idle:u",
    "idle_to:u",
    "hard_set",
    "hard:u",
    "hard_to:u",
    "first_update",
    "updates",
)


# The classifiers of stages with many rows are records in one array of words, see .tuples. Each has a header, which
# says at which words of the array the others stand; slots and links count from 1, 0 is none.
SUBJECT_DTYPE = _dtype("kind", "index")
CHUNK_DTYPE = _dtype("subject", "shift:u")
MAX_HASH_PARTS = 6
HASH_PART_DTYPE = _dtype("subject", "mask:u")
SUBTABLE_DTYPE = np.dtype(
    [
        ("best", np.uint64),  # biased priority of its best rule, 0: none
        ("bucket_mask", np.uint64),
        ("first_bucket", np.int64),
        ("parts", np.int64),
        ("part", HASH_PART_DTYPE, MAX_HASH_PARTS),
    ]
)
RULE_CELL_DTYPE = _dtype("subject", "mask:u", "low:u", "span:u")  # holds if (value & mask) - low <= span


def rule_dtype(cells: int) -> np.dtype:
    """A classifier's rule with room for so many cells; ``priority`` is biased by 2^63, so that none is 0."""
    head = [("priority", np.uint64), ("tag", np.uint64), ("next", np.int64), ("entry", np.int64)]
    return np.dtype([*head, ("cells", np.int64), ("cell", RULE_CELL_DTYPE, cells)])


# Words of these records, for kernels, which read the array of words as it is.
K_SUBJECTS, K_FIRST_SUBJECT, K_CHUNKS, K_FIRST_CHUNK, K_CANDIDATES = range(5)  # of the header
K_SUBTABLES, K_BUCKETS, K_RULES, K_RULE_WORDS, K_WORDS = range(5, 10)
T_BEST, T_BUCKET_MASK, T_FIRST_BUCKET, T_PARTS, T_PART = range(5)
T_WORDS = T_PART + 2 * MAX_HASH_PARTS
R_PRIORITY, R_TAG, R_NEXT, R_ENTRY, R_CELLS, R_CELL = range(6)
MAX_SUBTABLES = 64  # one bit each in a word
CHUNK_VALUES = 256


class ProgramArrays(NamedTuple):
    """A lowered program; each member is a structured array of the like-named dtype, but for the last four."""

    tables: np.ndarray
    stages: np.ndarray  # in pipeline order, commit stages last
    keys: np.ndarray
    parts: np.ndarray
    pairs: np.ndarray
    operands: np.ndarray
    operations: np.ndarray  # temporaries and updates
    conditions: np.ndarray
    rows: np.ndarray
    cells: np.ndarray
    entries: np.ndarray
    actions: np.ndarray
    mirrors: np.ndarray
    allocs: np.ndarray
    templates: np.ndarray
    moves: np.ndarray
    places: np.ndarray
    writes: np.ndarray
    registers: np.ndarray  # uint64: initial values, per table from first_register
    register_masks: np.ndarray  # uint64, alike
    globals: np.ndarray  # uint64: initial values
    matching: np.ndarray  # uint64: words of all classifiers


# One row a table: where its records, its hash index and its NIC slots stand.
STORE_TABLE_DTYPE = _dtype(
    "base",  # word of record 0 in memory
    "capacity",
    "used",
    "index_base",
    "index_mask:u",
    "nic_base",  # word of NIC slot 0 in memory
    "nic_slots",
)


class Store(NamedTuple):
    """All contexts of one machine: both sides' records in one memory, and each table's hash index.

    A record's number is its key's dense id: it is given at the first sight of the key and never reused.
    """

    tables: np.ndarray  # STORE_TABLE_DTYPE
    memory: np.ndarray  # uint64 words
    buckets: np.ndarray  # uint64: hash tag << 32 | record + 1; 0: free
    # uint64[2^n, stages that have hints]: flow tag << 32 | record + 1; 0: none. See .ahead; they change no result.
    hints: np.ndarray


MAX_ACTIONS = 64
# Words of the scratch array (uint64) that one packet's processing uses.
S_KEY = 0
S_FOREIGN_KEY = S_KEY + MAX_KEY_WORDS
S_TEMPORARIES = S_FOREIGN_KEY + MAX_KEY_WORDS
S_PRESENT = S_TEMPORARIES + MAX_TEMPORARIES  # bit per temporary
S_CONDITIONS = S_PRESENT + 1
S_VERDICT = S_CONDITIONS + 1
S_PORT = S_VERDICT + 1
S_DIRECTION = S_PORT + 1
S_NOW = S_DIRECTION + 1
S_SEED = S_NOW + 1
S_SITE = S_SEED + 1
S_HASH = S_SITE + 1
S_GONE = S_HASH + 1  # number of contexts on the NIC that this packet deleted
S_GONE_LIST = S_GONE + 1  # (table, record) pairs
S_RESULTS = S_GONE_LIST + 2 * MAX_DELETES
S_RESULT_PRESENT = S_RESULTS + MAX_UPDATES
S_VALUES = S_RESULT_PRESENT + MAX_UPDATES  # operand values of one entry: actions, then a and b of each update
S_VALUE_PRESENT = S_VALUES + MAX_ACTIONS + 2 * MAX_UPDATES
S_SUBJECTS = S_VALUE_PRESENT + MAX_ACTIONS + 2 * MAX_UPDATES  # what a classifier's rules look at
MAX_SUBJECTS = 256
S_CHOICES = S_SUBJECTS + MAX_SUBJECTS  # number of allocations that this packet made
S_CHOICE_LIST = S_CHOICES + 1  # (value, 1 or 0 for found) of each, up to MAX_CHOICES
MAX_CHOICES = 64
# Contexts of other keys that were written since a driver last took note: how many, then table, record, version and witness
# before; more than MAX_WRITTEN are not noted.
S_WRITTEN = S_CHOICE_LIST + 2 * MAX_CHOICES
S_WRITTEN_LIST = S_WRITTEN + 1
MAX_WRITTEN, WRITTEN_WORDS = 64, 4
# What is read ahead of the packets of a batch, see .ahead.
AHEAD_PACKETS = 28
MAX_AHEAD = 3  # keys of a packet
MAX_HINTED = 4  # stages
# Direction + 1 (0: no key), hash, record + 1 (0: none), key.
AHEAD_DIRECTION, AHEAD_HASH, AHEAD_RECORD, AHEAD_KEY = range(4)
AHEAD_WORDS = AHEAD_KEY + MAX_KEY_WORDS
S_AHEAD = (
    S_WRITTEN_LIST + WRITTEN_WORDS * MAX_WRITTEN
)  # place of the packet among those read ahead, + 1; 0: it was not
# Bit per word of the header vector that the packet's actions have changed (modulo 64).
S_CHANGED = S_AHEAD + 1
S_VISITS = S_CHANGED + 1  # how often each of the keys was looked up since the last reading
S_READ = S_VISITS + MAX_AHEAD  # whether each was read
S_FLOWS = S_READ + MAX_AHEAD  # hash of the flow of each packet that was read ahead; 0: unknown
S_AHEAD_KEYS = S_FLOWS + AHEAD_PACKETS
# The queue of packets that were made: rows from S_WORDS on, behind the head those that have not run yet.
S_CAPACITY = S_AHEAD_KEYS + MAX_AHEAD * AHEAD_PACKETS * AHEAD_WORDS  # rows
S_NEED = S_CAPACITY + 1  # rows that one packet can add
S_HEAD = S_NEED + 1
S_TAIL = S_HEAD + 1
S_ROOT = S_TAIL + 1  # number of the packet that came in from outside
S_INDEX = S_ROOT + 1  # packets made from it so far
S_MADE = S_INDEX + 1  # of these, by generate
S_SWEPT = S_MADE + 1  # contexts that sweeps have expired
S_WORDS = S_SWEPT + 1
# Words of a queue's row.
Q_STAGE, Q_PARENT, Q_INDEX, Q_EVENT, Q_VERDICT, Q_PORT, Q_VECTOR = range(7)

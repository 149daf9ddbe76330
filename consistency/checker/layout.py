"""A state of the model: the working vector that a step changes, and the short form that is stored.

The working vector ``s`` is int64[WORDS]: budgets and ghosts of the whole system, one block a key (the entries of
both sides, as the interpreter wants them, contexts, buffers), and five queues of items, one after the other. A context
is the set of the packets that have been applied to it, one bit a packet, so that a version is a number of bits; a
packet is its number, which within a flow is the order of arrival. Packets of one flow have the same key; where a key
has several flows, :mod:`.flows` chooses the numbers.

An item is one word of 32 bits: a punted packet with its tag, an output, a marker or a control message. Generations
and requests are (incarnation, counter) of 2 + 4 and 2 + 3 bits, which :mod:`.canonical` keeps small.
"""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel

from ..vocabulary import E_G, E_N, E_Q, E_R, E_STATE, EVENTS, INCARNATION_SHIFT

PACKETS_MAX = 5
KEYS_MAX = 2
FLOWS_MAX = 3
QUEUES_MAX = 2
CRASHES_MAX = 2
MIGRATIONS_MAX = 7
UNTAGGED_MAX = 3
QUEUE_ITEMS = 20  # of one queue

# The whole system.
S_NIC, S_CPU = 0, 3  # the sides' own records, NODE_WORDS each
S_PROMOTIONS, S_DEMOTIONS, S_NIC_CRASHES, S_CPU_CRASHES, S_DROPS = range(6, 11)  # what is left of each
S_ENTERED = 11  # packets so far
S_KEY_OF = 12  # bit i: the key of packet i
S_APPLIED, S_EGRESSED, S_LOST = 13, 14, 15  # ghosts: sets of packets
# How many items each queue has; their own order is also that of the items.
S_COUNTS = 16
Q_RX, Q_TX, Q_TO_NIC, Q_TO_CPU = 0, 2, 3, 4
QUEUES = 5
S_UNTAGGED = 21  # packets that may still be punted by an earlier stage
S_UNDERWAY = 22  # ghost: set of those that are not yet out of TX
S_FLOW_OF = 23  # the flow of each packet among those of its key, 2 bits each
S_HISTORY = 24  # ghost, not stored: packets in the order in which they were applied, as in a buffer
# A key's block.
S_KEYS, KEY_WORDS = 25, 26
B_ENTRY = 0  # + 8 * role
B_CONTEXT = 16  # + role: the context held there
B_CHECKPOINT = 18
B_LATEST = 19  # ghost: the context after the last packet that was applied
B_FLOOR = 20  # ghost: after a crash, 1 + the fewest updates that may remain; 0: none may be lost
B_HELD = 21  # + role: packet numbers + 1, 3 bits each, oldest lowest
B_BOUNCED = 23  # see bounced.py
B_SHADOW = 24  # ghost: a copy that came back and is newer than what the CPU kept; 0: it kept all
B_OPEN = (
    25  # ghost: a promotion has been asked for, and as the CPU sees it is neither done nor counted as failed
)
S_ITEMS = S_KEYS + KEYS_MAX * KEY_WORDS
WORDS = S_ITEMS + QUEUES * QUEUE_ITEMS

# Items that are no messages: an output on its way through TX.
OUTPUT = EVENTS

HEADER_WORDS = 3
BLOCK_WORDS = 4
STORED_MAX = HEADER_WORDS + KEYS_MAX * BLOCK_WORDS + QUEUES * QUEUE_ITEMS

I_KEY, I_G, I_R, I_N, I_MASK, I_INCARNATION, I_ID = 5, 6, 12, 17, 21, 26, 28
G_BITS, R_BITS = 6, 5
ITEM_G, ITEM_R = 63 << I_G, 31 << I_R
I_COUNTED = 31  # of a marker that goes through every queue: its copies in the others have come out
COUNTED = 1 << I_COUNTED


@kernel
def short_g(g):
    """A generation in an item."""
    return ((g >> INCARNATION_SHIFT) << 4) | (g & 15)


@kernel
def long_g(code):
    """A generation in an entry."""
    return ((code >> 4) << INCARNATION_SHIFT) + (code & 15)


@kernel
def short_r(r):
    """A request in an item."""
    return ((r >> INCARNATION_SHIFT) << 3) | (r & 7)


@kernel
def long_r(code):
    """A request in an entry."""
    return ((code >> 3) << INCARNATION_SHIFT) + (code & 7)


@kernel
def bits(mask):
    """Number of bits of a set of packets."""
    pairs = mask - ((mask >> 1) & 0x15)
    return (pairs & 3) + ((pairs >> 2) & 3) + (pairs >> 4)


@kernel
def highest(mask):
    """Number of the newest packet of a set, -1 if empty."""
    found = 0 if mask > 0 else -1
    found += 1 if mask > 1 else 0
    found += 1 if mask > 3 else 0
    found += 1 if mask > 7 else 0
    return found + (1 if mask > 15 else 0)


@kernel
def held_count(buffer):
    """Packets in a buffer word."""
    count = 1 if buffer > 0 else 0
    count += 1 if buffer >= 1 << 3 else 0
    count += 1 if buffer >= 1 << 6 else 0
    count += 1 if buffer >= 1 << 9 else 0
    return count + (1 if buffer >= 1 << 12 else 0)


@kernel
def in_order(mask):
    """A set of packets as a buffer word, in the order of their numbers."""
    found, place = 0, 0
    for packet in range(PACKETS_MAX):
        if mask >> packet & 1:
            found |= (packet + 1) << place
            place += 3
    return found


@kernel
def flow_of(s, packet):
    """The flow of a packet among those of its key."""
    return s[S_FLOW_OF] >> (2 * packet) & 3


@kernel
def members(s, key, flow):
    """Set of the packets of a flow, of which there may be more to come."""
    found = s[S_KEY_OF] if key else ~s[S_KEY_OF]
    if s[S_FLOW_OF] == 0:
        return found & 31 if flow == 0 else 0
    for packet in range(PACKETS_MAX):
        if flow_of(s, packet) != flow:
            found &= ~(1 << packet)
    return found & 31


@kernel
def start_of(s, queue):
    """Where a queue's items begin in the working vector."""
    at = S_ITEMS
    for before in range(queue):
        at += s[S_COUNTS + before]
    return at


@kernel
def end_of(s):
    """Where the items end in the working vector."""
    return start_of(s, QUEUES)


@kernel
def copy_state(s, t, keys):
    """Copy the part of a working vector that is in use."""
    for i in range(S_KEYS + keys * KEY_WORDS):
        t[i] = s[i]
    for i in range(S_ITEMS, end_of(s)):
        t[i] = s[i]


@kernel
def pack(s, keys, words):
    """Write the short form of a state; returns its length in words.

    Args:
        words: uint32[STORED_MAX].
    """
    words[0] = np.uint32(
        s[S_NIC]
        | s[S_NIC + 2] << 2
        | s[S_CPU] << 4
        | s[S_CPU + 1] << 6
        | s[S_NIC + 1] << 9
        | s[S_PROMOTIONS] << 13
        | s[S_DEMOTIONS] << 16
        | s[S_NIC_CRASHES] << 19
        | s[S_CPU_CRASHES] << 21
        | s[S_DROPS] << 23
        | s[S_ENTERED] << 25
        | s[S_CPU + 2] << 28
        | s[S_UNTAGGED] << 30
    )
    words[1] = np.uint32(
        s[S_APPLIED]
        | s[S_EGRESSED] << 5
        | s[S_LOST] << 10
        | s[S_KEY_OF] << 15
        | s[S_COUNTS + Q_TX] << 20
        | s[S_UNDERWAY] << 25
    )
    words[2] = np.uint32(
        s[S_COUNTS]
        | s[S_COUNTS + 1] << 5
        | s[S_COUNTS + Q_TO_NIC] << 10
        | s[S_COUNTS + Q_TO_CPU] << 15
        | s[S_FLOW_OF] << 20
    )
    at = HEADER_WORDS
    for key in range(keys):
        b = S_KEYS + key * KEY_WORDS
        n, c = b + B_ENTRY, b + B_ENTRY + 8
        words[at] = np.uint32(
            s[n + E_STATE]
            | short_g(s[n + E_G]) << 4
            | short_r(s[n + E_R]) << 10
            | s[n + E_N] << 15
            | (s[n + E_Q] + 1) << 19
            | s[b + B_FLOOR] << 24
        )
        words[at + 1] = np.uint32(
            s[b + B_CONTEXT]
            | s[b + B_CONTEXT + 1] << 5
            | s[b + B_CHECKPOINT] << 10
            | s[b + B_LATEST] << 15
            | s[b + B_SHADOW] << 20
            | s[b + B_OPEN] << 25
        )
        words[at + 2] = np.uint32(
            s[c + E_STATE]
            | short_g(s[c + E_G]) << 4
            | short_r(s[c + E_R]) << 10
            | s[c + E_N] << 15
            | s[b + B_BOUNCED] << 19
        )
        words[at + 3] = np.uint32(s[b + B_HELD] | s[b + B_HELD + 1] << 15)
        at += BLOCK_WORDS
    for i in range(S_ITEMS, end_of(s)):
        words[at] = np.uint32(s[i])
        at += 1
    return at


@kernel
def unpack(words, at, keys, s):
    """The reverse of :func:`pack`, from ``words[at:]``; returns where the state's words end."""
    for i in range(S_KEYS + keys * KEY_WORDS):
        s[i] = 0
    w = np.int64(words[at])
    s[S_NIC], s[S_NIC + 2], s[S_CPU] = w & 3, w >> 2 & 3, w >> 4 & 3
    s[S_CPU + 1], s[S_NIC + 1] = w >> 6 & 7, w >> 9 & 15
    s[S_PROMOTIONS], s[S_DEMOTIONS] = w >> 13 & 7, w >> 16 & 7
    s[S_NIC_CRASHES], s[S_CPU_CRASHES], s[S_DROPS] = w >> 19 & 3, w >> 21 & 3, w >> 23 & 3
    s[S_ENTERED], s[S_CPU + 2] = w >> 25 & 7, w >> 28 & 3
    s[S_UNTAGGED] = w >> 30
    w = np.int64(words[at + 1])
    s[S_APPLIED], s[S_EGRESSED], s[S_LOST], s[S_KEY_OF] = w & 31, w >> 5 & 31, w >> 10 & 31, w >> 15 & 31
    s[S_COUNTS + Q_TX], s[S_UNDERWAY] = w >> 20 & 31, w >> 25
    w = np.int64(words[at + 2])
    s[S_COUNTS], s[S_COUNTS + 1] = w & 31, w >> 5 & 31
    s[S_COUNTS + Q_TO_NIC], s[S_COUNTS + Q_TO_CPU], s[S_FLOW_OF] = w >> 10 & 31, w >> 15 & 31, w >> 20
    s[S_HISTORY] = in_order(s[S_APPLIED])
    at += HEADER_WORDS
    for key in range(keys):
        b = S_KEYS + key * KEY_WORDS
        n, c = b + B_ENTRY, b + B_ENTRY + 8
        w = np.int64(words[at])
        s[n + E_STATE], s[n + E_G], s[n + E_R] = w & 15, long_g(w >> 4 & 63), long_r(w >> 10 & 31)
        s[n + E_N], s[n + E_Q], s[b + B_FLOOR] = w >> 15 & 15, (w >> 19 & 31) - 1, w >> 24
        w = np.int64(words[at + 1])
        s[b + B_CONTEXT], s[b + B_CONTEXT + 1] = w & 31, w >> 5 & 31
        s[b + B_CHECKPOINT], s[b + B_LATEST] = w >> 10 & 31, w >> 15 & 31
        s[b + B_SHADOW], s[b + B_OPEN] = w >> 20 & 31, w >> 25
        w = np.int64(words[at + 2])
        s[c + E_STATE], s[c + E_G], s[c + E_R] = w & 15, long_g(w >> 4 & 63), long_r(w >> 10 & 31)
        s[c + E_N], s[b + B_BOUNCED] = w >> 15 & 15, w >> 19
        s[c + E_Q] = -1
        w = np.int64(words[at + 3])
        s[b + B_HELD], s[b + B_HELD + 1] = w & 0x7FFF, w >> 15
        at += BLOCK_WORDS
    for i in range(S_ITEMS, end_of(s)):
        s[i] = np.int64(words[at])
        at += 1
    return at


@kernel
def hash_of(words, at, length):
    """64-bit hash of the stored state at ``words[at:]``: multiply and fold two words at a time, then a finaliser.

    The finaliser is splitmix64's (Steele et al., OOPSLA 2014).
    """
    h = np.uint64(length) * np.uint64(0x9E3779B97F4A7C15)
    for i in range(at, at + length - 1, 2):
        pair = np.uint64(words[i]) | np.uint64(words[i + 1]) << np.uint64(32)
        h = (h ^ pair) * np.uint64(0xFF51AFD7ED558CCD)
        h ^= h >> np.uint64(32)
    if length & 1:
        h = (h ^ np.uint64(words[at + length - 1])) * np.uint64(0xFF51AFD7ED558CCD)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))

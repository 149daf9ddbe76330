"""Packets that a program makes: generated ones, and those that tell of a context's passed timer.

They stand in a queue behind the scratch words: rows of a few words (``Q_*``) and a header vector. Those up to the head
have run, and their row has what became of them; those behind it are to run, in order, once the packet that is being
run has finished. A driver makes the scratch array with :func:`make_scratch`; it calls :func:`has_queue_room` before
each packet, :func:`next_made` after each, and :func:`take` between batches.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from oppcache._jit import kernel

from . import arrays as A
from .contexts import passed_timer
from .fields import (
    IPV4_MAPPED,
    W_FAMILY,
    W_HEADERS,
    W_ID,
    W_IP_DST,
    W_IP_PROTO,
    W_IP_SRC,
    W_NOW,
    W_OFFSETS,
    W_STATUS,
    Header,
)
from .lower import Lowered
from .operands import load
from .program import MAX_GENERATED, MAX_WRITES
from .rewriting import set_word

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_MAPPED = np.uint64(IPV4_MAPPED)
_NO_OFFSETS = np.uint64(0xFFFF_FFFF_FFFF)
_40 = np.uint64(40)
_IP, _IPV4, _IPV6 = (np.uint64(1 << h) for h in (Header.IP, Header.IPV4, Header.IPV6))
_PORTS, _QUERY = np.uint64(1 << Header.L4_PORTS), np.uint64(1 << Header.ICMP_QUERY)
_ICMP = np.uint64(1 << Header.ICMP | 1 << Header.ICMPV6)
_TRANSPORTS = np.uint64(sum(1 << h for h in (Header.TCP, Header.UDP, Header.UDPLITE, Header.SCTP)))
_INNER_IP, _INNER_L4 = np.uint64(1 << Header.INNER_IP), np.uint64(1 << Header.INNER_L4)
_INNER_IPV4, _INNER_IPV6 = np.uint64(1 << Header.INNER_IPV4), np.uint64(1 << Header.INNER_IPV6)
_INNER_PORTS, _INNER_QUERY = np.uint64(1 << Header.INNER_PORTS), np.uint64(1 << Header.INNER_QUERY)
_INNER = _INNER_IP | _INNER_L4 | _INNER_IPV4 | _INNER_IPV6 | _INNER_PORTS | _INNER_QUERY
_PACKET, _ITSELF, _KEY = range(3)


@kernel
def _append(scratch, words, stage, event, parent, now):
    """Add a row to the queue; return where its vector, all zeros but for number and stamp, begins, or -1."""
    tail = np.int64(scratch[A.S_TAIL])
    if tail >= np.int64(scratch[A.S_CAPACITY]):
        return np.int64(-1)
    scratch[A.S_TAIL] = np.uint64(tail + 1)
    row = A.S_WORDS + tail * (A.Q_VECTOR + words)
    index = scratch[A.S_INDEX]
    scratch[A.S_INDEX] = index + _ONE
    scratch[row + A.Q_STAGE] = np.uint64(stage)
    scratch[row + A.Q_PARENT] = parent
    scratch[row + A.Q_INDEX] = index
    scratch[row + A.Q_EVENT] = np.uint64(event)
    at = row + A.Q_VECTOR
    scratch[at : at + words] = _ZERO
    scratch[at + W_ID] = scratch[A.S_ROOT] + ((index + _ONE) << _40)
    scratch[at + W_NOW] = now
    scratch[at + W_OFFSETS] = _NO_OFFSETS
    return at


@kernel
def generate(program, action, slot, vector, scratch):
    """Do the generating action of a row: what its packet has set stands in the slots before its own."""
    t = program.actions["target"][action]
    quote = program.templates["quote"][t] == 1
    if scratch[A.S_MADE] >= np.uint64(MAX_GENERATED) or (
        quote and vector[W_HEADERS] & (_IPV4 | _IPV6) == _ZERO
    ):
        return
    words = vector.shape[0]
    at = _append(scratch, words, program.templates["stage"][t], 0, vector[W_ID], vector[W_NOW])
    if at < 0:
        return
    scratch[A.S_MADE] += _ONE
    made = scratch[at : at + words]
    if program.templates["blank"][t] == 0:
        for i in range(words):
            if i != W_ID and i != W_OFFSETS and i != W_STATUS:
                made[i] = vector[i]
    if program.templates["anew"][t] == 1:
        _dress(program, t, vector, made)
    if quote:
        made[W_HEADERS] = (made[W_HEADERS] & ~_INNER) | _quoted_headers(vector[W_HEADERS])
    _move(program, t, vector, made, scratch, np.int64(0))
    count = program.templates["actions"][t]
    for i in range(count):
        row = action - count + i
        held = slot - count + i
        companion = held + program.actions["companion"][row]
        if scratch[A.S_VALUE_PRESENT + held] == _ONE and scratch[A.S_VALUE_PRESENT + companion] == _ONE:
            set_word(program, row, scratch[A.S_VALUES + held], made)


@kernel
def _dress(program, t, vector, made):
    """Give a made packet its template's headers; of what it has from the packet stays what they share."""
    new = program.templates["headers"][t]
    kept = made[W_HEADERS] & new
    if kept & _TRANSPORTS == _ZERO:
        kept &= ~_PORTS
    if kept & (_IPV4 | _IPV6) == _ZERO:
        kept &= ~(_IP | _PORTS)
    for p in range(program.places.shape[0]):
        if (kept >> np.uint64(program.places["header"][p])) & _ONE == _ZERO:
            made[program.places["word"][p]] = _ZERO
    made[W_HEADERS] = new
    _name_family(made, kept & _IP == _ZERO)
    proto = program.templates["proto"][t]
    if proto >= 0:
        made[W_IP_PROTO] = np.uint64(proto)


@kernel
def _name_family(made, addresses):
    """Say which IP the packet is by its headers; ``addresses``: whether they are still to be made."""
    made[W_FAMILY] = _ZERO
    if made[W_HEADERS] & _IPV4 != _ZERO:
        made[W_FAMILY] = np.uint64(4)
        if addresses:
            made[W_IP_SRC + 1] |= _MAPPED
            made[W_IP_DST + 1] |= _MAPPED
    elif made[W_HEADERS] & _IPV6 != _ZERO:
        made[W_FAMILY] = np.uint64(6)


@kernel
def _quoted_headers(headers):
    """Validity bits of the quote of a packet with these."""
    found = _INNER_IP | (_INNER_IPV4 if headers & _IPV4 != _ZERO else _INNER_IPV6)
    if headers & _PORTS != _ZERO:
        return found | _INNER_L4 | _INNER_PORTS
    if headers & _QUERY != _ZERO:
        return found | _INNER_L4 | _INNER_QUERY
    return found | _INNER_L4 if headers & _ICMP != _ZERO else found


@kernel
def _move(program, t, source, made, scratch, key):
    """Fill words of a made packet; ``key`` is where in the source a context's key begins, 0 for a packet."""
    first = program.templates["first_move"][t]
    headers_known = key == 0
    for m in range(first, first + program.templates["moves"][t]):
        own = program.moves["own"][m]
        if own == _ITSELF and not headers_known:
            _know_headers(program, t, made)
            headers_known = True
        need = program.moves["need"][m]
        if own != _KEY:
            if made[W_HEADERS] & need != need or made[W_HEADERS] & program.moves["unless"][m] != _ZERO:
                continue
        word, mask, at = program.moves["word"][m], program.moves["mask"][m], program.moves["source"][m]
        value = made[at] if own == _ITSELF else source[key + at]
        value = (value >> program.moves["right"][m]) << program.moves["left"][m]
        made[word] = (made[word] & ~mask) | (value & mask)
    if not headers_known:
        _know_headers(program, t, made)


@kernel
def _know_headers(program, t, made):
    """Which headers an event packet has: those of the fields of its key, and the IP version of its addresses."""
    headers = program.templates["headers"][t]
    family = made[W_FAMILY]
    if family == np.uint64(4):
        headers = (headers & ~_IPV6) | _IP | _IPV4
    elif family == np.uint64(6):
        headers = (headers & ~_IPV4) | _IP | _IPV6
    made[W_HEADERS] = headers
    _name_family(made, True)


@kernel
def announce(program, store, variables, table, base, vector, scratch):
    """Before a context is used: if a timer of it has passed and its table tells of that, queue the packet that does."""
    timer, _ = passed_timer(store.memory, base, max(vector[W_NOW], store.memory[base + A.C_LAST]))
    if timer == 0 or program.tables["event_timers"][table] & timer == 0:
        return
    t = program.tables["event"][table]
    words = vector.shape[0]
    at = _append(scratch, words, program.templates["stage"][t], 1, vector[W_ID], vector[W_NOW])
    if at < 0:
        return
    made = scratch[at : at + words]
    _move(program, t, store.memory, made, scratch, base + A.C_HEADER_WORDS)
    now = scratch[A.S_NOW]
    scratch[A.S_NOW] = vector[W_NOW]
    first = program.templates["first_action"][t]
    ahead = _ZERO
    for row in range(first, first + program.templates["actions"][t]):
        companion = program.actions["companion"][row]
        beside, both = load(
            program, store, variables, program.actions["operand"][row + companion], table, base, made, scratch
        )
        value, there = load(
            program, store, variables, program.actions["operand"][row], table, base, made, scratch
        )
        if companion < 0:  # a second half, which may read what setting the first one has changed
            value = ahead
        if there and both:
            set_word(program, row, value, made)
        ahead = beside
    scratch[A.S_NOW] = now


@kernel
def has_queue_room(scratch):
    """Whether the queue has room for all that one packet can add."""
    return scratch[A.S_TAIL] + scratch[A.S_NEED] <= scratch[A.S_CAPACITY]


@kernel
def next_made(scratch, words):
    """Where the row of the next packet to run begins, -1 if there is none; the row is then taken."""
    head = np.int64(scratch[A.S_HEAD])
    if head == np.int64(scratch[A.S_TAIL]):
        return np.int64(-1)
    scratch[A.S_HEAD] = np.uint64(head + 1)
    scratch[A.S_VERDICT : A.S_PORT + 1] = _ZERO
    scratch[A.S_AHEAD] = _ZERO
    return A.S_WORDS + head * (A.Q_VECTOR + words)


# What drivers call from Python


class Made(NamedTuple):
    """Packets that a program made, in the order in which they ran; arrays of the same length.

    Attributes:
        vectors: ``uint64[n, words]`` header vectors as they left; their number is that of the packet from outside + 2^40
            times one more than their nth.
        parent: ``uint64[n]`` number of the packet that each comes from.
        nth: ``uint64[n]``, counted from 0 over all packets that come from the same one from outside.
        event: ``bool[n]``: whether it tells of a passed timer.
        verdict, port: as of any packet.
    """

    vectors: np.ndarray
    parent: np.ndarray
    nth: np.ndarray
    event: np.ndarray
    verdict: np.ndarray
    port: np.ndarray


def makes_packets(lowered: Lowered) -> bool:
    """Whether packets of a program may make others."""
    return len(lowered.arrays.templates) > 0


def make_scratch(lowered: Lowered, old: np.ndarray | None = None) -> np.ndarray:
    """The scratch words of a driver: ``uint64``, with a queue if the program makes packets.

    Args:
        old: a scratch array of the same program that has no room for another packet: what its queue holds is kept.
    """
    need = capacity = 0
    if makes_packets(lowered):
        events = bool((lowered.arrays.tables["event"] >= 0).any())
        need = MAX_GENERATED + len(lowered.arrays.stages) * (MAX_WRITES + 1) * events
        waiting = 0 if old is None else int(old[A.S_TAIL] - old[A.S_HEAD])
        capacity = 2 * (need + waiting) + 64
    scratch = np.zeros(A.S_WORDS + capacity * (A.Q_VECTOR + lowered.layout.words), np.uint64)
    if old is not None:
        scratch[: min(len(old), len(scratch))] = old[: len(scratch)]
    scratch[A.S_NEED], scratch[A.S_CAPACITY] = need, capacity
    return scratch


def take(scratch: np.ndarray, words: int) -> Made:
    """Take the packets that have run out of the queue; those that wait move up."""
    head, tail = int(scratch[A.S_HEAD]), int(scratch[A.S_TAIL])
    size = A.Q_VECTOR + words
    rows = scratch[A.S_WORDS : A.S_WORDS + tail * size].reshape(tail, size).copy()
    scratch[A.S_WORDS : A.S_WORDS + (tail - head) * size] = rows[head:].ravel()
    scratch[A.S_HEAD], scratch[A.S_TAIL] = 0, tail - head
    done = rows[:head]
    return Made(
        np.ascontiguousarray(done[:, A.Q_VECTOR :]),
        done[:, A.Q_PARENT],
        done[:, A.Q_INDEX],
        done[:, A.Q_EVENT] != 0,
        done[:, A.Q_VERDICT].astype(np.uint8),
        done[:, A.Q_PORT].astype(np.uint32),
    )

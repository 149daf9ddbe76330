"""What lies between the two sides: the data rings and the control channel."""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.consistency.vocabulary import CPU, EV_CTX, EV_INSTALL, EV_WB, M_KEY, MESSAGE_WORDS, NIC
from oppcache.opp.contexts import splitmix64
from oppcache.slowpath.queues import send, settle

from ..counters import Count
from .faulty import ARRIVES, LATE, befall, ring_drops
from .state import (
    P_BANDWIDTH,
    P_BURST,
    P_CONTEXT_BYTES,
    P_CONTROL,
    P_CONTROL_BANDWIDTH,
    P_CONTROL_FAULTS,
    P_INSERT,
    P_INSTANT,
    P_PACED,
    P_RING_FAULTS,
    P_RX,
    P_TAG_BYTES,
    P_TX,
    PACKET,
    Q_INSERT,
    Q_RX,
    Q_TO_CPU,
    Q_TO_NIC,
    Q_TX,
    T_CONTROL_IN,
    T_CONTROL_OUT,
    T_RX,
    T_TOKENS,
    T_TX,
)

_PCIE, _MESSAGES, _CONTROL_BYTES = (
    int(Count.PCIE_BYTES),
    int(Count.CONTROL_MESSAGES),
    int(Count.CONTROL_BYTES),
)
_REJECTED = int(Count.INSERTS_REJECTED)
_PS_PER_BYTE = np.int64(8 * 10**12)  # at one bit a second


@kernel
def home_of(w, table, record):
    """The core at which packets of a context are at home. Tables that form one group have one home, the first."""
    cores = w.cores.shape[0]
    if cores == 1 or w.grouped[table] == 1:
        return np.int64(0)
    mixed = splitmix64((np.uint64(table) << np.uint64(32)) ^ np.uint64(record))
    return np.int64(mixed >> np.uint64(33)) % cores


@kernel
def _wire_time(w, item):
    """(bytes, time) that an item takes on a data ring."""
    size = w.pool.items["length"][item] if w.pool.items["kind"][item] == PACKET else np.int64(0)
    size += w.knobs[P_TAG_BYTES]
    return size, (size * _PS_PER_BYTE) // w.knobs[P_BANDWIDTH]


@kernel(forceinline=False)
def put_rx(w, item, core, now):
    """Put an item into a core's RX ring at ``now``, not before what is in it; return whether there was room."""
    if w.knobs[P_RING_FAULTS] and ring_drops(w):
        return False
    size, time = _wire_time(w, item)
    w.pool.items["core"][item] = core
    sent = max(now, w.clock[T_RX]) + time
    if not send(w.queues, Q_RX + 2 * core, now, sent + w.knobs[P_RX], item):
        return False
    w.clock[T_RX] = sent
    w.tally.counts[_PCIE] += size
    return True


@kernel(forceinline=False)
def put_tx(w, item, now):
    """Put an item into the TX ring; return whether there was room."""
    if w.knobs[P_RING_FAULTS] and ring_drops(w):
        return False
    size, time = _wire_time(w, item)
    sent = max(now, w.clock[T_TX]) + time
    if not send(w.queues, Q_TX, now, sent + w.knobs[P_TX], item):
        return False
    w.clock[T_TX] = sent
    w.tally.counts[_PCIE] += size
    return True


@kernel
def carries_context(kind):
    """Whether a message has a copy of the context with it."""
    return kind == EV_INSTALL or kind == EV_CTX or kind == EV_WB


@kernel
def _row_of(w, item):
    key = w.pool.message[item, M_KEY]
    return w.tally.flow_at[key >> np.int64(32)] + (key & np.int64(0xFFFF_FFFF))


@kernel
def _charge(w, kind):
    """Count a control message; return the time that it takes on the channel."""
    size = w.knobs[P_TAG_BYTES]
    if carries_context(kind):
        size += w.knobs[P_CONTEXT_BYTES]
    w.tally.counts[_MESSAGES] += 1
    w.tally.counts[_CONTROL_BYTES] += size
    w.tally.counts[_PCIE] += size
    return (size * _PS_PER_BYTE) // w.knobs[P_CONTROL_BANDWIDTH]


@kernel(forceinline=False)
def insertions_full(w, now):
    """Whether no further insertion may wait for the rate: a promotion that is wanted now is refused at once."""
    return settle(w.queues, Q_INSERT, now) >= w.queues.rows["limit"][Q_INSERT]


@kernel(forceinline=False)
def send_to_nic(w, item, kind, now):
    """Send a control message to the NIC; return whether the item is on its way.

    What asks for an insertion (WATCH, or INSTALL in a protocol without it) waits for a token of the insertion rate, in
    a queue of its own.
    """
    if w.knobs[P_INSTANT]:
        return send(w.queues, Q_TO_NIC, now, now, item)
    row = _row_of(w, item) if kind == w.knobs[P_PACED] else np.int64(-1)
    # Sent again for a key that has its slot it inserts nothing.
    paced = row >= 0 and w.rows.marks["slot"][row] == 0
    waiting = w.rows.marks["queued"][row] if paced else np.int64(0)
    if waiting > 0:
        # The key is in the queue already, and needs to be there once: with what is newest.
        for i in range(MESSAGE_WORDS):
            w.pool.message[waiting, i] = w.pool.message[item, i]
        for i in range(w.pool.vectors.shape[1]):
            w.pool.vectors[waiting, i] = w.pool.vectors[item, i]
        return False
    sent = max(now, w.clock[T_CONTROL_OUT]) + _charge(w, kind)
    if w.knobs[P_CONTROL_FAULTS]:
        fate = befall(w, item, np.int64(NIC), now, sent + w.knobs[P_CONTROL])
        if fate != ARRIVES:
            w.clock[T_CONTROL_OUT] = sent
            return fate == LATE
    if not paced:
        w.clock[T_CONTROL_OUT] = sent
        return send(w.queues, Q_TO_NIC, now, sent + w.knobs[P_CONTROL], item)
    # The token bucket as virtual scheduling (ITU-T I.371): T_TOKENS is when the bucket will be full again.
    full = max(w.clock[T_TOKENS], now)
    start = max(sent, full - w.knobs[P_BURST] * w.knobs[P_INSERT])
    if not send(w.queues, Q_INSERT, now, start + w.knobs[P_CONTROL], item):
        w.tally.counts[_REJECTED] += 1
        return False
    w.rows.marks["queued"][row] = item
    w.clock[T_CONTROL_OUT] = sent
    w.clock[T_TOKENS] = full + w.knobs[P_INSERT]
    return True


@kernel(forceinline=False)
def send_to_cpu(w, item, kind, now):
    """Send a control message to the CPU; return whether it is on its way."""
    if w.knobs[P_INSTANT]:
        return send(w.queues, Q_TO_CPU, now, now, item)
    sent = max(now, w.clock[T_CONTROL_IN]) + _charge(w, kind)
    w.clock[T_CONTROL_IN] = sent
    if w.knobs[P_CONTROL_FAULTS]:
        fate = befall(w, item, np.int64(CPU), now, sent + w.knobs[P_CONTROL])
        if fate != ARRIVES:
            return fate == LATE
    return send(w.queues, Q_TO_CPU, now, sent + w.knobs[P_CONTROL], item)

"""Packets that leave: accounts, latency, order at egress, and the log that observers read."""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel

from ..account import CROSSED, leave
from ..counters import Count
from .fences import left_cpu
from .link import put_tx
from .order import next_in_line, step_out
from .pool import free_item
from .records import note_latency
from .state import (
    AWAY,
    DELAYED,
    L_LEFT,
    LINED,
    MEASURED,
    P_INSTANT,
    PARKED,
    STOP_DEPARTURES,
    T_HELD,
    T_LEFT,
    T_STOP,
)

_CROSSINGS, _RING = int(Count.CROSSINGS), int(Count.DROPS_RING)
_REORDERS, _DELAYED_HITS = int(Count.REORDERS), int(Count.DELAYED_HITS)
_HIT, _DELAYED, _MISS = 0, 1, 2
_MARGIN = 64


@kernel
def depart(w, item, vector, verdict, now):
    """A packet has gone through all its stages and leaves at ``now``, or the program drops it."""
    _record_leaving(w, item, vector, verdict, now)
    _forget(w, item, now)


@kernel
def _forget(w, item, now):
    """A packet is gone: those of its flow that waited for it alone go on."""
    behind = step_out(w, item)
    if item > 0:
        free_item(w, item)
    if behind > 0:
        advance(w, behind, now)


@kernel
def _record_leaving(w, item, vector, verdict, now):
    items = w.pool.items
    flags = items["flags"][item]
    number = items["id"][item]
    leaver = items["leaver"][item]
    if leaver >= 0 and verdict != 2:
        if number + 1 < w.lines[leaver, L_LEFT]:
            w.tally.counts[_REORDERS] += 1
        else:
            w.lines[leaver, L_LEFT] = number + 1
    if flags & MEASURED:
        leave(w.tally, items["length"][item], verdict, flags)
        if flags & DELAYED:
            w.tally.counts[_DELAYED_HITS] += 1
        if verdict != 2:
            kind = np.int64(_DELAYED) if flags & DELAYED else np.int64(_MISS if flags & CROSSED else _HIT)
            note_latency(w, kind, now - items["ingress"][item])
    if w.departures.fate.shape[0] > 0 or items["touched"][item] > 0:
        _end(w, item, vector, verdict, now)


@kernel(forceinline=False)
def lose(w, item, now):
    """A packet is lost on its way: in a ring or a queue, or because a protocol says so. Not that of item 0."""
    lose_entering(w, item, w.pool.vectors[item], now)


@kernel
def lose_entering(w, item, vector, now):
    """The same for one whose header vector may not be in the pool yet."""
    _record_loss(w, item, vector, now)
    _forget(w, item, now)


@kernel
def _record_loss(w, item, vector, now):
    flags = w.pool.items["flags"][item]
    if flags & MEASURED:
        leave(w.tally, w.pool.items["length"][item], np.int64(-1), flags)
        if flags & DELAYED:
            w.tally.counts[_DELAYED_HITS] += 1
    if w.pool.items["touched"][item] > 0:
        left_cpu(w, item, now)
    _end(w, item, vector, np.int64(-1), now)


@kernel(forceinline=False)
def advance(w, item, now):
    """Let a packet that waits for older ones of its flow go on if it may, and those behind it in turn.

    On the NIC it may leave when it is the first; on the CPU it may go to the NIC when the one before it is there.
    """
    items, counts = w.pool.items, w.tally.counts
    while item > 0 and items["flags"][item] & PARKED:
        before, away = items["before"][item], items["flags"][item] & AWAY
        if before > 0 and (away == 0 or items["flags"][before] & AWAY):
            return
        items["flags"][item] &= ~PARKED
        if away:
            counts[_CROSSINGS] += 1
            if put_tx(w, item, now):
                items["flags"][item] &= ~AWAY
                left_cpu(w, item, now)
                item = next_in_line(w, item)
                continue
            counts[_RING] += 1
            _record_loss(w, item, w.pool.vectors[item], now)
        else:
            w.clock[T_HELD] -= 1
            _record_leaving(w, item, w.pool.vectors[item], items["verdict"][item], now)
        gone = item
        item = step_out(w, gone)
        free_item(w, gone)


@kernel(forceinline=False)
def send_out(w, item, now):
    """The CPU has done with a packet, which goes back to the NIC behind the older ones of its flow."""
    items = w.pool.items
    if items["flags"][item] & LINED:
        before = items["before"][item]
        if before > 0 and items["flags"][before] & AWAY:
            items["flags"][item] |= PARKED
            return
    go_back(w, item, now)


@kernel(forceinline=False)
def go_back(w, item, now):
    """Put a packet that is on the CPU into the TX ring; return whether there was room."""
    w.tally.counts[_CROSSINGS] += 1
    if not put_tx(w, item, now):
        w.tally.counts[_RING] += 1
        lose(w, item, now)
        return False
    w.pool.items["flags"][item] &= ~AWAY
    left_cpu(w, item, now)
    behind = next_in_line(w, item)
    if behind > 0:
        advance(w, behind, now)
    return True


@kernel(forceinline=False)
def _end(w, item, vector, verdict, now):
    items = w.pool.items
    rows = w.departures.fate.shape[0]
    if rows > 0:
        at = w.clock[T_LEFT]
        w.clock[T_LEFT] = at + 1
        w.departures.fate[at, 0] = items["id"][item]
        w.departures.fate[at, 1] = verdict
        w.departures.fate[at, 2] = items["port"][item]
        w.departures.fate[at, 3] = items["flags"][item]
        w.departures.fate[at, 4] = now
        for i in range(w.departures.vectors.shape[1]):
            w.departures.vectors[at, i] = vector[i]
        if at + _MARGIN > rows:
            w.clock[T_STOP] |= STOP_DEPARTURES
    if w.knobs[P_INSTANT]:
        for i in range(items["touched"][item]):
            key = w.touched[item, i]
            row = w.tally.flow_at[key >> np.int64(32)] + (key & np.int64(0xFFFF_FFFF))
            w.rows.marks["away"][row] -= 1

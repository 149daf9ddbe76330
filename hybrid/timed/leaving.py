"""Packets that leave: accounts, latency, order at egress, and the log that observers read."""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel

from ..account import CROSSED, leave
from ..counters import Count
from .pool import free_item
from .records import note_latency
from .reference import world_at
from .state import DELAYED, MEASURED, P_INSTANT, STOP_DEPARTURES, T_LEFT, T_STOP

_REORDERS, _DELAYED_HITS = int(Count.REORDERS), int(Count.DELAYED_HITS)
_HIT, _DELAYED, _MISS = 0, 1, 2
_MARGIN = 64


@kernel
def depart(w, item, vector, verdict, now):
    """A packet has gone through all its stages and leaves at ``now``, or the program drops it."""
    items = w.pool.items
    flags = items["flags"][item]
    number = items["id"][item]
    leaver = items["leaver"][item]
    if leaver >= 0 and verdict != 2:
        if number + 1 < w.left[leaver]:
            w.tally.counts[_REORDERS] += 1
        else:
            w.left[leaver] = number + 1
    if flags & MEASURED:
        leave(w.tally, items["length"][item], verdict, flags)
        if flags & DELAYED:
            w.tally.counts[_DELAYED_HITS] += 1
        if verdict != 2:
            kind = np.int64(_DELAYED) if flags & DELAYED else np.int64(_MISS if flags & CROSSED else _HIT)
            note_latency(w, kind, now - items["ingress"][item])
    if w.departures.fate.shape[0] > 0 or w.knobs[P_INSTANT]:
        _end(w.here, item, vector, verdict, now)
    if item > 0:
        free_item(w, item)


@kernel(forceinline=False)
def lose(here, item, now):
    """A packet is lost on its way: in a ring or a queue, or because a protocol says so. Not that of item 0."""
    w = world_at(here)
    lose_entering(w, item, w.pool.vectors[item], now)


@kernel
def lose_entering(w, item, vector, now):
    """The same for one whose header vector may not be in the pool yet."""
    flags = w.pool.items["flags"][item]
    if flags & MEASURED:
        leave(w.tally, w.pool.items["length"][item], np.int64(-1), flags)
        if flags & DELAYED:
            w.tally.counts[_DELAYED_HITS] += 1
    _end(w.here, item, vector, np.int64(-1), now)
    if item > 0:
        free_item(w, item)


@kernel(forceinline=False)
def _end(here, item, vector, verdict, now):
    w = world_at(here)
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

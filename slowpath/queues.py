"""First-in-first-out queues in virtual time, with what is needed to hold them against Little's law.

Two kinds share one row of counters. What enters a **delay line** (:func:`send`) is known to leave at a certain time: a
link, a pipeline, a timer. What enters a **waiting line** (:func:`join`) leaves when somebody serves it. For both, the
time integral of the number inside is kept event by event, and the sum of the waits item by item. For a queue that has
emptied they are equal (Little 1961: L = λW; here as sums over a run, an exact identity of integers) where its events
came in order of time and its items left in the order in which they came; what did not is counted as ``disorder``.

Times are ``int64`` picoseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from oppcache._jit import kernel
from oppcache._memory import zeros

FOREVER = 2**62
# Items that have left a delay line in virtual time may not have been taken from it yet.
_SLACK = 1024

QUEUE_DTYPE = np.dtype(
    [
        (name, np.int64)
        for name in (
            "first",  # of its ring in the arrays below
            "mask",
            "head",  # the next to be taken
            "gone",  # the next to leave; delay lines only, where it may be ahead of head or behind it
            "tail",
            "limit",  # items at most
            "last",  # time up to which the integral goes
            "area",  # integral of the number inside, item·ps
            "waits",  # sum of the waits, ps
            "entered",  # not counting the dropped
            "dropped",
            "newest",  # when the last item leaves
            "disorder",  # events that came out of order
        )
    ],
    align=True,
)


_COUNTERS = (
    "head",
    "gone",
    "tail",
    "limit",
    "last",
    "area",
    "waits",
    "entered",
    "dropped",
    "newest",
    "disorder",
)


class Queues(NamedTuple):
    """All queues of a run."""

    rows: np.ndarray  # QUEUE_DTYPE
    ready: np.ndarray  # int64: when an item leaves (delay line) or came (waiting line)
    item: np.ndarray  # int64
    next: np.ndarray  # int64, per delay line: when its next item is to be taken, ps; FOREVER: there is none


_FOREVER = np.int64(FOREVER)


@kernel
def settle(queues, k, now):
    """Bring a delay line's integral up to ``now``: whatever is due leaves; return how many are inside."""
    rows = queues.rows
    gone, tail, last = rows["gone"][k], rows["tail"][k], rows["last"][k]
    area = np.int64(0)
    while gone < tail:
        ready = queues.ready[rows["first"][k] + (gone & rows["mask"][k])]
        if ready > now:
            break
        area += (tail - gone) * (ready - last)
        last = ready
        gone += 1
    rows["area"][k] += area + (tail - gone) * (now - last)
    rows["last"][k] = now
    rows["gone"][k] = gone
    if now < last:
        rows["disorder"][k] += 1
    return tail - gone


@kernel
def _begin_anew(rows, k):
    """An empty line goes back to the first place of its ring: going round it would take it all through the cache."""
    rows["head"][k] = 0
    rows["gone"][k] = 0
    rows["tail"][k] = 0


@kernel
def send(queues, k, now, ready, item):
    """Put an item into a delay line at ``now``, to leave at ``ready``; return whether there was room."""
    rows = queues.rows
    inside = settle(queues, k, now)
    if inside == 0 and rows["head"][k] == rows["tail"][k]:
        _begin_anew(rows, k)
    tail = rows["tail"][k]
    if inside >= rows["limit"][k] or tail - min(rows["head"][k], rows["gone"][k]) > rows["mask"][k]:
        rows["dropped"][k] += 1
        return False
    at = rows["first"][k] + (tail & rows["mask"][k])
    queues.ready[at] = ready
    queues.item[at] = item
    if rows["head"][k] == tail:
        queues.next[k] = ready
    if ready < now or ready < rows["newest"][k]:
        rows["disorder"][k] += 1
    rows["newest"][k] = ready
    rows["tail"][k] = tail + 1
    rows["entered"][k] += 1
    rows["waits"][k] += ready - now
    return True


@kernel
def put_in_order(queues, k, now, ready, item):
    """As :func:`send`, into a line without a limit whose items overtake each other: it goes where its time belongs."""
    rows = queues.rows
    settle(queues, k, now)
    at, first, mask = rows["tail"][k], rows["first"][k], rows["mask"][k]
    while at > rows["gone"][k] and queues.ready[first + ((at - 1) & mask)] > ready:
        queues.ready[first + (at & mask)] = queues.ready[first + ((at - 1) & mask)]
        queues.item[first + (at & mask)] = queues.item[first + ((at - 1) & mask)]
        at -= 1
    queues.ready[first + (at & mask)] = ready
    queues.item[first + (at & mask)] = item
    queues.next[k] = queues.ready[first + (rows["head"][k] & mask)]
    rows["newest"][k] = max(rows["newest"][k], ready)
    rows["tail"][k] += 1
    rows["entered"][k] += 1
    rows["waits"][k] += ready - now


@kernel
def due(queues, k):
    """When the next item of a delay line leaves; :data:`FOREVER` without one."""
    return queues.next[k]


@kernel
def take(queues, k):
    """Take the next item of a delay line, whose time has come."""
    rows = queues.rows
    first, mask, head = rows["first"][k], rows["mask"][k], rows["head"][k]
    rows["head"][k] = head + 1
    queues.next[k] = queues.ready[first + ((head + 1) & mask)] if head + 1 < rows["tail"][k] else _FOREVER
    return queues.item[first + (head & mask)]


@kernel
def pass_through(queues, k, now, ready):
    """As :func:`send`, for a line from which nobody takes anything: only its counts matter."""
    rows = queues.rows
    if ready == now and settle(queues, k, now) == 0:
        rows["entered"][k] += 1
        return True
    if not send(queues, k, now, ready, np.int64(0)):
        return False
    rows["head"][k] = rows["tail"][k]
    queues.next[k] = _FOREVER
    return True


@kernel
def waiting(queues, k):
    """Items in a line that have not been taken."""
    return queues.rows["tail"][k] - queues.rows["head"][k]


@kernel
def _pass(queues, k, now):
    rows = queues.rows
    rows["area"][k] += (rows["tail"][k] - rows["head"][k]) * (now - rows["last"][k])
    if now < rows["last"][k]:
        rows["disorder"][k] += 1
    rows["last"][k] = now


@kernel
def join(queues, k, now, item, always):
    """Put an item into a waiting line, ``always`` or if it is not full; return whether there was room."""
    rows = queues.rows
    _pass(queues, k, now)
    if rows["head"][k] == rows["tail"][k]:
        _begin_anew(rows, k)
    tail = rows["tail"][k]
    inside = tail - rows["head"][k]
    if (inside >= rows["limit"][k] and not always) or inside > rows["mask"][k]:
        rows["dropped"][k] += 1
        return False
    at = rows["first"][k] + (tail & rows["mask"][k])
    queues.ready[at] = now
    queues.item[at] = item
    rows["tail"][k] = tail + 1
    rows["entered"][k] += 1
    return True


@kernel
def serve(queues, k, now):
    """Take the first item of a waiting line that is not empty."""
    rows = queues.rows
    _pass(queues, k, now)
    at = rows["first"][k] + (rows["head"][k] & rows["mask"][k])
    rows["waits"][k] += now - queues.ready[at]
    rows["head"][k] += 1
    rows["gone"][k] = rows["head"][k]
    return queues.item[at]


def make_queues(limits: Sequence[int], growing: Sequence[int] = ()) -> Queues:
    """Return empty queues.

    Args:
        limits: items that each holds at most.
        growing: queues without a limit, which are made for so many to begin with and :func:`grown` when they are full.
    """
    sizes = [1 << (2 * limit + _SLACK).bit_length() for limit in limits]
    queues = _make(sizes)
    queues.rows["limit"] = limits
    queues.rows["limit"][list(growing)] = FOREVER
    return queues


def _make(sizes: Sequence[int]) -> Queues:
    rows = np.zeros(len(sizes), QUEUE_DTYPE)
    rows["mask"] = np.array(sizes, np.int64) - 1
    rows["first"] = np.cumsum([0, *sizes[:-1]])
    return Queues(
        rows,
        zeros(sum(sizes), np.int64),
        zeros(sum(sizes), np.int64),
        np.full(len(sizes), FOREVER, np.int64),
    )


def grown(queues: Queues, k: int) -> Queues:
    """Return the same queues with twice the room for queue ``k``."""
    sizes = [int(mask) + 1 for mask in queues.rows["mask"]]
    sizes[k] *= 2
    new = _make(sizes)
    new.next[:] = queues.next
    for old, row in zip(queues.rows, new.rows, strict=True):
        for name in _COUNTERS:
            row[name] = old[name]
        for at in range(int(min(old["head"], old["gone"])), int(old["tail"])):
            source = int(old["first"]) + (at & int(old["mask"]))
            target = int(row["first"]) + (at & int(row["mask"]))
            new.ready[target], new.item[target] = queues.ready[source], queues.item[source]
    return new


def little(queues: Queues, k: int, now: int, *, waits: bool) -> tuple[int, int]:
    """Return (time integral of the number inside, sum of the waits so far) of a queue at ``now``.

    The two are equal, or the queue's times are wrong. Items still inside count with the time that they have spent.

    Args:
        waits: whether it is a waiting line.
    """
    row: Any = queues.rows[k]
    area, total, last = int(row["area"]), int(row["waits"]), int(row["last"])
    now = max(now, last)
    at = int(row["head"] if waits else row["gone"])
    inside = [
        int(queues.ready[int(row["first"]) + (i & int(row["mask"]))]) for i in range(at, int(row["tail"]))
    ]
    if waits:
        return area + len(inside) * (now - last), total + sum(now - came for came in inside)
    area += sum(min(ready, now) - last for ready in inside)
    return area, total - sum(max(ready - now, 0) for ready in inside)

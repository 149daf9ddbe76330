"""Items under way: taking one from the pool, giving it back, and lists of them."""

from __future__ import annotations

from oppcache._jit import kernel
from oppcache.consistency.vocabulary import MESSAGE_WORDS

from .state import NOBODY, OWNED, PACKET, STOP_POOL, T_FREE, T_HELD, T_HELD_PEAK, T_STOP

MARGIN = 64  # items that are kept free for what one event may need


@kernel
def new_item(w):
    """A free item; its fields are as its last user left them."""
    free = w.clock[T_FREE] - 1
    w.clock[T_FREE] = free
    if free < MARGIN:
        w.clock[T_STOP] |= STOP_POOL
    return w.pool.free[free]


@kernel
def free_item(w, item):
    """Give an item back."""
    free = w.clock[T_FREE]
    w.pool.free[free] = item
    w.clock[T_FREE] = free + 1


@kernel
def clear_tag(w, item):
    """Take a packet's tag away."""
    for i in range(MESSAGE_WORDS):
        w.pool.message[item, i] = 0
    w.pool.message[item, 0] = -1


@kernel
def keep(w, item, vector):
    """The item under which a packet goes on: the one that it has, or a new one for the packet that is entering."""
    if item > 0:
        return item
    kept = new_item(w)
    w.pool.items[kept] = w.pool.items[0]
    w.pool.items["kind"][kept] = PACKET
    for i in range(vector.shape[0]):
        w.pool.vectors[kept, i] = vector[i]
    return kept


@kernel
def push(w, lists, row, at, item):
    """Append an item to the list whose first and last stand in ``lists[row, at]`` and the next column."""
    w.pool.items["next"][item] = NOBODY
    if lists[row, at] == NOBODY:
        lists[row, at] = item
    else:
        w.pool.items["next"][lists[row, at + 1]] = item
    lists[row, at + 1] = item


@kernel
def pull(w, lists, row, at):
    """Take the first item of a list, NOBODY if it is empty."""
    item = lists[row, at]
    if item != NOBODY:
        lists[row, at] = w.pool.items["next"][item]
    return item


@kernel
def hold(w, row, at, item):
    """Put a packet behind those that a side holds of a context; ``at``: 0 on the NIC, 2 on the CPU."""
    push(w, w.rows.sides, row, at, item)
    note_held(w)


@kernel
def note_held(w):
    """Count one more that is held."""
    w.clock[T_HELD] += 1
    w.clock[T_HELD_PEAK] = max(w.clock[T_HELD_PEAK], w.clock[T_HELD])


@kernel
def splice(w, lists, row, at, target, place):
    """Move a whole list of held packets to the end of another; they are to be run on their side's context."""
    item = lists[row, at]
    while item != NOBODY:
        w.pool.items["flags"][item] |= OWNED
        w.rows.marks["again"][row] += 1
        item = w.pool.items["next"][item]
    append_list(w, lists, row, at, target, place)


@kernel
def append_list(w, lists, row, at, target, place):
    """Move a whole list to the end of another."""
    first = lists[row, at]
    if first == NOBODY:
        return
    if target[place, 0] == NOBODY:
        target[place, 0] = first
    else:
        w.pool.items["next"][target[place, 1]] = first
    target[place, 1] = lists[row, at + 1]
    lists[row, at] = NOBODY

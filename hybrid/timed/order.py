"""The order in which the packets of a flow leave: those that have not left yet stand in a line.

A packet that stays behind (punted, held) joins the line of its flow and direction. One that has gone through all its
stages leaves if it is the first; else it goes the way of those before it, and waits for them where they are. Lines are
linked through the items of the pool; item 0, the packet that is just entering, is in none, so 0 is nobody here.
"""

from __future__ import annotations

from oppcache._jit import kernel

from .state import L_FIRST, L_LAST, LINED, P_EGRESS


@kernel
def line_up(w, item):
    """Let a packet join its flow's line, if it is not in it."""
    items = w.pool.items
    leaver = items["leaver"][item]
    if w.knobs[P_EGRESS] == 0 or leaver < 0 or items["flags"][item] & LINED:
        return
    last = w.lines[leaver, L_LAST]
    items["flags"][item] |= LINED
    items["before"][item] = last
    items["behind"][item] = 0
    if last > 0:
        items["behind"][last] = item
    else:
        w.lines[leaver, L_FIRST] = item
    w.lines[leaver, L_LAST] = item


@kernel
def step_out(w, item):
    """Take a packet out of its line; return who stood behind it, 0: nobody."""
    items = w.pool.items
    if items["flags"][item] & LINED == 0:
        return 0
    items["flags"][item] &= ~LINED
    leaver, before, behind = items["leaver"][item], items["before"][item], items["behind"][item]
    if before > 0:
        items["behind"][before] = behind
    else:
        w.lines[leaver, L_FIRST] = behind
    if behind > 0:
        items["before"][behind] = before
    else:
        w.lines[leaver, L_LAST] = before
    return behind


@kernel
def next_in_line(w, item):
    """Who stands behind a packet, 0: nobody."""
    if w.pool.items["flags"][item] & LINED:
        return w.pool.items["behind"][item]
    return 0


@kernel
def is_behind(w, item):
    """Whether an older packet of the same flow has not left yet."""
    leaver = w.pool.items["leaver"][item]
    if w.knobs[P_EGRESS] == 0 or leaver < 0:
        return False
    first = w.lines[leaver, L_FIRST]
    return first > 0 and first != item

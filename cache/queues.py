"""Several doubly linked queues over the same nodes, kept in a policy's state array from word ``at`` on.

A node is a slot, or whatever else a policy numbers. Each stands in at most one queue, which its ``tag`` may tell
(the tag is the policy's own). :func:`queue_words` words: a clock, then for each queue its newest node, its oldest
and its length, then for each node its newer neighbour, its older one, the clock when it was last put into a queue
(so that a choice among a few candidates keeps the queue's order), and the tag. −1 means none.
"""

from __future__ import annotations

from numba import int64

from oppcache._jit import kernel

NEWEST, OLDEST, LENGTH = 1, 2, 3  # of queue 0; three words a queue
NEWER, OLDER, STAMP, TAG = 0, 1, 2, 3  # four words a node


@kernel
def queue_words(queues, nodes):
    """Words of state that ``queues`` queues over ``nodes`` nodes take."""
    return int64(1) + int64(3) * queues + int64(4) * nodes


@kernel
def queues_init(state, at, queues):
    """Make all queues empty."""
    state[at] = 0
    for q in range(queues):
        state[at + NEWEST + 3 * q] = -1
        state[at + OLDEST + 3 * q] = -1
        state[at + LENGTH + 3 * q] = 0


@kernel
def node_at(at, queues, node):
    """Word at which a node's four words begin."""
    return at + 1 + 3 * queues + 4 * node


@kernel
def put(state, at, queues, q, node):
    """Put a node that is in no queue at the newest end of queue ``q``."""
    head = at + NEWEST + 3 * q
    newest = state[head]
    me = node_at(at, queues, node)
    state[me + NEWER] = -1
    state[me + OLDER] = newest
    state[at] += 1
    state[me + STAMP] = state[at]
    if newest >= 0:
        state[node_at(at, queues, newest) + NEWER] = node
    else:
        state[head + 1] = node
    state[head] = node
    state[head + 2] += 1


@kernel
def take(state, at, queues, q, node):
    """Take a node out of queue ``q``, in which it is."""
    head = at + NEWEST + 3 * q
    me = node_at(at, queues, node)
    newer, older = state[me + NEWER], state[me + OLDER]
    if newer >= 0:
        state[node_at(at, queues, newer) + OLDER] = older
    else:
        state[head] = older
    if older >= 0:
        state[node_at(at, queues, older) + NEWER] = newer
    else:
        state[head + 1] = newer
    state[head + 2] -= 1


@kernel
def renew(state, at, queues, q, node):
    """Make a node of queue ``q`` its newest."""
    if state[at + NEWEST + 3 * q] != node:
        take(state, at, queues, q, node)
        put(state, at, queues, q, node)


@kernel
def replace(state, at, queues, q, node, other):
    """Let a node that is in no queue take the place of one that is in queue ``q``, age included."""
    head = at + NEWEST + 3 * q
    old, new = node_at(at, queues, node), node_at(at, queues, other)
    newer, older = state[old + NEWER], state[old + OLDER]
    state[new + NEWER], state[new + OLDER], state[new + STAMP] = newer, older, state[old + STAMP]
    if newer >= 0:
        state[node_at(at, queues, newer) + OLDER] = other
    else:
        state[head] = other
    if older >= 0:
        state[node_at(at, queues, older) + NEWER] = other
    else:
        state[head + 1] = other


@kernel
def oldest_in(state, at, q):
    """The oldest node of queue ``q``, or −1."""
    return state[at + OLDEST + 3 * q]


@kernel
def length_of(state, at, q):
    """Number of nodes in queue ``q``."""
    return state[at + LENGTH + 3 * q]


@kernel
def newer_node(state, at, queues, node):
    """The next newer node of the same queue, or −1."""
    return state[node_at(at, queues, node) + NEWER]


@kernel
def stamp_in(state, at, queues, node):
    """The clock when a node was last put into a queue: of two nodes the older one has the lower."""
    return state[node_at(at, queues, node) + STAMP]


@kernel
def tag_of(state, at, queues, node):
    """The policy's own word of a node."""
    return state[node_at(at, queues, node) + TAG]


@kernel
def set_tag(state, at, queues, node, tag):
    """Set the policy's own word of a node."""
    state[node_at(at, queues, node) + TAG] = tag


@kernel
def oldest_among(state, at, queues, candidates, n, low, high):
    """The oldest of the first ``n`` candidates whose tag is from ``low`` to ``high``, or −1."""
    best = int64(-1)
    for i in range(n):
        node = candidates[i]
        tag = tag_of(state, at, queues, node)
        if low <= tag <= high and (
            best < 0 or stamp_in(state, at, queues, node) < stamp_in(state, at, queues, best)
        ):
            best = node
    return best

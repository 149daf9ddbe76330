"""A doubly linked list over slots, kept in a policy's state array: newest at the head, oldest at the tail.

The list takes :func:`list_words` words from word 0: head, tail, a clock, then for each slot its newer
neighbour, its older neighbour and the clock's value when it was last put at the head (so that a choice
among a few candidates is the same order). −1 means none.
"""

from __future__ import annotations

from numba import int64

from oppcache._jit import kernel

HEAD = 0
TAIL = 1
CLOCK = 2
SLOTS = 3  # three words a slot from here: newer, older, stamp


@kernel
def list_words(capacity):
    """Words of state that the list takes."""
    return int64(SLOTS) + int64(3) * capacity


@kernel
def list_init(state):
    """Make the list empty."""
    state[HEAD] = -1
    state[TAIL] = -1
    state[CLOCK] = 0


@kernel
def push_head(state, slot):
    """Put a slot that is not in the list at the head."""
    at = SLOTS + 3 * slot
    head = state[HEAD]
    state[at] = -1
    state[at + 1] = head
    state[CLOCK] += 1
    state[at + 2] = state[CLOCK]
    if head >= 0:
        state[SLOTS + 3 * head] = slot
    else:
        state[TAIL] = slot
    state[HEAD] = slot


@kernel
def unlink(state, slot):
    """Take a slot out of the list."""
    at = SLOTS + 3 * slot
    newer, older = state[at], state[at + 1]
    if newer >= 0:
        state[SLOTS + 3 * newer + 1] = older
    else:
        state[HEAD] = older
    if older >= 0:
        state[SLOTS + 3 * older] = newer
    else:
        state[TAIL] = newer


@kernel
def move_to_head(state, slot):
    """Make a slot of the list the newest."""
    if state[HEAD] != slot:
        unlink(state, slot)
        push_head(state, slot)


@kernel
def newer_than(state, slot):
    """The next newer slot, or −1."""
    return state[SLOTS + 3 * slot]


@kernel
def stamp_of(state, slot):
    """Clock value of the slot's last move to the head."""
    return state[SLOTS + 3 * slot + 2]


@kernel
def oldest(state, candidates, n):
    """The oldest of the first ``n`` candidates, or the list's tail for n = 0."""
    if n == 0:
        return state[TAIL]
    best = candidates[0]
    for i in range(1, n):
        if stamp_of(state, candidates[i]) < stamp_of(state, best):
            best = candidates[i]
    return best

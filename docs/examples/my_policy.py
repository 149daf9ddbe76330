"""CLOCK (second chance): go round the slots and evict the first that had no hit since the last round.

State: the slot at which the search goes on, then for each slot 0 empty, 1 occupied, 2 occupied and hit.
"""

EMPTY, OCCUPIED, HIT = 0, 1, 2


def state_size(capacity, keys):
    return 1 + capacity


def init(state, capacity):
    state[0] = 0


def hit(state, slot, now, next_use):
    state[1 + slot] = HIT


def victim(state, candidates, n, key, now, next_use):
    if n > 0:
        return _among(state, candidates, n)
    slots = state.shape[0] - 1
    slot = state[0]
    while state[1 + slot] != OCCUPIED:
        if state[1 + slot] == HIT:
            state[1 + slot] = OCCUPIED
        slot = (slot + 1) % slots
    state[0] = (slot + 1) % slots
    return slot


def _among(state, candidates, n):
    """The first candidate without a hit; if all had one, forget their hits and take the first."""
    for i in range(n):
        if state[1 + candidates[i]] == OCCUPIED:
            return candidates[i]
    for i in range(n):
        state[1 + candidates[i]] = OCCUPIED
    return candidates[0]


def insert(state, slot, key, now, next_use):
    state[1 + slot] = OCCUPIED


def remove(state, slot, evicted):
    state[1 + slot] = EMPTY

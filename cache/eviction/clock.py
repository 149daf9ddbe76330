"""CLOCK, or second chance (Corbató 1968): a hand goes round the slots and evicts the first without a recent hit.

It passes over contexts that were hit since it last came by and forgets their hits. A newcomer takes the victim's
slot, just behind the hand. State: the hand, then for each slot 0 empty, 1 occupied, 2 occupied and hit.
"""

_EMPTY, _OCCUPIED, _HIT = 0, 1, 2


def state_size(capacity, keys):
    return 1 + capacity


def init(state, capacity):
    state[0] = 0


def hit(state, slot, now, next_use):
    state[1 + slot] = _HIT


def _distance(state, slot):
    """How far the hand has to go to a slot."""
    ahead = slot - state[0]
    return ahead if ahead >= 0 else ahead + state.shape[0] - 1


def _nearest(state, candidates, n, mark):
    best = -1
    for i in range(n):
        slot = candidates[i]
        if state[1 + slot] == mark and (best < 0 or _distance(state, slot) < _distance(state, best)):
            best = slot
    return best


def _among(state, candidates, n):
    """The first candidate from the hand on without a hit; if all had one, forget their hits and take the first."""
    slot = _nearest(state, candidates, n, _OCCUPIED)
    if slot < 0:
        slot = _nearest(state, candidates, n, _HIT)
        for i in range(n):
            state[1 + candidates[i]] = _OCCUPIED
    return slot


def victim(state, candidates, n, key, now, next_use):
    if n > 0:
        return _among(state, candidates, n)
    slots = state.shape[0] - 1
    slot = state[0]
    while state[1 + slot] != _OCCUPIED:
        if state[1 + slot] == _HIT:
            state[1 + slot] = _OCCUPIED
        slot = slot + 1 if slot + 1 < slots else 0
    state[0] = slot + 1 if slot + 1 < slots else 0
    return slot


def insert(state, slot, key, now, next_use):
    state[1 + slot] = _OCCUPIED


def remove(state, slot, evicted):
    state[1 + slot] = _EMPTY

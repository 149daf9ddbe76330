"""Least recently used: each slot remembers when it was used last; evict the one for which that is longest ago.

State: a clock that counts uses, then for each slot the clock at its last use.
"""


def state_size(capacity, keys):
    return 1 + capacity


def init(state, capacity):
    state[0] = 0


def _use(state, slot):
    state[0] += 1
    state[1 + slot] = state[0]


def hit(state, slot, now, next_use):
    _use(state, slot)


def victim(state, candidates, n, key, now, next_use):
    slots = n if n > 0 else state.shape[0] - 1
    best = candidates[0] if n > 0 else 0
    for i in range(slots):
        slot = candidates[i] if n > 0 else i
        if state[1 + slot] < state[1 + best]:
            best = slot
    return best


def insert(state, slot, key, now, next_use):
    _use(state, slot)


def remove(state, slot, evicted):
    pass

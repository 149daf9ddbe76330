"""Rate-ordered rebalancing with a churn cap, after what Open vSwitch does when its hardware table is full.

Time is cut into rounds of a second. A newcomer replaces the context with the lowest rate, and only if its own rate is
higher; else ``victim`` declines (−1). At most a tenth of the slots are replaced in a round. A rate is the uses in the
round before plus those in this one. Contexts without a slot are counted in a table of four cells a slot, which newer
keys overwrite. (Open vSwitch's ``offload-rebalance`` sorts both sides' rates every few seconds; here every newcomer is
compared as it comes, and the cap bounds the migrations.)
"""

from oppcache.cache.heap import heap_drop, heap_first, heap_init, heap_rank, heap_rank_of, heap_words

ROUND = 1_000_000_000  # ns
_SLOTS, _ROUND, _REPLACED, _CELLS, _AT = 0, 1, 2, 3, 4
# Then a heap of slots by rate, per slot its uses in the last round seen, in this round and that round's number,
# and per cell of the table key + 1, uses in the last round, in this round, that round's number.


def _cells(capacity):
    cells = 4
    while cells < 4 * capacity:
        cells *= 2
    return cells


def state_size(capacity, keys):
    return _AT + heap_words(capacity) + 3 * capacity + 4 * _cells(capacity)


def init(state, capacity):
    state[_SLOTS] = capacity
    state[_ROUND] = -1
    state[_CELLS] = _cells(capacity)
    heap_init(state, _AT, capacity)
    for slot in range(capacity):
        state[_slot_at(state, slot) + 2] = -1


def _use(state, at, now):
    """Count a use in the three words (last round's uses, this round's, its number) at ``at``; returns the rate."""
    current = now // ROUND
    if state[at + 2] != current:
        state[at] = state[at + 1] if state[at + 2] == current - 1 else 0
        state[at + 1] = 0
        state[at + 2] = current
    state[at + 1] += 1
    return state[at] + state[at + 1]


def _slot_at(state, slot):
    return _AT + heap_words(state[_SLOTS]) + 3 * slot


def hit(state, slot, now, next_use):
    heap_rank(state, _AT, slot, _use(state, _slot_at(state, slot), now))


def _rate_without_slot(state, key, now):
    at = _slot_at(state, state[_SLOTS]) + 4 * (key & (state[_CELLS] - 1))
    if state[at] != key + 1:
        state[at] = key + 1
        state[at + 1] = 0
        state[at + 2] = 0
    return _use(state, at + 1, now)


def _begin_round(state, now):
    """In a new round, rates of contexts without uses in the round before have ended: rank them anew."""
    current = now // ROUND
    if state[_ROUND] == current:
        return
    state[_ROUND] = current
    state[_REPLACED] = 0
    for slot in range(state[_SLOTS]):
        at = _slot_at(state, slot)
        if state[at + 2] >= 0 and state[at + 2] < current:
            last = state[at + 1] if state[at + 2] == current - 1 else 0
            state[at], state[at + 1], state[at + 2] = last, 0, current
            heap_rank(state, _AT, slot, last)


def victim(state, candidates, n, key, now, next_use):
    _begin_round(state, now)
    rate = _rate_without_slot(state, key, now)
    slot = heap_first(state, _AT, candidates, n)
    if state[_REPLACED] >= max(state[_SLOTS] // 10, 1) or rate <= heap_rank_of(state, _AT, slot):
        return -1
    state[_REPLACED] += 1
    return slot


def insert(state, slot, key, now, next_use):
    at = _slot_at(state, slot)
    state[at], state[at + 1], state[at + 2] = 0, 0, now // ROUND
    heap_rank(state, _AT, slot, _use(state, at, now))


def remove(state, slot, evicted):
    state[_slot_at(state, slot) + 2] = -1
    heap_drop(state, _AT, slot)

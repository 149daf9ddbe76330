"""LIRS (Jiang and Zhang, SIGMETRICS 2002): keep what comes again soonest, told by the distance between its last two uses.

The names are the paper's: the stack S holds contexts by their last use, its oldest always one of the LIR set; the queue Q
holds the others that are cached (resident HIR), a hundredth of the slots (at least one). The victim is the oldest of Q;
while it is in S it is remembered there, at most as many keys as there are slots.
"""

from oppcache.cache.keymap import map_drop, map_get, map_init, map_set, map_words
from oppcache.cache.queues import (
    oldest_among,
    oldest_in,
    put,
    queue_words,
    queues_init,
    renew,
    replace,
    set_tag,
    tag_of,
    take,
)

# Words: slots, LIR contexts and how many there may be, unused ghosts on the stack, ghosts ever used. Then stack S
# over slots and ghosts (nodes from the number of slots on), then Q and the ghosts by age, the map of ghosts, the
# stack of unused ones, the nodes' keys and the slots' promises.
_SLOTS, _LIR, _LIR_LIMIT, _UNUSED, _USED, _S = 0, 1, 2, 3, 4, 5
_QUEUES, _RESIDENT, _GHOSTS = 2, 0, 1
# Tags of S: what the node is, and (resident HIR) whether it is in S.
_IS_LIR, _IN_S, _NOT_IN_S, _GHOST = 0, 1, 2, 3


def _q(state):
    return _S + queue_words(1, 2 * state[_SLOTS])


def _map(state):
    return _q(state) + queue_words(_QUEUES, 2 * state[_SLOTS])


def _stack(state):
    return _map(state) + map_words(state[_SLOTS])


def _keys(state):
    return _stack(state) + state[_SLOTS]


def _promises(state):
    return _keys(state) + 2 * state[_SLOTS]


def state_size(capacity, keys):
    queues = queue_words(1, 2 * capacity) + queue_words(_QUEUES, 2 * capacity)
    return _S + queues + map_words(capacity) + 4 * capacity


def init(state, capacity):
    state[_SLOTS] = capacity
    state[_LIR_LIMIT] = capacity - max(capacity // 100, 1)
    queues_init(state, _S, 1)
    queues_init(state, _q(state), _QUEUES)
    map_init(state, _map(state), capacity)


def _kind(state, node):
    return tag_of(state, _S, 1, node)


def _set_kind(state, node, kind):
    set_tag(state, _S, 1, node, kind)


def _drop_ghost(state, node):
    """Forget a key: out of S, out of the ghosts."""
    take(state, _S, 1, 0, node)
    take(state, _q(state), _QUEUES, _GHOSTS, node)
    map_drop(state, _map(state), state[_keys(state) + node])
    state[_stack(state) + state[_UNUSED]] = node
    state[_UNUSED] += 1


def _prune(state):
    """Take from S's old end what is not LIR."""
    while True:
        node = oldest_in(state, _S, 0)
        if node < 0 or _kind(state, node) == _IS_LIR:
            return
        if _kind(state, node) == _GHOST:
            _drop_ghost(state, node)
        else:
            take(state, _S, 1, 0, node)
            _set_kind(state, node, _NOT_IN_S)


def _demote(state):
    """While there are too many LIR contexts, the oldest becomes HIR."""
    _prune(state)
    while state[_LIR] > state[_LIR_LIMIT]:
        node = oldest_in(state, _S, 0)
        take(state, _S, 1, 0, node)
        _set_kind(state, node, _NOT_IN_S)
        state[_LIR] -= 1
        put(state, _q(state), _QUEUES, _RESIDENT, node)
        _prune(state)


def hit(state, slot, now, next_use):
    kind = _kind(state, slot)
    if kind == _IS_LIR:
        renew(state, _S, 1, 0, slot)
        _prune(state)
    elif kind == _IN_S:
        renew(state, _S, 1, 0, slot)
        take(state, _q(state), _QUEUES, _RESIDENT, slot)
        _set_kind(state, slot, _IS_LIR)
        state[_LIR] += 1
        _demote(state)
    else:
        _set_kind(state, slot, _IN_S)
        put(state, _S, 1, 0, slot)
        renew(state, _q(state), _QUEUES, _RESIDENT, slot)


def _choose(state, candidates, n):
    if n == 0:
        slot = oldest_in(state, _q(state), _RESIDENT)
        return slot if slot >= 0 else oldest_in(state, _S, 0)
    best = -1
    for i in range(n):
        slot = candidates[i]
        # The queue's tag tells HIR (1) from LIR (0), so that the oldest can be found there.
        set_tag(state, _q(state), _QUEUES, slot, 0 if _kind(state, slot) == _IS_LIR else 1)
    best = oldest_among(state, _q(state), _QUEUES, candidates, n, 1, 1)
    if best >= 0:
        return best
    return oldest_among(state, _S, 1, candidates, n, _IS_LIR, _IS_LIR)


def victim(state, candidates, n, key, now, next_use):
    slot = _choose(state, candidates, n)
    ghost = map_get(state, _map(state), key)
    if ghost >= 0:
        _drop_ghost(state, ghost)
    state[_promises(state) + slot] = key + 1 if ghost >= 0 else 0
    return slot


def insert(state, slot, key, now, next_use):
    returns = state[_promises(state) + slot] == key + 1
    state[_promises(state) + slot] = 0
    ghost = map_get(state, _map(state), key)
    if ghost >= 0:
        _drop_ghost(state, ghost)
        returns = True
    state[_keys(state) + slot] = key
    put(state, _S, 1, 0, slot)
    if returns or state[_LIR] < state[_LIR_LIMIT]:
        _set_kind(state, slot, _IS_LIR)
        state[_LIR] += 1
        _demote(state)
    else:
        _set_kind(state, slot, _IN_S)
        put(state, _q(state), _QUEUES, _RESIDENT, slot)


def _remember(state, slot):
    """Let a ghost take the place of an evicted HIR context in S."""
    if state[_UNUSED] == 0 and state[_USED] == state[_SLOTS]:
        _drop_ghost(state, oldest_in(state, _q(state), _GHOSTS))
    if state[_UNUSED] > 0:
        state[_UNUSED] -= 1
        node = state[_stack(state) + state[_UNUSED]]
    else:
        node = state[_SLOTS] + state[_USED]
        state[_USED] += 1
    key = state[_keys(state) + slot]
    state[_keys(state) + node] = key
    _set_kind(state, node, _GHOST)
    replace(state, _S, 1, 0, slot, node)
    put(state, _q(state), _QUEUES, _GHOSTS, node)
    map_set(state, _map(state), key, node)


def remove(state, slot, evicted):
    kind = _kind(state, slot)
    if kind == _IS_LIR:
        take(state, _S, 1, 0, slot)
        state[_LIR] -= 1
        _prune(state)
        return
    take(state, _q(state), _QUEUES, _RESIDENT, slot)
    if kind == _IN_S:
        if evicted == 1:
            _remember(state, slot)
        else:
            take(state, _S, 1, 0, slot)

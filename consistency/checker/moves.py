"""What can happen next in a state: every move, and what it does."""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel

from ..interpreter import choose, reset_entry
from ..vocabulary import (
    CPU,
    E_G,
    E_STATE,
    EV_BFENCE,
    EV_BOUNCED,
    EV_PACKET,
    EV_RECLAIM,
    EV_SUSPECT,
    EV_TIMEOUT,
    EV_UNRUNNABLE,
    EV_UNTAGGED,
    EV_WANT_DEMOTE,
    EV_WANT_EVICT,
    EV_WANT_PROMOTE,
    EV_WB,
    F_CHANGES_LABEL,
    INCARNATION_SHIFT,
    NIC,
    TIMER_WRITEBACK,
)
from . import bounced, ghosts
from .flows import flows_to_choose
from .layout import (
    B_CHECKPOINT,
    B_CONTEXT,
    B_HELD,
    COUNTED,
    I_ID,
    I_KEY,
    KEY_WORDS,
    OUTPUT,
    Q_RX,
    Q_TO_CPU,
    Q_TO_NIC,
    Q_TX,
    S_COUNTS,
    S_CPU,
    S_CPU_CRASHES,
    S_DEMOTIONS,
    S_DROPS,
    S_ENTERED,
    S_FLOW_OF,
    S_KEY_OF,
    S_KEYS,
    S_LOST,
    S_NIC,
    S_NIC_CRASHES,
    S_PROMOTIONS,
    start_of,
)
from .model import (
    P_BFENCE,
    P_CHECKPOINTS,
    P_EVERY,
    P_INSTANT,
    P_KEYS,
    P_LIVENESS,
    P_LOSSY,
    P_PACKETS,
    P_QUEUES,
    P_STEERING,
    P_TIMERS,
    P_WRITEBACKS,
    SPREAD,
)
from .step import (
    counts,
    forget_copies,
    happen,
    home,
    is_marker,
    other_copy,
    push,
    put,
    remove,
    word_of,
)

# Kinds of moves. A move is (kind, a, b, facts, queue that punts take, role).
MOVE_ARRIVE, MOVE_RX, MOVE_TX, MOVE_TO_NIC, MOVE_TO_CPU, MOVE_OWN = range(6)
MOVE_DROP, MOVE_NIC_CRASH, MOVE_CPU_CRASH, MOVE_CHECKPOINT, MOVE_LOSE, MOVE_BFENCE = range(6, 12)
MOVES_MAX = 400
# What `look` says instead of a row: nothing comes of the move; no table is asked; the packet is to wait; the marker does
# not count, as of its copies it was not the last.
IDLE, NO_EVENT, WAITS, NO_COUNT = -10, -11, -12, -13
MOVE_WORDS = 6


@kernel
def list_moves(parameters, protocol, s, facts_read, moves):
    """Write every move of a state to ``moves`` (int64[MOVES_MAX, MOVE_WORDS]); returns how many."""
    count = 0
    keys, spread = parameters[P_KEYS], parameters[P_STEERING] == SPREAD and parameters[P_QUEUES] > 1
    for queue in range(parameters[P_QUEUES]):
        if s[S_COUNTS + Q_RX + queue] > 0:
            item = s[start_of(s, Q_RX + queue)]
            count = _with_facts(
                protocol, s, facts_read, moves, count, MOVE_RX, queue, 0, CPU, item >> I_KEY & 1, item & 31, 1
            )
    if s[S_COUNTS + Q_TX] > 0:
        item = s[start_of(s, Q_TX)]
        event, ways = item & 31, parameters[P_QUEUES] if spread else 1
        if event == OUTPUT:
            count = _add(moves, count, MOVE_TX, 0, 0, 0, 0, NIC)
        else:
            count = _with_facts(
                protocol, s, facts_read, moves, count, MOVE_TX, 0, 0, NIC, item >> I_KEY & 1, event, ways
            )
    for kind, queue, role in ((MOVE_TO_NIC, Q_TO_NIC, NIC), (MOVE_TO_CPU, Q_TO_CPU, CPU)):
        deliverable = s[S_COUNTS + queue] if parameters[P_LOSSY] else min(s[S_COUNTS + queue], 1)
        if not parameters[P_TIMERS] and is_behind_ring(s, role):
            continue
        first = start_of(s, queue)
        for i in range(deliverable):
            item = s[first + i]
            ways = parameters[P_QUEUES] if spread and role == NIC else 1
            count = _with_facts(
                protocol, s, facts_read, moves, count, kind, i, 0, role, item >> I_KEY & 1, item & 31, ways
            )
    if parameters[P_INSTANT] and count > 0:
        return count
    for key in range(keys):
        count = _own_moves(parameters, protocol, s, facts_read, moves, count, key, spread)
    return _faults(parameters, s, moves, count)


@kernel
def is_behind_ring(s, role):
    """Whether anything is in the rings to a side."""
    return s[S_COUNTS + Q_TX] > 0 if role == NIC else s[S_COUNTS + Q_RX] + s[S_COUNTS + Q_RX + 1] > 0


@kernel
def _add(moves, count, kind, a, b, facts, queue, role):
    moves[count, 0] = kind
    moves[count, 1] = a
    moves[count, 2] = b
    moves[count, 3] = facts
    moves[count, 4] = queue
    moves[count, 5] = role
    return count + 1


@kernel(forceinline=False)
def _with_facts(protocol, s, facts_read, moves, count, kind, a, b, role, key, event, ways):
    """A move with every combination of the facts that its cell looks at, and every queue it may take."""
    state = s[S_KEYS + key * KEY_WORDS + 8 * role + E_STATE]
    if protocol.cells["rows"][role, state, event] == 0:
        # Ignored: still to be done where it takes the item out of a ring or queue.
        return _add(moves, count, kind, a, b, 0, 0, role)
    read = facts_read[role, state, event] & ~F_CHANGES_LABEL
    facts = read
    while True:
        for queue in range(ways):
            count = _add(moves, count, kind, a, b, facts | F_CHANGES_LABEL, queue, role)
        if facts == 0:
            return count
        facts = (facts - 1) & read


@kernel
def _own_moves(parameters, protocol, s, facts_read, moves, count, key, spread):
    """Arrivals, what the policies want, timers."""
    b = S_KEYS + key * KEY_WORDS
    nic, cpu = s[b + E_STATE], s[b + 8 + E_STATE]
    ways = parameters[P_QUEUES] if spread else 1
    if s[S_ENTERED] < parameters[P_PACKETS]:
        for flow in range(flows_to_choose(parameters, s, key)):
            count = _arrivals(protocol, s, facts_read, moves, count, key, flow, ways)
    if parameters[P_BFENCE]:
        if bounced.is_waiting(s, key):
            count = _with_facts(
                protocol, s, facts_read, moves, count, MOVE_OWN, EV_UNTAGGED, key, CPU, key, EV_UNTAGGED, 1
            )
        if parameters[P_TIMERS] and bounced.is_overdue(s, key):
            count = _add(moves, count, MOVE_BFENCE, key, 0, 0, 0, CPU)
    for event in range(EV_WANT_PROMOTE, EV_SUSPECT + 1):
        for role in range(2):
            state = nic if role == NIC else cpu
            if protocol.cells["rows"][role, state, event] > 0 and _wanted(
                parameters, protocol, s, b, role, event
            ):
                some = ways if role == NIC else 1
                count = _with_facts(
                    protocol, s, facts_read, moves, count, MOVE_OWN, event, key, role, key, event, some
                )
    return count


@kernel
def _arrivals(protocol, s, facts_read, moves, count, key, flow, ways):
    """The ways in which the next packet of a flow may come; both are in one word of the move."""
    both = key | flow << 1
    if bounced.may_be_punted_earlier(s, key, flow):
        count = _add(moves, count, MOVE_ARRIVE, EV_UNTAGGED, both, 0, 0, NIC)
    if not bounced.may_come_to_nic(s, key, flow):
        return count
    state = s[S_KEYS + key * KEY_WORDS + E_STATE]
    for event in (EV_PACKET, EV_UNRUNNABLE):
        if event == EV_PACKET or (s[S_DEMOTIONS] > 0 and protocol.cells["rows"][NIC, state, event] > 0):
            count = _with_facts(
                protocol, s, facts_read, moves, count, MOVE_ARRIVE, event, both, NIC, key, event, ways
            )
    return count


@kernel
def _wanted(parameters, protocol, s, b, role, event):
    """Whether an event of a side's own can come."""
    # On a reliable channel a timer is longer than a round trip.
    waits = not parameters[P_LOSSY] and s[S_COUNTS + Q_TO_CPU] + s[S_COUNTS + Q_TO_NIC] > 0
    if (event == EV_TIMEOUT or event == EV_RECLAIM) and not parameters[P_TIMERS]:
        restart, start = protocol.roles["restart"][role], protocol.roles["start"][role]
        if event == EV_RECLAIM or restart == start or s[b + 8 * role + E_STATE] != restart:
            return False
    if event == EV_TIMEOUT:
        timer = protocol.states["timer"][role, s[b + 8 * role + E_STATE]]
        return timer > 0 and not waits and (timer != TIMER_WRITEBACK or parameters[P_WRITEBACKS] > 0)
    if event == EV_WANT_PROMOTE:
        return s[S_PROMOTIONS] > 0
    if event == EV_WANT_DEMOTE or event == EV_WANT_EVICT:
        return s[S_DEMOTIONS] > 0
    if event == EV_SUSPECT:
        return not waits and 0 < s[b + 8 + E_G] >> INCARNATION_SHIFT < s[S_NIC]
    return True


@kernel
def _faults(parameters, s, moves, count):
    if s[S_DROPS] > 0:
        for queue in (Q_RX, Q_RX + 1, Q_TX):
            for place in range(s[S_COUNTS + queue]):
                count = _add(moves, count, MOVE_DROP, queue, place, 0, 0, NIC)
    if s[S_NIC_CRASHES] > 0:
        count = _add(moves, count, MOVE_NIC_CRASH, 0, 0, 0, 0, NIC)
    if s[S_CPU_CRASHES] > 0:
        count = _add(moves, count, MOVE_CPU_CRASH, 0, 0, 0, 0, NIC)
        for key in range(parameters[P_KEYS]):
            b = S_KEYS + key * KEY_WORDS
            if parameters[P_CHECKPOINTS] and s[b + B_CHECKPOINT] != s[b + B_CONTEXT + CPU]:
                count = _add(moves, count, MOVE_CHECKPOINT, key, 0, 0, 0, NIC)
    if parameters[P_LOSSY] and parameters[P_LIVENESS] and s[S_COUNTS + Q_TO_NIC] + s[S_COUNTS + Q_TO_CPU] > 0:
        count = _add(moves, count, MOVE_LOSE, 0, 0, 0, 0, NIC)
    return count


@kernel
def is_own_step(move):
    """Whether a quiet system would still make this move: no fault, no arrival, nothing that a policy wants."""
    kind = move[0]
    if kind == MOVE_OWN:
        return move[1] == EV_TIMEOUT or move[1] == EV_SUSPECT or move[1] == EV_UNTAGGED
    return MOVE_RX <= kind <= MOVE_TO_CPU or kind == MOVE_BFENCE


@kernel
def item_of(s, move):
    """The packet, marker or message that a move delivers, 0: none."""
    kind = move[0]
    if kind < MOVE_RX or kind > MOVE_TO_CPU:
        return 0
    if kind == MOVE_RX:
        return s[start_of(s, Q_RX + move[1])]
    if kind == MOVE_TX:
        return s[start_of(s, Q_TX)]
    return s[start_of(s, Q_TO_NIC if kind == MOVE_TO_NIC else Q_TO_CPU) + move[1]]


@kernel
def look(parameters, protocol, s, move, message, fired):
    """What the tables say of a move: a row as :func:`~..interpreter.choose` finds it, IDLE or NO_EVENT.

    Completes the entry that the move concerns, for :func:`make`.

    Args:
        message: scratch; the item that the move delivers, as the interpreter wants it.
        fired: uint8, one a row: set where the row matches.
    """
    kind = move[0]
    if kind > MOVE_OWN or (kind == MOVE_ARRIVE and move[1] == EV_UNTAGGED):
        return NO_EVENT
    item = item_of(s, move)
    if item & 31 == OUTPUT:
        return NO_EVENT
    if kind == MOVE_RX and not counts(parameters, item):
        return NO_COUNT
    event, key = (item & 31, item >> I_KEY & 1) if item else (move[1], move[2] & 1)
    role = move[5]
    b = S_KEYS + key * KEY_WORDS
    state = s[b + 8 * role + E_STATE]
    node = s[S_CPU : S_CPU + 3] if role == CPU else s[S_NIC : S_NIC + 3]
    word = word_of(s, b, role, node, item, message, move[3])
    row = choose(protocol, role, state, event, word)
    if event == EV_UNTAGGED and parameters[P_BFENCE]:
        overtakes = bounced.is_awaited(s, key) and not bounced.bounces(protocol, row)
        if kind == MOVE_OWN and overtakes:
            return IDLE
        if kind == MOVE_RX and (overtakes or bounced.is_waiting(s, key)):
            return WAITS
    if row >= 0:
        fired[row] = np.uint8(1)
    stays = kind == MOVE_OWN or ((kind == MOVE_TO_NIC or kind == MOVE_TO_CPU) and parameters[P_LOSSY] > 0)
    stays = stays and event != EV_WB  # whether the table takes it or not, it counts as a copy
    if stays and (
        row == -1 or (row >= 0 and protocol.rows["actions"][row] == 0 and protocol.rows["next"][row] == state)
    ):
        return IDLE
    return row


@kernel
def make(parameters, analysis, protocol, s, move, row, message, out):
    """Make a move on ``s``, with the row that :func:`look` found; returns violations and DISABLED, OVERFLOW."""
    kind, a, b, chosen, role = move[0], move[1], move[2], move[4], move[5]
    key, event, item, packet, source = b, a, 0, -1, -1
    if kind == MOVE_ARRIVE:
        packet, key = s[S_ENTERED], b & 1
        s[S_ENTERED] += 1
        s[S_KEY_OF] |= key << packet
        s[S_FLOW_OF] |= b >> 1 << 2 * packet
        if event == EV_UNRUNNABLE:
            s[S_DEMOTIONS] -= 1
        elif event == EV_UNTAGGED:
            bounced.enters_untagged(s, packet)
            queue = home(parameters, s, key, packet, 0)
            return push(s, queue, EV_UNTAGGED | key << I_KEY | packet << I_ID)
    elif kind == MOVE_RX or kind == MOVE_TX:
        if kind == MOVE_RX and parameters[P_EVERY]:
            _tell_other_copy(s, Q_RX + a)
        source = Q_TX if kind == MOVE_TX else Q_RX + a
        item = remove(s, source, 0) & ~COUNTED
        if row == NO_COUNT:
            return 0
        key, event = item >> I_KEY & 1, item & 31
        if event >= EV_BOUNCED:
            packet, source = item >> I_ID & 7, -1
        if kind == MOVE_TX and packet >= 0:
            bounced.out_of_tx(s, packet)
        if event == OUTPUT:
            return ghosts.leave(s, key, packet)
        if row == WAITS:
            bounced.wait(s, key, packet)
            return 0
        if event == EV_BFENCE and kind == MOVE_RX:
            bounced.returned(s, key, item)
    elif kind == MOVE_TO_NIC or kind == MOVE_TO_CPU:
        item = item_of(s, move)
        if not parameters[P_LOSSY]:
            remove(s, Q_TO_NIC if kind == MOVE_TO_NIC else Q_TO_CPU, 0)
        key, event = item >> I_KEY & 1, item & 31
    elif kind == MOVE_BFENCE:
        return put(parameters, s, Q_TX, bounced.bfence(s, a), -1)
    elif kind != MOVE_OWN:
        return _fault(parameters, protocol, s, kind, a, b)
    elif event == EV_UNTAGGED:
        packet = bounced.next_waiting(s, key)
    wrong = happen(
        parameters, analysis, protocol, s, role, key, event, row, item, packet, chosen, source, message, out
    )
    if kind == MOVE_OWN:
        _spend(s, event)
    return wrong


@kernel
def _tell_other_copy(s, queue):
    """The first item of a queue is about to come out: its copy in the other queue, if there is one, is then the last."""
    place = other_copy(s, queue, 0) if is_marker(s[start_of(s, queue)]) else -1
    if place >= 0:
        s[start_of(s, 2 * Q_RX + 1 - queue) + place] |= COUNTED


@kernel
def _spend(s, event):
    if event == EV_WANT_PROMOTE:
        s[S_PROMOTIONS] -= 1
    elif event == EV_WANT_DEMOTE or event == EV_WANT_EVICT:
        s[S_DEMOTIONS] -= 1


@kernel
def _fault(parameters, protocol, s, kind, a, b):
    wrong = 0
    if kind == MOVE_DROP:
        if parameters[P_EVERY] and a != Q_TX and is_marker(s[start_of(s, a) + b]):
            place = other_copy(s, a, b)  # which then never counts
            if place >= 0:
                remove(s, 2 * Q_RX + 1 - a, place)
        item = remove(s, a, b)
        s[S_DROPS] -= 1
        if item & 31 >= EV_BOUNCED:
            s[S_LOST] |= 1 << (item >> I_ID & 7)
    elif kind == MOVE_LOSE:
        s[S_COUNTS + Q_TO_NIC] = 0
        s[S_COUNTS + Q_TO_CPU] = 0
    elif kind == MOVE_CHECKPOINT:
        block = S_KEYS + a * KEY_WORDS
        s[block + B_CHECKPOINT] = s[block + B_CONTEXT + CPU]
    elif kind == MOVE_NIC_CRASH:
        s[S_NIC_CRASHES] -= 1
        _restart(s, S_NIC)
        for key in range(parameters[P_KEYS]):
            ghosts.nic_crashes(protocol, s, key)
            _forget(protocol, s, key, NIC)
            s[S_KEYS + key * KEY_WORDS + B_CONTEXT] = 0
        while s[S_COUNTS + Q_TX] > 0:
            item = remove(s, Q_TX, 0)
            if item & 31 >= EV_BOUNCED:
                s[S_LOST] |= 1 << (item >> I_ID & 7)
    else:
        s[S_CPU_CRASHES] -= 1
        _restart(s, S_CPU)
        forget_copies(s)
        for key in range(parameters[P_KEYS]):
            ghosts.cpu_crashes(protocol, s, key)
            _forget(protocol, s, key, CPU)
            block = S_KEYS + key * KEY_WORDS
            s[block + B_CONTEXT + CPU] = s[block + B_CHECKPOINT]
            if parameters[P_BFENCE]:
                bounced.lose_waiting(s, key)
                wrong |= push(s, Q_TX, bounced.bfence(s, key))
    return wrong


@kernel
def _restart(s, side):
    s[side] += 1
    s[side + 1] = 0
    s[side + 2] = 0


@kernel
def _forget(protocol, s, key, role):
    """A side forgets a key at its restart; the packets in its buffer are lost."""
    b = S_KEYS + key * KEY_WORDS
    held = s[b + B_HELD + role]
    while held:
        s[S_LOST] |= 1 << ((held & 7) - 1)
        held >>= 3
    s[b + B_HELD + role] = 0
    reset_entry(protocol, role, s[b + 8 * role : b + 8 * role + 8], True)

"""One event on one side of the model: the interpreter's transition, and its commands carried out."""

from __future__ import annotations

from oppcache._jit import kernel

from ..interpreter import take, truths
from ..vocabulary import (
    C_BOUNCE,
    C_CLEAR_CONTEXT,
    C_DRAIN,
    C_DRAIN_KEEP,
    C_DROP,
    C_DROP_HELD,
    C_FAIL,
    C_FLUSH,
    C_HOLD,
    C_PROCESS,
    C_PROCESS_KEEP,
    C_PUNT_ABSENT,
    C_PUNT_DEPARTED,
    C_PUNT_WATCHED,
    C_PUT,
    C_RELEASE,
    C_SEND,
    C_TAKE_CONTEXT,
    CPU,
    E_HELD,
    E_STATE,
    E_VERSION,
    EV_BFENCE,
    EV_BOUNCED,
    EV_INSTALL,
    EV_PUNT_ABSENT,
    EV_WANT_PROMOTE,
    EV_WB,
    IMPOSSIBLE,
    K_CODE,
    K_G,
    K_INCARNATION,
    K_KIND,
    K_N,
    K_R,
    K_VERSION,
    M_G,
    M_INCARNATION,
    M_KEY,
    M_KIND,
    M_N,
    M_PACKET,
    M_R,
    M_VERSION,
    NIC,
)
from .bounced import fence_behind, is_awaited
from .ghosts import (
    DISABLED,
    NO_LOSS,
    OVERFLOW,
    REACHED_IMPOSSIBLE,
    apply,
    copy_arrives,
    follow_promotion,
    leave,
)
from .layout import (
    B_CONTEXT,
    B_HELD,
    COUNTED,
    I_G,
    I_ID,
    I_INCARNATION,
    I_KEY,
    I_MASK,
    I_N,
    I_R,
    KEY_WORDS,
    OUTPUT,
    Q_RX,
    Q_TO_CPU,
    Q_TO_NIC,
    Q_TX,
    QUEUE_ITEMS,
    S_COUNTS,
    S_CPU,
    S_KEYS,
    S_LOST,
    S_NIC,
    bits,
    end_of,
    flow_of,
    held_count,
    long_g,
    long_r,
    short_g,
    short_r,
    start_of,
)
from .model import (
    FLOW,
    HOME,
    P_BFENCE,
    P_COUNTED,
    P_EVERY,
    P_FIRST,
    P_INSTANT,
    P_LOSSY,
    P_MARKERS,
    P_QUEUES,
    P_STEERING,
    SPREAD,
)

FIRST_PUNT = EV_PUNT_ABSENT


@kernel
def read_item(item, message):
    """A message or tag as the interpreter wants it."""
    message[M_KIND] = item & 31
    message[M_KEY] = item >> I_KEY & 1
    message[M_G] = long_g(item >> I_G & 63)
    message[M_R] = long_r(item >> I_R & 31)
    message[M_N] = item >> I_N & 15
    message[M_INCARNATION] = item >> I_INCARNATION & 3
    mask = item >> I_MASK & 31
    message[M_PACKET] = item >> I_ID & 7
    message[M_VERSION] = bits(mask) if mask else message[M_PACKET]


@kernel
def write_item(kind, key, command, n, mask, packet, analysis):
    """A message or tag as it is stored: only the fields that its receiver's table reads."""
    reads = analysis.reads[kind]
    item = kind | key << I_KEY
    if reads[0]:
        item |= short_g(command[K_G]) << I_G
    if reads[1]:
        item |= short_r(command[K_R]) << I_R
    if reads[2]:
        item |= (n & 15) << I_N
    if reads[3]:
        item |= command[K_INCARNATION] << I_INCARNATION
    if packet >= 0:
        item |= packet << I_ID
    elif reads[5]:
        item |= mask << I_MASK
    elif reads[4]:
        item |= command[K_VERSION] << I_ID
    return item


@kernel
def push(s, queue, item):
    """Append an item; returns OVERFLOW where there is no room in the model."""
    count = s[S_COUNTS + queue]
    if count >= QUEUE_ITEMS:
        return OVERFLOW
    place = start_of(s, queue + 1)
    for i in range(end_of(s), place, -1):
        s[i] = s[i - 1]
    s[place] = item
    s[S_COUNTS + queue] = count + 1
    return 0


@kernel
def remove(s, queue, place):
    """Take an item out of a queue, keeping order; returns it."""
    place += start_of(s, queue)
    item = s[place]
    for i in range(place, end_of(s) - 1):
        s[i] = s[i + 1]
    s[S_COUNTS + queue] -= 1
    return item


@kernel
def is_marker(item):
    """Whether a ring's item is a marker and no packet."""
    return item & 31 < EV_BOUNCED


@kernel
def markers_in(s, queue):
    """Markers in a ring but for BFENCEs, which are few anyway: else they could wait for each other."""
    markers = 0
    first = start_of(s, queue)
    for i in range(s[S_COUNTS + queue]):
        markers += 1 if is_marker(s[first + i]) and s[first + i] & 31 != EV_BFENCE else 0
    return markers


@kernel
def put(parameters, s, queue, item, source):
    """Put a marker into a ring; DISABLED where the model's bound on markers is reached.

    Args:
        source: the ring that the event's own marker came from, -1: none. Where that one is full too, what answers it is
            dropped at the tail, as a ring does: else the rings would wait for each other.
    """
    if item & 31 == EV_BFENCE or markers_in(s, queue) < parameters[P_MARKERS]:
        return push(s, queue, item)
    full = source >= 0 and markers_in(s, source) >= parameters[P_MARKERS] - 1
    return 0 if full else DISABLED


@kernel
def _send(parameters, s, queue, item):
    """Send a control message: into a set where it may be delivered any number of times, else into a queue."""
    if not parameters[P_LOSSY]:
        return push(s, queue, item)
    first = start_of(s, queue)
    for i in range(s[S_COUNTS + queue]):
        if s[first + i] == item:
            return 0
    return push(s, queue, item)


@kernel
def home(parameters, s, key, packet, chosen):
    """The RX queue of a punt: its key's, its flow's, or any, as the move chose."""
    steering = parameters[P_STEERING]
    if steering == SPREAD:
        return Q_RX + chosen
    return Q_RX + (flow_of(s, packet) if steering == FLOW else key) % parameters[P_QUEUES]


@kernel
def put_rx(parameters, s, key, item, source):
    """Put a marker into the queue that markers of its key take, or into every one."""
    if parameters[P_EVERY] == 0:
        queue = key % parameters[P_QUEUES] if parameters[P_STEERING] == HOME else 0
        return put(parameters, s, Q_RX + queue, item, source)
    fuller = Q_RX if markers_in(s, Q_RX) > markers_in(s, Q_RX + 1) else Q_RX + 1
    before = s[S_COUNTS + fuller]
    wrong = put(parameters, s, fuller, item, source)
    if s[S_COUNTS + fuller] > before:  # else it has been dropped, and its copy never counts
        wrong |= push(s, 2 * Q_RX + 1 - fuller, item)
    return wrong


@kernel
def counts(parameters, item):
    """Whether a marker that comes out of RX is what the table gets: of several copies, the last."""
    if parameters[P_EVERY] == 0 or not is_marker(item):
        return True
    last = item & COUNTED != 0
    return not last if parameters[P_FIRST] else last


@kernel
def other_copy(s, queue, place):
    """Where the copy of a marker in the other queue is, as a place there, -1: gone.

    Of equal markers none of whose copies has come out, the queues have the same ones in the same order.
    """
    first, other = start_of(s, queue), 2 * Q_RX + 1 - queue
    item, equal = s[first + place], 0
    if item & COUNTED:
        return -1
    for i in range(place):
        equal += 1 if s[first + i] == item else 0
    first = start_of(s, other)
    for i in range(s[S_COUNTS + other]):
        if s[first + i] == item:
            if equal == 0:
                return i
            equal -= 1
    return -1


@kernel
def forget_copies(s):
    """The CPU restarts and no longer knows which markers have come out of one queue: they will never count."""
    for queue in (Q_RX, Q_RX + 1):
        for place in range(s[S_COUNTS + queue] - 1, -1, -1):
            if s[start_of(s, queue) + place] & COUNTED:
                remove(s, queue, place)


@kernel
def out_of(s, role, key, packet):
    """The output of a packet: leaves at once on the NIC, goes through TX from the CPU; returns violations."""
    if role == CPU:
        return push(s, Q_TX, OUTPUT | key << I_KEY | packet << I_ID)
    return leave(s, key, packet)


@kernel
def carry_out(parameters, analysis, protocol, s, role, key, command, context, packet, chosen, source):
    """One command; returns violations, and bit 30 where the packet of the event found a place."""
    placed = 1 << 30
    code = command[K_CODE]
    b = S_KEYS + key * KEY_WORDS
    buffer = b + B_HELD + role
    if code == C_PROCESS:
        return placed | apply(protocol, s, role, key, packet) | out_of(s, role, key, packet)
    if code == C_PROCESS_KEEP:
        s[buffer] |= (packet + 1) << (3 * held_count(s[buffer]))
        return placed | apply(protocol, s, role, key, packet)
    if code == C_HOLD:
        s[buffer] |= (packet + 1) << (3 * held_count(s[buffer]))
        return placed
    if code == C_DROP:
        s[S_LOST] |= 1 << packet
        return placed | NO_LOSS
    if code == C_BOUNCE:
        wrong = push(s, Q_TX, EV_BOUNCED | key << I_KEY | packet << I_ID)
        if parameters[P_BFENCE]:
            wrong |= put(parameters, s, Q_TX, fence_behind(s, key), -1)
        return placed | wrong
    if code == C_PUNT_ABSENT or code == C_PUNT_WATCHED or code == C_PUNT_DEPARTED:
        item = write_item(command[K_KIND], key, command, command[K_N], 0, packet, analysis)
        return placed | push(s, home(parameters, s, key, packet, chosen), item)
    if code == C_SEND or code == C_PUT:
        mask = s[b + B_CONTEXT + role]
        item = write_item(command[K_KIND], key, command, command[K_N], mask, -1, analysis)
        if parameters[P_BFENCE] and command[K_KIND] == EV_INSTALL and is_awaited(s, key):
            return 0
        if code == C_SEND or parameters[P_INSTANT]:
            return _send(parameters, s, Q_TO_CPU if role == NIC else Q_TO_NIC, item)
        if role == NIC:
            return put_rx(parameters, s, key, item, source)
        return put(parameters, s, Q_TX, item, source)
    if code == C_TAKE_CONTEXT or code == C_CLEAR_CONTEXT:
        s[b + B_CONTEXT + role] = context if code == C_TAKE_CONTEXT else 0
        return 0
    return _held(parameters, analysis, protocol, s, role, key, command, chosen)


@kernel
def _held(parameters, analysis, protocol, s, role, key, command, chosen):
    """Commands on the packets in the buffer."""
    code = command[K_CODE]
    buffer = S_KEYS + key * KEY_WORDS + B_HELD + role
    if not (
        code == C_FLUSH or code == C_DRAIN or code == C_DRAIN_KEEP or code == C_RELEASE or code == C_DROP_HELD
    ):
        return 0
    wrong = 0
    held = s[buffer]
    if code != C_DRAIN_KEEP:
        s[buffer] = 0
    n = command[K_N]
    while held:
        packet = (held & 7) - 1
        held >>= 3
        if code == C_FLUSH:
            item = write_item(command[K_KIND], key, command, n, 0, packet, analysis)
            wrong |= push(s, home(parameters, s, key, packet, chosen), item)
            n += 1
        elif code == C_DRAIN:
            wrong |= apply(protocol, s, role, key, packet) | out_of(s, role, key, packet)
        elif code == C_DRAIN_KEEP:
            wrong |= apply(protocol, s, role, key, packet)
        elif code == C_RELEASE:
            wrong |= out_of(s, role, key, packet)
        else:
            s[S_LOST] |= 1 << packet
            wrong |= NO_LOSS
    return wrong


@kernel
def word_of(s, b, role, node, item, message, facts):
    """The guards' truths for one side of a key; completes its entry and reads the item on the way."""
    entry = s[b + 8 * role : b + 8 * role + 8]
    entry[E_VERSION] = bits(s[b + B_CONTEXT + role])
    entry[E_HELD] = held_count(s[b + B_HELD + role])
    read_item(item, message)
    return truths(entry, node, message, facts)


@kernel
def happen(
    parameters, analysis, protocol, s, role, key, event, row, item, packet, chosen, source, message, out
):
    """Take one event on one side of the model.

    Args:
        s: the working vector, its entry completed by :func:`word_of`; changed.
        event: its code.
        row: what the table says, as :func:`~..interpreter.choose` found it.
        item: the message or tag, 0 for none.
        packet: number of the packet that the event brings, -1: none.
        chosen: RX queue of punts, for protocols that spread them.
        source: the ring that a marker came from, -1: the event is no marker.
        message: the item as :func:`word_of` read it.
        out: scratch, as the interpreter wants it.

    Returns:
        violations.
    """
    b = S_KEYS + key * KEY_WORDS
    entry = s[b + 8 * role : b + 8 * role + 8]
    node = s[S_CPU : S_CPU + 3] if role == CPU else s[S_NIC : S_NIC + 3]
    before = s[b + 8 + E_STATE]
    count = take(protocol, row, entry, node, message, out)
    if count == IMPOSSIBLE:
        if packet >= 0:
            s[S_LOST] |= 1 << packet
        return REACHED_IMPOSSIBLE
    wrong, failed, taken = 0, False, False
    for i in range(count):
        failed = failed or out[i, K_CODE] == C_FAIL
        taken = taken or out[i, K_CODE] == C_TAKE_CONTEXT
        wrong |= carry_out(
            parameters, analysis, protocol, s, role, key, out[i], item >> I_MASK & 31, packet, chosen, source
        )
    if event == EV_WB and role == CPU:
        copy_arrives(protocol, s, key, message[M_G], item >> I_MASK & 31)
    if parameters[P_COUNTED] and role == CPU:
        asked = event == EV_WANT_PROMOTE
        wrong |= follow_promotion(protocol, s, key, before, asked, failed, taken)
    if packet >= 0 and not wrong >> 30 & 1:
        s[S_LOST] |= 1 << packet
        wrong |= NO_LOSS
    return wrong & ~(1 << 30)

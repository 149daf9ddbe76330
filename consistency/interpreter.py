"""The table interpreter: one transition of one side, without input or output of its own.

Simulator, model checker and live processes call :func:`transition` and carry out the commands that it appends.
"""

from __future__ import annotations

from oppcache._jit import kernel

from .vocabulary import (
    A_CLEAR_Q,
    A_CLEAR_TRIES,
    A_COUNT,
    A_COUNT_TRY,
    A_FORGET_G,
    A_NEW_GENERATION,
    A_NEW_REQUEST,
    A_NOTE_PEER,
    A_TAKE_CONTEXT,
    A_TAKE_G,
    A_TAKE_N,
    A_TAKE_Q,
    A_TAKE_R,
    A_ZERO_N,
    A_ZERO_Q,
    ACTION_MESSAGE,
    C_CLEAR_CONTEXT,
    C_DRAIN,
    C_DRAIN_KEEP,
    C_DROP_HELD,
    C_FLUSH,
    C_FREE,
    C_HOLD,
    C_PROCESS_KEEP,
    C_PUNT_ABSENT,
    C_PUNT_DEPARTED,
    C_PUNT_WATCHED,
    C_PUT,
    C_RELEASE,
    C_SEND,
    E_G,
    E_HELD,
    E_N,
    E_Q,
    E_R,
    E_STATE,
    E_TRIES,
    E_VERSION,
    EV_BFENCE,
    EV_CTXACK,
    EV_GONE,
    EV_PUNT_ABSENT,
    EV_PUNT_DEPARTED,
    EV_PUNT_WATCHED,
    EV_STATE,
    EV_WBACK,
    FACTS,
    G_DRAINED,
    G_G_CURRENT,
    G_G_GIVEN,
    G_G_NEWER,
    G_HOLDING_ANY,
    G_N_CURRENT,
    G_N_NEWER,
    G_NOT_STALE,
    G_OWN_INCARNATION,
    G_R_CURRENT,
    G_R_NEWER,
    G_RESET,
    G_SAME_INCARNATION,
    G_VERSION_CURRENT,
    G_VERSION_NEWER,
    IMPOSSIBLE,
    INCARNATION_SHIFT,
    K_CODE,
    K_COUNT,
    K_G,
    K_INCARNATION,
    K_KIND,
    K_N,
    K_R,
    K_VERSION,
    M_G,
    M_INCARNATION,
    M_N,
    M_R,
    M_VERSION,
    N_COUNTER,
    N_INCARNATION,
    N_PEER,
    UNDEFINED,
)


@kernel
def truths(entry, node, message, facts):
    """The word of guard truths: bit GUARD[name] is set where the guard holds."""
    g, r, n = message[M_G], message[M_R], message[M_N]
    incarnation = message[M_INCARNATION]
    tenancy = entry[E_G] >> INCARNATION_SHIFT
    word = facts & FACTS
    word |= (1 << G_G_CURRENT) if g == entry[E_G] else 0
    word |= (1 << G_G_NEWER) if g > entry[E_G] else 0
    word |= (1 << G_R_CURRENT) if r == entry[E_R] else 0
    word |= (1 << G_R_NEWER) if r > entry[E_R] else 0
    word |= (1 << G_N_CURRENT) if n == entry[E_N] else 0
    word |= (1 << G_N_NEWER) if n > entry[E_N] else 0
    word |= (1 << G_DRAINED) if n == entry[E_Q] else 0
    word |= (1 << G_VERSION_NEWER) if message[M_VERSION] > entry[E_VERSION] else 0
    word |= (1 << G_VERSION_CURRENT) if message[M_VERSION] == entry[E_VERSION] else 0
    word |= (1 << G_NOT_STALE) if incarnation >= node[N_PEER] else 0
    word |= (1 << G_OWN_INCARNATION) if incarnation == node[N_INCARNATION] else 0
    word |= (1 << G_RESET) if 0 < tenancy < incarnation else 0
    word |= (1 << G_SAME_INCARNATION) if incarnation == tenancy else 0
    word |= (1 << G_G_GIVEN) if g != 0 else 0
    word |= (1 << G_HOLDING_ANY) if entry[E_HELD] > 0 else 0
    return word


@kernel
def choose(protocol, role, state, event, word):
    """Number of the row that matches; -1: none, IMPOSSIBLE - 1: the cell is impossible."""
    count = protocol.cells["rows"][role, state, event]
    first = protocol.cells["first"][role, state, event]
    if count < 0:
        return IMPOSSIBLE - 1
    for i in range(first, first + count):
        if word & protocol.rows["mask"][i] == protocol.rows["value"][i]:
            return i
    return -1


@kernel
def transition(protocol, role, entry, node, event, message, facts, out):
    """Take one event on one side: choose the row, change the entry, append commands.

    Args:
        protocol: a :class:`~.lower.ProtocolArrays`.
        role: NIC or CPU.
        entry: int64[ENTRY_WORDS], this side's record of the key; changed.
        node: int64[NODE_WORDS], this side's own record; changed.
        event: event code; a message's is its kind.
        message: int64[MESSAGE_WORDS], the message or the punted packet's tag; ignored where there is none.
        facts: F_... bits that only the caller knows.
        out: int64[COMMANDS_MAX, COMMAND_WORDS]; commands, in order.

    Returns:
        the number of commands, or IMPOSSIBLE. An event that the table ignores gives 0 and changes nothing.
    """
    row = choose(protocol, role, entry[E_STATE], event, truths(entry, node, message, facts))
    return take(protocol, row, entry, node, message, out)


@kernel
def take(protocol, row, entry, node, message, out):
    """The second half of a transition: what the chosen row says."""
    if row < 0:
        return IMPOSSIBLE if row == IMPOSSIBLE - 1 else 0
    if protocol.rows["next"][row] < 0:
        return IMPOSSIBLE
    commands = 0
    first = protocol.rows["first"][row]
    for i in range(first, first + protocol.rows["actions"][row]):
        commands = act(protocol.actions[i], entry, node, message, out, commands)
    entry[E_STATE] = protocol.rows["next"][row]
    return commands


@kernel
def act(code, entry, node, message, out, commands):
    """One micro-action; returns the number of commands after it."""
    verb = code % ACTION_MESSAGE
    if verb < A_TAKE_CONTEXT:
        change(verb, entry, node, message)
        return commands
    out[commands, K_CODE] = verb
    out[commands, K_KIND] = code // ACTION_MESSAGE - 1
    out[commands, K_G] = entry[E_G]
    out[commands, K_R] = entry[E_R]
    out[commands, K_N] = entry[E_N]
    out[commands, K_INCARNATION] = node[N_INCARNATION]
    out[commands, K_VERSION] = entry[E_VERSION]
    out[commands, K_COUNT] = 1
    if verb == C_SEND or verb == C_PUT:
        echo(out[commands], message)
    elif verb == A_TAKE_CONTEXT:
        entry[E_VERSION] = message[M_VERSION]
        out[commands, K_VERSION] = message[M_VERSION]
    elif verb == C_PUNT_ABSENT:
        out[commands, K_KIND] = EV_PUNT_ABSENT
    elif verb == C_PUNT_WATCHED:
        out[commands, K_KIND] = EV_PUNT_WATCHED
    elif verb == C_PUNT_DEPARTED:
        out[commands, K_KIND] = EV_PUNT_DEPARTED
    elif verb == C_CLEAR_CONTEXT:
        entry[E_VERSION] = 0
        out[commands, K_VERSION] = 0
    else:
        about_held(verb, entry, out[commands])
    return commands + 1


@kernel
def change(verb, entry, node, message):
    """A micro-action on the side's own variables."""
    if verb == A_NEW_GENERATION or verb == A_NEW_REQUEST:
        node[N_COUNTER] += 1
        given = (node[N_INCARNATION] << INCARNATION_SHIFT) + node[N_COUNTER]
        entry[E_G if verb == A_NEW_GENERATION else E_R] = given
    elif verb == A_TAKE_G:
        entry[E_G] = message[M_G]
    elif verb == A_TAKE_R:
        entry[E_R] = message[M_R]
    elif verb == A_TAKE_N:
        entry[E_N] = message[M_N]
    elif verb == A_TAKE_Q:
        entry[E_Q] = message[M_N]
    elif verb == A_ZERO_N:
        entry[E_N] = 0
    elif verb == A_COUNT:
        entry[E_N] += 1
    elif verb == A_CLEAR_Q:
        entry[E_Q] = UNDEFINED
    elif verb == A_ZERO_Q:
        entry[E_Q] = 0
    elif verb == A_FORGET_G:
        entry[E_G] = 0
    elif verb == A_NOTE_PEER:
        node[N_PEER] = message[M_INCARNATION]
    elif verb == A_COUNT_TRY:
        entry[E_TRIES] += 1
    elif verb == A_CLEAR_TRIES:
        entry[E_TRIES] = 0


@kernel
def about_held(verb, entry, command):
    """Commands that concern the buffer, and the end of a tenancy."""
    if verb == C_HOLD or verb == C_PROCESS_KEEP:
        entry[E_HELD] += 1
    elif verb == C_FLUSH:
        command[K_KIND] = EV_PUNT_WATCHED
        command[K_N] = entry[E_N] + 1
        command[K_COUNT] = entry[E_HELD]
        entry[E_N] += entry[E_HELD]
        entry[E_HELD] = 0
    elif verb == C_DRAIN or verb == C_RELEASE or verb == C_DROP_HELD:
        command[K_COUNT] = entry[E_HELD]
        entry[E_HELD] = 0
    elif verb == C_DRAIN_KEEP:
        command[K_COUNT] = entry[E_HELD]
    elif verb == C_FREE:
        entry[E_G] = 0
        entry[E_R] = 0
        entry[E_N] = 0
        entry[E_Q] = UNDEFINED
        entry[E_TRIES] = 0


@kernel
def echo(command, message):
    """Fields of an answer that are those of the message being answered."""
    kind = command[K_KIND]
    if kind == EV_CTXACK or kind == EV_WBACK or kind == EV_GONE or kind == EV_BFENCE:
        command[K_G] = message[M_G]
    if kind == EV_GONE or kind == EV_BFENCE:
        command[K_R] = message[M_R]
    if kind == EV_WBACK:
        command[K_VERSION] = message[M_VERSION]
    if kind == EV_STATE or kind == EV_BFENCE:
        command[K_INCARNATION] = message[M_INCARNATION]
    if kind == EV_BFENCE:
        command[K_N] = message[M_N]


@kernel
def reset_entry(protocol, role, entry, restart):
    """Make a fresh record of a key: in the start state, or in the one for after a restart."""
    for i in range(len(entry)):
        entry[i] = 0
    entry[E_Q] = UNDEFINED
    entry[E_STATE] = protocol.roles["restart"][role] if restart else protocol.roles["start"][role]

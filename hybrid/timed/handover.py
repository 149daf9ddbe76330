"""The protocol at work: one event on one side is a transition of its table, and its commands are carried out here.

What a protocol *is* stands in its table (:mod:`oppcache.consistency`); here is only what its commands do to packets,
slots, rings and the control channel.
"""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.consistency.interpreter import transition
from oppcache.consistency.vocabulary import (
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
    COMMAND_WORDS,
    CPU,
    E_HELD,
    E_STATE,
    E_TRIES,
    EV_BOUNCED,
    EV_INSTALL,
    EV_PACKET,
    EV_TIMEOUT,
    EV_UNRUNNABLE,
    EV_UNTAGGED,
    EV_WANT_EVICT,
    EV_WANT_PROMOTE,
    EV_WB,
    F_CHANGES_LABEL,
    F_HOLD_FULL,
    F_RETRIES_SPENT,
    F_SLOT_FREE,
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
    M_KEY,
    M_KIND,
    M_N,
    M_R,
    M_VERSION,
    NIC,
    TIMER_RESEND,
)
from oppcache.opp import arrays as A

from ..account import CROSSED
from ..counters import Count
from .ahead import fetch_far
from .contexts import (
    begin_anew,
    begin_owning,
    end_owning,
    exists,
    first_context,
    give_slot_back,
    nic_base,
    note_version,
    pack_context,
    spoil,
    unpack_context,
)
from .fences import fence_bounce, must_wait
from .leaving import go_back, lose
from .link import carries_context, home_of, put_rx, put_tx, send_to_cpu, send_to_nic
from .pool import append_list, free_item, hold, new_item, pull, push, splice
from .records import note_migration
from .reference import world_at
from .signals import DO_DEFERRED, PUNT
from .standing import note_standing
from .state import (
    AWAY,
    BOUNCED,
    DELAYED,
    NOBODY,
    P_FETCHES,
    P_HOLD,
    P_KEEPS,
    P_LATENCY,
    P_POISON,
    P_RETRIES,
    P_TAKES,
    P_TIMER,
    PACKET,
    RUNS_OUT,
    T_EXIT,
    T_HELD,
    T_UNCHANGED,
    TIMER_AGAIN,
    W_FENCES,
)
from .timers import start_timer
from .watching import observe

_PUNTS, _CROSSINGS, _BOUNCES = int(Count.PUNTS), int(Count.CROSSINGS), int(Count.BOUNCES)
_PROMOTIONS, _FAILED = int(Count.PROMOTIONS), int(Count.PROMOTIONS_FAILED)
_DEMOTIONS, _EVICTIONS, _ENTRY = int(Count.DEMOTIONS), int(Count.EVICTIONS), int(Count.ENTRY_EVICTIONS)
_RING, _FROZEN, _IMPOSSIBLE = int(Count.DROPS_RING), int(Count.DROPS_PROTOCOL), int(Count.IMPOSSIBLE)

# What becomes of the packet of an event.
RUN, GONE = 1, 0


@kernel
def carry(w, message, item):
    """Make an item carry the fields of a command as a message or tag."""
    command, to = message, w.pool.message
    to[item, M_KIND] = command[K_KIND]
    to[item, M_G] = command[K_G]
    to[item, M_R] = command[K_R]
    to[item, M_N] = command[K_N]
    to[item, M_INCARNATION] = command[K_INCARNATION]
    to[item, M_VERSION] = command[K_VERSION]


@kernel
def _message_item(w, command, side, table, record, row):
    """A new item for a message that a command sends, with the context if that belongs to it."""
    item = new_item(w)
    carry(w, command, item)
    w.pool.items["kind"][item] = command[K_KIND] + 1
    w.pool.message[item, M_KEY] = (np.int64(table) << np.int64(32)) | record
    if carries_context(command[K_KIND]):
        pack_context(w, side, table, record, row, item)
        if w.knobs[P_KEEPS] == 0 or command[K_KIND] != EV_WB:
            w.pool.message[item, M_VERSION] = np.int64(w.pool.vectors[item, A.C_VERSION])
    return item


@kernel
def leave_nic(w, now):
    """When what enters the pipeline at ``now`` leaves it, behind everything before it."""
    out = max(now + w.knobs[P_LATENCY], w.clock[T_EXIT])
    w.clock[T_EXIT] = out
    return out


@kernel
def punt(w, item, table, record, out):
    """Send a packet, tagged or not, to the CPU through the home ring of a context (table −1: of none)."""
    core = np.int64(0)
    if table >= 0:
        core = home_of(w, table, record)
        fetch_far(w, table, record, w.tally.flow_at[table] + record)
    punt_to(w, item, core, out)


@kernel
def punt_to(w, item, core, out):
    """Send a packet to a core."""
    w.pool.items["flags"][item] |= CROSSED | AWAY
    w.tally.counts[_PUNTS] += 1
    w.tally.counts[_CROSSINGS] += 1
    if not put_rx(w, item, core, out):
        w.tally.counts[_RING] += 1
        lose(w, item, out)


@kernel
def set_timer(w, side, table, record, row, now):
    """Start the timer of the state that a side is in, or stop it."""
    entry = w.rows.nic[row] if side == NIC else w.rows.cpu[row]
    kind = np.int64(w.protocol.states["timer"][side, entry[E_STATE]])
    if kind == TIMER_RESEND and w.rows.marks["resent"][row]:
        kind = np.int64(TIMER_AGAIN)  # what goes unanswered is asked less often
    if kind == 0 or w.knobs[P_TIMER + kind] == 0:
        w.rows.sides[row, RUNS_OUT + side] = NOBODY
        return
    start_timer(w, side, kind, table, record, row, now)


@kernel
def _facts(w, entry, slot_free):
    facts = F_CHANGES_LABEL if w.clock[T_UNCHANGED] == 0 else 0
    if slot_free:
        facts |= F_SLOT_FREE
    if entry[E_HELD] >= w.knobs[P_HOLD]:
        facts |= F_HOLD_FULL
    if entry[E_TRIES] >= w.knobs[P_RETRIES]:
        facts |= F_RETRIES_SPENT
    return np.int64(facts)


@kernel
def _stranded(w, event, item, owned, table, record, row, now):
    """What becomes of a packet for which a protocol's table has no answer.

    A table that knows of one context only says nothing of packets that come from an earlier one: they are run where
    the context is.
    """
    if event == EV_UNTAGGED:
        if owned:
            return np.int64(RUN)
        _bounce(w, item, table, record, row, now)
        return np.int64(GONE)
    w.tally.counts[_IMPOSSIBLE] += 1
    if owned:
        return np.int64(RUN)
    if item != NOBODY and w.pool.items["kind"][item] == PACKET:
        w.tally.counts[_FROZEN] += 1
        lose(w, item, now)
    return np.int64(GONE)


@kernel
def _bounce(w, item, table, record, row, now):
    """Send a packet back to the NIC, to go on there at its stage."""
    w.tally.counts[_BOUNCES] += 1
    w.pool.items["flags"][item] |= BOUNCED
    if go_back(w, item, now):
        fence_bounce(w, table, record, row, now, np.bool_(False))


def side_event(here, side, event, table, record, item, core, now):
    """Take an event on one side: a transition of its table, and what that commands.

    Args:
        side: NIC or CPU.
        event: its code; a message or tag that belongs to it is in ``w.message``.
        table, record: the context.
        item: the packet or message of the event; NOBODY without one.
        core: on the CPU, the one that the packet is on; −1 for other events.

    Returns:
        RUN if the packet is to be run on this side's context, GONE otherwise.
    """
    w = world_at(here)
    if event == PUNT:
        punt(w, item, table, record, leave_nic(w, now))
        return np.int64(GONE)
    if event == DO_DEFERRED:
        _do_deferred(w, side, core, now)
        return np.int64(GONE)
    row = w.tally.flow_at[table] + record
    entry = w.rows.nic[row] if side == NIC else w.rows.cpu[row]
    before = entry[E_STATE]
    if event == EV_BOUNCED and w.protocol.cells["rows"][side, before, event] < 0:
        event = np.int64(EV_PACKET)  # a table that does not tell them apart
    owned = w.protocol.states["owns"][side, before] == 1
    if side == CPU or w.knobs[P_KEEPS] == 0:  # else the version is that of the last change, see .keeping
        note_version(w, side, table, record, row)
    facts = _facts(w, entry, w.rows.marks["slot"][row] > 0)
    count = transition(w.protocol, side, entry, w.node[side], event, w.message, facts, w.commands)
    if count < 0:
        return _stranded(w, event, item, owned, table, record, row, now)
    if side == NIC:
        note_standing(w, row)
    owns = w.protocol.states["owns"][side, entry[E_STATE]] == 1
    result = np.int64(GONE)
    for c in range(count):
        if w.commands[c, K_CODE] == C_PROCESS:
            result = np.int64(RUN)
        elif result == RUN:
            _defer(w, side, core, w.commands[c], table, record)
        else:
            _carry_out(w, side, w.commands[c], table, record, row, item, now)
    if side == NIC:
        _after_nic_event(w, event, table, record, row, owned, owns, now)
    elif event == EV_WANT_PROMOTE and entry[E_STATE] != before:
        w.rows.marks["since"][row] = now
    if side == CPU and w.knobs[P_POISON] and not owns:
        if w.protocol.states["context"][side, entry[E_STATE]] == 0:
            spoil(w, table, record)
    if entry[E_STATE] != before:
        w.rows.marks["resent"][row] = 0
        set_timer(w, side, table, record, row, now)
    elif event == EV_TIMEOUT:
        w.rows.marks["resent"][row] = 1
        set_timer(w, side, table, record, row, now)
    return result


@kernel
def _after_nic_event(w, event, table, record, row, owned, owns, now):
    """Bring slot, policy and counts in line with what the NIC's side is now."""
    if owns and not owned:
        begin_owning(w, table, record, row, now)
        if w.policies.hooks.observes:
            observe(w, table, record, row, now)
        w.tally.counts[_PROMOTIONS] += 1
        note_migration(w, row, now)
    elif owned and not owns:
        evicted = event == EV_WANT_EVICT and exists(w, nic_base(w, table, row))
        end_owning(w, table, row, np.int64(evicted))
        w.tally.counts[_DEMOTIONS] += 1
        if event == EV_UNRUNNABLE:
            w.tally.counts[_ENTRY] += 1
    state = w.rows.nic[row, E_STATE]
    empty = w.knobs[P_FETCHES] > 0 and w.protocol.states["context"][NIC, state] == 0
    if (empty or state == w.protocol.roles["start"][NIC]) and w.rows.marks["slot"][row] > 0:
        give_slot_back(w, table, record, row)
        if w.knobs[P_TAKES]:
            begin_anew(w, table, record, row)


@kernel
def _defer(w, side, core, command, table, record):
    """Put a command off until the packet that is to be run before it has left this side."""
    place = 1 + core if side == CPU else np.int64(0)
    count = w.deferred[place, 0, 0]
    w.deferred[place, 0, 0] = count + 1
    for i in range(COMMAND_WORDS):
        w.deferred[place, count + 1, i] = command[i]
    w.deferred[place, count + 1, COMMAND_WORDS] = (np.int64(table) << np.int64(32)) | record


@kernel
def _do_deferred(w, side, core, now):
    """Carry out the commands that have waited for a packet to leave."""
    place = 1 + core if side == CPU else np.int64(0)
    for i in range(1, w.deferred[place, 0, 0] + 1):
        key = w.deferred[place, i, COMMAND_WORDS]
        table, record = key >> np.int64(32), key & np.int64(0xFFFF_FFFF)
        row = w.tally.flow_at[table] + record
        _carry_out(w, side, w.deferred[place, i], table, record, row, np.int64(NOBODY), now)
    w.deferred[place, 0, 0] = 0


@kernel(forceinline=False)
def _carry_out(w, side, command, table, record, row, item, now):
    """Carry out one command."""
    code = command[K_CODE]
    at = 2 * side
    if code == C_PUNT_ABSENT or code == C_PUNT_WATCHED or code == C_PUNT_DEPARTED:
        _punt_tagged(w, command, item, table, record, np.int64(0), now)
    elif code == C_SEND or code == C_PUT:
        _send(w, side, command, table, record, row, now)
    elif code == C_TAKE_CONTEXT:
        unpack_context(w, side, table, record, row, item)
    elif code == C_CLEAR_CONTEXT:
        if side == NIC:
            first_context(w, table, record, row)
    elif code == C_HOLD:
        if side == NIC:
            w.pool.items["flags"][item] |= DELAYED
        hold(w, row, at, item)
    elif code == C_FLUSH:
        w.clock[T_HELD] -= command[K_COUNT]
        for i in range(command[K_COUNT]):
            _punt_tagged(w, command, pull(w, w.rows.sides, row, at), table, record, i, now)
    elif code == C_PROCESS_KEEP:
        hold(w, row, at, item)
    elif code == C_RELEASE:
        w.clock[T_HELD] -= command[K_COUNT]
        append_list(w, w.rows.sides, row, at, w.again, np.int64(0))
        w.rows.marks["stalled"][row] = 0
    elif code == C_DRAIN or code == C_DRAIN_KEEP:
        w.clock[T_HELD] -= command[K_COUNT]
        if code == C_DRAIN_KEEP:
            w.rows.nic[row, E_HELD] -= command[K_COUNT]  # each comes back when it has been run
        splice(
            w, w.rows.sides, row, at, w.again, np.int64(0) if side == NIC else 1 + home_of(w, table, record)
        )
    elif code == C_BOUNCE:
        _bounce(w, item, table, record, row, now)
    elif code == C_DROP:
        w.tally.counts[_FROZEN] += 1
        lose(w, item, now)
    elif code == C_DROP_HELD:
        w.clock[T_HELD] -= command[K_COUNT]
        for _ in range(command[K_COUNT]):
            w.tally.counts[_FROZEN] += 1
            lose(w, pull(w, w.rows.sides, row, at), now)
    elif code == C_FAIL:
        w.tally.counts[_FAILED] += 1
        w.rows.marks["since"][row] = NOBODY


@kernel
def _punt_tagged(w, command, item, table, record, offset, now):
    carry(w, command, item)
    w.pool.message[item, M_KEY] = (np.int64(table) << np.int64(32)) | record
    w.pool.message[item, M_N] += offset
    punt(w, item, table, record, leave_nic(w, now))


@kernel
def _send(w, side, command, table, record, row, now):
    """Send a message over the control channel, or put it into a data ring."""
    kind = command[K_KIND]
    message = _message_item(w, command, side, table, record, row)
    if side == CPU and (command[K_CODE] == C_PUT or kind == EV_INSTALL) and must_wait(w, row):
        w.pool.items["stage"][message] = command[K_CODE]
        push(w, w.rows.waits, row, W_FENCES, message)
        return
    if command[K_CODE] == C_PUT:
        if side == NIC:
            sent = put_rx(w, message, home_of(w, table, record), leave_nic(w, now))
        else:
            sent = put_tx(w, message, now)
    elif side == NIC:
        sent = send_to_cpu(w, message, kind, now)
    else:
        sent = send_to_nic(w, message, kind, now)
    if not sent:
        free_item(w, message)

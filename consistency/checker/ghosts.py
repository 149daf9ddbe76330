"""What must be true, kept beside the system: which packets were applied, have left, are accounted for."""

from __future__ import annotations

from oppcache._jit import kernel

from ..vocabulary import CPU, E_G, E_STATE, NIC, TIMER_WRITEBACK
from .layout import (
    B_CHECKPOINT,
    B_CONTEXT,
    B_FLOOR,
    B_LATEST,
    B_OPEN,
    B_SHADOW,
    KEY_WORDS,
    S_APPLIED,
    S_EGRESSED,
    S_ENTERED,
    S_FLOW_OF,
    S_HISTORY,
    S_KEYS,
    S_LOST,
    bits,
    flow_of,
    highest,
    members,
)
from .model import P_KEYS, P_TIMERS

# Violations, bit PROPERTY[name] each; above them what a step says beside.
ONE_OWNER, EXACTLY_ONCE, ORDER, EGRESS_ORDER, NO_LOSS, ROLLBACK, REACHED_IMPOSSIBLE = (
    1 << i for i in range(7)
)
OUTPUT_COMMIT, LIMITS, ACCOUNTING = 1 << 8, 1 << 9, 1 << 10
DISABLED = 1 << 20  # a bound of the model is in the way: the step is not taken
OVERFLOW = 1 << 21  # the state does not fit the stored form
SAFETY = ONE_OWNER | EXACTLY_ONCE | ORDER | EGRESS_ORDER | NO_LOSS | ROLLBACK | REACHED_IMPOSSIBLE


@kernel
def apply(protocol, s, role, key, packet):
    """Run a packet on the context that a side holds; returns violations."""
    b = S_KEYS + key * KEY_WORDS
    wrong = 0
    other = 1 - role
    if protocol.states["owns"][other, s[b + 8 * other + E_STATE]]:
        wrong |= ONE_OWNER
    if s[S_APPLIED] >> packet & 1:
        wrong |= EXACTLY_ONCE
    copy, latest = s[b + B_CONTEXT + role], s[b + B_LATEST]
    if copy != latest:
        wrong |= _settle(s, b, copy, latest)
    s[b + B_FLOOR] = 0
    before = copy if s[S_FLOW_OF] == 0 else copy & members(s, key, flow_of(s, packet))
    if packet < highest(before):
        wrong |= ORDER
    if s[S_APPLIED] >> packet & 1 == 0:
        s[S_HISTORY] |= (packet + 1) << (3 * bits(s[S_APPLIED]))
    copy |= 1 << packet
    s[b + B_CONTEXT + role] = copy
    s[b + B_LATEST] = copy
    s[S_APPLIED] |= 1 << packet
    return wrong


@kernel
def _settle(s, b, copy, latest):
    """A packet is about to run on another context than the newest: only after a crash, and then a prefix."""
    if s[b + B_FLOOR] == 0:
        return EXACTLY_ONCE
    if not _is_prefix(s, copy, latest) or bits(copy) < s[b + B_FLOOR] - 1:
        return ROLLBACK
    return OUTPUT_COMMIT if latest & ~copy & s[S_EGRESSED] else 0


@kernel
def _is_prefix(s, copy, latest):
    """Whether the packets of a context are the first that were applied to the newest one."""
    history = s[S_HISTORY]
    missing = False
    while history:
        packet = (history & 7) - 1
        history >>= 3
        if latest >> packet & 1:
            missing = missing or copy >> packet & 1 == 0
            if missing and copy >> packet & 1:
                return False
    return copy & ~latest == 0


@kernel
def leave(s, key, packet):
    """A packet leaves the system; returns violations."""
    wrong = 0
    if s[S_EGRESSED] >> packet & 1:
        wrong |= EXACTLY_ONCE
    if packet < highest(s[S_EGRESSED] & members(s, key, flow_of(s, packet))):
        wrong |= EGRESS_ORDER
    s[S_EGRESSED] |= 1 << packet
    return wrong


@kernel
def fall_to(s, b, copy):
    """After a crash the key's history may go back as far as this copy."""
    floor = 1 + bits(copy)
    if s[b + B_FLOOR] == 0 or floor < s[b + B_FLOOR]:
        s[b + B_FLOOR] = floor


@kernel
def newer(one, other):
    """Which of two copies of a context has more packets."""
    return other if bits(other) > bits(one) else one


@kernel
def nic_crashes(protocol, s, key):
    """Ghosts at a NIC crash: what it owned goes back to the CPU's copy."""
    b = S_KEYS + key * KEY_WORDS
    held = protocol.states["context"][NIC, s[b + E_STATE]] and s[b + B_CONTEXT] == s[b + B_LATEST]
    if held and not protocol.states["owns"][CPU, s[b + 8 + E_STATE]]:
        fall_to(s, b, newer(s[b + B_CONTEXT + CPU], s[b + B_SHADOW]))


@kernel
def cpu_crashes(protocol, s, key):
    """Ghosts at a CPU crash: what it owned, or was to take over after a NIC crash, goes back to the checkpoint."""
    b = S_KEYS + key * KEY_WORDS
    s[b + B_SHADOW] = s[b + B_OPEN] = 0
    held = protocol.states["context"][NIC, s[b + E_STATE]] and s[b + B_CONTEXT] == s[b + B_LATEST]
    state = s[b + 8 + E_STATE]
    owned = protocol.states["owns"][CPU, state] or (protocol.states["context"][CPU, state] and not held)
    if owned or s[b + B_FLOOR] > 0:
        fall_to(s, b, s[b + B_CHECKPOINT])


@kernel
def copy_arrives(protocol, s, key, g, copy):
    """A written-back copy has been given to the CPU: of the present tenancy and newer, it is what counts now."""
    b = S_KEYS + key * KEY_WORDS
    kept = s[b + B_CONTEXT + CPU]
    if (
        g != 0
        and g == s[b + 8 + E_G]
        and not protocol.states["owns"][CPU, s[b + 8 + E_STATE]]
        and bits(copy) > bits(kept)
    ):
        s[b + B_SHADOW] = newer(copy, s[b + B_SHADOW])
    elif bits(kept) >= bits(s[b + B_SHADOW]):
        s[b + B_SHADOW] = 0


@kernel
def follow_promotion(protocol, s, key, before, asked, failed, taken):
    """After an event: whether each promotion that was asked for ends once, done or counted; returns violations.

    Args:
        before: the CPU's state before it.
        asked: whether the event was the policy's wish.
        failed: whether a failure was counted.
        taken: whether the CPU took a context back.
    """
    b = S_KEYS + key * KEY_WORDS
    state, start = s[b + 8 + E_STATE], protocol.roles["start"][CPU]
    left = before == start and state != start
    wrong = (left and not asked) or (failed and s[b + B_OPEN] == 0)
    if left:
        s[b + B_OPEN] = 1
    owns = protocol.states["owns"][CPU, state]
    if failed or (taken and owns) or not (owns or protocol.states["context"][CPU, state]):
        s[b + B_OPEN] = 0
    wrong = wrong or (s[b + B_OPEN] == 1 and before != start and state == start)
    return ACCOUNTING if wrong else 0


@kernel
def is_at_rest(protocol, s, role, b):
    """Whether a side waits for nothing: no timer runs but the one of write-backs."""
    timer = protocol.states["timer"][role, s[b + 8 * role + E_STATE]]
    return timer == 0 or timer == TIMER_WRITEBACK


@kernel
def is_quiet(parameters, protocol, s):
    """Whether all that entered is accounted for, each key has exactly one owner, and every migration has ended.

    Without timers, which also reclaim slots, no slot is left without a context.
    """
    if s[S_EGRESSED] | s[S_LOST] != (1 << s[S_ENTERED]) - 1:
        return False
    for key in range(parameters[P_KEYS]):
        b = S_KEYS + key * KEY_WORDS
        nic = protocol.states["owns"][NIC, s[b + E_STATE]]
        if not is_at_rest(protocol, s, NIC, b) or not is_at_rest(protocol, s, CPU, b):
            return False
        if not parameters[P_TIMERS] and not nic and s[b + E_STATE] != protocol.roles["start"][NIC]:
            return False
        cpu = protocol.states["owns"][CPU, s[b + 8 + E_STATE]]
        if nic == cpu:
            return False
    return True


@kernel
def two_owners(protocol, s, keys):
    """Whether both sides say that they own a key."""
    for key in range(keys):
        b = S_KEYS + key * KEY_WORDS
        if protocol.states["owns"][NIC, s[b + E_STATE]] and protocol.states["owns"][CPU, s[b + 8 + E_STATE]]:
            return True
    return False

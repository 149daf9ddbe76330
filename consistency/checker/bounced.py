"""Packets without a tag: what an earlier stage punted, and what the CPU bounces back to the NIC.

The rule around a protocol's tables that keeps their order: behind each bounced packet the CPU puts
BFENCE(key, CPU incarnation, b), which the NIC reflects; until one with the newest b is back, a packet without a tag
waits unless it is bounced itself, in order, and no INSTALL is sent. A CPU that restarts puts one first, as it does not
know what it had bounced. All BFENCEs behind a bounced packet say the same, so b counts those packets and a repeated
one keeps its b.
"""

from __future__ import annotations

from oppcache._jit import kernel

from ..vocabulary import C_BOUNCE, EV_BFENCE, NIC
from .layout import (
    B_BOUNCED,
    B_HELD,
    COUNTED,
    I_INCARNATION,
    I_KEY,
    I_N,
    KEY_WORDS,
    Q_TO_NIC,
    S_CPU,
    S_ITEMS,
    S_KEYS,
    S_LOST,
    S_UNDERWAY,
    S_UNTAGGED,
    flow_of,
    members,
    start_of,
)

# A key's word of bounced packets: those that wait (3 bits each, as in a buffer), b, and whether a BFENCE is awaited.
WAITING, AWAITED = (1 << 9) - 1, 1 << 11
B_SHIFT, B_MASK = 9, 3


@kernel
def may_come_to_nic(s, key, flow):
    """Whether a packet can reach this stage on the NIC.

    Not while one of its flow that an earlier stage punted is on its way through RX, CPU and TX: the earlier stage
    keeps its own packets in order.
    """
    return s[S_UNDERWAY] == 0 or s[S_UNDERWAY] & ~s[S_LOST] & members(s, key, flow) == 0


@kernel
def may_be_punted_earlier(s, key, flow):
    """Whether an earlier stage can punt a packet: those of its flow that are held here on the NIC come first.

    Else one that the CPU runs at once overtakes them (`cas-hold`, 12 steps). They are flushed as at a time-out.
    """
    if s[S_UNTAGGED] == 0:
        return False
    held = s[S_KEYS + key * KEY_WORDS + B_HELD + NIC]
    while held:
        if flow_of(s, (held & 7) - 1) == flow:
            return False
        held >>= 3
    return True


@kernel
def enters_untagged(s, packet):
    """A packet is punted by an earlier stage."""
    s[S_UNTAGGED] -= 1
    s[S_UNDERWAY] |= 1 << packet


@kernel
def out_of_tx(s, packet):
    """A packet or its output has come out of TX."""
    s[S_UNDERWAY] &= ~(1 << packet)


@kernel
def is_awaited(s, key):
    """Whether a BFENCE is still to come back."""
    return s[S_KEYS + key * KEY_WORDS + B_BOUNCED] & AWAITED != 0


@kernel
def is_waiting(s, key):
    """Whether packets of the key wait."""
    return s[S_KEYS + key * KEY_WORDS + B_BOUNCED] & WAITING != 0


@kernel
def bounces(protocol, row):
    """Whether a row sends its packet back to the NIC."""
    return (
        row >= 0
        and protocol.rows["actions"][row] > 0
        and protocol.actions[protocol.rows["first"][row]] == C_BOUNCE
    )


@kernel
def wait(s, key, packet):
    """Put a packet behind those that wait."""
    b = S_KEYS + key * KEY_WORDS + B_BOUNCED
    waiting, place = s[b] & WAITING, 0
    while waiting >> place:
        place += 3
    s[b] |= (packet + 1) << place


@kernel
def next_waiting(s, key):
    """Take the first packet that waits."""
    b = S_KEYS + key * KEY_WORDS + B_BOUNCED
    waiting = s[b] & WAITING
    s[b] = (s[b] & ~WAITING) | waiting >> 3
    return (waiting & 7) - 1


@kernel
def lose_waiting(s, key):
    """The CPU restarts: what waited is lost, and a BFENCE of the new incarnation is awaited."""
    while is_waiting(s, key):
        s[S_LOST] |= 1 << next_waiting(s, key)
    s[S_KEYS + key * KEY_WORDS + B_BOUNCED] = AWAITED


@kernel
def fence_behind(s, key):
    """One more packet has been bounced: the BFENCE to be put behind it."""
    b = S_KEYS + key * KEY_WORDS + B_BOUNCED
    s[b] = (s[b] + (1 << B_SHIFT)) | AWAITED
    return bfence(s, key)


@kernel
def bfence(s, key):
    """The BFENCE that is awaited."""
    n = s[S_KEYS + key * KEY_WORDS + B_BOUNCED] >> B_SHIFT & B_MASK
    return EV_BFENCE | key << I_KEY | n << I_N | s[S_CPU] << I_INCARNATION


@kernel
def is_overdue(s, key):
    """Whether the BFENCE awaited is in no ring any more, so that only a time-out helps."""
    if not is_awaited(s, key):
        return False
    wanted, missing = bfence(s, key), True
    for i in range(S_ITEMS, start_of(s, Q_TO_NIC)):
        missing = missing and s[i] & ~COUNTED != wanted
    return missing


@kernel
def returned(s, key, item):
    """A BFENCE is back in RX."""
    b = S_KEYS + key * KEY_WORDS + B_BOUNCED
    newest = item >> I_INCARNATION & 3 == s[S_CPU] and item >> I_N & 15 >= (s[b] >> B_SHIFT & B_MASK)
    if newest:
        s[b] &= ~AWAITED

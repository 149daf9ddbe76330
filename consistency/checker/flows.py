"""Several flows of one key: which packets are one flow, and one numbering for states that only differ by numbers.

Order is asked within a flow and nowhere else, so packets of different flows can be renumbered. In a state's one form
those that have been applied stand in the order in which they were, so that this order need not be stored (it says which
copy of a context is a prefix of which), the others flow by flow; within a flow the order of arrival stays. Flows
themselves are alike, unless their numbers say which queue they take, and are numbered as they come in that order.
"""

from __future__ import annotations

from oppcache._jit import kernel

from ..vocabulary import EV_BOUNCED
from .bounced import WAITING
from .layout import (
    B_BOUNCED,
    B_CHECKPOINT,
    B_CONTEXT,
    B_HELD,
    B_LATEST,
    B_SHADOW,
    I_ID,
    I_MASK,
    KEY_WORDS,
    PACKETS_MAX,
    S_APPLIED,
    S_EGRESSED,
    S_ENTERED,
    S_FLOW_OF,
    S_HISTORY,
    S_ITEMS,
    S_KEY_OF,
    S_KEYS,
    S_LOST,
    S_UNDERWAY,
    end_of,
    flow_of,
    members,
)
from .model import P_FLOWS, P_KEYS, P_RENAME

IDENTITY = 0o43210  # a number for each packet, 3 bits each


@kernel
def flows_to_choose(parameters, s, key):
    """How many flows the next packet of a key may be of: where they are alike, those seen and one more."""
    flows = parameters[P_FLOWS]
    if parameters[P_RENAME] == 0:
        return flows
    entered, seen = (1 << s[S_ENTERED]) - 1, 1
    while seen < flows and members(s, key, seen - 1) & entered:
        seen += 1
    return seen


@kernel(forceinline=False)
def renumber_packets(parameters, s):
    """Bring a state's packets and flows into their one numbering."""
    if s[S_FLOW_OF] == 0 and parameters[P_KEYS] == 1:
        return
    order, names = _one_order(parameters, s)
    places, keys, flows = 0, 0, 0
    for place in range(PACKETS_MAX):
        packet = order >> (3 * place) & 7
        places |= place << (3 * packet)
        code = _code(s, packet)
        if packet < s[S_ENTERED]:
            keys |= code >> 2 << place
            flows |= (names >> (2 * code) & 3) << (2 * place)
    s[S_KEY_OF], s[S_FLOW_OF] = keys, flows
    if places != IDENTITY:
        move_packets(parameters, s, places)


@kernel
def _code(s, packet):
    """The flow of a packet among those of all keys."""
    return (s[S_KEY_OF] >> packet & 1) << 2 | flow_of(s, packet)


@kernel
def _one_order(parameters, s):
    """The packets in the order of their new numbers, 3 bits each, and the new name of each flow, 2 bits each.

    Each applied packet comes in its turn, behind those of its flow that arrived before it; then the rest, flow by flow.
    """
    entered = (1 << s[S_ENTERED]) - 1
    order, place, done, history = 0, 0, 0, s[S_HISTORY]
    line, count, seen = 0, 0, 0  # flows as they are met
    while history:
        packet = (history & 7) - 1
        history >>= 3
        code = _code(s, packet)
        if seen >> code & 1 == 0:
            seen |= 1 << code
            line |= code << (3 * count)
            count += 1
        chosen = members(s, code >> 2, code & 3) & entered & ((2 << packet) - 1) & ~done
        done |= chosen
        order, place = _append(order, place, chosen)
    for code in range(8):
        if seen >> code & 1 == 0:
            line |= code << (3 * count)
            count += 1
    names, named = 0, 0
    for i in range(8):
        code = line >> (3 * i) & 7
        chosen = members(s, code >> 2, code & 3) & entered
        if chosen:
            key = 8 * (code >> 2)
            names |= (named >> key & 7 if parameters[P_RENAME] else code & 3) << (2 * code)
            named += 1 << key
            order, place = _append(order, place, chosen & ~done)
    return _append(order, place, 31 & ~entered)[0], names


@kernel
def _append(order, place, packets):
    for packet in range(PACKETS_MAX):
        if packets >> packet & 1:
            order |= packet << (3 * place)
            place += 1
    return order, place


@kernel
def move_packets(parameters, s, places):
    """Rewrite every set, buffer and item; ``places`` says the new number of each packet."""
    for word in (S_APPLIED, S_EGRESSED, S_LOST, S_UNDERWAY):
        s[word] = _set(s[word], places)
    s[S_HISTORY] = _list(s[S_HISTORY], places)
    for key in range(parameters[P_KEYS]):
        b = S_KEYS + key * KEY_WORDS
        for word in (B_CONTEXT, B_CONTEXT + 1, B_CHECKPOINT, B_LATEST, B_SHADOW):
            s[b + word] = _set(s[b + word], places)
        s[b + B_HELD] = _list(s[b + B_HELD], places)
        s[b + B_HELD + 1] = _list(s[b + B_HELD + 1], places)
        waiting = s[b + B_BOUNCED] & WAITING
        s[b + B_BOUNCED] += _list(waiting, places) - waiting
    for i in range(S_ITEMS, end_of(s)):
        item = s[i]
        if item & 31 >= EV_BOUNCED:
            s[i] = (item & ~(7 << I_ID)) | (places >> (3 * (item >> I_ID & 7)) & 7) << I_ID
        else:
            s[i] = (item & ~(31 << I_MASK)) | _set(item >> I_MASK & 31, places) << I_MASK


@kernel
def _set(mask, places):
    found = 0
    for packet in range(PACKETS_MAX):
        found |= (mask >> packet & 1) << (places >> (3 * packet) & 7)
    return found


@kernel
def _list(word, places):
    found, at = 0, 0
    while word >> at:
        found |= ((places >> (3 * ((word >> at & 7) - 1)) & 7) + 1) << at
        at += 3
    return found

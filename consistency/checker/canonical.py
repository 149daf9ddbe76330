"""One form for states that cannot be told apart: dead variables zero, dead messages gone, numbers dense.

Generations are renumbered within each NIC incarnation, requests within each CPU incarnation, in order: rows compare
them and nothing else. So resending and reclaiming without end stay within finitely many states.
"""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel

from ..vocabulary import (
    CPU,
    E_G,
    E_HELD,
    E_N,
    E_Q,
    E_R,
    E_STATE,
    E_TRIES,
    E_VERSION,
    EV_STATE,
    N_PEER,
    NIC,
    UNDEFINED,
)
from .analysis import ALIVE, DEAD, DEAD_IF_REPLY
from .layout import (
    B_CONTEXT,
    I_G,
    I_INCARNATION,
    I_KEY,
    I_N,
    I_R,
    ITEM_G,
    ITEM_R,
    KEY_WORDS,
    Q_TO_CPU,
    Q_TO_NIC,
    Q_TX,
    S_COUNTS,
    S_CPU,
    S_CPU_CRASHES,
    S_ITEMS,
    S_KEYS,
    S_NIC,
    S_NIC_CRASHES,
    end_of,
    long_g,
    long_r,
    short_g,
    short_r,
    start_of,
)

_G_CURRENT, _R_CURRENT, _N_CURRENT, _OWN, _NOT_STALE, _RESET = 1, 2, 4, 8, 16, 32


@kernel
def canonicalise(s, keys, lossy, analysis):
    """Bring a state into its one form; returns whether its numbers fit the stored form."""
    for key in range(keys):
        _zero_dead_variables(s, S_KEYS + key * KEY_WORDS, analysis)
    if lossy:
        for key in range(keys):
            _forget_dead_messages(s, key, analysis)
    fits = _renumber(s, keys)
    if lossy:
        sort_messages(s)
    return fits


@kernel
def sort_messages(s):
    """Control messages on a lossy channel are a set."""
    _sort(s, Q_TO_NIC)
    _sort(s, Q_TO_CPU)


@kernel
def _zero_dead_variables(s, b, analysis):
    for role in range(2):
        e = b + 8 * role
        live = analysis.live[role, s[e + E_STATE]]
        if live[0] == 0:
            s[e + E_G] = 0
        if live[1] == 0:
            s[e + E_R] = 0
        if live[2] == 0:
            s[e + E_N] = 0
        if live[3] == 0:
            s[e + E_Q] = UNDEFINED
        if live[4] == 0 and role == NIC:
            s[b + B_CONTEXT] = 0
        s[e + E_TRIES] = 0
        s[e + E_VERSION] = 0
        s[e + E_HELD] = 0


@kernel
def _forget_dead_messages(s, key, analysis):
    reachable = _generations_of_cpu(s, key, analysis)
    oldest = _oldest_incarnation(reachable)
    at = kept = start_of(s, Q_TO_NIC)
    for queue in (Q_TO_NIC, Q_TO_CPU):
        count, stays = s[S_COUNTS + queue], 0
        for i in range(at, at + count):
            item = s[i]
            mine = (item >> I_KEY & 1) == key
            if not mine or not _is_dead(s, key, queue, item, reachable, oldest, analysis):
                s[kept] = item
                kept += 1
                stays += 1
        s[S_COUNTS + queue] = stays
        at += count


@kernel
def _generations_of_cpu(s, key, analysis):
    """Set of the generations that the CPU's entry holds or may still take over, apart from new ones."""
    b = S_KEYS + key * KEY_WORDS
    found = np.uint64(1) << np.uint64(short_g(s[b + E_G]))
    found |= np.uint64(1) << np.uint64(short_g(s[b + 8 + E_G]))
    for i in range(S_ITEMS, start_of(s, Q_TX)):
        found |= np.uint64(1) << np.uint64(s[i] >> I_G & 63)
    for i in range(start_of(s, Q_TO_CPU), end_of(s)):
        if analysis.adopts[s[i] & 31]:
            found |= np.uint64(1) << np.uint64(s[i] >> I_G & 63)
    return found & ~np.uint64(1)


@kernel
def _oldest_incarnation(generations):
    for incarnation in range(1, 4):
        if generations >> np.uint64(16 * incarnation) & np.uint64(0xFFFF):
            return incarnation
    return 4


@kernel
def _is_dead(s, key, queue, item, reachable, oldest, analysis):
    kind, g, r = item & 31, item >> I_G & 63, item >> I_R & 31
    incarnation = item >> I_INCARNATION & 3
    role = NIC if queue == Q_TO_NIC else CPU
    never = _never(s, key, role, kind, g, r, item >> I_N & 15, incarnation, reachable, oldest, analysis)
    fate = analysis.dead[role, kind, never]
    if fate == ALIVE or fate == DEAD:
        return fate == DEAD
    # Its only effect is an answer: dead if that would be, whenever it is given.
    answer = fate - DEAD_IF_REPLY
    crashes = s[S_CPU_CRASHES] if role == CPU else s[S_NIC_CRASHES]
    if crashes > 0 and analysis.reads[answer, 3]:
        return False
    mine = s[S_CPU] if role == CPU else s[S_NIC]
    never = _never(s, key, 1 - role, answer, g, r, -1, mine, reachable, oldest, analysis)
    return analysis.dead[1 - role, answer, never] == DEAD


@kernel
def _never(s, key, role, kind, g, r, n, incarnation, reachable, oldest, analysis):
    """Guards that will never again hold for a message, whatever happens."""
    b = S_KEYS + key * KEY_WORDS
    never = 0
    if role == NIC:
        current = g == short_g(s[b + E_G]) and g != 0
        if analysis.fixed[0]:
            if not current:
                never |= _G_CURRENT
            elif 0 <= n < s[b + E_N]:
                never |= _N_CURRENT
        if analysis.fixed[2] and s[S_NIC_CRASHES] == 0 and incarnation < s[S_NIC + N_PEER]:
            never |= _NOT_STALE
    else:
        if _no_longer(g, reachable, analysis):
            never |= _G_CURRENT
        if analysis.fixed[1] and (r != short_r(s[b + 8 + E_R]) or (r == 0 and not analysis.fixed[4])):
            never |= _R_CURRENT
        if kind == EV_STATE and incarnation < s[S_CPU]:
            never |= _OWN
        if incarnation <= oldest and incarnation <= s[S_NIC]:
            never |= _RESET
    return never


@kernel
def _no_longer(g, reachable, analysis):
    """Whether the CPU's entry will never hold this generation where it is read."""
    if g == 0:
        return analysis.fixed[3] == 0
    return reachable >> np.uint64(g) & np.uint64(1) == np.uint64(0)


@kernel
def _renumber(s, keys):
    """Number generations and requests densely; returns whether they fit."""
    generations, requests = np.uint64(0), np.uint64(0)
    one = np.uint64(1)
    for key in range(keys):
        b = S_KEYS + key * KEY_WORDS
        for e in (b, b + 8):
            if (s[e + E_G] & 0xFFFF) > 15 or (s[e + E_R] & 0xFFFF) > 7:
                return False
            generations |= one << np.uint64(short_g(s[e + E_G]))
            requests |= one << np.uint64(short_r(s[e + E_R]))
    for i in range(S_ITEMS, end_of(s)):
        generations |= one << np.uint64(s[i] >> I_G & 63)
        requests |= one << np.uint64(s[i] >> I_R & 31)
    generations &= ~one
    requests &= ~one
    s[S_NIC + 1] = _count((generations >> np.uint64(16 * s[S_NIC])) & np.uint64(0xFFFF))
    s[S_CPU + 1] = _count((requests >> np.uint64(8 * s[S_CPU])) & np.uint64(0xFF))
    # Bits 1..k of each incarnation set, and nothing else.
    if generations & (generations + np.uint64(0x0002000200020000)) & np.uint64(
        0xFFFEFFFEFFFE0000
    ) or requests & (requests + np.uint64(0x02020200)) & np.uint64(0xFEFEFE00):
        _rewrite(s, keys, generations, requests)
    return s[S_NIC + 1] < 15 and s[S_CPU + 1] < 7


@kernel(forceinline=False)
def _rewrite(s, keys, generations, requests):
    for key in range(keys):
        b = S_KEYS + key * KEY_WORDS
        for e in (b, b + 8):
            s[e + E_G] = long_g(_rank(generations, short_g(s[e + E_G]), 4))
            s[e + E_R] = long_r(_rank(requests, short_r(s[e + E_R]), 3))
    for i in range(S_ITEMS, end_of(s)):
        item = s[i] & ~(ITEM_G | ITEM_R)
        item |= _rank(generations, s[i] >> I_G & 63, 4) << I_G
        s[i] = item | _rank(requests, s[i] >> I_R & 31, 3) << I_R


@kernel
def _count(word):
    count = 0
    while word:
        word &= word - np.uint64(1)
        count += 1
    return count


@kernel
def _rank(alive, code, shift):
    """The code with its counter replaced by its place among those alive of its incarnation, from 1."""
    incarnation = code >> shift
    if incarnation == 0:
        return code
    below = (np.uint64(1) << np.uint64(code)) - np.uint64(1)
    part = (alive & below) >> np.uint64(incarnation << shift)
    return (incarnation << shift) + _count(part) + 1


@kernel
def _sort(s, queue):
    first = start_of(s, queue)
    for i in range(first + 1, first + s[S_COUNTS + queue]):
        item = s[i]
        j = i
        while j > first and s[j - 1] > item:
            s[j] = s[j - 1]
            j -= 1
        s[j] = item

"""The signatures of policies, built in and users' alike.

Every scalar is ``int64``; a policy's state is one ``int64`` array. An eviction policy defines::

    state_size(capacity, keys)                          -> int: words of state; keys: distinct keys at most
    init(state, capacity)                               -> nothing; state comes zeroed
    hit(state, slot, now, next_use)                     -> nothing; a lookup found its context in this slot
    victim(state, candidates, n, key, now, next_use)    -> int: the slot to empty for the incoming key, −1 for none
    insert(state, slot, key, now, next_use)             -> nothing; the key now stands in this (empty) slot
    remove(state, slot, evicted)                        -> nothing; the slot was emptied: 1 by eviction or release,
                                                           0 its context ceased to exist

``candidates`` is an ``int64`` array whose first ``n`` items are the slots to choose from; n = 0 means any
occupied slot. ``key`` is a dense id below ``keys``, ``now`` virtual nanoseconds, ``next_use`` the index of the
next request for the key among this table's requests, or −1 if there is none. A file that sets
``NEEDS_NEXT_USE = True`` is given real values of ``next_use`` (which costs a rehearsal of the run); others
always see −1. ``victim`` does not remove: ``remove(state, slot, 1)`` follows, then ``insert``, unless the newcomer is
refused after all (``prefer`` below, or a bundle's own slot). With −1 it declines: the incoming key gets no slot.

It may also define any of::

    observe(state, slot, label, r0, now)                -> nothing; the context in this slot has this state label and
                                                           register R0 (signed) now: after its insertion, and after
                                                           every packet that the NIC ran on it
    release(state, now)                                 -> int: a slot to give up without a newcomer, −1 for none; asked
                                                           before every lookup, again until it says −1
    seed(state, number)                                 -> nothing; once after init: 1 to 2**31 − 2, from the run's seed

An admission policy defines ``state_size`` and ``init`` as above and::

    admit(state, key, packets, rate, now)               -> int: 1 to admit, 0 not to

with ``packets`` of this flow so far, this one included, and ``rate`` in packets/s (0 before the second
packet). It may also define any of::

    configure(state, value)                             -> nothing; once: the number of ``{NAME: value}``
    control(state, rtt)                                 -> nothing; once: the control channel's round trip in ns
    seed(state, number)                                 -> nothing; as above
    note(state, key, now)                               -> nothing; a lookup of this key, on whichever side
    prefer(state, key, loser)                           -> int: 1 if the key may take the slot of the key ``loser``,
                                                           which eviction chose; 0 if it is to stay

A file that sets ``DEFAULT = number`` can also be named without a number. One that sets ``SHARE = True`` takes a share from 0
to 1, which ``configure`` is given in units of 2**−31.

The functions are compiled by Numba; they may call other compiled functions but not allocate. A policy file is
code that runs with your rights: load only files that you trust.
"""

from __future__ import annotations

from typing import Any

from numba import types

_STATE = types.Array(types.int64, 1, "C")
_I = types.int64

EVICTION_SIGNATURES: dict[str, Any] = {
    "state_size": _I(_I, _I),
    "init": types.void(_STATE, _I),
    "hit": types.void(_STATE, _I, _I, _I),
    "victim": _I(_STATE, _STATE, _I, _I, _I, _I),
    "insert": types.void(_STATE, _I, _I, _I, _I),
    "remove": types.void(_STATE, _I, _I),
}
ADMISSION_SIGNATURES: dict[str, Any] = {
    "state_size": _I(_I, _I),
    "init": types.void(_STATE, _I),
    "admit": _I(_STATE, _I, _I, _I, _I),
}
EVICTION_OPTIONS: dict[str, Any] = {
    "observe": types.void(_STATE, _I, _I, _I, _I),
    "release": _I(_STATE, _I),
    "seed": types.void(_STATE, _I),
}
ADMISSION_OPTIONS: dict[str, Any] = {
    "configure": types.void(_STATE, _I),
    "control": types.void(_STATE, _I),
    "seed": types.void(_STATE, _I),
    "note": types.void(_STATE, _I, _I),
    "prefer": _I(_STATE, _I, _I),
}

# Parameter names, for messages; the order is what counts.
PARAMETERS: dict[str, tuple[str, ...]] = {
    "state_size": ("capacity", "keys"),
    "init": ("state", "capacity"),
    "hit": ("state", "slot", "now", "next_use"),
    "victim": ("state", "candidates", "n", "key", "now", "next_use"),
    "insert": ("state", "slot", "key", "now", "next_use"),
    "remove": ("state", "slot", "evicted"),
    "admit": ("state", "key", "packets", "rate", "now"),
    "observe": ("state", "slot", "label", "r0", "now"),
    "release": ("state", "now"),
    "seed": ("state", "number"),
    "configure": ("state", "value"),
    "control": ("state", "rtt"),
    "note": ("state", "key", "now"),
    "prefer": ("state", "key", "loser"),
}

"""Events of the protocol that come without a packet or a message: what the engine or a policy wants."""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache._reference import address_of
from oppcache.consistency.vocabulary import CPU, EV_WANT_EVICT, EV_WANT_PROMOTE, NIC

from .state import NOBODY

# What :func:`~.handover.side_event` is asked to do besides events: punt a packet without a tag, do what was put off.
PUNT, DO_DEFERRED = -1, -2


@kernel
def react(w, side, event, table, record, item, core, now):
    """Take an event on one side: :func:`~.handover.side_event`."""
    return w.calls.react(address_of(w), side, event, table, record, item, core, now)


@kernel
def tell(w, side, event, table, record, now):
    """An event of a side's own, about a context."""
    nothing = np.int64(NOBODY)
    react(w, np.int64(side), np.int64(event), table, record, nothing, nothing, now)


@kernel
def want_evict(w, table, record, now):
    """A context is to leave the NIC."""
    tell(w, NIC, EV_WANT_EVICT, table, record, now)


@kernel
def want_promote(w, table, record, now):
    """A context is to go to the NIC."""
    tell(w, CPU, EV_WANT_PROMOTE, table, record, now)


@kernel
def tell_alone(w, side, event, table, record, now):
    """The same, where no message is being handled: what the last one said must not be read for one."""
    for i in range(w.message.shape[0]):
        w.message[i] = 0
    tell(w, side, event, table, record, now)


@kernel
def do_deferred(w, side, core, now):
    """A packet has left a side (a core of the CPU): commands that waited for that are carried out."""
    place = np.int64(0) if side == NIC else 1 + core
    if w.deferred[place, 0, 0] == 0:
        return False
    nothing = np.int64(NOBODY)
    react(w, np.int64(side), np.int64(DO_DEFERRED), nothing, nothing, nothing, core, now)
    return True

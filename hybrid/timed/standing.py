"""What every packet asks about a context: whether the NIC owns it, and how it runs packets on it.

Both follow from the state of the NIC's protocol entry. They stand among the row's marks as well, so that a packet which is
simply run need not read the entry, which is another line of the cache.
"""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.consistency.lower import ProtocolArrays
from oppcache.consistency.vocabulary import E_STATE, NIC

_OWNS, _RUNNING = 4, 3  # the latter are lower.PROCESSES and PROCESSES_FIRST


def standings(protocol: ProtocolArrays) -> np.ndarray:
    """The mark of each state of the NIC, ``int8[states]``."""
    states = protocol.states[NIC]
    return np.asarray(states["running"] + _OWNS * (states["owns"] == 1), np.int8)


@kernel
def note_standing(w, row):
    """The NIC's entry of a context may have changed its state."""
    w.rows.marks["standing"][row] = w.standings[w.rows.nic[row, E_STATE]]


@kernel
def nic_owns(w, row):
    """Whether the NIC owns a context."""
    return w.rows.marks["standing"][row] & _OWNS != 0


@kernel
def nic_runs(w, row):
    """How the NIC runs packets on a context: 0, ``PROCESSES`` or ``PROCESSES_FIRST`` of :mod:`oppcache.consistency.lower`."""
    return w.rows.marks["standing"][row] & _RUNNING

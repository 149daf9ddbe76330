"""Packets that the NIC has done with before older ones of their flow are back: they go the same way."""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel

from .handover import leave_nic, punt_to
from .order import line_up
from .pool import clear_tag, keep, note_held
from .state import AWAY, PARKED


@kernel(forceinline=False)
def follow(w, item, vector, verdict, now):
    """Send a packet after the older one of its flow, to the core where that is or was to be.

    Where the older one is on its way back already, or is held on the NIC, it waits here.
    """
    kept = keep(w, item, vector)
    items = w.pool.items
    line_up(w, kept)
    items["verdict"][kept] = verdict
    items["stage"][kept] = w.program.stages.shape[0]
    clear_tag(w, kept)
    older = items["before"][kept]
    if items["flags"][older] & AWAY:
        punt_to(w, kept, np.int64(items["core"][older]), leave_nic(w, now))
        return
    items["flags"][kept] |= PARKED
    note_held(w)

"""What the NIC holds of a packet's flow at later stages goes to the CPU before the packet does."""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.consistency.vocabulary import E_HELD, E_STATE, EV_TIMEOUT, NIC, TIMER_HOLD
from oppcache.opp import arrays as A
from oppcache.opp.contexts import find, hash_key
from oppcache.opp.keys import extract_key

from .signals import tell_alone
from .state import P_FENCED, T_HELD

_ZERO = np.uint64(0)


@kernel(forceinline=False)
def flush_later_stages(w, stage, vector, now):
    """Before a packet may be punted at a stage, punt what is held at later ones in its contexts, as at a time-out.

    The CPU may run those stages at once, and the packet would overtake them. Keys are read as the packet is now: what
    stages between write is not seen, and keys with temporaries are left out.
    """
    if w.knobs[P_FENCED] == 0 or w.clock[T_HELD] == 0:
        return
    for later in range(stage + 1, w.program.stages.shape[0]):
        table, key = w.program.stages["table"][later], w.program.stages["lookup"][later]
        if table < 0 or w.program.keys["temporaries"][key] != _ZERO:
            continue
        if extract_key(w.program, key, vector, w.scratch, A.S_FOREIGN_KEY) < 0:
            continue
        h = hash_key(w.scratch, A.S_FOREIGN_KEY, w.program.keys["words"][key])
        record = find(w.program, w.store, table, w.scratch, A.S_FOREIGN_KEY, h)
        if record < 0:
            continue
        entry = w.rows.nic[w.tally.flow_at[table] + record]
        if w.protocol.states["timer"][NIC, entry[E_STATE]] != TIMER_HOLD:
            continue
        if entry[E_HELD] > 0 and w.protocol.cells["rows"][NIC, entry[E_STATE], EV_TIMEOUT] > 0:
            tell_alone(w, NIC, EV_TIMEOUT, table, record, now)

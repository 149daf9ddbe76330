"""What policies that know the future are told: when a context is looked up next, in the order in which packets come.

The program alone was run before (:mod:`..rehearsal`). Where things take time the lookups happen in about that order: a
packet that was punted looks up its later contexts behind packets that came after it.
"""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.slowpath.queues import FOREVER

_NEVER = np.int64(FOREVER)
_NONE = np.int64(-1)


@kernel(forceinline=False)
def note_next_use(w, item, row):
    """Note when the context that a packet looks up is looked up next, unless a later packet knows better.

    Its bit of ``seen`` is not set yet.
    """
    seen, number = w.pool.items["seen"][item], w.pool.items["id"][item]
    at = w.policies.first_lookup[number]
    while seen != 0:
        seen &= seen - 1
        at += 1
    if at < w.policies.first_lookup[number + 1]:  # else it looks up more than it did alone
        use = w.policies.next_uses[at]
        w.rows.next_use[row] = max(w.rows.next_use[row], _NEVER if use < 0 else use)


@kernel
def next_use(w, row):
    """Number of a context's next lookup among those of its table, −1 if there is none, or nobody asked."""
    if w.rows.next_use.shape[0] == 0:
        return _NONE
    use = w.rows.next_use[row]
    return _NONE if use == _NEVER else use

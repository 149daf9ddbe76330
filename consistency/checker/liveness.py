"""Liveness: from every state a quiet one can be reached by steps that a quiet system makes."""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel

from .store import N_STATES, Store


def first_stuck(store: Store) -> int:
    """Number of the first state from which no quiet one can be reached, -1 if there is none."""
    count = int(store.counters[N_STATES])
    good = store.quiet[:count]
    while spread(good, store.edges, store.edge_starts):
        pass
    stuck = np.flatnonzero(good == 0)
    return int(stuck[0]) if len(stuck) else -1


@kernel(forceinline=False)
def spread(good, edges, starts):
    """One sweep from the last state to the first: what leads to a good state is good; returns whether any changed."""
    changed = False
    for number in range(len(good) - 1, -1, -1):
        if good[number]:
            continue
        for i in range(starts[number], starts[number + 1]):
            if good[edges[i]]:
                good[number] = np.uint8(1)
                changed = True
                break
    return changed

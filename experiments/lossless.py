"""``measure: max_lossless_rate``: the highest rate at which no packet is lost, found by bisection.

As in RFC 2544 (section 26.1) packets come evenly spaced. The rate is doubled from a low one until something is lost,
then the gap is halved until the two rates are :data:`PRECISION` apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

FIRST = 10e3  # packets/s
HIGHEST = 10e9  # far above what any link brings
PRECISION = 0.005
DROPS = ("drops_nic", "drops_ring", "drops_queue")


def search(run: Callable[[float], Any]) -> Any:
    """Find the highest rate without loss.

    Args:
        run: simulates at a rate (packets/s) and returns an outcome.

    Returns:
        The outcome at that rate, with ``max_lossless_rate`` among its metrics: 0 if even the lowest rate loses
        packets (the outcome is that rate's then), None if nothing is ever lost.
    """
    rate, best = FIRST, run(FIRST)
    if lost(best):
        best.metrics["max_lossless_rate"] = 0.0
        return best
    above = rate
    while True:
        above *= 2
        if above > HIGHEST:
            best.metrics["max_lossless_rate"] = None
            return best
        outcome = run(above)
        if lost(outcome):
            break
        rate, best = above, outcome
    while above / rate > 1 + PRECISION:
        middle = math.sqrt(above * rate)
        outcome = run(middle)
        if lost(outcome):
            above = middle
        else:
            rate, best = middle, outcome
    best.metrics["max_lossless_rate"] = rate
    return best


def lost(outcome: Any) -> int:
    """Packets that a run has lost."""
    return sum(int(outcome.metrics[name] or 0) for name in DROPS)

"""Filling the kernel cache before a sweep's workers start, so that they load instead of compile."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from oppcache._jit import tell_if_compiling
from oppcache.cache import load_admission, load_policy
from oppcache.opp import load_program
from oppcache.opp.lower import lower

from .engine import engine
from .flows import FlowCounter
from .rehearsal import rehearse


def warm_up(
    evictions: Iterable[Any] = (),
    admissions: Iterable[Any] = (),
    *,
    untimed: bool = True,
    bundles: bool = False,
    timed: bool = False,
) -> None:
    """Compile what runs need, or load it from the cache: engines, these policies, the rehearsal, the counters.

    Args:
        evictions: eviction policies as :class:`~.setup.Setup` names them.
        admissions: admission policies, likewise.
        untimed: whether some run is the textbook's cache.
        bundles: whether some run caches whole connections.
        timed: whether in some run things take time.
    """
    wanted = {"engine.run_packets": untimed, "bundles.run_bundles": bundles, "events.run_events": timed}
    tell_if_compiling(*(name for name, needed in wanted.items() if needed))
    if untimed:
        engine()
    if bundles:
        from .bundles import engine as engine_of_bundles

        engine_of_bundles()
    if timed:
        from .timed.engine import engine as timed_engine

        timed_engine()
    for name in evictions:
        load_policy(name)
    for source in admissions:
        load_admission(source)
    lowered = lower(load_program("nf:stateful-firewall"))
    empty = np.zeros((0, lowered.layout.words), np.uint64)
    rehearse(lowered, [empty], 0, next_uses=True)
    FlowCounter().add(empty)

"""What a simulated run is made of, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from oppcache.opp.program import Program
from oppcache.opp.snapshot import Snapshot
from oppcache.traffic.source import PacketSource

from .counters import Metric
from .engine import Outcomes

# Protocols whose tables the engine runs; the others can be checked, not simulated.
RUNNABLE_PROTOCOLS = ("instant",)

Observer = Callable[[np.ndarray, Outcomes], None]


@dataclass(frozen=True)
class Setup:
    """One run.

    Attributes:
        program: the OPP program.
        source: where the packets come from.
        contexts: NIC slots of each context table; 0 for a CPU alone.
        eviction: a policy's name or file.
        admission: a policy's name, file, or ``{NAME: number}``.
        profile: the NIC's profile.
        protocol: the consistency protocol.
        seed: keys every random stream of the run.
        warmup: share of the packets (0 to 1) that come before counting begins.
        poison: overwrite contexts that were moved away, so that any use of them shows (for tests).
    """

    program: Program
    source: PacketSource
    contexts: int = 4096
    eviction: str | Path = "lru"
    admission: str | Path | Mapping[str, Any] = "always"
    profile: str = "ideal"
    protocol: str = "instant"
    seed: int = 0
    warmup: float = 0.0
    poison: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a run gave.

    Attributes:
        metrics: by name, plain numbers in base units; None for what the run has nothing to say about.
        series: columns over time, by name.
        counts: what the source counted: packets read, skipped, and why parsing stopped.
        contexts: final contexts of every table, as the machine's snapshot.
        globals: final global variables by ``group.name``.
    """

    metrics: dict[str, Metric]
    series: dict[str, dict[str, np.ndarray]] = field(repr=False)
    counts: dict[str, int]
    contexts: Callable[[], Snapshot] = field(repr=False)
    globals: dict[str, int] = field(repr=False)

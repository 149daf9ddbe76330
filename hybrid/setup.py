"""What a simulated run is made of, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from oppcache.opp.machine import RESERVE
from oppcache.opp.program import Program
from oppcache.opp.snapshot import Snapshot
from oppcache.slowpath.cores import Service
from oppcache.traffic.source import PacketSource

from .counters import Metric
from .faults import Faults
from .release import ReleaseSettings

# Protocols whose tables the engine runs.
RUNNABLE_PROTOCOLS = (
    "buffer-forward",
    "cas",
    "cas-hold",
    "cpu-only",
    "drain",
    "fetch",
    "forget",
    "freeze-drop",
    "instant",
    "naive",
    "nic-only",
    "one-way",
    "output-commit",
    "write-through",
)

UNITS = ("context", "bundle")

Observer = Callable[[np.ndarray, Any], None]

_RECORDS = 1 << 15


@dataclass(frozen=True)
class Link:
    """The data rings between NIC and CPU.

    Attributes:
        rx, tx: latency to the CPU and back, ns.
        bandwidth: of each direction, bit/s.
        ring: slots of a ring; each core has an RX ring, all share the TX ring.
    """

    rx: int = 2_000
    tx: int = 2_000
    bandwidth: float = 31.5e9
    ring: int = 4096


@dataclass(frozen=True)
class Control:
    """The control channel.

    Attributes:
        rtt: there and back, ns.
        inserts: contexts installed a second at most; 0: no limit.
        burst: installs that may come at once before the rate holds them back.
        queue: installs that wait for the rate at most; more are rejected.
        bandwidth: of each direction, bit/s.
    """

    rtt: int = 10_000
    inserts: float = 200e3
    burst: int = 32
    queue: int = 1024
    bandwidth: float = 8e9


@dataclass(frozen=True)
class Cpu:
    """The slow path: cores, how long a packet takes, and how many may wait for each core."""

    cores: int = 2
    service: Service = field(default_factory=lambda: Service(850_000))
    queue: int = 4096


@dataclass(frozen=True)
class Migration:
    """Parameters of the protocols; times in ns, 0 for a timer that never runs out.

    Attributes:
        hold: packets that the NIC holds for one key at most.
        hold_timeout, resend: see the protocol's page.
        retries: tries before a promotion is given up.
        writeback_interval: how often an owner sends a copy of its context to the CPU.
        checkpoint_interval: how often the CPU's contexts are copied to where a crash leaves them.
    """

    hold: int = 8
    hold_timeout: int = 50_000
    resend: int = 50_000
    retries: int = 8
    writeback_interval: int = 0
    checkpoint_interval: int = 10_000_000


@dataclass(frozen=True)
class RuleSettings:
    """How rules are cached where a stage has more entries than the NIC has ternary rows.

    Attributes:
        algorithm: one of :data:`oppcache.cache.rules.ALGORITHMS`; empty: stages that do not fit run on the CPU.
        rows: ternary rows of each stage; None: as the profile says.
        changes: entries put in, covered or taken out a second, at most.
        interval: between updates, ns.
    """

    algorithm: str = ""
    rows: int | None = None
    changes: float = 1_000.0
    interval: int = 10_000_000


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
        link, control, cpu, migration: the machines around a NIC that takes time, and how contexts move.
        hazard: what the pipeline does about packets of one context close behind each other: ``stall``, ``stale`` or
            ``none``; empty: as the profile says.
        organisation: of the context tables; empty: as the profile says.
        faults: what goes wrong.
        rules: how a stage with more entries than the NIC has rows is shared.
        release: when contexts give their slots up without a newcomer.
        unit: one of :data:`UNITS`: what is cached as one, a context or all contexts of a connection.
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
    link: Link = Link()
    control: Control = Control()
    cpu: Cpu = field(default_factory=Cpu)
    migration: Migration = Migration()
    hazard: str = ""
    organisation: str = ""
    rules: RuleSettings = RuleSettings()
    faults: Faults = field(default_factory=Faults)
    release: ReleaseSettings = field(default_factory=ReleaseSettings)
    unit: str = "context"

    @property
    def records(self) -> int:
        """Records of each table to begin with, twice the NIC's contexts where those are not many; stores grow."""
        return max(4 * RESERVE, min(2 * self.contexts, _RECORDS))

    @property
    def timed(self) -> bool:
        """Whether anything takes time: else it is the textbook's cache."""
        rules = self.rules
        return takes_time(self.profile, self.protocol, self.organisation, rules.algorithm, rules.rows)


def takes_time(profile: str, protocol: str, organisation: str, algorithm: str, rows: int | None) -> bool:
    """Whether runs of these are timed: only the ideal NIC, its plain tables and ``instant`` take no time.

    Args:
        organisation, algorithm: of context tables and of rule caching, "" for none.
        rows: ternary rows that limit a stage, None for no limit.
    """
    return protocol != "instant" or profile != "ideal" or bool(organisation or algorithm) or rows is not None


def bundle_refusal(timed: bool, observes: bool) -> str:
    """Why a cache of bundles cannot be had; empty if it can.

    Args:
        timed: whether anything takes time.
        observes: whether the eviction policy looks at registers.
    """
    if timed:
        return (
            "a bundle moves at once, expected nic.profile ideal and protocol instant, without organisation, entries "
            "and rules"
        )
    if observes:
        return "a bundle has no one register for a policy to look at, expected another eviction policy"
    return ""


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

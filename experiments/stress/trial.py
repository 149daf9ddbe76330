"""One seed: a random run, and what the history checker says of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from oppcache.consistency.history import Finding, check
from oppcache.hybrid.counters import Metric
from oppcache.hybrid.setup import Setup
from oppcache.hybrid.simulation import check_setup
from oppcache.hybrid.timed.parts import Parts
from oppcache.opp.errors import InputError
from oppcache.opp.fields import W_ID, W_NOW
from oppcache.opp.program import Program
from oppcache.opp.random_streams import stream
from oppcache.traffic import limit
from oppcache.traffic.source import PacketSource

from ..plan import RunPlan
from ..programs import load
from ..worker import first_source, make_setup, paced
from .drawing import StressFile
from .recording import Given, Recording, record
from .shelf import Shelf

# Metrics of the engine that count anomalies, whatever the history says.
ANOMALIES = ("stale_reads", "duplicate_updates", "reorders", "impossible_events", "packets_stuck")
DROPS = ("drops_ring", "drops_queue", "drops_nic", "drops_crash")
# What a run of seeds is told to have done, so that nothing holds for want of trying.
TOTALS = (
    "packets", "hits", "punts", "promotions", "promotions_failed", "demotions", "bounces", "control_messages",
    "control_faults", "nic_resets", "cpu_crashes", "lost_updates", *DROPS,
)  # fmt: skip
_MOST = 10_000  # packets of a run
_STREAMS = 64  # of packets of one generator
_STRETCH = 16.0  # gaps between packets become so much longer or shorter at most
_BURST = 8  # for so many packets on end at most


@dataclass(frozen=True)
class Case:
    """A run to be tried.

    Attributes:
        kept: numbers of the packets among those that the seed gives; the run numbers them anew.
    """

    seed: int
    setup: Setup
    parts: Parts
    vectors: np.ndarray
    kept: tuple[int, ...]


@dataclass(frozen=True)
class Result:
    """What came of a seed.

    Attributes:
        findings: what contradicts the properties; none: it was one machine.
        totals: counts of what happened, see :data:`TOTALS`.
        crashes: (time in ns, side) of each.
        error: why there is no result, "" if there is.
    """

    seed: int
    findings: tuple[Finding, ...] = ()
    totals: dict[str, int] = field(default_factory=dict)
    crashes: tuple[tuple[int, int], ...] = ()
    error: str = ""

    @property
    def kinds(self) -> dict[str, int]:
        """How many findings there are of each kind."""
        return dict(Counter(finding.kind for finding in self.findings))


class Trials:
    """Cases of one stress file; what is the same in many of them is made once."""

    def __init__(self, file: StressFile) -> None:
        self.file = file
        self.shelf = Shelf()

    def fixing(self, values: dict[str, Any]) -> Trials:
        """The same with keys fixed to values (no names of files or programs)."""
        other = Trials(replace(self.file, fixed={**self.file.fixed, **values}))
        other.shelf = self.shelf
        return other

    def case(self, seed: int, keep: Sequence[int] | None = None) -> Case:
        """The run of a seed.

        Args:
            keep: numbers of the packets that are left in; None: all.

        Raises:
            InputError: the program or setup is none that can be stressed.
        """
        config, resolved = self.file.of(seed)
        plan = RunPlan(0, {}, seed, config, resolved)
        program = self._program(plan)
        setup = make_setup(plan, program)
        parts = self._gathered(setup)
        given = paced(Given(self._packets(plan, parts)), config.traffic)
        vectors = rows_of(given, parts)
        stretch(vectors, seed)
        kept = tuple(range(len(vectors))) if keep is None else tuple(n for n in keep if n < len(vectors))
        return Case(seed, setup, parts, renumbered(vectors, kept), kept)

    def _program(self, plan: RunPlan) -> Program:
        name = json.dumps([str(plan.resolved.program), plan.resolved.parameters], default=str, sort_keys=True)
        found: Program = self.shelf.ask(
            lambda: load(plan.resolved.program, plan.resolved.parameters), "program", name
        )
        return found

    def _packets(self, plan: RunPlan, parts: Parts) -> np.ndarray:
        """The packets before they are paced; those of many seeds are the same, since a generator's start takes time."""
        section, resolved, seed = plan.config.traffic, plan.resolved, plan.seed % _STREAMS
        count = section.packets or _MOST
        if count > _MOST:
            raise InputError(
                f"stress: traffic.packets: got {count}, expected at most {_MOST}: runs are to be small"
            )
        count = 1 << max(count - 1, 63).bit_length()
        names = section.generator, resolved.capture, resolved.generator_base, seed, count, id(parts.lowered)

        def make() -> np.ndarray:
            source = first_source(plan, seed, None if resolved.capture else count)
            return rows_of(limit(source, packets=count), parts)

        found: np.ndarray = self.shelf.ask(make, "packets", names)
        return found

    def _gathered(self, setup: Setup) -> Parts:
        checked = (
            id(setup.program), setup.profile, setup.protocol, setup.unit, setup.timed, bool(setup.faults),
            setup.faults.crashes,
        )  # fmt: skip
        self.shelf.ask(lambda: check_stressed(setup), "checked", checked)
        return self.shelf.gather(setup)

    def run(self, seed: int, keep: Sequence[int] | None = None) -> Result:
        """Try a seed, with some of its packets or all."""
        return judge(self.case(seed, keep))


def rows_of(source: PacketSource, parts: Parts) -> np.ndarray:
    """All packets of a source, ``uint64[n, words]``."""
    chunks = [chunk.vectors.copy() for chunk in source.chunks(parts.lowered.layout)]
    return np.concatenate([*chunks, np.zeros((0, parts.lowered.layout.words), np.uint64)])


def check_stressed(setup: Setup) -> None:
    """Refuse what no run, or no run that can go wrong, can be made of.

    Raises:
        InputError: the setup.
    """
    check_setup(setup)
    if not setup.timed:
        raise InputError(
            "stress: nic.profile ideal with protocol instant takes no time, so that nothing can go wrong"
        )


def stretch(vectors: np.ndarray, seed: int) -> None:
    """Make bursts and pauses of a source's gaps, in place: every few packets another factor."""
    if not len(vectors):
        return
    random = stream(seed, "stress.gaps")
    gaps = np.diff(vectors[:, W_NOW].astype(np.int64), prepend=vectors[0, W_NOW].astype(np.int64))
    at = 0
    while at < len(gaps):
        length = int(random.integers(1, _BURST + 1))
        gaps[at : at + length] = gaps[at : at + length] * _STRETCH ** random.uniform(-1, 1)
        at += length
    vectors[:, W_NOW] = np.cumsum(gaps).astype(np.uint64)


def renumbered(vectors: np.ndarray, kept: Sequence[int]) -> np.ndarray:
    """Some of the packets, as the first of their run."""
    chosen = vectors[list(kept)].copy()
    chosen[:, W_ID] = np.arange(len(chosen), dtype=np.uint64)
    return chosen


def judge(case: Case) -> Result:
    """Run a case and check it."""
    if not len(case.vectors):
        return Result(case.seed)
    recording = record(case.setup, case.parts, case.vectors)
    return Result(
        case.seed, tuple(findings_of(case, recording)), totals_of(recording.metrics), recording.crashes
    )


def findings_of(case: Case, recording: Recording) -> list[Finding]:
    """What the checker finds, and where its counts and the engine's differ."""
    commits = commits_outputs(case)
    verdict = check(recording.history, case.setup.program, recording.outcome, case.setup.seed, commits)
    findings = list(verdict.findings)
    metrics = {
        name: int(value or 0) for name, value in recording.metrics.items() if name in (*ANOMALIES, *TOTALS)
    }
    seen = verdict.counts()
    for name in ANOMALIES:
        if metrics[name] and name not in seen:
            findings.append(
                Finding(name, f"the engine counts {metrics[name]} {name}, the history shows none")
            )
    if verdict.holds:
        drops = sum(metrics[name] for name in DROPS)
        for name, counted, shown in (
            ("lost_updates", metrics["lost_updates"], verdict.lost_updates),
            ("lost packets", drops, verdict.lost_packets),
        ):
            if counted != shown:
                findings.append(
                    Finding(name, f"the engine counts {counted} {name}, the history shows {shown}")
                )
    return findings


def commits_outputs(case: Case) -> bool:
    """Whether the protocol promises that no crash which the case may have undoes what a packet did that has left."""
    matrix, faults = case.parts.protocol.matrix, case.setup.faults
    given_up = matrix.get("output-commit", ())
    return (
        set(matrix) <= {"output-commit"} and "nic-crash" not in given_up
        and not (faults.cpu_crashes and "cpu-crash" in given_up)
    )  # fmt: skip


def totals_of(metrics: dict[str, Metric]) -> dict[str, int]:
    """The counts of a run that are added up."""
    return {name: int(metrics.get(name) or 0) for name in TOTALS}


def added(first: dict[str, int], then: dict[str, int]) -> dict[str, int]:
    """The sums of two counts."""
    return {name: first.get(name, 0) + then.get(name, 0) for name in TOTALS}

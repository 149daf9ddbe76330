"""Simulating one run: the driver around the engine's kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from oppcache._memory import joined, zeros
from oppcache.cache import Admission, Eviction, load_admission, load_policy
from oppcache.cache.hooks import hooks_of
from oppcache.cache.loading import make_state
from oppcache.consistency import load_protocol
from oppcache.fastpath import load_profile
from oppcache.fastpath.slots import make_slots
from oppcache.opp import arrays as A
from oppcache.opp.analysis import analyse
from oppcache.opp.classes import CONSTANT, SCRATCH
from oppcache.opp.contexts import grow, has_room, make_store
from oppcache.opp.errors import InputError, near_miss
from oppcache.opp.fields import W_NOW, Layout
from oppcache.opp.lower import Lowered, lower
from oppcache.opp.machine import RESERVE
from oppcache.opp.snapshot import snapshot
from oppcache.opp.templates import made_packets
from oppcache.opp.yaml_source import names_file

from .account import FLOW_DTYPE, Tally, make_tally
from .counters import COUNTS, Count, Metric, metrics_of, ratio
from .engine import Cache, engine, make_outcomes
from .faults import impossible_slot
from .flows import FlowCounter, counts_flows
from .rehearsal import Rehearsal, nothing_rehearsed, rehearse
from .release import make_release
from .series import HitSeries
from .setup import RUNNABLE_PROTOCOLS, UNITS, Observer, Outcome, Setup, bundle_refusal

Progress = Callable[[int], None]

_MAX_TIMED_STAGES = 63  # a packet notes in the bits of a word where it has been


def simulate(setup: Setup, progress: Progress | None = None, observe: Observer | None = None) -> Outcome:
    """Run an experiment's one configuration from its first packet to its last.

    Args:
        setup: what to run.
        progress: called with the number of packets done, after every chunk.
        observe: called after every chunk with its header vectors (as the program left them) and outcomes; where
            things take time, with the packets that have left meanwhile, and a :class:`.timed.run.Departed`.

    Raises:
        InputError: an unknown policy, profile or protocol, or an input that cannot be read.
        PolicyFault: a user's policy chose a slot that does not exist or is empty.
    """
    check_setup(setup)
    if setup.timed:
        from .timed.run import TimedRun

        skip = int(setup.warmup * count_packets(setup)) if setup.warmup else 0
        return TimedRun(setup).run(skip, progress, observe)
    return _run_of(setup).run(progress, observe)


def _run_of(setup: Setup) -> ContextRun:
    if setup.unit == "context":
        return ContextRun(setup)
    from .bundle_run import BundleRun

    return BundleRun(setup)


def make_run(setup: Setup) -> ContextRun:
    """The driver of one run, for :mod:`.stepping`, which gives it packets itself.

    Raises:
        InputError: things take time in the run, so that a packet is not done before the next one comes.
    """
    if setup.timed:
        raise InputError(
            f"packets one by one need a hybrid that takes no time: got nic.profile {setup.profile} and protocol "
            f"{setup.protocol}, expected ideal and instant"
        )
    return _run_of(setup)


def check_setup(setup: Setup) -> None:
    """Refuse what no run can be made of."""
    load_profile(setup.profile)
    if names_file(setup.protocol):
        from .timed.parts import runnable

        runnable(setup.protocol)
    elif setup.protocol not in RUNNABLE_PROTOCOLS:
        known = ", ".join(RUNNABLE_PROTOCOLS)
        hint = near_miss(setup.protocol, RUNNABLE_PROTOCOLS)
        raise InputError(
            f"protocol {setup.protocol!r} is not available in this version; available: {known} {hint}".strip()
        )
    if setup.timed and any(stage.table is not None for stage in setup.program.pipeline()[_MAX_TIMED_STAGES:]):
        raise InputError(
            f"program {setup.program.name!r} keeps contexts behind its stage {_MAX_TIMED_STAGES}, which runs that take time "
            "do not in this version"
        )
    if made_packets(setup.program):
        raise InputError(
            f"program {setup.program.name!r} makes packets (generate, expiry), which runs of both paths do not in this"
            " version",
            setup.program.mark,
        )
    if setup.unit not in UNITS:
        raise InputError(f"cache.unit: got {setup.unit!r}, expected {' or '.join(UNITS)}")
    if setup.unit == "bundle" and (why := bundle_refusal(setup.timed, False)):
        raise InputError(f"cache.unit: got bundle: {why}")
    check_faults(setup)
    if setup.contexts < 0:
        raise InputError(f"contexts: got {setup.contexts}, expected 0 or more")
    if not 0 <= setup.warmup < 1:
        raise InputError(f"warmup: got {setup.warmup}, expected a share from 0 up to 1")


def check_faults(setup: Setup) -> None:
    """Refuse faults of machines that cannot have them."""
    if not setup.faults:
        return
    if load_protocol(setup.protocol).instantaneous:
        raise InputError(
            f"faults: protocol {setup.protocol} takes no time and sends nothing, expected one such as cas-hold"
        )
    kept = [
        one.variable for one in analyse(setup.program).globals if one.variable.kind not in (CONSTANT, SCRATCH)
    ]
    if setup.faults.crashes and kept:
        raise InputError(
            f"faults: program {setup.program.name!r} keeps globals ({kept[0].variable.name}), of which this version does not "
            "say what a crash leaves, expected a program without, or no nic_reset and cpu_crash",
            setup.program.mark,
        )


def count_packets(setup: Setup) -> int:
    """Packets that the source will deliver; takes a pass over it."""
    return sum(len(chunk) for chunk in setup.source.chunks(Layout()))


class ContextRun:
    """One run of :mod:`.engine`, where contexts are cached one by one."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.lowered: Lowered = lower(setup.program)
        self.eviction: Eviction = load_policy(setup.eviction)
        self.admission: Admission = load_admission(setup.admission)
        program = self.lowered.arrays
        self.store = make_store(program, setup.contexts, capacity=setup.records)
        self.variables = program.globals.copy()
        self.scratch = np.zeros(A.S_WORDS, np.uint64)
        self.tally = make_tally(len(program.tables))
        self._place_flows()
        self._make_ready()
        self.flows = None if counts_flows(setup.program) else FlowCounter()
        self.series = HitSeries()
        self.first_now = self.last_now = -1

    def _make_ready(self) -> None:
        self.cache: Any = self._make_cache()  # what the engine takes
        self.engine = engine()

    def _make_cache(self) -> Cache:
        tables = len(self.lowered.arrays.tables)
        rehearsal = self._rehearse()
        states: dict[str, list[np.ndarray]] = {"eviction": [], "admission": []}
        for table in range(tables):
            keys = int(rehearsal.keys[table])
            for kind, policy in (("eviction", self.eviction), ("admission", self.admission)):
                component = f"cache.{kind}.{table}"
                states[kind].append(
                    make_state(policy, self.setup.contexts, keys, seed=self.setup.seed, component=component)
                )
        flat = {kind: _flatten(parts) for kind, parts in states.items()}
        return Cache(
            make_slots(tables, self.setup.contexts),
            *flat["eviction"],
            *flat["admission"],
            np.zeros(1, np.int64),
            rehearsal.next_uses,
            first_table(self.lowered),
            hooks_of(self.eviction, self.admission),
            make_release(self.setup.release, self.setup.program, [self.setup.contexts] * tables),
        )

    def _rehearse(self) -> Rehearsal:
        """Learn lookups beforehand where a policy asks for it; else nothing."""
        if self.eviction.needs_next_use or self.eviction.needs_keys or self.admission.needs_keys:
            chunks = (chunk.vectors for chunk in self.setup.source.chunks(self.lowered.layout))
            return rehearse(self.lowered, chunks, self.setup.seed, next_uses=self.eviction.needs_next_use)
        return nothing_rehearsed(len(self.lowered.arrays.tables))

    def run(self, progress: Progress | None, observe: Observer | None) -> Outcome:
        skip = int(self.setup.warmup * count_packets(self.setup)) if self.setup.warmup else 0
        done = 0
        for vectors in self._chunks():
            outcomes = make_outcomes(len(vectors))
            # The chunk in which the warm-up ends is cut there.
            cut = min(max(skip - done, 0), len(vectors))
            if cut < len(vectors) and self.flows is not None:
                self.flows.add(vectors[cut:])  # as they entered: the program may rewrite their addresses
            for start, stop in ((0, cut), (cut, len(vectors))):
                if start == stop:
                    continue
                if done + start == skip and skip:
                    self._begin_measuring()
                self.take(vectors, start, stop, outcomes)
            if cut < len(vectors):
                self._note_time(vectors[cut:])
                self.series.add(vectors[cut:, W_NOW], outcomes.flags[cut:])
            done += len(vectors)
            if observe is not None:
                observe(vectors, outcomes)
            if progress is not None:
                progress(done)
        return self._outcome()

    def _chunks(self) -> Iterator[np.ndarray]:
        for chunk in self.setup.source.chunks(self.lowered.layout):
            if len(chunk):
                yield chunk.vectors

    def take(self, vectors: np.ndarray, start: int, stop: int, outcomes: object) -> None:
        """Run part of a chunk, growing the store whenever it is short."""
        self._take((vectors,), start, stop, outcomes)

    def _take(self, packets: tuple[np.ndarray, ...], start: int, stop: int, outcomes: object) -> None:
        """The same, given all that the engine takes of the packets, one row a packet."""
        with np.errstate(all="ignore"):
            while start < stop:
                start = int(
                    self.engine(
                        self.lowered.arrays,
                        self.store,
                        self.variables,
                        self.cache,
                        self.tally,
                        *packets,
                        start,
                        stop,
                        np.uint64(self.setup.seed),
                        outcomes,
                        self.scratch,
                        self.setup.poison,
                        self.eviction.hit,
                        self.eviction.victim,
                        self.eviction.insert,
                        self.eviction.remove,
                        self.admission.admit,
                    )
                )
                if self.tally.counts[Count.FAULT]:
                    raise impossible_slot(self.eviction)
                if start < stop and not has_room(self.store, RESERVE):
                    self._grow()

    def _grow(self) -> None:
        """Make room for contexts."""
        self.store = grow(self.lowered.arrays, self.store, RESERVE)
        self._place_flows()

    def _place_flows(self) -> None:
        """Give every record of the (grown) store a row for its flow."""
        capacity = self.store.tables["capacity"]
        first = np.concatenate([[0], np.cumsum(capacity)]).astype(np.int64)
        flows = zeros(int(first[-1]), FLOW_DTYPE)
        for table, used in enumerate(self.store.tables["used"]):
            if len(self.tally.flows):
                old = int(self.tally.flow_at[table])
                flows[first[table] : first[table] + used] = self.tally.flows[old : old + used]
        self.tally = Tally(*self.tally[:4], flows, first[:-1].copy())

    def _begin_measuring(self) -> None:
        """The warm-up is over: forget what was counted, keep what is cached."""
        self.tally.counts[:] = np.zeros(COUNTS, np.int64)
        for array in (self.tally.lookups, self.tally.hits):
            array[:] = 0
        self.tally.flows["measured"] = 0
        self.tally.flows["covered"] = 0

    def _note_time(self, vectors: np.ndarray) -> None:
        if self.first_now < 0:
            self.first_now = int(vectors[0, W_NOW])
        self.last_now = int(vectors[-1, W_NOW])

    def _outcome(self) -> Outcome:
        flows = self._first_flows()
        seen, covered = (int(np.count_nonzero(flows[name])) for name in ("measured", "covered"))
        metrics: dict[str, Metric] = metrics_of(
            self.tally.counts,
            self.tally.lookups,
            self.tally.hits,
            self.lowered.table_names,
            seen if self.flows is None else len(self.flows),
            ratio(covered, seen),
        )
        metrics["sim_seconds"] = (self.last_now - self.first_now) / 1e9
        names = [f"{g.name}.{v.name}" for g in self.setup.program.globals for v in g.variables]
        return Outcome(
            metrics=metrics,
            series={"hit_rate": self.series.columns()},
            counts=self.setup.source.counts(),
            contexts=lambda: snapshot(self.lowered, self.store),
            globals=dict(zip(names, map(int, self.variables), strict=True)),
        )

    def _first_flows(self) -> np.ndarray:
        """Rows of the flows in the table of the program's first stateful stage."""
        table = first_table(self.lowered)
        if table < 0:
            return self.tally.flows[:0]
        first = int(self.tally.flow_at[table])
        return self.tally.flows[first : first + int(self.store.tables["used"][table])]


def first_table(lowered: Lowered) -> int:
    """Number of the context table of the first stateful stage, −1 if no stage has state."""
    tables = lowered.arrays.stages["table"]
    return next((int(t) for t in tables if t >= 0), -1)


def _flatten(parts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Concatenate states; returns them and where each begins (and the last ends)."""
    at = np.cumsum([0] + [len(p) for p in parts]).astype(np.int64)
    return joined(parts, np.int64), at

"""Driving a timed run: chunks of packets into the kernel, more room when it asks, and what comes out in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from oppcache._memory import zeros
from oppcache._reference import Reference
from oppcache.cache import Admission, Eviction
from oppcache.consistency.vocabulary import EV_UNRUNNABLE, NIC
from oppcache.opp.contexts import grow, has_room
from oppcache.opp.errors import InputError
from oppcache.opp.fields import W_NOW
from oppcache.opp.lower import Lowered
from oppcache.opp.machine import RESERVE
from oppcache.opp.snapshot import snapshot
from oppcache.slowpath.queues import grown

from ..counters import COUNTS, Count
from ..faults import impossible_slot
from ..flows import FlowCounter, counts_flows
from ..rules import RuleCaching
from ..setup import Observer, Outcome, Setup
from . import series
from . import state as S
from .build import build, enlarged, full_lines, larger_pool, place_rows
from .calls import calls_of
from .engine import engine
from .metrics import metrics_of
from .misfortune import PATIENCE, begin_patience
from .parts import Parts, gather
from .records import latency_columns

Progress = Callable[[int], None]
Watcher = Callable[[np.ndarray], None]
_DEPARTURES = 1 << 14
_LOG = 1 << 14
_BATCH = 1 << 14  # packets of a call of the kernel, where the source has smaller batches
_LEAST = 1 << 12
_NO_LEAVERS = np.zeros(0, np.int64)


class Departed(NamedTuple):
    """What an observer is given about packets that have left: ``verdict`` is −1 for one that was lost."""

    number: np.ndarray
    verdict: np.ndarray
    port: np.ndarray
    flags: np.ndarray
    time: np.ndarray  # ps since the first packet


class TimedRun:
    """One run from its first packet to the moment when all is quiet."""

    def __init__(self, setup: Setup, parts: Parts | None = None) -> None:
        parts = parts or gather(setup)
        self.setup = setup
        self.lowered: Lowered = parts.lowered
        self.profile = parts.profile
        self.eviction: Eviction = parts.eviction
        self.admission: Admission = parts.admission
        compiled = engine()
        self._run_events, self._seed = compiled.run, np.uint64(setup.seed)
        calls = calls_of(self.eviction, self.admission, compiled.react, compiled.other)
        self.world = build(setup, parts)._replace(calls=calls)
        self._reference: Reference | None = None
        self.rules = RuleCaching(self.lowered, self.profile, setup.rules)
        self._check_rules()
        self.rules.begin(self.world.runnable)
        self._noted = self.world.taken.sum(axis=0)
        self.flows = None if counts_flows(setup.program) else FlowCounter()
        self.measured_from = self.last_came = 0
        self.watch: Watcher | None = None
        self.patience = PATIENCE if setup.faults or self.world.knobs[S.P_FETCHES] else 0

    def run(
        self,
        packets: int,
        progress: Progress | None = None,
        observe: Observer | None = None,
        watch: Watcher | None = None,
    ) -> Outcome:
        """Run.

        Args:
            packets: that come before counting begins.
            watch: given what happens to contexts, ``int64[n, LOG_WORDS]``, in pieces: see :mod:`.log`.
        """
        done, skip = 0, packets
        self.watch = watch
        if watch is not None:
            self.world = self.world._replace(log=np.zeros((_LOG, S.LOG_WORDS), np.int64))
        if observe is not None:
            rows = (_DEPARTURES, self.lowered.layout.words)
            departures = S.Departures(np.zeros(rows, np.uint64), np.zeros((_DEPARTURES, 5), np.int64))
            self.world = self.world._replace(departures=departures)
        series.begin(self.world)
        self.world.clock[S.T_MEASURED] = skip == 0
        for vectors in self._chunks():
            if done == 0:
                self.world.clock[S.T_ORIGIN] = int(vectors[0, W_NOW])
            leavers = _NO_LEAVERS if self.flows is None else self._leavers(vectors)
            at = 0
            while at < len(vectors):
                stop = min(len(vectors), skip - done) if done + at < skip else len(vectors)
                stop = self._until_rules(vectors, at, stop)
                self._take(vectors, leavers, at, stop, observe)
                self._update_rules(vectors[stop - 1])
                at = stop
                if done + at == skip:
                    self._begin_measuring()
            self.last_came = 1000 * (int(vectors[-1, W_NOW]) - int(self.world.clock[S.T_ORIGIN]))
            done += len(vectors)
            if observe is not None:
                self._show(observe)
            if progress is not None:
                progress(done)
        self.world.clock[S.T_FINAL] = 1
        begin_patience(self.world, self.patience)
        nothing = np.zeros((0, self.lowered.layout.words), np.uint64)
        self._take(nothing, _NO_LEAVERS, 0, 0, observe)
        if observe is not None:
            self._show(observe)
        self._show_log()
        return self._outcome()

    def _chunks(self) -> Iterator[np.ndarray]:
        """The packets in batches that are not too small: with each, reading ahead begins anew."""
        rows = zeros((_BATCH, self.lowered.layout.words), np.uint64)
        filled = 0
        for chunk in self.setup.source.chunks(self.lowered.layout):
            at = 0
            if filled == 0 and len(chunk) >= _LEAST:
                yield chunk.vectors
                continue
            while at < len(chunk):
                count = min(len(chunk) - at, _BATCH - filled)
                rows[filled : filled + count] = chunk.vectors[at : at + count]
                at, filled = at + count, filled + count
                if filled == _BATCH:
                    yield rows
                    filled = 0
        if filled:
            yield rows[:filled]

    def _leavers(self, vectors: np.ndarray) -> np.ndarray:
        assert self.flows is not None
        leavers = self.flows.add(vectors)
        self.world = self.world._replace(lines=enlarged(self.world.lines, 2 * self.flows.capacity))
        return leavers

    def _check_rules(self) -> None:
        """Where contexts are on the NIC, the protocol must know what to do about an entry that is not."""
        protocol = self.world.protocol
        owners = protocol.states["owns"][NIC] == 1
        answered = bool((protocol.cells["rows"][NIC, owners, EV_UNRUNNABLE] > 0).all())
        for stage in self.rules.stages:
            if self.lowered.arrays.stages["table"][stage.number] >= 0 and not answered:
                name = self.setup.program.pipeline()[stage.number].name
                raise InputError(
                    f"cache.rules: stage {name!r} keeps contexts, and protocol {self.setup.protocol!r} has no answer to "
                    "an entry that the NIC does not hold, expected a protocol that has one, such as cas"
                )

    def _until_rules(self, vectors: np.ndarray, start: int, stop: int) -> int:
        """Where to stop so that the lists of cached rules are brought up to date in time."""
        due = self.rules.next_update()
        if due is None:
            return stop
        last = int(self.world.clock[S.T_ORIGIN]) + due
        return start + max(1, int(np.searchsorted(vectors[start:stop, W_NOW], np.uint64(last), "right")))

    def _update_rules(self, newest: np.ndarray) -> None:
        due = self.rules.next_update()
        if due is None:
            return
        now = int(newest[W_NOW]) - int(self.world.clock[S.T_ORIGIN])
        if now >= due:
            taken = self.world.taken.sum(axis=0)
            if self.rules.update(now, taken - self._noted, self.world.runnable):
                self._noted = taken

    def _take(
        self, vectors: np.ndarray, leavers: np.ndarray, start: int, stop: int, observe: Observer | None
    ) -> None:
        """Run part of a chunk, making room whenever the kernel comes back for it."""
        clock = self.world.clock
        with np.errstate(all="ignore"):
            while True:
                start = self._run_events(self._address(), vectors, leavers, start, stop, self._seed)
                if clock[S.T_STOP] == 0 or clock[S.T_STOP] & S.STOP_STUCK:
                    return
                self._make_room(int(clock[S.T_STOP]), observe)
                clock[S.T_STOP] = 0

    def _address(self) -> Any:
        """Where kernels find the world."""
        if self._reference is None or self._reference.value is not self.world:
            self._reference = Reference(self.world)
        return self._reference.address

    def _make_room(self, stop: int, observe: Observer | None) -> None:
        if stop & S.STOP_FAULT:
            raise impossible_slot(self.eviction)
        if stop & S.STOP_STORE and not has_room(self.world.store, RESERVE):
            store = grow(self.lowered.arrays, self.world.store, RESERVE)
            self.world = place_rows(self.world._replace(store=store))
        if stop & S.STOP_POOL:
            self.world = larger_pool(self.world)
        if stop & S.STOP_QUEUE:
            for k in full_lines(self.world):
                self.world = self.world._replace(queues=grown(self.world.queues, k))
        if stop & S.STOP_SAMPLES:
            series.halve(self.world)
        if stop & S.STOP_LOG:
            self._show_log()
        if stop & S.STOP_DEPARTURES and observe is not None:
            self._show(observe)

    def _show(self, observe: Observer) -> None:
        """Give what has left to the observer."""
        count = int(self.world.clock[S.T_LEFT])
        self.world.clock[S.T_LEFT] = 0
        fate = self.world.departures.fate[:count].copy()
        observe(self.world.departures.vectors[:count].copy(), Departed(*fate.T))

    def _show_log(self) -> None:
        """Give what has happened to contexts to whoever watches."""
        count = int(self.world.clock[S.T_LOGGED])
        self.world.clock[S.T_LOGGED] = 0
        if self.watch is not None:
            self.watch(self.world.log[:count].copy())

    def _begin_measuring(self) -> None:
        """The warm-up is over: forget what was counted, keep what is cached and under way."""
        world = self.world
        world.clock[S.T_MEASURED] = 1
        self.measured_from = int(world.clock[S.T_NOW])
        world.tally.counts[:] = np.zeros(COUNTS, np.int64)
        for array in (world.tally.lookups, world.tally.hits, *world.records):
            array[:] = 0
        world.tally.flows["measured"] = 0
        world.tally.flows["covered"] = 0
        world.cores["busy"] = world.cores["served"] = 0
        self.rules.updates = self.rules.writes = self.rules.reads = 0
        for name in ("inserts", "full", "failures", "moves", "moves_max"):
            world.tables.rows[name] = 0
        self._noted = self._noted - world.taken.sum(axis=0)
        world.taken[:] = 0
        world.clock[S.T_STALL] = world.clock[S.T_HELD_PEAK] = 0
        series.begin(world)

    def _outcome(self) -> Outcome:
        world = self.world
        if world.tally.counts[Count.IMPOSSIBLE] and not self.setup.faults:
            raise InputError(
                f"protocol {self.setup.protocol!r}: {int(world.tally.counts[Count.IMPOSSIBLE])} events came in states "
                "whose table calls them impossible"
            )
        names = [f"{g.name}.{v.name}" for g in self.setup.program.globals for v in g.variables]
        return Outcome(
            metrics=metrics_of(self),
            series={"hit_rate": series.columns(world), "latency": latency_columns(world.records.latency)},
            counts=self.setup.source.counts(),
            contexts=lambda: snapshot(self.lowered, world.store),
            globals=dict(zip(names, map(int, world.variables), strict=True)),
        )

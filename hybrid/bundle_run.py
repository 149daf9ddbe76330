"""Driving a run whose cache holds bundles: which connection each packet is of, and the rows for connections."""

from __future__ import annotations

import numpy as np

from oppcache._memory import zeros
from oppcache.cache.hooks import hooks_of
from oppcache.cache.ids import next_uses
from oppcache.cache.loading import make_state
from oppcache.opp.errors import InputError

from .account import FLOW_DTYPE, Tally
from .bundle_cache import Bundles, make_bundles
from .bundles import engine
from .flows import FlowCounter
from .release import make_release
from .setup import bundle_refusal
from .simulation import ContextRun, first_table


class BundleRun(ContextRun):
    """One run of :mod:`.bundles`."""

    def _make_ready(self) -> None:
        if why := bundle_refusal(self.setup.timed, self.eviction.observe is not None):
            raise InputError(f"cache.unit: got bundle: {why}")
        self.numbers = FlowCounter()
        self.numbered = 0  # packets with a connection so far
        self.cache = self._make_bundles()
        self.engine = engine()

    def _make_bundles(self) -> Bundles:
        uses, keys = self._ahead()
        contexts, tables = self.setup.contexts, len(self.lowered.arrays.tables)
        eviction, admission = (
            make_state(policy, contexts, keys, seed=self.setup.seed, component=f"cache.{kind}.0")
            for kind, policy in (("eviction", self.eviction), ("admission", self.admission))
        )
        ages = [contexts] + [0] * (max(tables, 1) - 1)
        return make_bundles(
            self.lowered.arrays,
            contexts,
            (eviction, admission),
            uses,
            first_table(self.lowered),
            hooks_of(self.eviction, self.admission),
            make_release(self.setup.release, self.setup.program, ages),
        )

    def _ahead(self) -> tuple[np.ndarray, int]:
        """The next packet of each packet's connection, where the policy asks; and how many connections there are."""
        if not (self.eviction.needs_next_use or self.eviction.needs_keys or self.admission.needs_keys):
            return np.zeros(0, np.int64), 0
        counter, found = FlowCounter(), [np.zeros(0, np.int64)]
        for chunk in self.setup.source.chunks(self.lowered.layout):
            directed = counter.add(chunk.vectors)
            found.append(directed[directed >= 0] // 2)
        uses = np.zeros(0, np.int64)
        if self.eviction.needs_next_use:
            uses = next_uses(np.concatenate(found).astype(np.int32), len(counter))
        return uses, len(counter)

    def take(self, vectors: np.ndarray, start: int, stop: int, outcomes: object) -> None:
        """Run part of a chunk, growing what is short."""
        connections = np.full(len(vectors), -1, np.int64)
        directed = self.numbers.add(np.ascontiguousarray(vectors[start:stop]))
        connections[start:stop] = np.where(directed >= 0, directed // 2, -1)
        numbers = self.numbered - 1 + np.cumsum(connections >= 0)
        self.numbered += int(np.count_nonzero(connections >= 0))
        self._place_connections()
        self._place_records()
        self._take((vectors, connections, numbers), start, stop, outcomes)

    def _grow(self) -> None:
        old = self.tally
        super()._grow()
        self._place_records(old)

    def _place_connections(self) -> None:
        """Give every connection a row."""
        have, wanted = len(self.cache.place), self.numbers.capacity
        if have >= wanted:
            return
        tally: Tally = self.cache.connections
        flows = zeros(wanted, FLOW_DTYPE)
        flows[:have] = tally.flows
        self.cache = self.cache._replace(
            connections=Tally(*tally[:4], flows, tally.flow_at),
            place=np.concatenate([self.cache.place, np.zeros(wanted - have, np.int64)]),
        )

    def _place_records(self, old: Tally | None = None) -> None:
        """Give every record of the (grown) store its counts."""
        rows = len(self.tally.flows)
        if len(self.cache.holders) == rows:
            return
        arrays = []
        for before in (self.cache.holders, self.cache.epoch):
            after = zeros(rows, np.int64)
            for table, used in enumerate(self.store.tables["used"] if old is not None else ()):
                assert old is not None
                first, was = int(self.tally.flow_at[table]), int(old.flow_at[table])
                after[first : first + used] = before[was : was + used]
            arrays.append(after)
        self.cache = self.cache._replace(holders=arrays[0], epoch=arrays[1])

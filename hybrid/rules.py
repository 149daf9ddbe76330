"""Rule caching in a run: stages with more entries than the NIC has ternary rows keep the busiest ones there.

Between stretches of packets the lists are brought up to date by what each entry was hit since, with as many changes as
the control channel allows. What a list keeps on the NIC is exactly the packets whose entry in the whole table is cached
(:mod:`oppcache.cache.rules`), so the engine needs no second list: it asks of the entry that a packet takes whether the
NIC has it. What is decided takes effect when the counters of what is cached have been read back, one after the other, and
the ternary rows are written, those too that had to move.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from oppcache.cache.rules import Change, RuleCache, dependencies_of
from oppcache.fastpath import Limit, Profile
from oppcache.fastpath.tcam import Row, Tcam, rows_of_stage
from oppcache.opp.lower import Lowered

from .setup import RuleSettings

_ROWS = "efsm.entries"


def limited(profile: Profile, settings: RuleSettings) -> Profile:
    """The profile with the number of ternary rows that the settings give."""
    if settings.rows is None:
        return profile
    return replace(profile, limits={**profile.limits, _ROWS: Limit(settings.rows)})


def without_limit(profile: Profile) -> Profile:
    """The profile as placement sees it where rules are cached: any number of entries will do."""
    return replace(profile, limits={k: v for k, v in profile.limits.items() if k != _ROWS})


def _times(profile: Profile) -> tuple[float, float]:
    """Time to read a counter back, and to write a ternary row, ns; 0 where the profile does not say."""
    clock, read = profile.value("timing.clock"), profile.value("timing.counter_read")
    cycle = 1e9 / float(clock) if isinstance(clock, int | float) else 0.0
    write = (profile.number("efsm.write_cycles") or 0) * cycle
    return (float(read) if isinstance(read, int | float) else 0.0), write


@dataclass
class _Stage:
    """One stage with too many entries: numbers of its entries among all, its list and its ternary table."""

    number: int
    first: int
    entries: int
    default: bool
    cache: RuleCache
    tcam: Tcam
    rows: list[list[Row]]


class RuleCaching:
    """The lists of all stages of one run.

    The arrays that it shares with the engine have one item an entry and then one a stage, which stands for packets that
    take no entry there.

    Attributes:
        updates: changes made.
        writes: ternary rows written for them, moved ones too.
        reads: counters read back.
    """

    def __init__(self, lowered: Lowered, profile: Profile, settings: RuleSettings) -> None:
        """Find the stages that need it.

        Args:
            lowered: the program.
            profile: with the ternary rows of a stage, no limit if it has none.
            settings: how.
        """
        self.settings = settings
        self.updates = self.writes = self.reads = 0
        self._read_ns, self._write_ns = _times(profile)
        self._allowed = 0.0
        self._ready: int | None = None
        self._last: int | None = None
        self._entries = len(lowered.arrays.entries)
        self.stages: list[_Stage] = []
        room = profile.number(_ROWS)
        at = 0
        for number, stage in enumerate(lowered.program.pipeline()):
            first, default = at, stage.default is not None
            at += len(stage.entries) + default
            if not settings.algorithm or room is None:
                continue
            needs = dependencies_of(lowered.program, stage, lowered.layout)
            if needs.rows.sum() <= room:
                continue
            rows, subjects = rows_of_stage(lowered.program, stage, lowered.layout)
            self.stages.append(
                _Stage(
                    number,
                    first,
                    len(stage.entries),
                    default,
                    RuleCache(needs, room, settings.algorithm),
                    Tcam(room, subjects),
                    rows,
                )
            )

    def begin(self, runnable: np.ndarray) -> None:
        """Mark what the NIC does not have when a run begins: nothing of the stages that are cached.

        Args:
            runnable: ``uint8[entries + stages]``, changed in place.
        """
        self._could = runnable.copy()
        self._publish(runnable)

    def next_update(self) -> int | None:
        """Virtual time of the next update in ns, or when the last one takes effect; None if there is nothing to update."""
        if not self.stages:
            return None
        if self._ready is not None:
            return self._ready
        return 0 if self._last is None else self._last + self.settings.interval

    def update(self, now: int, taken: np.ndarray, runnable: np.ndarray) -> bool:
        """Bring the lists up to date, or let what the last call has decided take effect.

        Args:
            now: virtual time, ns.
            taken: ``int64[entries + stages]``: packets that took each entry since the last update, on either side.
            runnable: ``uint8[entries + stages]``: what the NIC can run, changed in place.

        Returns:
            whether note has been taken of the packets.
        """
        if self._ready is not None:
            self._ready = None
            self._publish(runnable)
            return False
        reads, before = sum(int(stage.cache.cached.sum()) for stage in self.stages), self.writes
        if self._last is not None:
            self._allowed += (now - self._last) * 1e-9 * self.settings.changes
            # What was not used in an interval is not saved up for ever.
            self._allowed = min(
                self._allowed, max(1.0, 2e-9 * self.settings.interval * self.settings.changes)
            )
        self._last = now
        for stage in self.stages:
            # What the NIC could not run even so is not worth a row.
            worth = self._of(stage, np.where(self._could, taken, 0))
            made = stage.cache.update(worth, int(self._allowed))
            self._allowed -= len(made)
            self.updates += len(made)
            for change in made:
                self._write(stage, change)
        self.reads += reads
        delay = math.ceil(reads * self._read_ns + (self.writes - before) * self._write_ns)
        if delay:
            self._ready = now + delay
        else:
            self._publish(runnable)
        return True

    def hits(self, taken: np.ndarray) -> int:
        """Packets among ``taken`` that belong to stages whose rules are cached."""
        return sum(int(self._of(stage, taken).sum()) for stage in self.stages)

    def _of(self, stage: _Stage, items: np.ndarray) -> np.ndarray:
        """A stage's part of an array that is shared with the engine, ``[entries + 1]``."""
        end = stage.first + stage.entries
        none = items[self._entries + stage.number] + (items[end] if stage.default else 0)
        return np.append(items[stage.first : end], none)

    def _publish(self, runnable: np.ndarray) -> None:
        for stage in self.stages:
            cached = stage.cache.cached
            end = stage.first + stage.entries
            runnable[stage.first : end] = self._could[stage.first : end] * cached[:-1]
            if stage.default:
                runnable[end] = self._could[end] * cached[-1]
            runnable[self._entries + stage.number] = cached[-1]

    def _write(self, stage: _Stage, change: Change) -> None:
        if change.entry == stage.entries:
            return  # the last resort's action, no row
        before = stage.tcam.writes
        if change.kind == "remove":
            stage.tcam.remove(change.entry)
        elif change.new:
            for row in stage.rows[change.entry]:
                assert stage.tcam.insert(row) >= 0, "the selection keeps within the table"
        self.writes += stage.tcam.writes - before

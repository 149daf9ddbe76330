"""One small timed run with everything that happened in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from oppcache.consistency.history import Arrival, Departure, History, Step
from oppcache.consistency.history.records import GLOBAL, Key
from oppcache.consistency.history.replay import Contexts, Outcome
from oppcache.hybrid.counters import Metric
from oppcache.hybrid.flows import FlowCounter
from oppcache.hybrid.setup import Setup
from oppcache.hybrid.timed.log import (
    LOG_APPLY,
    LOG_CHECKPOINT,
    LOG_CHOICE,
    LOG_CRASH,
    LOG_FREE,
    LOG_GLOBALS,
    LOG_TAKE,
    LOG_WRITE,
)
from oppcache.hybrid.timed.parts import Parts
from oppcache.hybrid.timed.run import Departed, TimedRun
from oppcache.opp import arrays as A
from oppcache.opp.fields import W_NOW, Layout
from oppcache.opp.reference_values import Packet, splitmix64
from oppcache.opp.snapshot import read_key, records
from oppcache.traffic.source import Chunk

_KINDS = {
    LOG_APPLY: "apply",
    LOG_TAKE: "take",
    LOG_FREE: "free",
    LOG_CHECKPOINT: "checkpoint",
    LOG_CRASH: "crash",
    LOG_WRITE: "write",
}
_PS = 1000
_PATIENCE = 2_000  # timers for each context after the last packet; resending once in 5 us, it is 10 ms
_WORD = 2**64


class Given:
    """A source of packets that are there already.

    Args:
        vectors: ``uint64[n, words]``, numbered, in order of time.
    """

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors

    def chunks(self, layout: Layout) -> Iterator[Chunk]:
        """All of them at once."""
        if len(self.vectors):
            yield Chunk(self.vectors.copy())

    def counts(self) -> dict[str, int]:
        """How many."""
        return {"packets": len(self.vectors)}

    def describe(self) -> dict[str, Any]:
        """Where they come from is not known here."""
        return {"kind": "given"}

    def inputs(self) -> list[Path]:
        """No file."""
        return []


@dataclass(frozen=True)
class Recording:
    """A run, and what the history checker needs of it; when (ns) each side crashed."""

    history: History
    outcome: Outcome
    metrics: dict[str, Metric]
    crashes: tuple[tuple[int, int], ...]
    times: list[int]  # of the history's steps


def record(setup: Setup, parts: Parts, vectors: np.ndarray) -> Recording:
    """Run a setup on packets, and note everything.

    Args:
        setup: its source is not used.
        parts: of the setup.
        vectors: ``uint64[n, words]`` of the program's layout, at least one.
    """
    rows: list[np.ndarray] = []
    fates: list[np.ndarray] = []
    logs: list[np.ndarray] = []

    def observe(left: np.ndarray, departed: Departed) -> None:
        rows.append(left)
        fates.append(np.stack([departed.number, departed.verdict, departed.port, departed.time], axis=1))

    run = TimedRun(replace(setup, source=Given(vectors)), parts)
    run.patience = _PATIENCE
    outcome = run.run(0, observe=observe, watch=logs.append)
    log = np.concatenate(logs)
    steps, times, choices, globals_ = _steps(log, parts.placement.globals)
    crashes = tuple((int(row[7]) // _PS, int(row[1])) for row in log[log[:, 0] == LOG_CRASH])
    left, fate = np.concatenate(rows), np.concatenate(fates)
    order = np.argsort(fate[:, 3], kind="stable")
    departures = {
        int(number): Departure(int(time), int(verdict), int(port))
        for number, verdict, port, time in fate[order]
    }
    place = {int(number): at for at, number in enumerate(fate[:, 0])}
    final, names = _final(run)
    final |= globals_
    layout = parts.lowered.layout
    history = History(_arrivals(vectors), departures, steps, final, choices)
    replayable = Outcome(
        names,
        lambda number: Packet.from_vector(vectors[number], layout),
        lambda number: Packet.from_vector(left[place[number]], layout),
        cast(Contexts, outcome.contexts()),
        outcome.globals,
    )
    return Recording(history, replayable, outcome.metrics, crashes, times)


def _arrivals(vectors: np.ndarray) -> dict[int, Arrival]:
    directed = FlowCounter().add(vectors).tolist()
    times = (vectors[:, W_NOW] - vectors[0, W_NOW]).tolist()
    return {
        number: Arrival(_PS * time, flow >> 1, flow & 1)
        for number, (time, flow) in enumerate(zip(times, directed, strict=True))
    }


def _steps(
    log: np.ndarray, met: Mapping[tuple[int, int], tuple[int, ...]]
) -> tuple[list[Step], list[int], dict[int, list[int | None]], dict[Key, tuple[int, int]]]:
    """Steps and their times, what allocations found, and the copies of globals in the end.

    Args:
        met: by stage and entry, the globals that a packet meets there. There is one copy of each, so that its version and
            its witness follow from the order in which packets come to it.
    """
    steps, times, choices = list[Step](), list[int](), dict[int, list[int | None]]()
    globals_: dict[Key, tuple[int, int]] = {}
    for kind, side, packet, stage, word, version, witness, time in log.tolist():
        if kind == LOG_CHOICE:
            choices.setdefault(packet, []).append(word if version else None)
        elif kind == LOG_GLOBALS:
            for number in met.get((stage, word), ()):
                key = (GLOBAL, number)
                before, order = globals_.get(key, (0, 0))
                steps.append(Step("global", side, key, packet, stage, before, order))
                times.append(time)
                globals_[key] = before + 1, splitmix64(order ^ packet)
        else:
            key_ = (word >> 32, word & 0xFFFF_FFFF) if word >= 0 else None
            steps.append(Step(_KINDS[kind], side, key_, packet, stage, version, witness % _WORD))
            times.append(time)
    return steps, times, choices, globals_


def _final(run: TimedRun) -> tuple[dict[Key, tuple[int, int]], dict[Key, tuple[str, Any]]]:
    """The copies that count in the end, and the names of their contexts."""
    final, names = dict[Key, tuple[int, int]](), dict[Key, tuple[str, Any]]()
    for table, name in enumerate(run.lowered.table_names):
        for record, words in records(run.lowered, run.world.store, table):
            final[table, record] = words[A.C_VERSION], words[A.C_WITNESS]
            names[table, record] = name, read_key(run.lowered, name, words[A.C_HEADER_WORDS :])
    return final, names

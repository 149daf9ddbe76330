"""The generator as a packet source: seeded traffic of a workload model, in chunks, with constant memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from oppcache._memory import zeros
from oppcache.opp.errors import InputError, Problem
from oppcache.opp.fields import Layout
from oppcache.opp.random_streams import kernel_state, stream
from oppcache.opp.yaml_source import mark_of

from . import emit
from .extras import derived_wanted
from .flows import (
    FLOW_DTYPE,
    K_CLIENTS,
    K_ENDLESS,
    K_NEW_PORTS,
    K_POPULAR,
    K_PORTS_EACH,
    K_SERVERS,
    K_VICTIMS,
    KNOBS,
    N_DOWN,
    N_DURATION,
    N_FLOOD_GAP,
    N_GAP,
    N_INSIDE,
    N_ONE_WAY,
    N_RST,
    N_TCP,
    NUMBERS,
    PORTS,
)
from .frames import HEADER_BYTES
from .headers import SCRATCH_WORDS
from .models import Workload, load_mixture, read_parameters
from .source import Chunk

CHUNK_PACKETS = 32768
POOL_LENGTHS = 1 << 16
GUIDE_PARTS = 1 << 16
_SECOND = 1e9


def make_generator(
    parameters: Mapping[str, Any], seed: int, packets: int | None = None, base: Path | None = None
) -> Generator:
    """Make a source from a ``generator:`` mapping of an experiment.

    Args:
        parameters: ``model`` and its parameters; places of a ``MarkedDict`` are kept in errors.
        seed: the run's seed.
        packets: how many; None: without end, for a caller that limits the duration.
        base: folder that file names are relative to; default: the working directory.

    Raises:
        InputError: unknown, missing or wrong parameters, all at once.
    """
    model, values = read_parameters(parameters)
    files: list[Path] = []
    plain = dict(values)
    if "mixture" in values:
        mark = mark_of(parameters, "mixture")
        if values["mixture"] is None:
            raise InputError(Problem(f"model {model.name} needs a mixture: a file of flow lengths", mark))
        files.append((base or Path()) / values["mixture"])
        values["mixture"] = load_mixture(files[0], mark)
    workload = model.build(values)
    clients = workload.clients or max(1, workload.flows // 8)
    if workload.zipf is not None and clients * PORTS < workload.flows:
        mark = mark_of(parameters, "clients")
        least = math.ceil(workload.flows / PORTS)
        raise InputError(
            f"clients: got {clients}, expected at least {least} for {workload.flows} flows", mark
        )
    if workload.flood_share >= 1:
        mark = mark_of(parameters, "attack_share")
        raise InputError(f"attack_share: got {workload.flood_share}, expected less than 1", mark)
    return Generator(workload, seed, packets, {"model": model.name, **plain}, files)


class Generator:
    """Packets of a workload; see :class:`~oppcache.traffic.source.PacketSource`.

    The same workload, seed and number of packets give the same rows; a smaller number gives a prefix of them.
    Packets begin at time 0. Those from inside enter at port 0, those from outside at port 1.
    """

    def __init__(
        self,
        workload: Workload,
        seed: int,
        packets: int | None,
        parameters: Mapping[str, Any] | None = None,
        files: list[Path] | None = None,
        chunk_packets: int = CHUNK_PACKETS,
    ) -> None:
        self.workload = workload
        self.seed = seed
        self.packets = packets
        self.chunk_packets = chunk_packets
        self._parameters = dict(parameters or {})
        self._files = list(files or [])
        self._cursors = np.zeros(emit.CURSORS, np.int64)

    def chunks(self, layout: Layout) -> Iterator[Chunk]:
        """Generate from the first packet on; see :meth:`~oppcache.traffic.source.PacketSource.chunks`."""
        run = _Run(self.workload, self.seed, layout)
        self._cursors = run.cursors
        rows = zeros((self.chunk_packets, layout.words), np.uint64)
        done = 0
        while self.packets is None or done < self.packets:
            count = (
                self.chunk_packets if self.packets is None else min(self.chunk_packets, self.packets - done)
            )
            filled = 0
            while filled < count:
                filled += run.fill(rows[filled:count])
            done += count
            yield Chunk(rows[:count])

    def counts(self) -> dict[str, int]:
        """Packets, and connections ``opened`` and ``closed``; ``blocked``: flows that found no room."""
        cursors = self._cursors
        found = {"packets_read": int(cursors[emit.X_ID]), "packets": int(cursors[emit.X_ID])}
        named = {
            "opened": emit.X_OPENED,
            "closed": emit.X_CLOSED,
            "blocked": emit.X_BLOCKED,
            "flood": emit.X_FLOOD,
        }
        return found | {name: int(cursors[at]) for name, at in named.items() if cursors[at]}

    def describe(self) -> dict[str, Any]:
        """Model, parameters with their defaults, seed, number of packets."""
        return {"kind": "generator", **self._parameters, "seed": self.seed, "packets": self.packets}

    def inputs(self) -> list[Path]:
        """The mixture file, if the model has one."""
        return list(self._files)


class _Run:
    """State of one pass."""

    def __init__(self, workload: Workload, seed: int, layout: Layout) -> None:
        self.workload = workload
        popular = workload.zipf is not None
        # Active flows are Poisson distributed (M/G/infinity): ten deviations of room above the mean.
        slots = workload.flows if popular else workload.flows + 10 * math.isqrt(workload.flows) + 1024
        self.flows = zeros(slots, FLOW_DTYPE)
        self.state = kernel_state(seed, "traffic")
        self.key = kernel_state(seed, "traffic.addresses")[0]
        self.lengths = stream(seed, "traffic.lengths")
        self.numbers, self.knobs = _numbers(workload), _knobs(workload)
        self.cumulative, self.guide = _popularity(workload)
        waiting = 1 if popular else slots
        self.heap_times, self.heap_slots = np.zeros(waiting), np.zeros(waiting, np.int32)
        self.gaps = np.zeros(waiting)
        self.free = np.arange(waiting, dtype=np.int32)[::-1].copy()
        self.cursors = np.zeros(emit.CURSORS, np.int64)
        self.cursors[emit.X_FREE] = waiting
        self.pool = np.ones(1, np.int64) if workload.lengths is None else self._draw()
        self.times = np.array([0.0, math.inf if workload.flood_share == 0 else 0.0])
        self.extras, self.want = layout.extras(), derived_wanted(layout)
        self.frame, self.scratch = np.zeros(HEADER_BYTES, np.uint8), np.zeros(SCRATCH_WORDS, np.uint64)
        self.sizes = np.array(workload.tcp_sizes, np.float64), np.array(workload.udp_sizes, np.float64)
        if popular:
            with np.errstate(over="ignore"):
                emit.name_flows(self.flows, self.key, self.numbers, self.knobs)

    def _draw(self) -> np.ndarray:
        assert self.workload.lengths is not None
        return self.workload.lengths.draw(self.lengths, POOL_LENGTHS)

    def fill(self, rows: np.ndarray) -> int:
        """Write packets into ``rows``; return how many, fewer than all when lengths had to be drawn."""
        with np.errstate(over="ignore"):
            count = emit.generate(
                rows, len(rows), self.flows, self.key, self.numbers, self.knobs, *self.sizes,
                self.cumulative, self.guide, self.pool, self.heap_times, self.heap_slots, self.gaps, self.free,
                self.cursors, self.times, self.state, self.extras, self.want, self.frame, self.scratch,
            )  # fmt: skip
        if count < len(rows):
            self.pool = self._draw()
            self.cursors[emit.X_POOL] = 0
        return int(count)


def _numbers(workload: Workload) -> np.ndarray:
    """The workload's shares and mean times (ns), as kernels take them."""
    numbers = np.zeros(NUMBERS)
    background = workload.rate * (1 - workload.flood_share)
    mean = 1.0 if workload.lengths is None else workload.lengths.mean()
    numbers[N_TCP] = workload.tcp_share
    numbers[N_INSIDE] = workload.inside_initiated
    numbers[N_RST] = workload.rst_share
    numbers[N_ONE_WAY] = workload.one_way_share
    numbers[N_DOWN] = workload.down_share
    # Without popularity, T_NEXT counts flows rather than packets; by Little's law `flows` of them are active.
    numbers[N_GAP] = _SECOND / background * (1.0 if workload.zipf is not None else mean)
    numbers[N_DURATION] = workload.flows * numbers[N_GAP]
    numbers[N_FLOOD_GAP] = _SECOND / (workload.rate * workload.flood_share) if workload.flood_share else 0.0
    return numbers


def _knobs(workload: Workload) -> np.ndarray:
    knobs = np.zeros(KNOBS, np.int64)
    clients = workload.clients or max(1, workload.flows // 8)
    knobs[K_CLIENTS] = clients
    knobs[K_SERVERS] = workload.servers
    knobs[K_PORTS_EACH] = math.ceil(workload.flows / clients)
    knobs[K_NEW_PORTS] = workload.new_ports
    knobs[K_VICTIMS] = workload.victims
    knobs[K_POPULAR] = workload.zipf is not None
    knobs[K_ENDLESS] = workload.lengths is None
    return knobs


def _popularity(workload: Workload) -> tuple[np.ndarray, np.ndarray]:
    """Cumulative shares of the flows by rank, and the guide table into them."""
    if workload.zipf is None:
        return np.ones(1), np.zeros(2, np.int64)
    shares = np.arange(1, workload.flows + 1, dtype=np.float64) ** -workload.zipf
    cumulative = np.cumsum(shares)
    cumulative /= cumulative[-1]
    cumulative[-1] = 1.0
    parts = np.arange(GUIDE_PARTS + 1) / GUIDE_PARTS
    guide = np.searchsorted(cumulative, parts, side="right")
    return cumulative, np.minimum(guide, workload.flows - 1).astype(np.int64)

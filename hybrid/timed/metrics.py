"""The metrics of a timed run: what both engines count, and what only time brings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from oppcache.consistency.vocabulary import NIC
from oppcache.fastpath.tables import occupancy
from oppcache.opp import arrays as A
from oppcache.slowpath.queues import little

from ..counters import Count, Metric, ratio
from ..counters import metrics_of as untimed_metrics
from . import state as S
from .records import percentiles

if TYPE_CHECKING:
    from .run import TimedRun

_SHARES = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
_LOSSES = (Count.DROPS_RING, Count.DROPS_QUEUE, Count.DROPS_NIC, Count.DROPS_PROTOCOL, Count.DROPS_CRASH)
_KINDS = ("hit", "delayed", "miss")
# What anomaly_rate is made of: effects that no machine alone would show, and packets that are lost or never leave.
_ANOMALIES = (
    "lost_updates",
    "stale_reads",
    "duplicate_updates",
    "reorders",
    "serial_cycles",
    "packets_stuck",
)
_DROPS = ("drops_ring", "drops_queue", "drops_nic", "drops_crash")


class QueueFault(AssertionError):
    """A queue's times do not add up: an error of the engine, not of the input."""


def metrics_of(run: TimedRun) -> dict[str, Metric]:
    """Turn a finished run into its metrics.

    Raises:
        QueueFault: Little's law does not hold at some queue.
    """
    world = run.world
    check_little(world)
    counts = world.tally.counts
    flows = _first_flows(run)
    seen, covered = (int(np.count_nonzero(flows[name])) for name in ("measured", "covered"))
    counts[Count.LOST_UPDATES] += lost_at_the_end(world)
    metrics = untimed_metrics(
        counts,
        world.tally.lookups,
        world.tally.hits,
        run.lowered.table_names,
        seen if run.flows is None else len(run.flows),
        ratio(covered, seen),
    )
    metrics |= {
        "drops_ring": int(counts[Count.DROPS_RING]),
        "drops_queue": int(counts[Count.DROPS_QUEUE]),
        "drops_nic": int(counts[Count.DROPS_NIC] + counts[Count.DROPS_PROTOCOL]),
        "drops_crash": int(counts[Count.DROPS_CRASH]),
        "packets_stuck": packets_under_way(world),
        "impossible_events": int(counts[Count.IMPOSSIBLE]),
        "loss_rate": ratio(sum(int(counts[kind]) for kind in _LOSSES), int(counts[Count.PACKETS])),
        "held_packets_max": int(world.clock[S.T_HELD_PEAK]),
        "stall_time": int(world.clock[S.T_STALL]) * 1e-12,
    }
    metrics |= _tables(world)
    if run.rules.stages:
        metrics |= {"rule_hits": run.rules.hits(world.taken[NIC]), "rule_updates": run.rules.updates}
        metrics |= {"rule_writes": run.rules.writes, "counter_reads": run.rules.reads}
    metrics |= _latencies(world) | _costs(run)
    metrics |= _per_packet(metrics)
    metrics["sim_seconds"] = (run.last_came - run.measured_from) * 1e-12
    return metrics


def _per_packet(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """What contradicts one machine that loses nothing, and what moving contexts costs, by packet."""
    packets = int(metrics["packets"] or 0)
    wrong = sum(int(metrics[name] or 0) for name in (*_ANOMALIES, *_DROPS))
    return {
        "anomaly_rate": ratio(wrong, packets),
        "control_messages_per_packet": ratio(int(metrics["control_messages"] or 0), packets),
        "pcie_bytes_per_packet": ratio(int(metrics["pcie_bytes"] or 0), packets),
    }


def _tables(world: S.World) -> dict[str, Metric]:
    """How full the context tables are in the end, and what their insertions took."""
    found = [occupancy(world.tables, table) for table in range(len(world.tables.rows))]
    places = sum(one.places for one in found)
    return {
        "context_load": ratio(sum(one.used for one in found), places),
        "context_moves": sum(one.moves for one in found),
        "context_moves_max": max((one.moves_max for one in found), default=0),
        "insert_failures": sum(one.failures for one in found),
    }


def _latencies(world: S.World) -> dict[str, Metric]:
    table = world.records.latency
    shares = list(_SHARES.values())
    columns = {"": percentiles(table.sum(axis=0), shares)}
    columns |= {f".{kind}": percentiles(counts, shares) for kind, counts in zip(_KINDS, table, strict=True)}
    return {
        f"latency_{name}{kind}": times[i] for i, name in enumerate(_SHARES) for kind, times in columns.items()
    }


def _costs(run: TimedRun) -> dict[str, Metric]:
    world, counts = run.world, run.world.tally.counts
    elapsed = (int(world.clock[S.T_NOW]) - run.measured_from) * 1e-12
    busy, served = float(world.cores["busy"].sum()) * 1e-12, int(world.cores["served"].sum())
    each = busy / served if served else run.setup.cpu.service.time * 1e-12
    spared = int(counts[Count.PACKETS]) * each - busy
    p50, p99 = percentiles(world.records.migration, (0.5, 0.99))
    return {
        "cpu_utilisation": ratio(busy, elapsed * len(world.cores)),
        "cores_saved": ratio(spared, elapsed),
        "pcie_bytes": int(counts[Count.PCIE_BYTES]),
        "control_messages": int(counts[Count.CONTROL_MESSAGES]),
        "control_bytes": int(counts[Count.CONTROL_BYTES]),
        "control_faults": int(counts[Count.CONTROL_FAULTS]),
        "nic_resets": int(counts[Count.NIC_RESETS]),
        "cpu_crashes": int(counts[Count.CPU_CRASHES]),
        "migration_time_p50": p50,
        "migration_time_p99": p99,
    }


def _first_flows(run: TimedRun) -> np.ndarray:
    """Rows of the flows in the table of the program's first stateful stage."""
    world = run.world
    table = int(world.knobs[S.P_FIRST_TABLE])
    if table < 0:
        return world.tally.flows[:0]
    first = int(world.tally.flow_at[table])
    return world.tally.flows[first : first + int(world.store.tables["used"][table])]


def packets_under_way(world: S.World) -> int:
    """Packets that are still in a buffer, a ring or a queue: in the end, those that nobody will let go."""
    busy = np.ones(len(world.pool.items), bool)
    busy[0] = False
    busy[world.pool.free[: int(world.clock[S.T_FREE])]] = False
    return int((world.pool.items["kind"][busy] == S.PACKET).sum())


def lost_at_the_end(world: S.World) -> int:
    """Updates that the copies which count in the end lack, and that were not counted as lost before."""
    lost = 0
    for table, row in enumerate(world.store.tables):
        used, stride = int(row["used"]), int(world.program.tables["stride"][table])
        if not used:
            continue
        base, slots = int(row["base"]), int(row["nic_base"])
        words = world.store.memory[base : base + used * stride].reshape(used, stride)
        place = words[:, A.C_PLACE].astype(np.int64)
        at_nic = np.flatnonzero(place)
        version = words[:, A.C_VERSION].astype(np.int64)
        version[at_nic] = world.store.memory[slots + (place[at_nic] - 1) * stride + A.C_VERSION]
        first = int(world.tally.flow_at[table])
        marks = world.rows.marks[first : first + used]
        lost += int(np.maximum(marks["applied"] - version - marks["lost"], 0).sum())
    return lost


def check_little(world: S.World) -> None:
    """Hold every queue against Little's law: the time integral of its length is the sum of its waits.

    Raises:
        QueueFault: it is not.
    """
    lines = {S.Q_RX + 2 * core + 1 for core in range(len(world.cores))}
    now = int(world.clock[S.T_NOW])
    for k in range(len(world.queues.rows)):
        integral, waits = little(world.queues, k, now, waits=k in lines)
        disorder = int(world.queues.rows["disorder"][k])
        if integral != waits or disorder:
            raise QueueFault(
                f"queue {k}: {integral} item·ps inside, {waits} ps waited, {disorder} events out of order"
            )

"""The metrics of ``results.csv``: names, order, units, and the words that figures use for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from oppcache.opp.errors import near_miss


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: column of ``results.csv``.
        unit: base unit: ``""`` for a count, ``1`` for a share, ``s``, ``B``, ``packets/s``.
        label: what an axis says.
        parts: whether columns ``name.PART`` may stand beside it (a table's name, a kind of packet).
    """

    name: str
    unit: str
    label: str
    parts: bool = False


_LATENCIES = tuple(
    Metric(f"latency_{name}", "s", f"{words} latency", True)
    for name, words in (("p50", "median"), ("p99", "99th percentile"), ("p999", "99.9th percentile"))
)


def _counts(names: str) -> tuple[Metric, ...]:
    return tuple(Metric(name, "", name.replace("_", " ")) for name in names.split())


METRICS: tuple[Metric, ...] = (
    Metric("packets", "", "packets"),
    Metric("bytes", "B", "traffic"),
    *_counts("flows hits"),
    Metric("hit_rate", "1", "NIC hit rate"),
    Metric("offload_rate", "1", "offload rate"),
    Metric("byte_hit_rate", "1", "NIC byte hit rate"),
    Metric("context_hits", "", "context hits"),
    Metric("context_hit_rate", "1", "context hit rate", True),
    *_counts("punts bounces crossings promotions promotions_failed demotions evictions releases"),
    *_counts("entry_evictions inserts_rejected delayed_hits insert_failures"),
    Metric("context_load", "1", "load of the context tables"),
    *_counts("context_moves context_moves_max"),
    Metric("flows_inserted", "1", "flows inserted"),
    Metric("packets_covered", "1", "packets covered by admission"),
    *_counts("packets_forwarded packets_dropped packets_to_controller packets_undecided"),
    *_counts("rule_hits rule_updates rule_writes counter_reads drops_ring drops_queue drops_nic drops_crash"),
    Metric("loss_rate", "1", "share of packets lost"),
    *_counts("packets_stuck impossible_events held_packets_max"),
    Metric("stall_time", "s", "stall time"),
    *_counts("lost_updates stale_reads duplicate_updates reorders serial_cycles global_divergence_max"),
    Metric("anomaly_rate", "", "anomalies per packet"),
    *_LATENCIES,
    Metric("cpu_utilisation", "1", "CPU utilisation"),
    Metric("cores_saved", "", "CPU cores saved"),
    Metric("pcie_bytes", "B", "PCIe traffic"),
    Metric("pcie_bytes_per_packet", "B", "PCIe traffic per packet"),
    Metric("control_messages", "", "control messages"),
    Metric("control_messages_per_packet", "", "control messages per packet"),
    Metric("control_bytes", "B", "control traffic"),
    *_counts("control_faults nic_resets cpu_crashes"),
    Metric("migration_time_p50", "s", "median migration time"),
    Metric("migration_time_p99", "s", "99th percentile migration time"),
    Metric("max_lossless_rate", "packets/s", "highest rate without loss"),
    Metric("sim_seconds", "s", "virtual time"),
)
_BY_NAME = {metric.name: metric for metric in METRICS}
_ORDER = {metric.name: index for index, metric in enumerate(METRICS)}
_LATENCY_PARTS = ("hit", "delayed", "miss")


def find_metric(name: str) -> Metric | None:
    """Return the metric that a column belongs to (``context_hit_rate.connections`` too), or None."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    family, _, part = name.partition(".")
    metric = _BY_NAME.get(family)
    if metric is None or not metric.parts or not part:
        return None
    if family.startswith("latency_") and part not in _LATENCY_PARTS:
        return None
    return metric


def label(name: str) -> str:
    """Return what an axis says for a column."""
    metric = find_metric(name)
    if metric is None:
        return name.replace("_", " ")
    _, _, part = name.partition(".")
    return f"{metric.label} ({part})" if part else metric.label


def suggestion(name: str) -> str:
    """Return a near miss among metric names, or ``""``."""
    return near_miss(name, _BY_NAME)


def in_order(names: Iterable[str]) -> list[str]:
    """Sort metric names as the table lists them, parts behind their whole in the order given.

    Names that the table lacks come last, as given.
    """
    given = list(dict.fromkeys(names))
    positions = {name: index for index, name in enumerate(given)}

    def place(name: str) -> tuple[int, bool, int]:
        metric = find_metric(name)
        return (_ORDER[metric.name] if metric else len(METRICS), "." in name, positions[name])

    return sorted(given, key=place)

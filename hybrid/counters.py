"""What the engine counts, and the metrics that are made of the counts."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, auto

import numpy as np

Metric = int | float | None


class Count(IntEnum):
    """Places in the engine's ``int64`` counter array."""

    PACKETS = 0
    BYTES = auto()
    LOOKED_UP = auto()  # packets that looked up at least one context
    LOOKED_UP_BYTES = auto()
    HITS = auto()  # of those, packets that never crossed to the CPU
    HIT_BYTES = auto()
    OFFLOADED = auto()  # packets that never crossed
    PUNTS = auto()
    BOUNCES = auto()
    CROSSINGS = auto()
    PROMOTIONS = auto()
    DEMOTIONS = auto()
    EVICTIONS = auto()
    COVERED = auto()  # packets behind their flow's first admission
    NONE = auto()
    FORWARDED = auto()
    DROPPED = auto()
    TO_CONTROLLER = auto()
    PROMOTIONS_FAILED = auto()
    ENTRY_EVICTIONS = auto()
    INSERTS_REJECTED = auto()
    DELAYED_HITS = auto()
    DROPS_RING = auto()
    DROPS_QUEUE = auto()
    DROPS_NIC = auto()
    DROPS_PROTOCOL = auto()  # packets that a protocol drops on purpose
    DROPS_CRASH = auto()  # packets lost in a NIC reset or CPU crash, or while a side was down
    LOST_UPDATES = auto()
    STALE_READS = auto()
    DUPLICATE_UPDATES = auto()
    REORDERS = auto()
    PCIE_BYTES = auto()
    CONTROL_MESSAGES = auto()
    CONTROL_BYTES = auto()
    RELEASES = auto()  # contexts that gave their slots up without a newcomer
    CONTROL_FAULTS = auto()  # messages lost, duplicated or made late
    NIC_RESETS = auto()
    CPU_CRASHES = auto()
    IMPOSSIBLE = auto()  # events that a protocol's table says cannot be
    FAULT = auto()  # not a count: a policy chose an impossible slot


COUNTS = len(Count)


def ratio(part: float, whole: float) -> float | None:
    """part / whole, None where there is nothing to divide by."""
    return part / whole if whole else None


def metrics_of(
    counts: np.ndarray,
    lookups: np.ndarray,
    hits: np.ndarray,
    tables: Sequence[str],
    flows: int,
    inserted: float | None,
) -> dict[str, Metric]:
    """Turn counts into the named metrics of a run.

    Args:
        counts: ``int64[COUNTS]``.
        lookups, hits: ``int64[tables]``: lookups with a key, and those that found their context on the NIC.
        tables: table names.
        flows: distinct connections that entered.
        inserted: share of flows with a packet behind their admission.
    """
    c = {count: int(counts[count]) for count in Count}
    metrics: dict[str, Metric] = {
        "packets": c[Count.PACKETS],
        "bytes": c[Count.BYTES],
        "flows": flows,
        "hits": c[Count.HITS],
        "hit_rate": ratio(c[Count.HITS], c[Count.LOOKED_UP]),
        "offload_rate": ratio(c[Count.OFFLOADED], c[Count.PACKETS]),
        "byte_hit_rate": ratio(c[Count.HIT_BYTES], c[Count.LOOKED_UP_BYTES]),
        "context_hits": int(hits.sum()),
        "context_hit_rate": ratio(int(hits.sum()), int(lookups.sum())),
    }
    for name, looked, found in zip(tables, lookups, hits, strict=True):
        metrics[f"context_hit_rate.{name}"] = ratio(int(found), int(looked))
    metrics |= {
        "punts": c[Count.PUNTS],
        "bounces": c[Count.BOUNCES],
        "crossings": c[Count.CROSSINGS],
        "promotions": c[Count.PROMOTIONS],
        "promotions_failed": c[Count.PROMOTIONS_FAILED],
        "demotions": c[Count.DEMOTIONS],
        "evictions": c[Count.EVICTIONS],
        "releases": c[Count.RELEASES],
        "entry_evictions": c[Count.ENTRY_EVICTIONS],
        "inserts_rejected": c[Count.INSERTS_REJECTED],
        "delayed_hits": c[Count.DELAYED_HITS],
        "flows_inserted": inserted,
        "packets_covered": ratio(c[Count.COVERED], c[Count.PACKETS]),
        "packets_forwarded": c[Count.FORWARDED],
        "packets_dropped": c[Count.DROPPED],
        "packets_to_controller": c[Count.TO_CONTROLLER],
        "packets_undecided": c[Count.NONE],
        "lost_updates": c[Count.LOST_UPDATES],
        "stale_reads": c[Count.STALE_READS],
        "duplicate_updates": c[Count.DUPLICATE_UPDATES],
        "reorders": c[Count.REORDERS],
        "serial_cycles": 0,
    }
    return metrics

"""Histograms of times: log-linear buckets, 256 an octave, so that a percentile is right within 0.2 %."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from oppcache._jit import kernel

PARTS = 256  # buckets of an octave
_OCTAVES = 56
BUCKETS = PARTS * (_OCTAVES + 1)
_HALF = 0.5
_EXACT = np.int64(1 << 53)
_SHIFT = np.int64(11)


@kernel
def bucket_of(time):
    """Bucket of a time in ps; below :data:`PARTS` ps each has its own."""
    if time < PARTS:
        return max(time, np.int64(0))
    # The exponent of a float that holds it, but for bits of a long time that do not matter.
    high = time >= _EXACT
    bits = np.float64(time >> _SHIFT if high else time).view(np.int64)
    octave = (bits >> np.int64(52)) - 1023 + (_SHIFT if high else np.int64(0))
    return (octave - 7) * PARTS + ((time >> (octave - 8)) - PARTS)


@kernel
def note_latency(w, kind, time):
    """Record a packet's time from ingress to egress: ``kind`` 0 hit, 1 delayed hit, 2 miss."""
    w.records.latency[kind, bucket_of(time)] += 1
    w.records.latency_sum[kind] += np.float64(time)


@kernel
def note_migration(w, row, now):
    """Record how long a promotion took, if its beginning is known."""
    since = w.rows.marks["since"][row]
    if since >= 0:
        w.records.migration[bucket_of(now - since)] += 1
        w.rows.marks["since"][row] = -1


def percentiles(counts: np.ndarray, shares: Sequence[float]) -> list[float | None]:
    """The times (s) that shares of a histogram's entries do not exceed; None if it is empty.

    Args:
        counts: ``int64[BUCKETS]``.
        shares: from 0 to 1.
    """
    upto = np.cumsum(counts)
    total = int(upto[-1])
    if total == 0:
        return [None] * len(shares)
    wanted = [max(1, math.ceil(share * total)) for share in shares]
    return [middle(int(bucket)) * 1e-12 for bucket in np.searchsorted(upto, wanted)]


def middle(bucket: int) -> float:
    """The middle of a bucket, ps."""
    octave, part = divmod(bucket, PARTS)
    if octave == 0:
        return float(part)
    width = 1 << (octave - 1)
    return (PARTS + part) * width + (width - 1) * _HALF


def latency_columns(counts: np.ndarray, points: int = 512) -> dict[str, np.ndarray]:
    """The distribution of latencies as a series: ``time`` (s) and ``latency``, the share that took at most so long.

    Args:
        counts: ``int64[LATENCIES, BUCKETS]``.
        points: of the series at most; the shares that it leaves out lie between those that it keeps.
    """
    total = counts.sum(axis=0)
    filled = np.flatnonzero(total)
    shares = np.cumsum(total[filled]) / max(int(total.sum()), 1)
    if len(filled) > points:
        kept = np.unique(np.linspace(0, len(filled) - 1, points).astype(np.int64))
        filled, shares = filled[kept], shares[kept]
    return {"time": np.array([middle(int(b)) for b in filled]) * 1e-12, "latency": shares}

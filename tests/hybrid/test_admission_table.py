"""Admission by packet count on the AGH campus mixture, against the published table and against a count by hand."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oppcache.hybrid import Setup, simulate
from oppcache.opp import load_program
from oppcache.opp.fields import W_IP_DST, W_IP_SRC, W_L4_DPORT, W_L4_SPORT
from oppcache.opp.lower import lower
from oppcache.traffic import make_generator

THRESHOLDS = (1, 8, 64, 1024)


def agh(shared: Path, packets: int) -> Any:
    mixture = {"model": "agh", "mixture": "all-length-flows.json", "flows": 1000}
    return make_generator(mixture, 0, packets, base=shared / "workloads")


def published(shared: Path) -> dict[int, tuple[float, float]]:
    """Shares of flows longer than k and of packets behind the k-th, by k."""
    with (shared / "workloads" / "threshold-length.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {int(row[""]): (float(row["flows_mean"]) / 100, float(row["packets_mean"]) / 100) for row in rows}


def admitted(source: Any, threshold: int) -> tuple[float, float]:
    setup = Setup(load_program("nf:stateful-firewall"), source, 64, admission={"packet": threshold})
    metrics = simulate(setup).metrics
    return metrics["flows_inserted"], metrics["packets_covered"]


def lengths(source: Any) -> np.ndarray:
    """Packets of each connection, counted by sorting."""
    layout = lower(load_program("nf:stateful-firewall")).layout
    ends = []
    for chunk in source.chunks(layout):
        v = chunk.vectors
        one = np.stack([v[:, W_IP_SRC + 1], v[:, W_L4_SPORT]], axis=1)
        two = np.stack([v[:, W_IP_DST + 1], v[:, W_L4_DPORT]], axis=1)
        swap = (one[:, 0] > two[:, 0]) | ((one[:, 0] == two[:, 0]) & (one[:, 1] > two[:, 1]))
        ends.append(np.where(swap[:, None], np.hstack([two, one]), np.hstack([one, two])))
    _, counts = np.unique(np.concatenate(ends), axis=0, return_counts=True)
    return counts


def test_admission_covers_what_a_count_by_hand_says(shared: Path) -> None:
    packets = 300_000
    counts = lengths(agh(shared, packets))
    table = published(shared)
    for k in THRESHOLDS:
        inserted, covered = admitted(agh(shared, packets), k)
        assert inserted == pytest.approx(np.mean(counts > k), abs=1e-12)
        assert covered == pytest.approx(np.maximum(counts - k, 0).sum() / packets, abs=1e-12)
        assert inserted == pytest.approx(table[k][0], abs=0.02)


def test_the_published_table_comes_out(shared: Path, full: bool) -> None:
    if not full:
        pytest.skip("the table needs a hundred million packets of a heavy-tailed mixture: --full")
    table = published(shared)
    for k in THRESHOLDS:
        inserted, covered = admitted(agh(shared, 100_000_000), k)
        assert inserted == pytest.approx(table[k][0], abs=0.01), k
        assert covered == pytest.approx(table[k][1], abs=0.01), k

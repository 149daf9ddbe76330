"""Experiments in which things take time: from YAML to results, series and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import oppcache
from oppcache.experiments import lossless
from oppcache.opp.errors import InputError


def experiment(**more: Any) -> dict[str, Any]:
    return {
        "name": "in-time",
        "program": {"nf": "stateful-firewall"},
        "traffic": {
            "generator": {"model": "caida-like", "flows": 300, "zipf": 1.1},
            "rate": "1Mpps",
            "packets": 6000,
            "warmup": "10%",
        },
        "nic": {"profile": "netfpga-sume"},
        "cpu": {"cores": 1},
        "consistency": {"protocol": "cas"},
        **more,
    }


def test_a_sweep_in_time_is_the_same_at_any_number_of_workers(tmp_path: Path) -> None:
    given = experiment(
        sweep={"nic.contexts": [0, 32], "consistency.protocol": ["instant", "cas"]},
        seeds=2,
        figures=[
            {"y": "latency_p99", "x": "nic.contexts", "by": "consistency.protocol"},
            {"y": "latency", "x": "time", "by": ["nic.contexts", "consistency.protocol"], "kind": "cdf"},
        ],
    )
    alone = oppcache.run(given, out=tmp_path / "alone", jobs=1)
    oppcache.run(given, out=tmp_path / "together", jobs=2)
    files = ["results.csv", "figures/latency-vs-time.png", "figures/latency_p99-vs-nic.contexts.png"]
    files += ["series/latency.parquet", "series/hit_rate.parquet"]
    for name in files:
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "together" / name).read_bytes()
    table = alone.results
    cpu_only = table.filter(table["nic.contexts"] == 0)
    assert cpu_only["hit_rate"].to_list() == [0.0] * 4
    assert (cpu_only["latency_p50"] > 4e-6).all(), "both rings take 2 us"
    cached = table.filter(table["nic.contexts"] == 32)
    assert (cached["latency_p50.hit"] < 2e-6).all()
    assert (cached["cores_saved"] > 0).all()
    shares = alone.series("latency").filter(alone.series("latency")["run"] == 0)["latency"]
    assert shares.is_sorted()
    assert shares[-1] == 1.0


def test_the_highest_rate_without_loss_is_the_cores(tmp_path: Path) -> None:
    """One core that takes 1 us a packet, and no room to wait: 1 M packets/s."""
    given = experiment(
        nic={"profile": "netfpga-sume", "contexts": 0},
        cpu={"cores": 1, "service": "1us", "queue": 4},
        measure="max_lossless_rate",
    )
    (rate,) = oppcache.run(given, out=tmp_path / "out", jobs=1).results["max_lossless_rate"]
    assert rate == pytest.approx(1e6, rel=0.01)


class Outcome:
    def __init__(self, lost: int) -> None:
        self.metrics: dict[str, Any] = {"drops_nic": 0, "drops_ring": lost, "drops_queue": 0}


@pytest.mark.parametrize("limit", [12_345.0, 1e6, 3.3e9])
def test_bisection_ends_just_below_the_limit(limit: float) -> None:
    found = lossless.search(lambda rate: Outcome(int(rate > limit))).metrics["max_lossless_rate"]
    assert limit / (1 + lossless.PRECISION) <= found <= limit


def test_bisection_says_when_there_is_no_limit_or_nothing_passes() -> None:
    assert lossless.search(lambda rate: Outcome(0)).metrics["max_lossless_rate"] is None
    assert lossless.search(lambda rate: Outcome(1)).metrics["max_lossless_rate"] == 0


def test_a_file_stands_where_a_protocols_name_does(tmp_path: Path, checkout: Path) -> None:
    shipped = (checkout / "consistency" / "protocols" / "cas.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(
        shipped.replace("protocol: cas\n", "protocol: mine\n"), encoding="utf-8"
    )
    given = experiment(sweep={"consistency.protocol": ["cas", str(tmp_path / "mine.yaml")]})
    done = oppcache.run(given, out=tmp_path / "out", jobs=1)
    first, second = done.results.drop("consistency.protocol").rows()
    assert first == second
    assert any(name.endswith("mine.yaml") for name in done.manifest["inputs"])


def test_a_protocol_file_that_cannot_be_run_is_refused_at_its_place(tmp_path: Path, checkout: Path) -> None:
    queues = (checkout / "consistency" / "protocols" / "cas-hold-queues.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(queues, encoding="utf-8")
    (tmp_path / "bad.yaml").write_text("protocol: bad\n", encoding="utf-8")
    for name, expected in (
        ("mine.yaml", "steering: got 'flow', expected 'home'"),
        ("bad.yaml", "is missing"),
    ):
        given = experiment(consistency={"protocol": str(tmp_path / name)})
        with pytest.raises(InputError, match=expected) as raised:
            oppcache.run(given, out=tmp_path / "out", jobs=1)
        assert name in str(raised.value)


def test_a_file_that_takes_no_time_has_no_faults_either(tmp_path: Path, checkout: Path) -> None:
    instant = (checkout / "consistency" / "protocols" / "instant.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(instant, encoding="utf-8")
    given = experiment(consistency={"protocol": str(tmp_path / "mine.yaml")}, faults={"ring_drop": "1%"})
    with pytest.raises(InputError, match="takes no time and sends nothing"):
        oppcache.run(given, out=tmp_path / "out", jobs=1)

"""The timed engine against queueing theory, cycle arithmetic and Che's approximation: nothing here is our own."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from oppcache.hybrid import Control, Cpu, Link, Setup, simulate
from oppcache.hybrid.timed.run import TimedRun
from oppcache.hybrid.timed.state import Q_RX
from oppcache.opp import load_program
from oppcache.opp.fields import W_LENGTH, W_NOW
from oppcache.opp.program import Program
from oppcache.slowpath import Law, Service
from oppcache.traffic import make_generator

SERVICE_NS = 10_000  # so long that arrivals in whole nanoseconds are as good as real numbers
FREE = Link(rx=0, tx=0, bandwidth=1e18, ring=1 << 16)


def poisson(random_programs: ModuleType, packets: int, load: float) -> Any:
    gaps = np.random.default_rng(1).exponential(SERVICE_NS / load, packets)
    vectors = random_programs.vectors_of_flows(np.zeros(packets, np.int64))
    vectors[:, W_NOW] = np.cumsum(gaps)
    return random_programs.MemorySource(vectors, 1 << 16)


def mean_wait(random_programs: ModuleType, packets: int, load: float, law: Law) -> float:
    """Mean wait before service, in service times, of packets that all go to one core."""
    cpu = Cpu(1, Service(1000 * SERVICE_NS, law=law), queue=1 << 16)
    source = poisson(random_programs, packets, load)
    program = load_program("nf:stateful-firewall")
    run = TimedRun(Setup(program, source, 0, protocol="cas", link=FREE, cpu=cpu))
    outcome = run.run(0, None, None)
    assert outcome.metrics["drops_queue"] == 0
    assert outcome.metrics["cpu_utilisation"] == pytest.approx(load, rel=0.02)
    line = run.world.queues.rows[Q_RX + 1]
    return float(line["waits"]) / int(line["entered"]) / (1000 * SERVICE_NS)


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_waits_are_those_of_an_m_d_1_queue(random_programs: ModuleType, load: float, full: bool) -> None:
    """Pollaczek and Khinchine: ρ / (2 (1 − ρ)) service times."""
    wait = mean_wait(random_programs, 5_000_000 if full else 1_000_000, load, Law.FIXED)
    assert wait == pytest.approx(load / (2 * (1 - load)), rel=0.02)


def test_waits_are_those_of_an_m_m_1_queue(random_programs: ModuleType) -> None:
    """ρ / (1 − ρ) service times."""
    assert mean_wait(random_programs, 1_000_000, 0.5, Law.EXPONENTIAL) == pytest.approx(1.0, rel=0.02)


def wire(
    random_programs: ModuleType, length: int, packets: int = 200_000, profile: str = "netfpga-sume"
) -> dict[str, Any]:
    """Frames of one length at 40 Gb/s through a NetFPGA SUME on which everything runs."""
    vectors = random_programs.vectors_of_flows(np.zeros(packets, np.int64))
    vectors[:, W_LENGTH] = length
    vectors[:, W_NOW] = np.arange(packets) * (length + 24) * 8 / 40
    source = random_programs.MemorySource(vectors, 1 << 16)
    return simulate(Setup(Program("none"), source, 16, profile=profile)).metrics


def test_64_byte_packets_fit_the_pipeline_at_line_rate(random_programs: ModuleType) -> None:
    """A frame of 60 bytes takes 2 cycles of 6.4 ns, and 84 bytes of wire: 16.8 ns."""
    metrics = wire(random_programs, 60)
    assert metrics["drops_nic"] == 0
    assert metrics["latency_p50"] == metrics["latency_p999"], "no packet waits"


def test_packets_one_byte_too_long_for_two_cycles_overrun_it(random_programs: ModuleType) -> None:
    """A frame of 65 bytes takes 3 cycles, 19.2 ns, and comes every 17.8 ns: 1 − 17.8 / 19.2 are lost."""
    assert wire(random_programs, 64)["drops_nic"] == 0
    metrics = wire(random_programs, 65)
    buffered = 512
    lost = 200_000 * (1 - 17.8 / 19.2) - buffered
    assert metrics["drops_nic"] == pytest.approx(lost, abs=20)
    assert metrics["latency_p50"] > 9e-6, "the input's 512 frames wait in front"


def test_a_bus_of_any_width_takes_whole_cycles(random_programs: ModuleType, tmp_path: Path) -> None:
    """24 bytes a cycle: a frame of 72 takes 19.2 ns and as much wire; one of 73 takes 25.6 ns and comes every 19.4 ns."""
    profile = tmp_path / "narrow.yaml"
    profile.write_text("profile: narrow\nbase: netfpga-sume\ntiming: {bus_bits: 192}\n")
    assert wire(random_programs, 72, 20_000, str(profile))["drops_nic"] == 0
    lost = 20_000 * (1 - 19.4 / 25.6) - 512
    assert wire(random_programs, 73, 20_000, str(profile))["drops_nic"] == pytest.approx(lost, abs=20)


def che(shares: np.ndarray, contexts: int) -> float:
    """Hit rate of LRU under independent requests (Che, Tung and Wang, IEEE JSAC 2002)."""
    low, high = 0.0, 1e12
    while high - low > 1e-9 * high:
        time = (low + high) / 2
        if (1 - np.exp(-shares * time)).sum() < contexts:
            low = time
        else:
            high = time
    return float((shares * (1 - np.exp(-shares * low))).sum())


@pytest.mark.parametrize("contexts", [300, 3_000])
def test_lru_hits_as_often_as_che_says(contexts: int) -> None:
    flows, packets = 20_000, 1_000_000
    shares = np.arange(1, flows + 1) ** -1.0
    source = make_generator({"model": "zipf", "flows": flows, "zipf": 1.0}, 3, packets)
    metrics = simulate(Setup(load_program("nf:stateful-firewall"), source, contexts, warmup=0.2)).metrics
    assert metrics["hit_rate"] == pytest.approx(che(shares / shares.sum(), contexts), rel=0.005)


def test_insertions_keep_to_their_rate() -> None:
    """A token bucket of rate r and depth b lets r t + b through in a time t."""
    source = make_generator({"model": "caida-like", "flows": 5_000, "rate": "1Mpps"}, 0, 200_000)
    control = Control(inserts=10e3, burst=50, queue=64)
    setup = Setup(load_program("nf:stateful-firewall"), source, 4096, protocol="naive", control=control)
    metrics = simulate(setup).metrics
    assert metrics["inserts_rejected"] > 0
    most = 10e3 * metrics["sim_seconds"] + 50
    assert 0.98 * most < metrics["promotions"] <= most + 64 + 1  # the queue, and one on its way

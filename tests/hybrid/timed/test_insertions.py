"""Insertions that the control channel, the rate or the table has no room for."""

from __future__ import annotations

from typing import Any

import pytest

from oppcache.hybrid import Control, Cpu, Setup, simulate
from oppcache.opp import load_program
from oppcache.slowpath import Service
from oppcache.traffic import make_generator


def run(protocol: str, packets: int, flows: int, rate: str, **more: Any) -> dict[str, Any]:
    source = make_generator({"model": "zipf", "flows": flows, "zipf": 0.0, "rate": rate}, 0, packets)
    program = load_program("nf:stateful-firewall")
    return simulate(Setup(program, source, protocol=protocol, profile="netfpga-sume", **more)).metrics


@pytest.mark.parametrize("protocol", ["naive", "cas", "cas-hold"])
def test_what_is_refused_is_asked_for_again_by_the_next_packet(protocol: str) -> None:
    """50 flows and 200 tokens: in the end all are on the NIC."""
    control = Control(inserts=1e3, burst=1, queue=1)
    metrics = run(protocol, 20_000, 50, "100kpps", contexts=64, control=control)
    assert metrics["promotions"] == 50
    assert metrics["inserts_rejected"] > 50


def test_a_promotion_that_is_refused_costs_no_message() -> None:
    """A promotion by cas that succeeds at once takes WATCH, INSTALL and INSTALLED."""
    control = Control(inserts=10e3, burst=1, queue=16)
    metrics = run("cas", 50_000, 20_000, "1Mpps", contexts=32_000, control=control)
    granted = metrics["promotions"]
    assert granted == pytest.approx(10e3 * metrics["sim_seconds"] + 16, rel=0.02)
    assert metrics["inserts_rejected"] == pytest.approx(metrics["punts"] - granted, rel=0.02)
    assert 3 * granted <= metrics["control_messages"] <= 3.2 * granted


def test_a_slow_answer_is_not_asked_for_again_and_again() -> None:
    """Answers stand behind 512 packets of 10 µs: 5 ms, in which a resend every 50 µs would send 100 messages."""
    cpu = Cpu(1, Service(10_000_000), queue=512)
    metrics = run("cas", 20_000, 200, "1Mpps", contexts=256, cpu=cpu, control=Control(inserts=1e6))
    assert metrics["drops_queue"] > 0
    tried = metrics["promotions"] + metrics["promotions_failed"]
    assert tried > 50
    assert metrics["control_messages"] < 45 * tried


@pytest.mark.parametrize("organisation", ["direct-mapped", "set-associative", "d-left", "cuckoo"])
def test_a_context_comes_when_the_one_that_makes_room_for_it_has_gone(organisation: str) -> None:
    """Flows come so slowly that every promotion finds its gap: none fails for want of a slot."""
    metrics = run("cas", 5_000, 400, "10kpps", contexts=32, organisation=organisation)
    assert metrics["evictions"] > 1_000
    assert metrics["promotions"] == pytest.approx(metrics["punts"], rel=0.01)
    assert metrics["promotions_failed"] <= 0.01 * metrics["promotions"], "two that want one place at a time"

"""Packets of a flow keep their order at every context and when they leave, wherever their stages run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oppcache.hybrid import Control, Cpu, Link, Setup, simulate
from oppcache.opp import load_program
from oppcache.opp.fields import W_ID, W_IP_DST, W_IP_PROTO, W_IP_SRC, W_L4_DPORT, W_L4_SPORT
from oppcache.opp.machine import Machine
from oppcache.traffic import make_generator

PROGRAM = Path(__file__).with_name("two_tables.yaml")
EXACT = ("instant", "cas", "cas-hold", "output-commit")
FLOW = (W_IP_SRC, W_IP_SRC + 1, W_IP_DST, W_IP_DST + 1, W_IP_PROTO, W_L4_SPORT, W_L4_DPORT)
PACKETS = 3_000


class Case:
    """A random machine and its traffic, and what the program alone makes of that."""

    def __init__(self, seed: int) -> None:
        draw = np.random.default_rng(seed)
        self.seed = seed
        self.program = load_program(PROGRAM)
        flows, rate = int(draw.choice([10, 60, 300])), str(draw.choice(["300kpps", "1Mpps", "3Mpps"]))
        self.traffic = {"model": "caida-like", "flows": flows, "zipf": 1.1, "rate": rate}
        latencies = [500, 2_000, 20_000]
        self.machines: dict[str, Any] = {
            "profile": str(draw.choice(["smartnic-2025", "netfpga-sume-wide"])),  # the latter lacks mul
            "contexts": int(draw.choice([2, 8, 40])),
            "cpu": Cpu(cores=int(draw.integers(1, 5))),
            "link": Link(rx=int(draw.choice(latencies)), tx=int(draw.choice(latencies))),
            "control": Control(rtt=int(draw.choice([2_000, 10_000, 60_000]))),
        }
        machine = Machine(self.program)
        fates, flow_of = [], []
        for chunk in self.source().chunks(machine.layout):
            flow_of.append(chunk.vectors[:, FLOW].copy())
            verdicts = machine.process(chunk.vectors)
            fates.append(np.stack([verdicts.verdict, verdicts.port], axis=1).astype(np.int64))
        self.fates, self.contexts = np.concatenate(fates), machine.contexts()
        self.flow_of = np.unique(np.concatenate(flow_of), axis=0, return_inverse=True)[1].ravel()

    def source(self) -> Any:
        return make_generator(self.traffic, self.seed, PACKETS)

    def run(self, protocol: str) -> tuple[np.ndarray, Any]:
        """Fates of the packets (number, verdict, port) in the order in which they left, and the outcome."""
        left: list[np.ndarray] = []

        def observe(vectors: np.ndarray, departed: Any) -> None:
            assert (vectors[:, W_ID].astype(np.int64) == departed.number).all()
            rows = np.stack([departed.number, departed.verdict, departed.port, departed.time], axis=1)
            left.append(rows)

        setup = Setup(
            self.program,
            self.source(),
            protocol=protocol,
            seed=self.seed,
            poison=protocol in EXACT,
            **self.machines,
        )
        outcome = simulate(setup, observe=observe)
        return np.concatenate(left), outcome

    def overtaken(self, left: np.ndarray) -> int:
        """Packets that left after a later one of their flow."""
        found, newest = 0, np.full(self.flow_of.max() + 1, -1)
        for number in left[np.argsort(left[:, 3], kind="stable"), 0]:
            flow = self.flow_of[number]
            found += number < newest[flow]
            newest[flow] = max(newest[flow], number)
        return found


# 229: packets are held at a later stage than others are punted.
@pytest.mark.parametrize("seed", [*range(6), 229])
@pytest.mark.parametrize("protocol", EXACT)
def test_two_tables_give_what_the_program_alone_gives(protocol: str, seed: int) -> None:
    check(protocol, seed)


@pytest.mark.parametrize("protocol", EXACT)
def test_two_tables_on_many_machines(protocol: str, full: bool) -> None:
    if not full:
        pytest.skip("the same on 300 random machines: --full")
    for seed in range(6, 306):
        check(protocol, seed)


def check(protocol: str, seed: int) -> None:
    """Registers depend on the order of packets, so equal contexts are equal orders at every context."""
    case = Case(seed)
    left, outcome = case.run(protocol)
    assert (np.sort(left[:, 0]) == np.arange(PACKETS)).all(), "every packet leaves once"
    assert (left[np.argsort(left[:, 0]), 1:3] == case.fates).all()
    assert outcome.contexts() == case.contexts
    assert case.overtaken(left) == 0
    for name in ("reorders", "lost_updates", "stale_reads", "duplicate_updates"):
        assert outcome.metrics[name] == 0, name
    assert outcome.metrics["punts"] > 0
    assert outcome.metrics["promotions"] > 0


def test_what_is_needed_for_it_happens() -> None:
    """Over all the cases packets are sent back to the NIC, and some wait for older ones of their flow."""
    bounces = held = 0
    for seed in range(3):
        metrics = Case(seed).run("instant")[1].metrics
        bounces, held = bounces + metrics["bounces"], max(held, metrics["held_packets_max"])
    assert bounces > 100
    assert held > 0, "instant itself holds nothing on the NIC"


def test_without_a_protocol_that_keeps_it_order_is_lost_and_counted() -> None:
    case = Case(2)
    left, outcome = case.run("naive")
    assert case.overtaken(left) > 0
    assert outcome.metrics["reorders"] >= case.overtaken(left)
    assert outcome.metrics["lost_updates"] > 0

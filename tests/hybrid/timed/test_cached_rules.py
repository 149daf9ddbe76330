"""Rule caching where things take time: which entries the NIC has changes no verdict, and the busiest ones come to it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oppcache.bench.rules_generator import make_rules, make_trace
from oppcache.fastpath import load_profile
from oppcache.hybrid import RuleSettings, Setup, simulate
from oppcache.hybrid.rules import RuleCaching, limited
from oppcache.opp import Layout, Machine, load_program
from oppcache.opp.errors import InputError
from oppcache.opp.fields import W_LENGTH, W_NOW
from oppcache.opp.lower import lower
from oppcache.traffic import make_generator
from oppcache.traffic.source import Chunk

PACKETS = 20_000
RULES = make_rules("fw", 300)
PROGRAM = load_program(RULES.document())


class Trace:
    """Packets that hit the rules by Zipf's law, one a microsecond."""

    def chunks(self, layout: Layout) -> Iterator[Chunk]:
        vectors = make_trace(RULES, PACKETS, layout, zipf=1.0)
        vectors[:, W_NOW] = 1_000 * np.arange(PACKETS)
        vectors[:, W_LENGTH] = 60
        for part in np.array_split(vectors, 3):
            yield Chunk(part.copy())

    def counts(self) -> dict[str, int]:
        return {"packets": PACKETS, "packets_read": PACKETS}

    def describe(self) -> dict[str, Any]:
        return {}

    def inputs(self) -> list[Path]:
        return []


class Seen:
    """Verdict and port of what has left, by packet number."""

    def __init__(self) -> None:
        self.fates: list[np.ndarray] = []

    def __call__(self, vectors: np.ndarray, departed: Any) -> None:
        self.fates.append(np.stack([departed.number, departed.verdict, departed.port], axis=1))

    def in_order(self) -> np.ndarray:
        fates = np.concatenate(self.fates)
        return fates[np.argsort(fates[:, 0], kind="stable")]


def alone(program: Any, source: Any) -> tuple[Machine, np.ndarray]:
    machine, fates = Machine(program), []
    for chunk in source.chunks(machine.layout):
        verdicts = machine.process(chunk.vectors)
        fates.append(np.stack([verdicts.verdict.astype(np.int64), verdicts.port.astype(np.int64)], axis=1))
    return machine, np.concatenate(fates)


@pytest.mark.parametrize("algorithm", ["dependent-sets", "cover-sets", "mixed-sets"])
@pytest.mark.parametrize("rows", [16, 400])
def test_it_changes_no_verdict(algorithm: str, rows: int) -> None:
    _, fates = alone(PROGRAM, Trace())
    seen = Seen()
    rules = RuleSettings(algorithm, rows, changes=100_000, interval=1_000_000)
    setup = Setup(PROGRAM, Trace(), profile="netfpga-sume", protocol="cas", rules=rules)
    metrics = simulate(setup, observe=seen).metrics
    got = seen.in_order()
    assert (got[:, 0] == np.arange(PACKETS)).all()
    assert (got[:, 1:] == fates).all()
    assert metrics["drops_ring"] == metrics["drops_queue"] == 0
    hits, share = metrics["rule_hits"], metrics["offload_rate"]
    assert hits is not None
    assert share is not None
    offloaded = round(share * PACKETS)
    # A packet that the NIC has done with crosses all the same where an older one of its flow is on the CPU.
    assert 0 < offloaded <= hits < 1.03 * offloaded
    assert 0 < (metrics["rule_updates"] or 0) <= 100_000 * 0.02 + 200


def run(rules: RuleSettings, **more: Any) -> dict[str, Any]:
    return dict(simulate(Setup(PROGRAM, Trace(), profile="netfpga-sume", rules=rules, **more)).metrics)


def test_more_rows_and_more_changes_bring_more_hits() -> None:
    hits = [run(RuleSettings("cover-sets", rows, 1e6, 1_000_000))["rule_hits"] for rows in (8, 64, 512)]
    assert hits == sorted(hits)
    assert hits[0] < hits[-1]
    slow = run(RuleSettings("cover-sets", 512, changes=2_000, interval=1_000_000))
    assert slow["rule_updates"] <= 2_000 * 0.02
    assert slow["rule_hits"] < hits[-1]


def test_without_it_a_stage_that_does_not_fit_runs_on_the_cpu() -> None:
    metrics = run(RuleSettings())
    assert metrics["offload_rate"] == 0
    assert metrics.get("rule_hits") is None
    assert run(RuleSettings(rows=5_000))["offload_rate"] == 1


def test_the_warm_up_counts_neither_hits_nor_changes() -> None:
    rules = RuleSettings("cover-sets", 512, 1e6, 1_000_000)
    whole, half = run(rules), run(rules, warmup=0.5)
    assert half["packets"] == PACKETS // 2
    assert 0 < half["rule_hits"] <= whole["rule_hits"]
    assert half["rule_updates"] < whole["rule_updates"]


def test_stateful_entries_come_and_go() -> None:
    """A context whose entry is not there is evicted first; no update is lost."""
    program = load_program("nf:stateful-firewall")
    traffic = {"model": "caida-like", "flows": 300, "zipf": 1.1, "rate": "1Mpps"}
    machine, fates = alone(program, make_generator(traffic, 0, PACKETS))
    seen = Seen()
    rules = RuleSettings("cover-sets", 3, changes=1_000, interval=1_000_000)
    source = make_generator(traffic, 0, PACKETS)
    setup = Setup(program, source, 64, profile="netfpga-sume", protocol="cas", rules=rules)
    outcome = simulate(setup, observe=seen)
    assert (seen.in_order()[:, 1:] == fates).all()
    assert outcome.contexts() == machine.contexts()
    assert outcome.metrics["lost_updates"] == outcome.metrics["reorders"] == 0
    assert outcome.metrics["rule_hits"]
    assert outcome.metrics["entry_evictions"]


@pytest.mark.parametrize("protocol", ["forget", "write-through"])
def test_a_protocol_without_an_answer_is_refused(protocol: str) -> None:
    program = load_program("nf:stateful-firewall")
    source = make_generator({"model": "zipf", "flows": 1}, 0, 1)
    rules = RuleSettings("cover-sets", 3)
    setup = Setup(program, source, 64, profile="netfpga-sume", protocol=protocol, rules=rules)
    with pytest.raises(InputError, match=rf"protocol '{protocol}' has no answer to an entry"):
        simulate(setup)


@pytest.mark.parametrize("organisation", ["direct-mapped", "set-associative", "d-left", "cuckoo"])
def test_any_organisation_of_contexts_will_do(organisation: str) -> None:
    program = load_program("nf:stateful-firewall")
    traffic = {"model": "caida-like", "flows": 2000, "zipf": 1.0, "rate": "1Mpps"}
    machine, fates = alone(program, make_generator(traffic, 0, PACKETS))
    for protocol in ("instant", "cas"):
        seen = Seen()
        source = make_generator(traffic, 0, PACKETS)
        setup = Setup(program, source, 200, protocol=protocol, organisation=organisation)
        outcome = simulate(setup, observe=seen)
        assert (seen.in_order()[:, 1:] == fates).all()
        assert outcome.contexts() == machine.contexts()
        metrics = outcome.metrics
        assert 0.5 < (metrics["context_load"] or 0) <= 1
        assert bool(metrics["context_moves"]) == (organisation == "cuckoo")
        if organisation in ("direct-mapped", "set-associative"):
            assert metrics["insert_failures"]


def test_counters_are_read_and_rows_written_before_an_update_takes_effect() -> None:
    """NetFPGA SUME: 1 µs a counter; 16 cycles of 6.4 ns a row. Nothing is read of a list that is empty."""
    lowered = lower(PROGRAM)
    profile = limited(load_profile("netfpga-sume"), RuleSettings("cover-sets", 16))
    rules = RuleCaching(lowered, profile, RuleSettings("cover-sets", 16, changes=1e6, interval=1_000_000))
    runnable = np.ones(len(lowered.arrays.entries) + len(lowered.arrays.stages), np.uint8)
    rules.begin(runnable)
    assert not runnable.any()
    taken = np.zeros(len(runnable), np.int64)
    taken[:100] = np.arange(100, 0, -1)
    rules.update(0, taken, runnable)  # no time has passed, so no change is allowed yet
    assert rules.next_update() == 1_000_000
    assert rules.update(1_000_000, taken, runnable)
    assert rules.writes >= 16
    assert rules.reads == 0
    ready = rules.next_update()
    assert ready == 1_000_000 + math.ceil(rules.writes * 16 * 6.4)
    assert not runnable.any(), "not yet"
    assert not rules.update(ready, taken, runnable)
    cached = int(runnable.sum())
    assert cached > 0
    wrote = rules.writes
    assert rules.update(2_000_000, taken[::-1].copy(), runnable)
    assert rules.reads == cached
    assert rules.next_update() == 2_000_000 + math.ceil(cached * 1000 + (rules.writes - wrote) * 16 * 6.4)

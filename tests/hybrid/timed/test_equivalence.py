"""Where and when a packet is run must not matter: verdicts and final state are those of the machine alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from oppcache.consistency import protocol_names
from oppcache.hybrid import Control, Cpu, Link, Migration, Setup, simulate
from oppcache.hybrid.setup import RUNNABLE_PROTOCOLS
from oppcache.hybrid.timed.parts import runnable
from oppcache.opp import InputError, load_program
from oppcache.opp.machine import Machine
from oppcache.slowpath import Law, Service
from oppcache.traffic import make_generator

ANOMALIES = ("lost_updates", "stale_reads", "duplicate_updates", "reorders")
PACKETS = 20_000


def traffic(rate: str = "1Mpps", flows: int = 500, packets: int = PACKETS) -> Any:
    return make_generator({"model": "caida-like", "flows": flows, "zipf": 1.1, "rate": rate}, 0, packets)


class Seen:
    """What has left, by packet number."""

    def __init__(self) -> None:
        self.rows: list[np.ndarray] = []
        self.fates: list[np.ndarray] = []

    def __call__(self, vectors: np.ndarray, departed: Any) -> None:
        self.rows.append(vectors)
        self.fates.append(np.stack([departed.number, departed.verdict, departed.port], axis=1))

    def in_order(self) -> tuple[np.ndarray, np.ndarray]:
        fates, rows = np.concatenate(self.fates), np.concatenate(self.rows)
        order = np.argsort(fates[:, 0], kind="stable")
        return fates[order], rows[order]


def alone(program: Any, source: Any) -> tuple[Machine, np.ndarray, np.ndarray]:
    """The machine without a NIC: itself, fates and rows of all packets."""
    machine, fates, rows = Machine(program), [], []
    for chunk in source.chunks(machine.layout):
        verdicts = machine.process(chunk.vectors)
        rows.append(chunk.vectors.copy())
        fates.append(np.stack([verdicts.verdict.astype(np.int64), verdicts.port.astype(np.int64)], axis=1))
    return machine, np.concatenate(fates), np.concatenate(rows)


SETUPS: dict[str, dict[str, Any]] = {
    "netfpga-sume": {"profile": "netfpga-sume"},
    "no NIC time": {"profile": "ideal"},
    "four cores": {"profile": "netfpga-sume", "cpu": Cpu(cores=4)},
    "random service, batches": {
        "profile": "netfpga-sume",
        "cpu": Cpu(2, Service(600_000, 100_000, 500_000, 16, Law.EXPONENTIAL)),
    },
    "slow control": {"profile": "netfpga-sume", "control": Control(rtt=500_000, inserts=20e3, queue=16)},
    "long rings": {"profile": "netfpga-sume", "link": Link(rx=50_000, tx=90_000)},
}


@pytest.mark.parametrize("protocol", ["instant", "cas"])
@pytest.mark.parametrize("name", SETUPS)
@pytest.mark.parametrize("nf", ["stateful-firewall", "stateful-firewall-2stage"])
def test_time_changes_no_verdict_and_no_context(nf: str, name: str, protocol: str) -> None:
    if (name, protocol) == ("no NIC time", "instant"):
        return  # the textbook's cache, which has its own tests
    program = load_program(f"nf:{nf}")
    machine, fates, rows = alone(program, traffic())
    for contexts in (0, 3, 64, 2000):
        seen = Seen()
        setup = Setup(program, traffic(), contexts, protocol=protocol, poison=True, **SETUPS[name])
        outcome = simulate(setup, observe=seen)
        got, got_rows = seen.in_order()
        assert (got[:, 0] == np.arange(PACKETS)).all(), "every packet leaves once"
        assert (got[:, 1:] == fates).all()
        assert (got_rows[:, : rows.shape[1]] == rows).all(), "headers as rewritten"
        assert outcome.contexts() == machine.contexts()
        assert [outcome.metrics[name] for name in ANOMALIES] == [0, 0, 0, 0]
        assert outcome.metrics["drops_ring"] == outcome.metrics["drops_queue"] == 0


@pytest.mark.parametrize("protocol", ["cas-hold", "buffer-forward", "output-commit"])
def test_protocols_that_buffer_keep_the_same_machine(protocol: str) -> None:
    program = load_program("nf:stateful-firewall")
    machine, fates, _ = alone(program, traffic())
    for contexts in (3, 64):
        seen = Seen()
        setup = Setup(program, traffic(), contexts, protocol=protocol, profile="netfpga-sume", poison=True)
        outcome = simulate(setup, observe=seen)
        assert (seen.in_order()[0][:, 1:] == fates).all()
        assert outcome.contexts() == machine.contexts()
        assert [outcome.metrics[name] for name in ANOMALIES] == [0, 0, 0, 0]
        assert outcome.metrics["held_packets_max"] > 0


@pytest.mark.parametrize("nf", ["stateful-firewall", "stateful-firewall-2stage"])
def test_a_context_that_is_fetched_makes_the_same_machine_and_nothing_runs_on_the_cpu(nf: str) -> None:
    program = load_program(f"nf:{nf}")
    machine, fates, rows = alone(program, traffic())
    for contexts in (64, 2000):
        seen = Seen()
        wide = {
            "migration": Migration(hold=1000),
            "control": Control(inserts=10e6),
            "profile": "netfpga-sume",
        }
        outcome = simulate(
            Setup(program, traffic(), contexts, protocol="fetch", poison=True, **wide), observe=seen
        )
        got, got_rows = seen.in_order()
        assert (got[:, 1:] == fates).all()
        assert (got_rows[:, : rows.shape[1]] == rows).all()
        assert outcome.contexts() == machine.contexts()
        metrics = outcome.metrics
        assert [metrics[name] for name in ANOMALIES] == [0, 0, 0, 0]
        assert metrics["punts"] == metrics["crossings"] == metrics["loss_rate"] == 0
        misses = PACKETS - metrics["context_hits"]
        assert 0 < metrics["promotions"] <= misses, "several packets may wait for one context"
        assert metrics["promotions"] - metrics["demotions"] <= contexts
        # FETCH, INSTALL, INSTALLED; CTX and CTXACK
        assert metrics["control_messages"] == 3 * metrics["promotions"] + 2 * metrics["demotions"]


def test_without_any_slot_nothing_can_be_fetched() -> None:
    program = load_program("nf:stateful-firewall")
    setup = Setup(program, traffic(packets=1_000), 0, protocol="fetch", profile="netfpga-sume")
    assert simulate(setup).metrics["drops_nic"] == 1_000


def test_kept_back_outputs_wait_for_a_round_trip_and_others_do_not() -> None:
    """Each packet of the counter changes a register, but those of the firewall's established flows change nothing."""
    for nf, kept in (("big-flow-detector", True), ("stateful-firewall", False)):
        source = traffic("50kpps", flows=20, packets=2_000)
        setup = Setup(
            load_program(f"nf:{nf}"), source, 64, protocol="output-commit", profile="netfpga-sume",
            control=Control(rtt=100_000),
        )  # fmt: skip
        metrics = simulate(setup).metrics
        assert metrics["hit_rate"] > 0.5
        assert (metrics["latency_p50.hit"] > 100e-6) == kept


@pytest.mark.parametrize("protocol", RUNNABLE_PROTOCOLS)
def test_every_protocol_accounts_for_every_packet(protocol: str) -> None:
    program = load_program("nf:stateful-firewall-2stage")
    setup = Setup(program, traffic(packets=5_000), 64, protocol=protocol, profile="netfpga-sume")
    metrics = simulate(setup).metrics
    kinds = ("forwarded", "dropped", "to_controller", "undecided")
    left = sum(metrics[f"packets_{kind}"] for kind in kinds)
    lost = metrics["drops_queue"] + metrics["drops_ring"] + metrics["drops_nic"]
    assert left + lost == metrics["packets"] == 5_000
    assert (lost > 0) == (protocol in ("fetch", "freeze-drop", "nic-only"))


def test_naive_copies_lose_updates_and_it_shows() -> None:
    program = load_program("nf:stateful-firewall")
    setup = Setup(program, traffic(), 64, protocol="naive", profile="netfpga-sume")
    metrics = simulate(setup).metrics
    assert metrics["lost_updates"] > 0
    assert metrics["stale_reads"] > metrics["lost_updates"]
    assert metrics["reorders"] > 0
    assert metrics["duplicate_updates"] == 0


def lossy(**more: Any) -> dict[str, Any]:
    program = load_program("nf:stateful-firewall")
    return simulate(Setup(program, traffic("20Mpps"), 64, profile="netfpga-sume", **more)).metrics


@pytest.mark.parametrize("protocol", ["instant", "cas", "naive"])
@pytest.mark.parametrize(
    ("drops", "setup"),
    [
        ("drops_queue", {"cpu": Cpu(queue=8)}),
        ("drops_ring", {"link": Link(ring=4)}),
        ("drops_ring", {"link": Link(bandwidth=1e9, ring=64)}),
    ],
)
def test_what_is_lost_is_counted_where_it_is_lost(protocol: str, drops: str, setup: dict[str, Any]) -> None:
    metrics = lossy(protocol=protocol, **setup)
    assert metrics[drops] > 0
    left = sum(metrics[f"packets_{kind}"] for kind in ("forwarded", "dropped", "to_controller", "undecided"))
    lost = metrics["drops_queue"] + metrics["drops_ring"] + metrics["drops_nic"]
    assert left + lost == metrics["packets"] == PACKETS
    if protocol == "cas":
        assert [metrics[name] for name in ANOMALIES] == [0, 0, 0, 0]


def test_the_same_setup_gives_the_same_numbers() -> None:
    def once() -> Callable[[], Any]:
        service = Service(600_000, law=Law.EXPONENTIAL)
        outcome = simulate(
            Setup(
                load_program("nf:stateful-firewall"),
                traffic(),
                64,
                protocol="cas",
                profile="netfpga-sume",
                cpu=Cpu(service=service),
            )
        )
        return outcome.metrics

    assert once() == once()


@pytest.mark.parametrize("eviction", ["lru", "belady"])
@pytest.mark.parametrize("nf", ["stateful-firewall", "stateful-firewall-2stage"])
def test_slow_traffic_hits_as_in_the_textbook(nf: str, eviction: str) -> None:
    """Where every migration has ended before the next packet comes, time changes no hit, and no use that is foreseen."""
    found = []
    for organisation in ("", "fully-associative"):  # the second makes the run a timed one
        setup = Setup(
            load_program(f"nf:{nf}"), traffic("1kpps"), 64, eviction=eviction, organisation=organisation
        )
        assert setup.timed == bool(organisation)
        metrics = simulate(setup).metrics
        found.append({name: metrics[name] for name in ("context_hits", "hits", "promotions", "evictions")})
    assert found[0] == found[1]
    assert found[0]["evictions"] > 1000


def test_foresight_beats_hindsight_in_time() -> None:
    """Belady's bound, where things take time: more hits than any policy without foresight, by a margin."""
    hits = {}
    for eviction in ("belady", "lru", "sieve"):
        setup = Setup(
            load_program("nf:stateful-firewall-2stage"),
            traffic(),
            64,
            eviction=eviction,
            profile="netfpga-sume",
            protocol="cas-hold",
        )
        hits[eviction] = simulate(setup).metrics["context_hits"]
    assert hits["belady"] > 1.1 * max(hits["lru"], hits["sieve"])


def test_the_protocols_that_are_listed_are_those_that_the_engine_runs() -> None:
    def runs(name: str) -> bool:
        try:
            runnable(name)
        except InputError:
            return False
        return True

    assert [*RUNNABLE_PROTOCOLS] == [name for name in protocol_names() if runs(name)]

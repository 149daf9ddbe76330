"""Faults in virtual time: what is lost is counted, what survives is the machine's, and a seed says it all."""

from __future__ import annotations

from typing import Any

import pytest

from oppcache.consistency.vocabulary import E_STATE
from oppcache.hybrid import ControlFaults, Faults, Migration, Setup, simulate
from oppcache.hybrid.setup import RUNNABLE_PROTOCOLS
from oppcache.hybrid.timed.run import TimedRun
from oppcache.opp import load_program
from oppcache.opp.errors import InputError
from oppcache.traffic import make_generator

PACKETS = 3_000
ANOMALIES = ("stale_reads", "duplicate_updates", "reorders", "packets_stuck", "impossible_events")
CHANNEL = ControlFaults(loss=0.1, duplicate=0.1, reorder=0.2, delay=60_000)
FAULTS: dict[str, Faults] = {
    "a bad channel": Faults(CHANNEL),
    "leaking rings": Faults(ring_drop=0.02),
    "NIC resets": Faults(nic_reset_at=(500_000, 510_000, 2_000_000)),
    "CPU crashes": Faults(cpu_crash_at=(500_000, 510_000, 2_000_000)),
    "long resets": Faults(nic_reset_at=(500_000, 2_000_000), restart_after=40_000),
    "long crashes": Faults(cpu_crash_at=(500_000, 2_000_000), restart_after=40_000),
    "everything": Faults(CHANNEL, 0.01, nic_reset_rate=2_000, cpu_crash_rate=2_000, restart_after=10_000),
}


def setup(faults: Faults, protocol: str = "cas-hold", **more: Any) -> Setup:
    source = make_generator(
        {"model": "caida-like", "flows": 60, "zipf": 1.1, "rate": "1Mpps"}, 0, more.pop("packets", PACKETS)
    )
    migration = Migration(writeback_interval=100_000, checkpoint_interval=150_000)
    return Setup(
        load_program("nf:stateful-firewall"), source, 16, protocol=protocol, profile="netfpga-sume",
        migration=migration, faults=faults, **more,
    )  # fmt: skip


def run(faults: Faults, protocol: str = "cas-hold", **more: Any) -> dict[str, Any]:
    return simulate(setup(faults, protocol, **more)).metrics


@pytest.mark.parametrize("protocol", ["cas", "cas-hold", "output-commit", "fetch"])
@pytest.mark.parametrize("name", ["a bad channel", "everything"])
def test_a_row_says_of_the_nic_what_the_protocol_s_entry_says(name: str, protocol: str) -> None:
    timed = TimedRun(setup(FAULTS[name], protocol))
    timed.run(0)
    world = timed.world
    said = world.standings[world.rows.nic[:, E_STATE]]
    assert (world.rows.marks["standing"] == said).all()
    assert len(set(said)) > 1, "some contexts are on the NIC, and some are not"


def lost(metrics: dict[str, Any]) -> int:
    return sum(int(metrics[f"drops_{where}"]) for where in ("ring", "queue", "nic", "crash"))


@pytest.mark.parametrize("protocol", ["cas", "cas-hold", "output-commit"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_protocol_that_keeps_the_properties_keeps_them_under_faults(name: str, protocol: str) -> None:
    metrics = run(FAULTS[name], protocol)
    assert [metrics[anomaly] for anomaly in ANOMALIES] == [0] * len(ANOMALIES)
    kinds = ("forwarded", "dropped", "to_controller", "undecided")
    left = sum(metrics[f"packets_{kind}"] for kind in kinds)
    assert left + lost(metrics) == metrics["packets"] == PACKETS, (
        "every packet leaves, or its loss is counted"
    )
    faults = FAULTS[name]
    assert (metrics["lost_updates"] > 0) == faults.crashes, "updates are lost in crashes alone"
    assert (metrics["drops_ring"] > 0) == (faults.ring_drop > 0)
    assert (metrics["drops_crash"] > 0) == faults.crashes
    assert (metrics["control_faults"] > 0) == bool(faults.control)
    assert (metrics["nic_resets"] > 0, metrics["cpu_crashes"] > 0) == (faults.nic_resets, faults.cpu_crashes)


@pytest.mark.parametrize("protocol", sorted(set(RUNNABLE_PROTOCOLS) - {"instant"}))
def test_no_protocol_breaks_the_engine(protocol: str) -> None:
    metrics = run(FAULTS["everything"], protocol, packets=1_000)
    left = sum(metrics[f"packets_{kind}"] for kind in ("forwarded", "dropped", "to_controller", "undecided"))
    assert left + lost(metrics) + metrics["packets_stuck"] == 1_000


def test_a_seed_says_it_all() -> None:
    assert run(FAULTS["everything"]) == run(FAULTS["everything"])
    assert run(FAULTS["everything"]) != run(FAULTS["everything"], seed=1)


def test_one_kind_of_fault_does_not_shift_another() -> None:
    """Each has a stream of its own: the resets come when they came."""
    alone = run(Faults(nic_reset_rate=2_000))
    beside = run(Faults(CHANNEL, nic_reset_rate=2_000))
    assert alone["nic_resets"] == beside["nic_resets"] > 0


def test_a_channel_that_loses_everything_moves_nothing_and_the_run_ends() -> None:
    metrics = run(Faults(ControlFaults(loss=1.0)), packets=500)
    assert metrics["promotions"] == 0
    assert metrics["lost_updates"] == metrics["packets_stuck"] == 0
    crashed = run(Faults(ControlFaults(loss=1.0), cpu_crash_at=(200_000,)), packets=500)
    assert crashed["packets_stuck"] > 0, "who owns the contexts is never told"


def test_write_backs_and_checkpoints_bound_what_is_lost() -> None:
    rarely = Migration(writeback_interval=0, checkpoint_interval=10_000_000)
    for faults in (FAULTS["NIC resets"], FAULTS["CPU crashes"]):
        often = run(faults)
        source = make_generator(
            {"model": "caida-like", "flows": 60, "zipf": 1.1, "rate": "1Mpps"}, 0, PACKETS
        )
        setup = Setup(
            load_program("nf:stateful-firewall"), source, 16, protocol="cas-hold", profile="netfpga-sume",
            migration=rarely, faults=faults,
        )  # fmt: skip
        assert simulate(setup).metrics["lost_updates"] > 2 * often["lost_updates"] > 0


def test_write_backs_alone_lose_nothing() -> None:
    """The copy that comes back is one to recover from, not the one that counts."""
    metrics = run(Faults())
    assert metrics["lost_updates"] == 0
    assert metrics["promotions"] > 0


def test_what_cannot_fail_is_refused() -> None:
    with pytest.raises(InputError, match="protocol instant takes no time"):
        run(Faults(ring_drop=0.1), "instant")
    source = make_generator({"model": "zipf", "flows": 1}, 0, 1)
    setup = Setup(load_program("nf:token-bucket"), source, protocol="cas", faults=Faults(nic_reset_at=(1,)))
    with pytest.raises(InputError, match="keeps globals"):
        simulate(setup)

"""The baselines beside the protocols, against plain counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oppcache.consistency.library import protocol_path
from oppcache.hybrid import Cpu, Setup, simulate
from oppcache.hybrid.timed.run import TimedRun
from oppcache.opp import load_program
from oppcache.opp.errors import InputError
from oppcache.opp.fields import W_IP_DST, W_IP_SRC, W_L4_DPORT, W_L4_SPORT
from oppcache.opp.machine import Machine
from oppcache.slowpath import Service
from oppcache.traffic import make_generator

PROGRAM = "nf:stateful-firewall"
PACKETS, FLOWS, CONTEXTS = 20_000, 300, 100


def traffic(rate: str) -> Any:
    return make_generator({"model": "caida-like", "flows": FLOWS, "zipf": 0.9, "rate": rate}, 4, PACKETS)


def run(protocol: str, contexts: int, rate: str = "50kpps", **more: Any) -> tuple[dict[str, Any], np.ndarray]:
    """Metrics, and the verdict of every packet by its number; −1: lost."""
    verdicts = np.full(PACKETS, -2)

    def observe(vectors: np.ndarray, departed: Any) -> None:
        verdicts[departed.number] = departed.verdict

    more = {"profile": "netfpga-sume", "organisation": "fully-associative", **more}
    setup = Setup(load_program(PROGRAM), traffic(rate), contexts, protocol=protocol, **more)
    return simulate(setup, observe=observe).metrics, verdicts


def alone() -> tuple[np.ndarray, np.ndarray]:
    """What the machine alone makes of the packets, and the number of each packet's flow in order of appearance."""
    machine, verdicts, found = Machine(load_program(PROGRAM)), [], []
    fields = machine.layout
    numbers: dict[Any, int] = {}
    for chunk in traffic("50kpps").chunks(fields):
        v = chunk.vectors
        for a, b in zip(v[:, [W_IP_SRC + 1, W_L4_SPORT]], v[:, [W_IP_DST + 1, W_L4_DPORT]], strict=True):
            key = frozenset([(int(a[0]), int(a[1])), (int(b[0]), int(b[1]))])
            found.append(numbers.setdefault(key, len(numbers)))
        verdicts.append(machine.process(v).verdict.astype(int))
    return np.concatenate(verdicts), np.array(found)


def test_cpu_only_is_the_machine_and_its_load_is_rate_times_service() -> None:
    cpu = Cpu(2, Service(2_000_000))
    metrics, verdicts = run("cpu-only", 4096, "200kpps", cpu=cpu)
    assert (verdicts == alone()[0]).all()
    assert metrics["hits"] == metrics["promotions"] == metrics["control_messages"] == 0
    assert metrics["punts"] == PACKETS
    assert metrics["cpu_utilisation"] == pytest.approx(PACKETS / metrics["sim_seconds"] * 2e-6 / 2, rel=0.01)


def test_nic_only_drops_exactly_the_flows_that_came_too_late() -> None:
    expected, flow = alone()
    metrics, verdicts = run("nic-only", CONTEXTS)
    kept = flow < CONTEXTS
    assert 0 < (~kept).sum() < PACKETS
    assert (verdicts[~kept] == -1).all()
    assert (verdicts[kept] == expected[kept]).all()
    assert metrics["drops_nic"] == (~kept).sum()
    assert metrics["punts"] == metrics["pcie_bytes"] == metrics["lost_updates"] == 0
    metrics, verdicts = run("nic-only", FLOWS)
    assert (verdicts == expected).all()
    assert metrics["hit_rate"] == 1


def test_nic_only_drops_what_the_nic_cannot_run() -> None:
    source = make_generator({"model": "caida-like", "flows": FLOWS}, 0, 1_000)
    program = load_program("nf:token-bucket")  # needs a temporary, which the hardware has none of
    metrics = simulate(Setup(program, source, 64, protocol="nic-only", profile="netfpga-sume")).metrics
    assert metrics["drops_nic"] == 1_000
    assert metrics["punts"] == 0


def test_one_way_offload_keeps_the_first_flows_and_no_other() -> None:
    """Packets come one by one: a flow's first packet runs on the CPU, all later ones on the NIC, if it has a slot."""
    expected, flow = alone()
    metrics, verdicts = run("one-way", CONTEXTS)
    assert (verdicts == expected).all()
    later = np.arange(PACKETS) > np.unique(flow, return_index=True)[1][flow]
    assert metrics["hits"] == pytest.approx(((flow < CONTEXTS) & later).sum(), rel=0.002)
    assert metrics["promotions"] == CONTEXTS
    assert metrics["demotions"] == metrics["evictions"] == 0


def test_one_way_offload_loses_what_was_under_way() -> None:
    """At 20 M packets/s later packets of a flow are on the CPU when its copy reaches the NIC."""
    metrics, _ = run("one-way", CONTEXTS, "20Mpps")
    assert metrics["lost_updates"] > 0


def test_a_table_for_queues_that_the_engine_does_not_choose_is_refused(tmp_path: Path) -> None:
    text = protocol_path("cas").read_text(encoding="utf-8")
    file = tmp_path / "spread.yaml"
    file.write_text(text.replace("idea:", "steering: spread\nfences: every-queue\nidea:"), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"spread\.yaml:1:1: steering: got 'spread', expected 'home'"
    ) as told:
        TimedRun(Setup(load_program(PROGRAM), traffic("50kpps"), CONTEXTS, protocol=str(file)))
    assert "fences: got 'every-queue', expected 'one-queue'" in str(told.value)
    with pytest.raises(InputError, match=r"'cas-hold-queues' is not available in this version"):
        run("cas-hold-queues", CONTEXTS)


def test_a_table_that_keeps_outputs_back_where_the_engine_cannot_run_packets_first_is_refused(
    tmp_path: Path,
) -> None:
    text = protocol_path("output-commit").read_text(encoding="utf-8")
    rows = """      bounced:
        - {if: not changes-label, do: process-keep}
        - {if: changes-label, do: [process-keep, send wb]}
"""
    assert text.count(rows) == 1
    file = tmp_path / "apart.yaml"
    file.write_text(text.replace(rows, "      bounced: process-keep\n"), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"apart\.yaml:102:\d+: process-keep: got in state 'committing' of nic"
    ):
        TimedRun(Setup(load_program(PROGRAM), traffic("50kpps"), CONTEXTS, protocol=str(file)))

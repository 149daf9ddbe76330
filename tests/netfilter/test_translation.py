"""Translated rulesets against what the kernel did: the samples, and every case of the project."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from netfilter_harness import library
from netfilter_harness.case import Case, read_case, write_case
from netfilter_harness.compare import disagreements

from oppcache import cli
from oppcache.controller import parse_ruleset, topology_from, translate
from oppcache.controller.shell import MachineRunner, Sent, Shell, replay
from oppcache.controller.tables import Tables
from oppcache.opp import Machine

# What is still otherwise than in Linux, all of it beyond level ``rewrite``: flags and link addresses that the shell
# sets, and entries that the table shows for packets that are not tracked themselves.
BEYOND_REWRITE = {("fragments_tracked", 17), ("routing", 30)}
BEYOND_REWRITE |= {("ct_icmp_errors", i) for i in (7, 9, 15, 26)} | {("ct_udp_icmp", 24)}
BEYOND_REWRITE |= {("fragments_nat", 5), ("fragments_tracked", 3)}


# Run always; the others with --full.
FEW = {
    *(
        "ct_tcp_handshakes",
        "ct_tcp_window",
        "ct_icmp_errors",
        "ct_sctp",
        "ct_connlimit",
        "nat_dnat",
        "nat_snat_ranges",
    ),
    *(
        "real_container_host",
        "real_host_firewall",
        "match_conntrack",
        "stateful_hashlimit",
        "target_mark_routing",
    ),
    *("target_tcpmss", "time_udp", "tables_order", "fragments_nat"),
}


def answers(case: Case) -> list[dict]:
    topology = topology_from(case.topology)
    translation = translate(parse_ruleset(case.rules, case.name), topology)
    machine = Machine(translation.program)
    shell = Shell(topology, MachineRunner(machine), translation.reassemble)
    sent = [Sent(p.frame, p.iface, p.t, p.patch, p.reply_to) for p in case.packets]
    return [record for record, _ in replay(shell, sent, Tables(translation, machine).inspect)]


@pytest.mark.parametrize("name", library.names())
def test_every_packet_gets_what_the_kernel_gave(name: str, full: bool) -> None:
    if not full and name not in FEW:
        pytest.skip("one of many cases: with --full")
    case = library.load(name)
    got = answers(case)
    assert disagreements(case.packets, library.golden(name), got, "rewrite") == []
    wrong = disagreements(case.packets, library.golden(name), got, "full")
    assert [(i, text) for i, text in wrong if (name, i) not in BEYOND_REWRITE] == []


def test_the_samples_agree_wholly(samples: Sequence[Path], tmp_path: Path) -> None:
    for folder in samples:
        case = read_case(folder)
        want = [json.loads(line) for line in (folder / "expected.jsonl").read_text().splitlines()]
        got = replayed(folder, tmp_path / "answer.jsonl")
        assert disagreements(case.packets, want, got, "rewrite") == [], folder.name


def replayed(folder: Path, out: Path, *more: str) -> list[dict]:
    files = {
        "rules": "rules.v4",
        "topology": "topology.json",
        "packets": "packets.pcap",
        "sidecar": "packets.csv",
    }
    options = [word for name, file in files.items() for word in (f"--{name}", str(folder / file))]
    assert cli.call(["replay", *options, "--out", str(out), *more]) == 0
    return [json.loads(line) for line in out.read_text().splitlines()]


HYBRID = """
name: through-both
program: {nf: stateful-firewall}
traffic: {generator: {model: zipf, flows: 10}, packets: 10}
nic: {contexts: 3, profile: ideal}
cache: {eviction: lru}
"""


@pytest.mark.parametrize("name", ["ct_tcp_handshakes", "nat_snat", "real_home_router", "stateful_recent"])
def test_nic_and_cpu_answer_as_one_machine(name: str, tmp_path: Path) -> None:
    write_case(library.load(name), tmp_path)
    (tmp_path / "hybrid.yaml").write_text(HYBRID)
    alone = replayed(tmp_path, tmp_path / "alone.jsonl")
    assert replayed(tmp_path, tmp_path / "both.jsonl", "--hybrid", str(tmp_path / "hybrid.yaml")) == alone
    assert any(record.get("ct") for record in alone) or name == "stateful_recent"

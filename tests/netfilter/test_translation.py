"""``oppcache replay``: the samples wholly, and NIC and CPU against one machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from netfilter_harness import library
from netfilter_harness.case import read_case, write_case
from netfilter_harness.compare import disagreements

from oppcache import cli


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
nic: {contexts: 3}
cache: {eviction: lru}
"""


@pytest.mark.parametrize("name", ["ct_tcp_handshakes", "nat_snat", "real_home_router", "stateful_recent"])
def test_nic_and_cpu_answer_as_one_machine(name: str, tmp_path: Path) -> None:
    write_case(library.load(name), tmp_path)
    (tmp_path / "hybrid.yaml").write_text(HYBRID)
    alone = replayed(tmp_path, tmp_path / "alone.jsonl")
    assert replayed(tmp_path, tmp_path / "both.jsonl", "--hybrid", str(tmp_path / "hybrid.yaml")) == alone
    assert any(record.get("ct") for record in alone) or name == "stateful_recent"

"""The shell by itself, around a runner without OPP, against recorded answers."""

from __future__ import annotations

import json
from pathlib import Path

from netfilter_harness.case import Case, read_case
from netfilter_harness.compare import disagreements
from netfilter_harness.plain import PlainRunner

from oppcache.controller import Topology, load_topology
from oppcache.controller.shell import Shell, load_packets, replay, write_records


def through_the_shell(topology: Topology, case: Case, folder: Path) -> list[dict]:
    shell = Shell(topology, PlainRunner(topology, case.rules), reassemble=False)
    names = [i.name for i in topology.interfaces]
    return [
        record
        for record, _ in replay(shell, load_packets(folder / "packets.pcap", folder / "packets.csv", names))
    ]


def test_answers_of_reject_are_those_recorded(samples: list[Path], tmp_path: Path) -> None:
    folder = next(f for f in samples if f.name == "33_reject_variants")
    case = read_case(folder)
    want = [json.loads(line) for line in (folder / "expected.jsonl").read_text().splitlines()]
    got = through_the_shell(load_topology(folder / "topology.json"), case, folder)
    assert disagreements(case.packets, want, got, "full") == []
    assert [r["pkt"] for r in got] == [r["pkt"] for r in want]


def test_records_are_lines_of_json_and_the_capture_holds_what_left(
    samples: list[Path], tmp_path: Path
) -> None:
    folder = next(f for f in samples if f.name == "33_reject_variants")
    topology = load_topology(folder / "topology.json")
    shell = Shell(topology, PlainRunner(topology, (folder / "rules.v4").read_text()), reassemble=False)
    sent = load_packets(folder / "packets.pcap", folder / "packets.csv", topology.by_name)
    count = write_records(tmp_path / "o.jsonl", replay(shell, sent), tmp_path / "o.pcap")
    records = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert count == len(records) == len(sent)
    from netfilter_harness.case import read_pcap

    parts = [len(r.get(p, [])) for r in records for p in ("out", "local", "emitted")]
    assert len(read_pcap(tmp_path / "o.pcap")) == sum(parts) > 30

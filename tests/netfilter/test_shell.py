"""The shell by itself, around a runner without OPP, against recorded answers."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from netfilter_harness import library
from netfilter_harness.case import Case, read_case, read_pcap, write_pcap
from netfilter_harness.compare import disagreements
from netfilter_harness.plain import PlainRunner

from oppcache.controller import Topology, load_topology
from oppcache.controller.shell import Shell, load_packets, replay, write_records
from oppcache.controller.shell.fragments import fragments
from oppcache.controller.shell.packets import build
from oppcache.controller.shell.reassembly import Reassembler, Whole
from oppcache.controller.topology import topology_from
from oppcache.opp import InputError


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
    parts = [len(r.get(p, [])) for r in records for p in ("out", "local", "emitted")]
    assert len(read_pcap(tmp_path / "o.pcap")) == sum(parts) > 30


def router_alone() -> Topology:
    return topology_from(library.topology_of({"topology": "lan-dmz-wan"}))


def sidecar_errors(tmp_path: Path, text: str, frames: int = 2) -> str:
    write_pcap(tmp_path / "p.pcap", [(0.0, bytes(60))] * frames)
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        load_packets(tmp_path / "p.pcap", tmp_path / "p.csv", ["lan0", "wan0"])
    return str(caught.value)


HEAD = "i,iface,t,patch,reply_to,relax,note\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "has no column i, iface, t"),
        (HEAD + "0,lan0,0.0,,,,\n", "got 1 rows for the 2 packets"),
        (HEAD + "0,lan0,0.0,,,,\n1,lan1,0.0,,,,\n", "p.csv:3: iface: got 'lan1'"),
        (HEAD + "0,lan0,0.0,,,,\n1,lam0,0.0,,,,\n", "did you mean 'lan0'"),
        (HEAD + "0,lan0,soon,,,,\n1,lan0,0.0,,,,\n", "p.csv:2: t: got 'soon', expected seconds"),
        (HEAD + "0,lan0,0.0,,,,\n2,lan0,0.0,,,,\n", "p.csv:3: i: got '2', expected 1"),
        (HEAD + "0,lan0,0.0,,,,\n1,lan0,0.0,,1,,\n", "p.csv:3: reply_to: got '1'"),
        (HEAD + "0,lan0,0.0,{,,,\n1,lan0,0.0,,,,\n", "p.csv:2: patch: not JSON"),
        (HEAD + '0,lan0,0.0,"{""dprt"":""0.sport""}",,,\n1,lan0,0.0,,,,\n', "did you mean 'dport'"),
        (HEAD + '0,lan0,0.0,"{""dport"":""sport""}",,,\n1,lan0,0.0,,,,\n', 'expected such as "3.sport"'),
    ],
)
def test_what_is_wrong_with_a_sidecar_is_said(tmp_path: Path, text: str, said: str) -> None:
    assert said in sidecar_errors(tmp_path, text)


@given(
    st.integers(1, 3000),
    st.integers(68, 1500),
    st.lists(st.integers(68, 1500), max_size=2),
    st.randoms(use_true_random=False),
    st.sampled_from([0, 4, 12]),
)
def test_fragments_come_together_again_in_any_order(
    size: int, mtu: int, further: list[int], order: random.Random, options: int
) -> None:
    packet = build(
        17, b"\x0a\0\1\2", b"\x0a\0\1\3", bytes(i % 251 for i in range(size)), options=b"\1" * options
    )
    pieces = fragments(packet, mtu)
    for smaller in further:
        pieces = [piece for whole in pieces for piece in fragments(whole, smaller)]
    assert all(len(p) <= min(mtu, *further, 1500) for p in pieces)
    order.shuffle(pieces)
    reassembler = Reassembler()
    found = [reassembler.add(piece, 0.0) for piece in pieces]
    assert found[:-1] == ["held"] * (len(pieces) - 1)
    assert isinstance(found[-1], Whole)
    assert found[-1].packet[20:] == packet[20:]


@given(st.binary(max_size=120), st.booleans(), st.sampled_from(["lan0", "dmz0", "wan0"]))
def test_no_frame_stops_the_router(junk: bytes, own: bool, iface: str) -> None:
    topology = router_alone()
    shell = Shell(topology, PlainRunner(topology))
    packet = b"\x45" + junk
    mac = topology.by_name[iface].mac.to_bytes(6, "big")
    handled = (
        shell.send(packet, 0.0) if own else shell.receive(mac + bytes(6) + b"\x08\0" + packet, iface, 0.0)
    )
    assert handled.verdict in ("forwarded", "local", "rejected", "held", "dropped")

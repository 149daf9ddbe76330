"""Translated programs: the paper's stages, chains against a plain walk, changes of a running program."""

from __future__ import annotations

import ipaddress
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oppcache import cli
from oppcache.controller import load_translation, parse_ruleset, shipped_rulesets, topology_from, translate
from oppcache.controller.changes import apply, changes
from oppcache.controller.report import as_dict
from oppcache.controller.shell import MachineRunner, Shell
from oppcache.opp import InputError, Machine

ROUTER = topology_from(
    {
        "interfaces": [
            {"name": "lan0", "addr": ["10.0.1.1/24"], "mac": "02:ff:00:00:00:01"},
            {"name": "wan0", "addr": ["203.0.113.1/24"], "mac": "02:ff:00:00:00:02"},
        ],
        "routes": [{"dst": "0.0.0.0/0", "via": "203.0.113.254", "dev": "wan0"}],
    }
)


def udp(source: str, target: str, sport: int, dport: int) -> bytes:
    """A UDP frame that reaches the router on lan0, without a checksum."""
    body = struct.pack("!HHHH", sport, dport, 8, 0)
    ends = ipaddress.IPv4Address(source).packed + ipaddress.IPv4Address(target).packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 28, 1, 0, 64, 17, 0) + ends
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:]
    return bytes.fromhex("02ff00000001") + b"\x02\x00" + ends[:4] + b"\x08\x00" + head + body


def test_the_papers_block_has_seven_entries_and_its_functions_four_stages_and_one() -> None:
    facts = as_dict(load_translation("three-functions", conntrack="paper"))
    assert (facts["stateful_stages"], facts["stateless_stages"]) == (4, 1)
    stages = {s["name"]: s for s in facts["stages"]}
    assert stages["conntrack"]["entries"] == 7
    assert stages["conntrack"]["kind"] == "stateful"
    firewall = as_dict(load_translation("stateful-firewall", conntrack="paper"))
    assert (firewall["stateful_stages"], firewall["stateless_stages"]) == (1, 1)


@pytest.mark.parametrize("name", ["dynamic-nat", "load-balancer", "stateful-firewall", "three-functions"])
def test_shipped_rulesets_translate_with_both_blocks(name: str) -> None:
    assert name in shipped_rulesets()
    assert load_translation(name).conntrack == "linux"
    assert load_translation(name, conntrack="paper").conntrack == "paper"


def test_both_blocks_answer_the_papers_packets_alike(tmp_path: Path) -> None:
    answers = []
    for block in ("linux", "paper"):
        out = tmp_path / f"{block}.jsonl"
        files = ["--packets", "three-functions.pcap", "--sidecar", "three-functions.csv"]
        words = ["replay", "--rules", "three-functions", *files, "--out", str(out), "--conntrack", block]
        assert cli.call(words) == 0
        records = [json.loads(line) for line in out.read_text().splitlines()]
        answers.append([{k: v for k, v in r.items() if k != "ct"} for r in records])
    assert answers[0] == answers[1]
    assert {r["verdict"] for r in answers[0]} == {"forwarded", "dropped"}


def test_the_papers_block_says_what_it_cannot_do() -> None:
    text = "*mangle\n-A FORWARD -j MARK --set-mark 1\nCOMMIT\n*filter\n-A FORWARD -m conntrack --ctdir REPLY\nCOMMIT\n"
    with pytest.raises(InputError) as caught:
        translate(parse_ruleset(text), ROUTER, "paper")
    assert [(p.mark.line, "--conntrack linux" in p.message) for p in caught.value.problems] == [
        (2, True),
        (5, True),
    ]


def many(count: int, more: str = "") -> str:
    rules = [
        f"-A FORWARD -s 10.{i % 200}.{i // 200}.0/24 -p udp --dport {1000 + i} -j ACCEPT"
        for i in range(count)
    ]
    return "\n".join(["*filter", ":FORWARD DROP", "-A FORWARD -m state --state ESTABLISHED -j ACCEPT", *rules, more, "COMMIT\n"])  # fmt: skip


def verdict(machine: Machine, frame: bytes) -> str:
    return Shell(ROUTER, MachineRunner(machine)).receive(frame, "lan0", 0.0).verdict


def test_a_rule_appended_to_a_thousand_reaches_a_running_program_as_one_entry() -> None:
    old = translate(parse_ruleset(many(1000)), ROUTER).program
    rule = "-A FORWARD -s 10.0.1.2 -p udp --dport 9 -j ACCEPT"
    new = translate(parse_ruleset(many(1000, rule)), ROUTER).program
    todo = changes(old, new)
    assert todo is not None
    (change,) = [c for c in todo if "cut off" not in c.name]
    assert change.entry is not None
    assert change.name == "filter/FORWARD/1002"
    machine = Machine(old)
    frame = udp("10.0.1.2", "198.51.100.1", 5, 9)
    assert verdict(machine, frame) == "dropped"
    apply(machine, todo)
    assert verdict(machine, frame) == "forwarded"
    assert verdict(machine, udp("10.0.1.3", "198.51.100.1", 5, 9)) == "dropped"
    back = changes(machine.program, old)
    assert back is not None
    apply(machine, back)
    assert verdict(machine, frame) == "dropped"


def test_a_change_that_needs_another_stage_is_none_of_entries() -> None:
    old = translate(parse_ruleset(many(3)), ROUTER).program
    limited = "-A FORWARD -p udp -m limit --limit 1/s -j ACCEPT"
    assert changes(old, translate(parse_ruleset(many(3, limited)), ROUTER).program) is None
    assert changes(old, old) == []


# Chains against a walk as the kernel does it

CHAINS = ("a", "b", "c", "d")
PORTS = range(1, 5)


@st.composite
def chains(draw: st.DrawFn) -> dict[str, list[tuple[int, bool, str]]]:
    """FORWARD and user chains, each of which may only call those behind it: rules of (port, inverted, target)."""
    out = {}
    for i, name in enumerate(("FORWARD", *CHAINS)):
        verdicts = ["ACCEPT", "DROP", "RETURN", "mark 1", "mark 2"]
        targets = [*verdicts, *(f"{how} {c}" for c in CHAINS[i:] for how in ("-j", "-g"))]
        rule = st.tuples(st.sampled_from([*PORTS, 11, 12]), st.booleans(), st.sampled_from(targets))
        out[name] = draw(st.lists(rule, max_size=4))
    return out


def as_text(found: dict[str, list[tuple[int, bool, str]]]) -> str:
    lines = ["*mangle", ":FORWARD DROP", *(f":{name} -" for name in CHAINS)]
    for name, rules in found.items():
        for port, inverted, target in rules:
            no = "! " if inverted else ""
            # Ports above 10 are marks.
            what = f"-m mark {no}--mark {port - 10}" if port > 10 else f"-p udp {no}--dport {port}"
            does = f"-j MARK --set-mark {target[-1]}" if target.startswith("mark") else target
            does = f"-j {does}" if does in ("ACCEPT", "DROP", "RETURN") else does
            lines.append(f"-A {name} {what} {does}")
    return "\n".join([*lines, "COMMIT\n"])


def walk(found: dict[str, list[tuple[int, bool, str]]], port: int) -> tuple[str, int]:
    """Verdict and mark of a packet, one rule after the other, with a stack of places to return to."""
    mark, stack = 0, [("FORWARD", 0)]
    while stack:
        name, at = stack.pop()
        if at == len(found[name]):
            continue
        wanted, inverted, target = found[name][at]
        hit = (mark == wanted - 10 if wanted > 10 else port == wanted) != inverted
        here = (name, at + 1)
        if not hit:
            stack.append(here)
        elif target in ("ACCEPT", "DROP"):
            return target, mark
        elif target.startswith("mark"):
            mark = int(target[-1])
            stack.append(here)
        elif target.startswith("-j"):
            stack += [here, (target[3:], 0)]
        elif target.startswith("-g"):
            stack.append((target[3:], 0))
    return "DROP", mark


@settings(max_examples=40, deadline=None)
@given(chains())
def test_chains_decide_as_a_walk_does(found: dict[str, list[tuple[int, bool, str]]]) -> None:
    machine = Machine(translate(parse_ruleset(as_text(found)), ROUTER).program)
    shell = Shell(ROUTER, MachineRunner(machine))
    for port in (*PORTS, 9):
        handled: Any = shell.receive(udp("10.0.1.2", "198.51.100.1", 5, port), "lan0", 0.0)
        want, mark = walk(found, port)
        assert handled.verdict == ("forwarded" if want == "ACCEPT" else "dropped"), as_text(found)
        if want == "ACCEPT":
            assert handled.out[0].mark == mark, as_text(found)

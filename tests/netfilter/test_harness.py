"""The harness itself: against answers that others recorded, and whether it cleans up and can fail."""

from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from netfilter_harness.case import Case, Packet, read_case, write_case
from netfilter_harness.compare import agreed_within, disagreements
from netfilter_harness.kernel import ask


def recorded(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "expected.jsonl").read_text().splitlines()]


def namespaces() -> set[str]:
    return set(subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout.split("\n"))


@pytest.mark.usefixtures("netns")
def test_samples_agree_wholly_with_what_others_recorded(samples: list[Path]) -> None:
    for folder in samples:
        case, want = read_case(folder), recorded(folder)
        got: list[Any] = []

        def differences(case: Case = case, want: list[Any] = want, got: list[Any] = got) -> list[Any]:
            got[:] = ask(case)
            return disagreements(case.packets, want, got, "full")

        assert agreed_within(3, differences) == [], folder.name
        for w, g in zip(want, got, strict=True):
            assert sorted(w["hits"]) == sorted(g["hits"]), f"{folder.name} #{w['i']}"


@pytest.mark.usefixtures("netns")
def test_namespaces_go_even_when_the_ruleset_is_refused(samples: list[Path]) -> None:
    case = read_case(samples[0])
    before = namespaces()
    with pytest.raises(RuntimeError, match="iptables-legacy-restore"):
        ask(Case(case.name, "*filter\n-A NOWHERE -j ACCEPT\nCOMMIT\n", case.topology, case.packets))
    ask(case)
    assert namespaces() == before


def test_a_changed_answer_is_a_disagreement(samples: list[Path]) -> None:
    changes = 0
    for folder in samples:
        case, want = read_case(folder), recorded(folder)
        assert disagreements(case.packets, want, want, "full") == []
        for i, record in enumerate(want):
            for part in ("out", "local", "emitted"):
                for name in ("dst", "sport", "icmp_code"):
                    if name not in record.get(part, [{}])[0] or f"{part}.{name}" in case.packets[i].relax:
                        continue
                    got = copy.deepcopy(want)
                    got[i][part][0][name] = "changed"
                    assert [k for k, _ in disagreements(case.packets, want, got)] == [i]
                    changes += 1
    assert changes > 500


def test_relaxed_fields_take_what_they_say_and_nothing_else() -> None:
    packet = Packet(b"", "lan0", 0.0, relax={"out.sport": [1024, 65535], "out.dst": ["10.0.0.1", "10.0.0.9"]})
    same = Packet(b"", "lan0", 0.0, relax={"out.sport": "=0"})

    def record(sport: int, dst: str) -> dict:
        return {"verdict": "forwarded", "pkt": "", "out": [{"sport": sport, "dst": dst}]}

    want = [record(2000, "10.0.0.1")] * 2
    good = [record(4000, "10.0.0.9"), record(4000, "10.0.0.1")]
    assert disagreements([packet, same], want, good) == []
    bad = [record(1000, "10.0.0.10"), record(1001, "10.0.0.1")]
    found = sorted((i, text.split(":")[0]) for i, text in disagreements([packet, same], want, bad))
    assert found == [(0, "out.dst"), (0, "out.sport"), (1, "out.sport")]


def test_a_case_comes_back_from_its_files(samples: list[Path], tmp_path: Path) -> None:
    for folder in samples:
        case = read_case(folder)
        write_case(case, tmp_path / folder.name)
        again = read_case(tmp_path / folder.name)
        assert (again.rules, again.topology, list(again.packets)) == (
            case.rules,
            case.topology,
            list(case.packets),
        )

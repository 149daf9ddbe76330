"""Translated rulesets against the kernel, packet by packet: recorded cases, samples, and random ones."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from netfilter_harness import library
from netfilter_harness.case import read_case
from netfilter_harness.compare import disagreements
from netfilter_harness.kernel import ask
from netfilter_harness.random_cases import cases
from netfilter_harness.translated import answers

NAMES = library.names()
ROW = re.compile(r"^\| `(\w+)` \| ([\d, ]+) \|", re.MULTILINE)
# Random cases and their packets: how often the kernel is asked by default, and with --full.
FEW, MANY = 12, 1500


@pytest.fixture(scope="session")
def known(checkout: Path) -> dict[str, set[int]]:
    """Packets of cases that the guide says do not agree."""
    text = (checkout / "docs" / "netfilter.md").read_text()
    return {name: {int(n) for n in numbers.split(",")} for name, numbers in ROW.findall(text)}


@pytest.mark.parametrize("name", NAMES)
def test_a_translated_ruleset_does_what_the_kernel_did(name: str, known: dict[str, set[int]]) -> None:
    case = library.load(name)
    found = disagreements(case.packets, library.golden(name), answers(case))
    listed = known.get(name, set())
    assert [text for i, text in found if i not in listed] == []
    assert {i for i, _ in found} == listed, "the guide lists packets that agree"


def test_nearly_all_packets_agree_and_the_guide_lists_the_rest(known: dict[str, set[int]]) -> None:
    assert set(known) <= set(NAMES)
    packets = sum(len(library.golden(name)) for name in NAMES)
    assert sum(map(len, known.values())) <= 0.005 * packets


def test_samples_agree_wholly(samples: list[Path]) -> None:
    for folder in samples:
        case = read_case(folder)
        want = [json.loads(line) for line in (folder / "expected.jsonl").read_text().splitlines()]
        assert disagreements(case.packets, want, answers(case)) == [], folder.name


@pytest.mark.usefixtures("netns")
def test_random_rulesets_do_what_the_kernel_does(full: bool) -> None:
    @settings(
        max_examples=MANY if full else FEW,
        deadline=None,
        database=None,
        derandomize=not full,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases())
    def agree(text: str) -> None:
        case = library.parse("random", text)
        want, got = ask(case), answers(case)
        found = disagreements(case.packets, want, got)
        if found:
            # What the kernel chooses anew each time, such as a port, is free.
            free = {i for i, _ in disagreements(case.packets, want, ask(case))}
            found = [(i, difference) for i, difference in found if i not in free]
        note(text)
        assert found == []

    agree()

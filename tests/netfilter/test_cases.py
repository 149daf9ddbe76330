"""The project's cases: whether the kernel still says what was recorded, and whether they cover what they should."""

from __future__ import annotations

import pytest
from netfilter_harness import library
from netfilter_harness.compare import agreed_within, disagreements
from netfilter_harness.kernel import ask

NAMES = library.names()


@pytest.mark.usefixtures("netns")
@pytest.mark.parametrize("name", NAMES)
def test_the_kernel_says_what_was_recorded(name: str, full: bool) -> None:
    case = library.load(name)
    if "realtime" in case.tags and not full:
        pytest.skip("waits for seconds: with --full")
    found = agreed_within(3, lambda: disagreements(case.packets, library.golden(name), ask(case), "full"))
    assert found == []


def test_there_are_cases_enough_and_each_has_its_answers() -> None:
    assert len(NAMES) >= 60
    assert sum(name.startswith("real_") for name in NAMES) >= 4
    for name in NAMES:
        assert len(library.golden(name)) == len(library.load(name).packets), name

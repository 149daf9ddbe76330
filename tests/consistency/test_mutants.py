"""Slips in one row of ``cas-hold.yaml`` are found; consistency/mutant_ladder.py tries them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from oppcache.consistency import load_protocol
from oppcache.consistency.checker import Model
from oppcache.consistency.mutant_ladder import LADDER, Ladder, Outcome, in_words, read_results
from oppcache.consistency.mutant_page import page, sort_out
from oppcache.consistency.mutants import mutants
from oppcache.opp.yaml_source import load_yaml

DOCS = Path(__file__).parents[2] / "docs"
RESULTS = Path(__file__).with_name("row_mutants")


def test_mutants_change_one_row_each_and_differ() -> None:
    protocol = load_protocol("cas-hold")
    names = [mutant.name for mutant in mutants(protocol)]
    assert len(names) == len(set(names)) > 300


@pytest.mark.parametrize(
    ("place", "change"),
    [
        (("nic", "holding", "install"), "without guard drained"),
        (("nic", "watched", "packet"), "without count"),
        (("cpu", "owns", "punt-absent"), "without process"),
    ],
)
def test_a_slip_in_one_row_is_found(place: tuple[str, str, str], change: str) -> None:
    protocol = load_protocol("cas-hold")
    mutant = next(m for m in mutants(protocol) if (m.place, m.change) == (place, change))
    ladder = Ladder(protocol, (Model(packets=1, promotions=1), Model(packets=2, promotions=1, lossy=True)))
    outcome = ladder.climb(mutant)
    assert outcome.how == "caught"
    assert outcome.steps > 1
    assert Outcome.of_line(outcome.line()) == outcome


def test_every_slip_is_found_or_explained_and_the_page_says_so() -> None:
    names = [mutant.name for mutant in mutants(load_protocol("cas-hold"))]
    outcomes = read_results(RESULTS / "cas-hold.tsv", "cas-hold")
    assert [outcome.mutant for outcome in outcomes] == names
    done = sort_out(outcomes, load_yaml(RESULTS / "reasons-cas-hold.yaml"))
    assert not done.unexplained
    assert len(done.found) >= 0.95 * (len(names) - len(done.equivalent))
    made = page("cas-hold", RESULTS / "cas-hold.tsv", RESULTS / "reasons-cas-hold.yaml")
    assert (DOCS / "row-mutants.md").read_text(encoding="utf-8") == made


def test_what_was_found_is_found_again(full: bool) -> None:
    if not full:
        pytest.skip("every slip that a small model finds: --full")
    protocol = load_protocol("cas-hold")
    small = LADDER[:12]
    ladder, known = Ladder(protocol, small), set(map(in_words, small))
    found = {o.mutant: o for o in read_results(RESULTS / "cas-hold.tsv", "cas-hold") if o.model in known}
    for mutant in mutants(protocol):
        if mutant.name in found:
            assert ladder.climb(mutant).how == "caught", mutant.name

"""Slips in one row of ``cas-hold.yaml`` are found; consistency/mutant_ladder.py tries them all."""

from __future__ import annotations

import pytest

from oppcache.consistency import load_protocol
from oppcache.consistency.checker import Model
from oppcache.consistency.mutant_ladder import Ladder, Outcome
from oppcache.consistency.mutants import mutants


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

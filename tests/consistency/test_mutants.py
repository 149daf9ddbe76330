"""Slips in one row of ``cas-hold.yaml`` are found; consistency/mutant_ladder.py tries them all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from oppcache.consistency import load_protocol
from oppcache.consistency.checker import Model
from oppcache.consistency.mutant_ladder import LADDER, Ladder, Outcome, in_words, read_results
from oppcache.consistency.mutant_page import page, sort_out
from oppcache.consistency.mutants import Mutant, mutants
from oppcache.consistency.table import Protocol, Row
from oppcache.opp.yaml_source import load_yaml

DOCS = Path(__file__).parents[2] / "docs"
RESULTS = Path(__file__).with_name("row_mutants")


@pytest.mark.parametrize("name", ["cas-hold", "cas-hold-queues", "write-through"])
def test_mutants_change_one_row_each_and_differ(name: str) -> None:
    protocol = load_protocol(name)
    made = list(mutants(protocol))
    names = [mutant.name for mutant in made]
    assert len(names) == len(set(names)) > (300 if name.startswith("cas") else 20)
    for mutant in made:
        assert replace(mutant.protocol, roles=protocol.roles) == protocol
        old, new = changed_row(protocol, mutant)
        edits = [old.guards != new.guards, old.actions != new.actions, old.next != new.next]
        assert sum(edits) == 1, mutant.name
        assert len(old.guards) - len(new.guards) == edits[0] == mutant.widens
        assert len(old.actions) - len(new.actions) == edits[1]
        assert replace(new, guards=old.guards, actions=old.actions, next=old.next) == old


def changed_row(protocol: Protocol, mutant: Mutant) -> tuple[Row, Row]:
    """The one row in which a mutant's table differs, wherever states share it, as it was and as it is."""
    found: list[tuple[str, Row, Row]] = []
    for side, role in protocol.roles.items():
        other = mutant.protocol.roles[side]
        assert replace(other, states=role.states) == role
        assert list(other.states) == list(role.states)
        for name, state in role.states.items():
            assert replace(other.states[name], cells=state.cells) == state
            assert list(other.states[name].cells) == list(state.cells)
            for event, rows in state.cells.items():
                changed = other.states[name].cells[event]
                if changed == rows:
                    continue
                was, others = split(rows, mutant.row)
                now, same = split(changed, mutant.row)
                assert others == same
                assert len(was) == len(now) == 1
                found.append((side, was[0], now[0]))
    assert found, mutant.name
    assert all(one == found[0] for one in found)
    assert found[0][0] == mutant.place[0]
    return found[0][1:]


def split(rows: tuple[Row, ...], place: Row) -> tuple[list[Row], list[Row]]:
    """Rows that stand in the file where this one does, and the others."""
    return [row for row in rows if row.mark == place.mark], [row for row in rows if row.mark != place.mark]


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

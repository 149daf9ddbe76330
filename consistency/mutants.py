"""Single-row mutants of a protocol: what a slip in its table would be, for the checker to find.

``python -m oppcache.consistency.mutants cas-hold OUT.txt [PART PARTS]`` tries them all and writes the list.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from oppcache.opp.errors import Mark

from .checker import Model, check
from .library import load_protocol
from .lower import lower_with_places
from .table import Protocol, Row, State

_LOSSY = Model(lossy=True)
# Tried in this order; what one finds the others need not.
MODELS = (
    _LOSSY.but(packets=1, promotions=1, demotions=1),
    _LOSSY.but(packets=2, promotions=1, demotions=1),
    _LOSSY.but(packets=1, promotions=1, ring_drops=1),
    _LOSSY.but(packets=1, promotions=1, cpu_crashes=1),
    _LOSSY.but(packets=1, promotions=1, nic_crashes=1),
    _LOSSY.but(packets=1, promotions=2, demotions=1),
)
# What the first let pass: slower, and only worth it for a row that is taken here or matches more than before.
MORE_MODELS = (
    _LOSSY.but(packets=3, promotions=1),
    _LOSSY.but(packets=2, promotions=1, demotions=1, cpu_crashes=1),
    _LOSSY.but(packets=2, promotions=1, demotions=1, nic_crashes=1),
    _LOSSY.but(packets=1, promotions=1, cpu_crashes=2),
)
STATES_MAX = 1_500_000


@dataclass(frozen=True)
class Mutant:
    """A protocol with one row changed.

    Attributes:
        place: role, state and event of the row.
        mark: of the row.
        change: what was done to it, in words.
        widens: whether the row now matches more than before.
    """

    protocol: Protocol
    place: tuple[str, str, str]
    mark: Mark
    change: str
    widens: bool

    @property
    def name(self) -> str:
        """One line that says which it is."""
        return f"line {self.mark.line}, {' '.join(self.place)}: {self.change}"


def mutants(protocol: Protocol) -> Iterator[Mutant]:
    """Every mutant: a guard dropped, an action dropped, another next state.

    A row that other states share (``like``, ``every``) changes in all of them. One that lost a guard is tried
    before the other rows of its cell, as it would otherwise only match where none of them does.
    """
    seen: set[Mark] = set()
    for place in lower_with_places(protocol)[1]:
        row, role = place.row, place.role
        if row.mark in seen:
            continue
        seen.add(row.mark)
        for change, changed, widens in _changes(row, place.state, list(protocol.roles[role].states)):
            mutated = _with_row(protocol, role, row, changed, first=widens)
            yield Mutant(mutated, (role, place.state, place.event), row.mark, change, widens)


def _changes(row: Row, state: str, states: list[str]) -> Iterator[tuple[str, Row, bool]]:
    for name, wanted in row.guards.items():
        left = {guard: value for guard, value in row.guards.items() if guard != name}
        yield f"without guard {'' if wanted else 'not '}{name}", replace(row, guards=left), True
    for i, action in enumerate(row.actions):
        left_over = row.actions[:i] + row.actions[i + 1 :]
        yield f"without {action}", replace(row, actions=left_over), False
    if row.next and row.next != state:
        yield "stays", replace(row, next=""), False
    elif not row.impossible:
        other = states[0] if state != states[0] else states[1]
        yield f"next {other}", replace(row, next=other), False


def _with_row(protocol: Protocol, role: str, old: Row, new: Row, first: bool) -> Protocol:
    states = {}
    for name, state in protocol.roles[role].states.items():
        cells = {event: _swapped(rows, old, new, first) for event, rows in state.cells.items()}
        states[name] = State(state.name, state.doc, state.owns, state.context, state.timer, cells, state.mark)
    roles = {**protocol.roles, role: replace(protocol.roles[role], states=states)}
    return replace(protocol, roles=roles)


def _swapped(rows: tuple[Row, ...], old: Row, new: Row, first: bool) -> tuple[Row, ...]:
    if not any(row.mark == old.mark for row in rows):
        return rows
    if first:
        return (new, *(row for row in rows if row.mark != old.mark))
    return tuple(new if row.mark == old.mark else row for row in rows)


def taken_in(protocol: Protocol, models: tuple[Model, ...]) -> list[set[Mark]]:
    """For each model, the places of the rows that the right protocol takes there."""
    places = lower_with_places(protocol)[1]
    found = []
    for model in models:
        fired = check(protocol, model).fired
        found.append({place.row.mark for place, yes in zip(places, fired, strict=False) if yes})
    return found


def caught(mutant: Mutant, models: tuple[Model, ...], taken: list[set[Mark]]) -> str:
    """How a mutant is found: a property; ``never`` where no model takes its row, ``""`` where it survives."""
    looked = False
    for model, rows in zip(models, taken, strict=True):
        if mutant.mark not in rows and not mutant.widens:
            continue
        looked = True
        verdict = check(mutant.protocol, model, states_max=STATES_MAX)
        if verdict.violated:
            return verdict.violated[0]
        if verdict.missing():
            return verdict.missing()[0]
        if not verdict.complete:
            return "the states grow without end"
    return "" if looked else "never"


def try_all(
    name: str, models: tuple[Model, ...], part: int = 0, parts: int = 1
) -> Iterator[tuple[Mutant, str]]:
    """Every mutant of a shipped protocol (or every one in ``parts``) with how it is found."""
    protocol = load_protocol(name)
    taken = taken_in(protocol, models)
    for number, mutant in enumerate(mutants(protocol)):
        if number % parts == part:
            yield mutant, caught(mutant, models, taken)


if __name__ == "__main__":
    with Path(sys.argv[2]).open("w", encoding="utf-8") as out:
        for found, how in try_all(sys.argv[1], MODELS, *map(int, sys.argv[3:])):
            out.write(f"{found.name}\t{how}\n")
            out.flush()

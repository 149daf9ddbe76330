"""Single-row mutants of a protocol: what a slip in its table would be, for the checker to find.

:mod:`.mutant_ladder` tries them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from oppcache.opp.errors import Mark

from .lower import lower_with_places
from .table import Protocol, Row, State


@dataclass(frozen=True)
class Mutant:
    """A protocol with one row changed.

    Attributes:
        place: role, state and event of the row.
        row: as it was.
        change: what was done to it, in words.
        widens: whether the row now matches more than before.
    """

    protocol: Protocol
    place: tuple[str, str, str]
    row: Row
    change: str
    widens: bool

    @property
    def name(self) -> str:
        """One line that says which it is: side, state, event, the row's guards, and what was done to it."""
        guards = self.row.when
        return f"{' '.join(self.place)}{guards and f' [{guards}]'}: {self.change}"


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
            yield Mutant(mutated, (role, place.state, place.event), row, change, widens)


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

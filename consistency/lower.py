"""A protocol's tables as arrays: what the kernels of simulator, model checker and live processes read.

A new protocol is new numbers in the same arrays, so nothing is compiled for it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .checks import can_meet
from .table import Protocol, Role, Row, State
from .vocabulary import ACTION, ACTION_MESSAGE, EVENT, EVENT_NAMES, EVENTS, GUARD, ROLES, TIMERS

CELL_DTYPE = np.dtype([("first", np.int32), ("rows", np.int32)])  # rows -1: impossible, 0: ignored
ROW_DTYPE = np.dtype(
    [
        ("mask", np.int64),  # guards that the row looks at
        ("value", np.int64),  # what they must be
        ("first", np.int32),  # its actions
        ("actions", np.int32),
        ("next", np.int32),  # state; -1: the row is impossible
    ],
    align=True,
)
STATE_DTYPE = np.dtype(
    [
        ("owns", np.int32),
        ("context", np.int32),
        ("timer", np.int32),  # index in TIMERS; 0: none
        # What becomes of a packet here: 0, the table says; PROCESSES, it is run, and nothing else happens;
        # PROCESSES_FIRST, it is run in any case.
        ("running", np.int32),
        ("exists", np.int32),
    ]
)
PROCESSES, PROCESSES_FIRST = 1, 2
ROLE_DTYPE = np.dtype([("start", np.int32), ("restart", np.int32), ("states", np.int32)])


class ProtocolArrays(NamedTuple):
    """A lowered protocol.

    Attributes:
        cells: [role, state, event] of CELL_DTYPE.
        rows: ROW_DTYPE; the first of a cell's rows whose masked guards equal its value is taken.
        actions: int32, action code + ACTION_MESSAGE * (message code + 1).
        states: [role, state] of STATE_DTYPE.
        roles: [role] of ROLE_DTYPE.
    """

    cells: np.ndarray
    rows: np.ndarray
    actions: np.ndarray
    states: np.ndarray
    roles: np.ndarray


class RowPlace(NamedTuple):
    """Where a lowered row comes from."""

    role: str
    state: str
    event: str
    row: Row


def lower(protocol: Protocol) -> ProtocolArrays:
    """Lower a checked protocol."""
    return lower_with_places(protocol)[0]


def lower_with_places(protocol: Protocol) -> tuple[ProtocolArrays, list[RowPlace]]:
    """The same with the origin of every lowered row, for coverage and explanations."""
    widest = max(len(role.states) for role in protocol.roles.values())
    cells = np.zeros((2, widest, EVENTS), CELL_DTYPE)
    cells["rows"] = -1
    states = np.zeros((2, widest), STATE_DTYPE)
    roles = np.zeros(2, ROLE_DTYPE)
    rows: list[tuple[int, int, int, int, int]] = []
    actions: list[int] = []
    places: list[RowPlace] = []
    for r, name in enumerate(ROLES):
        role = protocol.roles[name]
        roles[r] = (role.number(role.start), role.number(role.restart), len(role.states))
        for s, state in enumerate(role.states.values()):
            timer = TIMERS.index(state.timer)
            states[r, s] = (state.owns, state.context, timer, running(state), 1)
            for event, found in state.cells.items():
                if not can_meet(role, state, event):
                    continue
                whole = len(found) == 1 and found[0].impossible and not found[0].guards
                cells[r, s, EVENT[event]] = (len(rows), -1 if whole else len(found))
                for row in () if whole else found:
                    rows.append(_row(role, s, row, len(actions)))
                    actions += [action_code(action) for action in row.actions]
                    places.append(RowPlace(name, state.name, event, row))
    lowered = ProtocolArrays(
        cells, np.array(rows, ROW_DTYPE), np.array(actions or [0], np.int32), states, roles
    )
    return lowered, places


def _row(role: Role, state: int, row: Row, first: int) -> tuple[int, int, int, int, int]:
    mask = sum(1 << GUARD[name] for name in row.guards)
    value = sum(1 << GUARD[name] for name, wanted in row.guards.items() if wanted)
    after = role.number(row.next) if row.next else state
    return mask, value, first, len(row.actions), -1 if row.impossible else after


def action_code(action: str) -> int:
    """Code of an action as in a file."""
    verb, _, message = action.partition(" ")
    return ACTION[verb] + (ACTION_MESSAGE * (EVENT[message] + 1) if message else 0)


def running(state: State) -> int:
    """Whether a state runs a packet whatever the guards say: 0, :data:`PROCESSES` or :data:`PROCESSES_FIRST`."""
    rows = state.cells.get("packet", ())
    if _what(state.cells.get("bounced", rows)) != _what(rows):
        return 0  # the two are told apart
    if len(rows) == 1 and rows[0].actions == ("process",) and not rows[0].guards and not rows[0].next:
        return PROCESSES
    first = {row.actions[:1] for row in rows}
    return PROCESSES_FIRST if first and first <= {("process",), ("process-keep",)} else 0


def _what(rows: tuple[Row, ...]) -> list[tuple[object, ...]]:
    """What a cell says, wherever it stands."""
    return [(row.guards, row.actions, row.next, row.impossible) for row in rows]


def event_name(code: int) -> str:
    """Name of an event or message."""
    return EVENT_NAMES[code]

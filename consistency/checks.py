"""What a protocol must be as a whole: complete, unambiguous, well typed, without states that nothing reaches."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from oppcache.opp.errors import Mark, Problems

from .table import Protocol, Role, Row, State
from .vocabulary import (
    COMMANDS_MAX,
    EVENT,
    EXCLUSIVE,
    LOCAL_EVENTS,
    MESSAGES,
    ONLY_CPU,
    ONLY_NIC,
    PACKET_ACTIONS,
    PACKET_EVENTS,
    READS,
    ROLES,
    TAG_FIELDS,
)

_MESSAGES = {message.name: message for message in MESSAGES}
_PACKETS = {event.name for event in PACKET_EVENTS}
_PUNTS = ("punt-absent", "punt-watched", "punt-departed")


def check(protocol: Protocol, problems: Problems) -> None:
    """Record every problem of a protocol as a whole."""
    for role in protocol.roles.values():
        possible = set(possible_events(protocol, role))
        for state in role.states.values():
            _check_cells(protocol, role, state, possible, problems)
        _check_reachable(role, problems)


def possible_events(protocol: Protocol, role: Role) -> Iterator[str]:
    """Names of the events that a side can meet: its own, and the messages that the other side sends."""
    other = ROLES[1 - ROLES.index(role.name)]
    sent, used = protocol.sent(other), protocol.used(other)
    mentioned = {event for state in role.states.values() for event in state.cells}
    for event in EVENT:
        if event in _MESSAGES:
            if event in sent:
                yield event
        elif event not in LOCAL_EVENTS[ROLES.index(role.name)]:
            continue
        elif event in _PUNTS:
            if event in used or (event == "punt-watched" and "flush" in used):
                yield event
        elif event in ("packet", "want-promote", "want-evict", "timeout") or event in mentioned:
            yield event


def can_meet(role: Role, state: State, event: str) -> bool:
    """Whether an event that the side can meet can come in this state."""
    if event in ("want-evict", "unrunnable"):
        return state.owns
    if event == "timeout":
        return state.timer != "none"
    if event == "reclaim":
        return not state.context and state.name != role.start
    return True


def _check_cells(
    protocol: Protocol, role: Role, state: State, possible: set[str], problems: Problems
) -> None:
    where = f"{role.name} state {state.name!r}"
    for event in EVENT:
        if event in possible and can_meet(role, state, event) and event not in state.cells:
            problems.add(f"{where} has no cell for {event!r}: give rows, ignore or impossible", state.mark)
    for event, rows in state.cells.items():
        mark = next((row.mark for row in rows if row.mark.line), state.mark)
        if event not in possible:
            _explain_not_possible(protocol, role, event, mark, problems)
            continue
        _check_rows(rows, f"{where}, event {event!r}", mark, problems)
        for row in rows:
            _check_types(role, event, row, problems)


def _explain_not_possible(protocol: Protocol, role: Role, event: str, mark: Mark, problems: Problems) -> None:
    if event in _MESSAGES:
        other = ROLES[1 - ROLES.index(role.name)].upper()
        why = f"the {other} never sends it"
        if ROLES.index(role.name) not in _MESSAGES[event].to:
            why = f"it is a message to the {other}"
    elif event in _PUNTS and role.name == "cpu":
        why = "the NIC never punts a packet so"
    else:
        why = f"it is no event of the {role.name.upper()}"
    problems.add(f"{role.name}: a cell for {event!r}, but {why}", mark)


def _check_rows(rows: tuple[Row, ...], where: str, mark: Mark, problems: Problems) -> None:
    """Every combination of the guards that the cell names has exactly one row."""
    if not rows:
        return
    last = [row for row in rows if row.otherwise]
    if len(last) > 1 or (last and not rows[-1].otherwise):
        problems.add(f"{where}: one row may say 'otherwise', the last", last[0].mark)
        return
    plain = [row for row in rows if not row.otherwise]
    names = sorted({name for row in plain for name in row.guards})
    for values in product((True, False), repeat=len(names)):
        truth = dict(zip(names, values, strict=True))
        if any(truth.get(a) and truth.get(b) for a, b in EXCLUSIVE):
            continue
        matching = [row for row in plain if all(truth[name] == wanted for name, wanted in row.guards.items())]
        said = ", ".join(name if value else f"not {name}" for name, value in truth.items()) or "always"
        if len(matching) > 1:
            first = matching[0].mark
            problems.add(
                f"{where}: this row and the one at line {first.line} both match ({said})", matching[1].mark
            )
            return
        if not matching and not last:
            problems.add(f"{where}: no row for: {said}", mark)
            return


def _check_types(role: Role, event: str, row: Row, problems: Problems) -> None:
    """Guards and actions fit the event and the side."""
    fields = _MESSAGES[event].fields if event in _MESSAGES else TAG_FIELDS.get(event, ())
    for name in [*row.guards, *row.actions]:
        needed = READS.get(name)
        if needed is not None and needed not in fields:
            problems.add(f"{name!r} reads the message's {needed}, which {event!r} does not carry", row.mark)
    for action in row.actions:
        verb, _, message = action.partition(" ")
        if verb in (ONLY_NIC if role.name == "cpu" else ONLY_CPU):
            problems.add(f"{verb!r} is nothing that the {role.name.upper()} can do", row.mark)
        if message and 1 - ROLES.index(role.name) not in _MESSAGES[message].to:
            problems.add(f"{action!r}: the {role.name.upper()} cannot send itself a {message}", row.mark)
        if verb == "take-context" and not (event in _MESSAGES and _MESSAGES[event].context):
            problems.add(f"'take-context': no context travels with {event!r}", row.mark)
        if message and _MESSAGES[message].echo and event not in _MESSAGES:
            problems.add(f"{action!r} answers a message, and {event!r} is none", row.mark)
    about_packet = [action for action in row.actions if action in PACKET_ACTIONS]
    if event in _PACKETS and not row.impossible and len(about_packet) != 1:
        got = ", ".join(about_packet) or "nothing"
        known = ", ".join(sorted(PACKET_ACTIONS))
        problems.add(f"{event!r}: got {got} to do with the packet, expected one of {known}", row.mark)
    if event not in _PACKETS and about_packet:
        problems.add(f"{about_packet[0]!r} needs a packet, and {event!r} brings none", row.mark)
    if len(row.actions) > COMMANDS_MAX:
        problems.add(f"{len(row.actions)} actions in a row, at most {COMMANDS_MAX}", row.mark)


def _check_reachable(role: Role, problems: Problems) -> None:
    seen, open_ = set(), [role.start, role.restart]
    while open_:
        name = open_.pop()
        if name in seen or name not in role.states:
            continue
        seen.add(name)
        open_ += [row.next for rows in role.states[name].cells.values() for row in rows if row.next]
    for name, state in role.states.items():
        if name not in seen:
            problems.add(f"{role.name} state {name!r} cannot be reached from {role.start!r}", state.mark)

"""What a table reads: which fields of messages, which variables in which state, which messages can still matter.

All of it is worked out from the rows, so that a changed table (a user's, a mutant) changes it too. It makes the
state space smaller without changing what can happen: a field that no row reads is not stored, a variable that is
overwritten before it is read is zero, a control message that can never again do anything is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..lower import RowPlace
from ..table import Protocol, Role, Row
from ..vocabulary import EVENT, EVENTS, MESSAGES, READS, ROLES

_MESSAGES = {message.name: message for message in MESSAGES}
FIELDS = ("g", "r", "n", "incarnation", "version", "context")
VARIABLES = ("g", "r", "n", "q", "context")
_GUARD_READS = {
    "g-current": "g",
    "g-newer": "g",
    "reset": "g",
    "same-incarnation": "g",
    "r-current": "r",
    "r-newer": "r",
    "n-current": "n",
    "n-newer": "n",
    "drained": "q",
    "version-newer": "context",
    "version-current": "context",
}
_ACTION_READS = {
    "count": "n",
    "flush": "g n",
    "punt-watched": "g n",
    "punt-departed": "g",
    **dict.fromkeys(("process", "process-keep", "drain", "drain-keep"), "context"),
}
_ACTION_KILLS = {
    "new-generation": "g",
    "new-request": "r",
    "take-g": "g",
    "take-r": "r",
    "take-n": "n",
    "take-q": "q",
    "zero-n": "n",
    "clear-q": "q",
    "zero-q": "q",
    "forget-g": "g",
    "take-context": "context",
    "clear-context": "context",
    "free": "g r n q",
}
# Guards that can become false for good for one message; bits of the index into `dead`.
FREEZABLE = ("g-current", "r-current", "n-current", "own-incarnation", "not-stale", "reset")
ALIVE, DEAD, DEAD_IF_REPLY = 0, 1, 2


class Analysis(NamedTuple):
    """Arrays for the kernels.

    Attributes:
        reads: int64[EVENTS, len(FIELDS)], whether the receiver's table reads the field of the message or tag.
        live: int64[role, state, len(VARIABLES)], whether the variable can be read before it is overwritten.
        dead: int64[role, event, 2 ** len(FREEZABLE)], ALIVE, DEAD or DEAD_IF_REPLY + the reply's kind, for a
            message to that role for which the guards of the index will never hold again.
        adopts: int64[EVENTS], whether the CPU takes over the g of such a message whatever its own is.
        fixed: int64[5], whether the NIC's g comes from `new-generation` alone, and its count never falls within a
            tenancy; whether the CPU's r comes from `new-request` alone; whether the incarnation that the NIC
            remembers of the CPU never falls; whether the CPU can read a g of none; an r of none.
    """

    reads: np.ndarray
    live: np.ndarray
    dead: np.ndarray
    adopts: np.ndarray
    fixed: np.ndarray


def analyse(protocol: Protocol, states: int) -> Analysis:
    """Analyse a protocol whose lowered tables have room for ``states`` states a side."""
    reads = _fields_read(protocol)
    relevant = np.zeros((EVENTS, len(FIELDS)), np.int64)
    for event, fields in reads.items():
        for field in fields:
            relevant[EVENT[event], FIELDS.index(field)] = 1
    live = np.zeros((2, states, len(VARIABLES)), np.int64)
    for r, name in enumerate(ROLES):
        for s, found in enumerate(_live_variables(protocol.roles[name], reads)):
            for variable in found:
                live[r, s, VARIABLES.index(variable)] = 1
    return Analysis(relevant, live, _dead(protocol), _adopts(protocol), _fixed(protocol, reads))


def _rows(role: Role) -> Iterator[tuple[str, str, Row]]:
    for state in role.states.values():
        for event, rows in state.cells.items():
            for row in rows:
                yield state.name, event, row


def _messages_of(row: Row) -> list[str]:
    return [a.partition(" ")[2] for a in row.actions if a.partition(" ")[0] in ("send", "put")]


def _fields_read(protocol: Protocol) -> dict[str, set[str]]:
    """Event to the message fields that some row reads, or copies into an answer in which they are read."""
    reads: dict[str, set[str]] = {event: set() for event in EVENT}
    changed = True
    while changed:
        changed = False
        for role in protocol.roles.values():
            for _, event, row in _rows(role):
                found = {READS[name] for name in [*row.guards, *row.actions] if name in READS}
                if "take-context" in row.actions:
                    found |= {"context", "version"}
                for answer in _messages_of(row):
                    found |= set(_MESSAGES[answer].echo) & reads[answer]
                if event in _MESSAGES and _MESSAGES[event].context and "version" in found:
                    found.add("context")
                if not found <= reads[event]:
                    reads[event] |= found
                    changed = True
    return reads


def _needs(row: Row, reads: dict[str, set[str]], after: set[str]) -> set[str]:
    """Variables that a row reads before it overwrites them, or that are live after it and not overwritten."""
    needed: set[str] = {_GUARD_READS[name] for name in row.guards if name in _GUARD_READS}
    killed: set[str] = set()
    for action in row.actions:
        verb, _, what = action.partition(" ")
        used = set(_ACTION_READS.get(verb, "").split())
        if what:
            message = _MESSAGES[what]
            used |= (reads[what] - set(message.echo)) & {"g", "r", "n", "context"}
            if message.context:
                used.add("context")
        needed |= used - killed
        killed |= set(_ACTION_KILLS.get(verb, "").split())
    return needed | (after - killed)


def _live_variables(role: Role, reads: dict[str, set[str]]) -> list[set[str]]:
    live: dict[str, set[str]] = {name: set() for name in role.states}
    changed = True
    while changed:
        changed = False
        for state, _, row in _rows(role):
            found = _needs(row, reads, live[row.next or state])
            if not found <= live[state]:
                live[state] |= found
                changed = True
    return list(live.values())


def _dead(protocol: Protocol) -> np.ndarray:
    dead = np.zeros((2, EVENTS, 1 << len(FREEZABLE)), np.int64)
    for r, name in enumerate(ROLES):
        by_event: dict[str, list[Row]] = {}
        for _, event, row in _rows(protocol.roles[name]):
            by_event.setdefault(event, []).append(row)
        for message in MESSAGES:
            for frozen in range(1 << len(FREEZABLE)):
                never = {guard for bit, guard in enumerate(FREEZABLE) if frozen >> bit & 1}
                dead[r, message.code, frozen] = _fate(by_event.get(message.name, []), never)
    return dead


def _fate(rows: list[Row], never: set[str]) -> int:
    replies = set()
    for row in rows:
        if not row.acts or any(wanted and name in never for name, wanted in row.guards.items()):
            continue
        sent = _messages_of(row)
        plain = len(row.actions) == 1 and row.actions[0].startswith("send ") and not row.next
        if not plain or "g" not in _MESSAGES[sent[0]].echo:
            return ALIVE
        replies.add(sent[0])
    if not replies:
        return DEAD
    return DEAD_IF_REPLY + EVENT[replies.pop()] if len(replies) == 1 else ALIVE


def _adopts(protocol: Protocol) -> np.ndarray:
    adopts = np.zeros(EVENTS, np.int64)
    for _, event, row in _rows(protocol.cpu):
        if "take-g" in row.actions and not row.guards.get("g-current"):
            adopts[EVENT[event]] = 1
    return adopts


def _fixed(protocol: Protocol, reads: dict[str, set[str]]) -> np.ndarray:
    nic, cpu = (list(protocol.rows(name)) for name in ROLES)
    generation = all(
        "take-g" not in row.actions
        and "take-n" not in row.actions
        and ("zero-n" not in row.actions or "new-generation" in row.actions)
        for row in nic
    )
    request = all("take-r" not in row.actions for row in cpu)
    peer = all("note-peer" not in row.actions or row.guards.get("not-stale") for row in nic)
    live = dict(zip(protocol.cpu.states, _live_variables(protocol.cpu, reads), strict=True))
    emptied = {
        "g": {protocol.cpu.start, protocol.cpu.restart},
        "r": {protocol.cpu.start, protocol.cpu.restart},
    }
    for state, _, row in _rows(protocol.cpu):
        for name, verbs in (("g", ("forget-g", "free")), ("r", ("free",))):
            if any(verb in row.actions for verb in verbs):
                emptied[name].add(row.next or state)
    no_g, no_r = (any(name in live[state] for state in emptied[name]) for name in ("g", "r"))
    return np.array([generation, request, peer, no_g, no_r], np.int64)


def oversteps(protocol: Protocol, places: list[RowPlace]) -> np.ndarray:
    """uint8, one a row: whether taking it uses a slot, room in a buffer or a try without asking whether there is one.

    Only of a side that asks elsewhere: the facts ``slot-free``, ``hold-full`` and ``retries-spent``. What leaves the
    start state takes a slot, and has an empty buffer.
    """
    asks = {name: {guard for row in protocol.rows(name) for guard in row.guards} for name in protocol.roles}
    found = np.zeros(max(1, len(places)), np.uint8)
    for i, (name, state, _, row) in enumerate(places):
        starts = state == protocol.roles[name].start
        leaves = name == "nic" and starts and row.next not in ("", state)
        if leaves and "slot-free" in asks[name] and row.guards.get("slot-free") is not True:
            found[i] = 1
        holds = name == "nic" and not starts and "hold" in row.actions
        if holds and "hold-full" in asks[name] and row.guards.get("hold-full") is not False:
            found[i] = 1
        tries = row.guards.get("retries-spent") is False
        if "retries-spent" in asks[name] and tries != ("count-try" in row.actions):
            found[i] = 1
        if (
            "retries-spent" in asks[name]
            and "new-request" in row.actions
            and "clear-tries" not in row.actions
        ):
            found[i] = 1
    return found

"""Reading a protocol's YAML document into a :class:`~.table.Protocol`, every problem at its place.

The grammar is in ``docs/protocols.md``. What a document means as a whole (completeness, overlaps, reachability)
is looked at by :mod:`.checks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oppcache.opp.errors import Mark, Problems, near_miss
from oppcache.opp.reading import Reader
from oppcache.opp.yaml_source import mark_of

from .table import Protocol, Role, Row, State
from .vocabulary import (
    ACTION,
    EVENT,
    FAULT,
    FENCES,
    GUARD,
    MESSAGES,
    PROPERTY,
    ROLES,
    STATES_MAX,
    STEERINGS,
    TIMERS,
)

_TOP = ("protocol", "idea", "gives_up", "instantaneous", "evicts", "steering", "fences", "matrix", *ROLES)
_ROLE = ("start", "restart", "states", "every")
_STATE = ("doc", "owns", "context", "timer", "like", "ignore", "impossible")
_ROW = ("if", "otherwise", "do", "next", "impossible")
_MESSAGE = {message.name for message in MESSAGES}

Cells = dict[str, tuple[Row, ...]]


def protocol_from_document(document: Any, problems: Problems, mark: Mark) -> Protocol | None:
    """Read a document; return None (with problems recorded) where no protocol can be made of it."""
    reader = _ProtocolReader(problems)
    if not isinstance(document, Mapping):
        problems.add(f"got {document!r}, expected a protocol: a mapping with {', '.join(_TOP)}", mark)
        return None
    before = len(problems.items)
    protocol = reader.protocol(document)
    return protocol if len(problems.items) == before else None


class _ProtocolReader(Reader):
    def protocol(self, node: Mapping[str, Any]) -> Protocol:
        self.known_keys(node, _TOP, "a protocol")
        roles = {}
        for name in ROLES:
            if name not in node:
                self.problems.add(f"{name!r} is missing: the table of the {name.upper()}", mark_of(node))
                continue
            body = self.as_mapping(node[name], mark_of(node, name), name)
            roles[name] = self.role(name, body, mark_of(node, name, at_key=True))
        return Protocol(
            name=self.text(node, "protocol", required=True),
            idea=self.text(node, "idea", required=True),
            gives_up=self.text(node, "gives_up", required=True),
            instantaneous=self.boolean(node, "instantaneous"),
            evicts="evicts" not in node or self.boolean(node, "evicts"),
            steering=self._one_of(node, "steering", STEERINGS, STEERINGS[0]),
            fences=self._one_of(node, "fences", FENCES, FENCES[0]),
            matrix=self.matrix(node),
            roles=roles,
            mark=mark_of(node),
        )

    def _one_of(self, node: Mapping[str, Any], key: str, known: tuple[str, ...], default: str) -> str:
        value = node.get(key, default)
        if value in known:
            return str(value)
        hint = near_miss(str(value), known)
        expected = f"{', '.join(known[:-1])} or {known[-1]}"
        self.problems.add(f"{key}: got {value!r}, expected {expected}", mark_of(node, key), hint)
        return default

    def _names(self, node: Mapping[str, Any], key: str, known: Mapping[str, Any], what: str) -> list[str]:
        """A list of known names, or one of them, at a key; empty when absent."""
        if key not in node:
            return []
        value = node[key]
        items = value if isinstance(value, list) else [value]
        good = []
        for i, item in enumerate(items):
            mark = mark_of(value, i) if isinstance(value, list) else mark_of(node, key)
            if isinstance(item, str) and item in known:
                good.append(item)
            else:
                self._unknown(what, item, known, mark)
        return good

    def _unknown(self, what: str, got: Any, known: Mapping[str, Any] | list[str], mark: Mark) -> None:
        hint = near_miss(str(got), list(known)) or f"known: {', '.join(known)}"
        self.problems.add(f"unknown {what} {got!r}", mark, hint)

    def matrix(self, node: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
        """Property to the faults under which the protocol gives it up."""
        if "matrix" not in node:
            return {}
        body = self.as_mapping(node["matrix"], mark_of(node, "matrix"), "matrix")
        found = {}
        for name in body:
            if name not in PROPERTY:
                self._unknown("property", name, PROPERTY, mark_of(body, name, at_key=True))
            else:
                found[name] = tuple(self._names(body, name, FAULT, "fault"))
        return found

    def role(self, name: str, node: Mapping[str, Any], mark: Mark) -> Role:
        self.known_keys(node, _ROLE, f"the table of the {name.upper()}")
        body = self.as_mapping(node.get("states"), mark_of(node, "states"), "states")
        names = [str(state) for state in body]
        if not names:
            self.problems.add(f"{name}: no states", mark)
        if len(names) > STATES_MAX:
            self.problems.add(f"{name}: {len(names)} states, at most {STATES_MAX} are possible", mark)
        every = self.cells(self.as_mapping(node.get("every"), mark_of(node, "every"), "every"), names)
        states: dict[str, State] = {}
        for state in names:
            at = mark_of(body, state, at_key=True)
            states[state] = self.state_table(
                state, self.as_mapping(body[state], at, state), names, states, at
            )
        for state, found in states.items():
            cells = {**every, **found.cells}
            states[state] = State(
                found.name, found.doc, found.owns, found.context, found.timer, cells, found.mark
            )
        start = self._state_name(node, "start", names, mark)
        restart = self._state_name(node, "restart", names, mark) if "restart" in node else start
        return Role(name, start, restart, states, mark)

    def _state_name(self, node: Mapping[str, Any], key: str, names: list[str], mark: Mark) -> str:
        value = node.get(key)
        if isinstance(value, str) and value in names:
            return value
        if key not in node:
            self.problems.add(f"{key!r} is missing: a state's name", mark)
        else:
            self._unknown("state", value, names, mark_of(node, key))
        return names[0] if names else ""

    def state_table(
        self, name: str, node: Mapping[str, Any], names: list[str], earlier: dict[str, State], mark: Mark
    ) -> State:
        """One state: its attributes and cells, those of another one first if it says ``like``."""
        cells: Cells = {}
        like = node.get("like")
        if like is not None:
            if like in earlier:
                cells.update(earlier[like].cells)
            else:
                self._unknown("state above", like, list(earlier), mark_of(node, "like"))
        cells.update(self.cells(node, names))
        timer = self._one_of(node, "timer", TIMERS, "none")
        doc = self.text(node, "doc", required=True)
        return State(name, doc, self.boolean(node, "owns"), self.boolean(node, "context"), timer, cells, mark)

    def cells(self, node: Mapping[str, Any], states: list[str]) -> Cells:
        """The cells of a mapping: event names, ``ignore`` and ``impossible``."""
        cells: Cells = {}
        for key, rows in (("ignore", ()), ("impossible", (Row(impossible=True),))):
            for i, event in enumerate(self._names(node, key, EVENT, "event")):
                self._once(cells, event, mark_of(node.get(key), i))
                cells[event] = rows
        for event in node:
            if event in _STATE:
                continue
            at = mark_of(node, event, at_key=True)
            if event not in EVENT:
                self._unknown("event or key", event, {**EVENT, **dict.fromkeys(_STATE)}, at)
                continue
            self._once(cells, event, at)
            cells[event] = self.rows(node[event], mark_of(node, event), states)
        return cells

    def _once(self, cells: Cells, event: str, mark: Mark) -> None:
        if event in cells:
            self.problems.add(f"{event}: this state has a cell for it already", mark)

    def rows(self, value: Any, mark: Mark, states: list[str]) -> tuple[Row, ...]:
        """A cell: ``ignore``, ``impossible``, actions, one row, or a list of rows."""
        if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            return tuple(self.row(item, mark_of(value, i), states) for i, item in enumerate(value))
        if value == "ignore":
            return ()
        return (self.row(value, mark, states),)

    def row(self, value: Any, mark: Mark, states: list[str], otherwise: bool = False) -> Row:
        """One row."""
        if value == "ignore":
            return Row(mark=mark, otherwise=otherwise)
        if value == "impossible":
            return Row(impossible=True, mark=mark, otherwise=otherwise)
        if isinstance(value, str | list):
            return Row({}, self.actions(value, mark), "", False, otherwise, mark)
        node = self.as_mapping(value, mark, "a cell")
        if "otherwise" in node and not otherwise:
            if len(node) > 1:
                self.problems.add("'otherwise' stands alone in its row", mark)
            return self.row(node["otherwise"], mark_of(node, "otherwise"), states, True)
        self.known_keys(node, _ROW, "a row")
        actions = self.actions(node["do"], mark_of(node, "do")) if "do" in node else ()
        next_state = self._state_name(node, "next", states, mark) if "next" in node else ""
        impossible = self.boolean(node, "impossible")
        if not actions and not next_state and not impossible and "do" not in node:
            self.problems.add("a row without 'do', 'next' or 'impossible'; nothing to do is `do: []`", mark)
        return Row(self.guards(node), actions, next_state, impossible, otherwise, mark)

    def guards(self, node: Mapping[str, Any]) -> dict[str, bool]:
        """``if``: guard names, each perhaps behind ``not``."""
        if "if" not in node:
            return {}
        value = node["if"]
        found: dict[str, bool] = {}
        for i, item in enumerate(value if isinstance(value, list) else [value]):
            mark = mark_of(value, i) if isinstance(value, list) else mark_of(node, "if")
            name = str(item).removeprefix("not ").strip()
            if name not in GUARD:
                self._unknown("guard", name, GUARD, mark)
            elif name in found:
                self.problems.add(f"guard {name!r} stands twice in this row", mark)
            else:
                found[name] = not str(item).startswith("not ")
        return found

    def actions(self, value: Any, mark: Mark) -> tuple[str, ...]:
        """Micro-actions, ``send`` and ``put`` with a message."""
        found = []
        for i, item in enumerate(value if isinstance(value, list) else [value]):
            at = mark_of(value, i) if isinstance(value, list) else mark
            verb, _, message = str(item).partition(" ")
            message = message.strip()
            if verb not in ACTION:
                self._unknown("action", item, ACTION, at)
            elif verb in ("send", "put"):
                if message in _MESSAGE:
                    found.append(f"{verb} {message}")
                else:
                    self._unknown("message", message, sorted(_MESSAGE), at)
            elif message:
                self.problems.add(f"action {verb!r} takes no word behind it, got {message!r}", at)
            else:
                found.append(verb)
        return tuple(found)

"""Reading one EFSM entry of a program document: key extractors, operations, match, actions, writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import Mark, near_miss
from .fields import FIELD_BY_NAME, Header, field_names
from .program import (
    DELETE,
    MAX_TIMEOUT_NS,
    MAX_TRIES,
    NONE,
    OPERATIONS,
    Action,
    Allocation,
    Entry,
    Key,
    Operand,
    Pattern,
    Table,
    Term,
    Timer,
    Update,
    Write,
)
from .reading import Reader
from .syntax import SyntaxProblem, parse_address, parse_pattern
from .templates import parse_generate
from .yaml_source import MarkedList, mark_of

_WRITE = ("next_state", "idle", "hard", "updates")
_ENTRY = ("name", "priority", "match", "actions", "goto", "writes", *_WRITE)
_ACTIONS = ("set", "dec_ttl", "output", "drop", "to_controller", "alloc", "generate")
_ALLOC = ("set", "table", "key", "range", "start", "tries", "found", "else")


def parse_key(read: Reader, node: Any, mark: Mark) -> Key:
    """Read a key extractor: a list of operands, or {fields: […], symmetric: true}."""
    symmetric = False
    fields = node
    if isinstance(node, Mapping):
        read.known_keys(node, ("fields", "symmetric"), "a key")
        symmetric = read.boolean(node, "symmetric")
        fields = node.get("fields", [])
    parts = read.as_list(fields, mark, "a key")
    if not parts:
        read.problems.add("a key needs at least one field", mark)
    return Key(tuple(read.operand(part, mark_of(fields, i)) for i, part in enumerate(parts)), symmetric, mark)


def parse_operation(read: Reader, item: Mapping[str, Any], mark: Mark) -> tuple[str, Operand, Operand, int]:
    """Read ``op``, ``args`` and ``k`` of a temporary or update; returns (op, a, b, k)."""
    op = read.text(item, "op", required=True)
    if "op" in item and op not in OPERATIONS:
        read.problems.add(f"unknown operation {op!r}", mark_of(item, "op"), near_miss(op, OPERATIONS))
    args = item.get("args", [])
    if not isinstance(args, list | tuple):
        args = MarkedList([args])
        args.item_marks = [mark_of(item, "args")]
    expected = 1 if op == "mov" else 2
    if len(args) != expected:
        read.problems.add(f"{op}: got {len(args)} operands, expected {expected}", mark_of(item, "args"))
        args = MarkedList([0, 0])
    a = read.operand(args[0], mark_of(args, 0))
    b = read.operand(args[1], mark_of(args, 1)) if expected == 2 else Operand("const")
    k = read.number(item, "k", 0)
    if op == "ewma" and ("k" not in item or k > 8):
        read.problems.add("ewma needs k from 0 to 8 (alpha = k/8)", mark_of(item, "k"))
    elif op != "ewma" and "k" in item:
        read.problems.add(f"{op} takes no k", mark_of(item, "k", at_key=True))
    return op, a, b, k


def parse_entry(
    read: Reader, node: Any, index: int | None, mark: Mark, table: Table | None, tables: dict[str, Table]
) -> tuple[Entry, bool]:
    """Read one entry.

    Args:
        index: its number in the stage, None for the default entry.
        table: the stage's own table, None in a stateless stage.
        tables: all tables by name.

    Returns:
        the entry, and whether it gave a priority of its own.
    """
    node = read.as_mapping(node, mark, "an entry")
    read.known_keys(node, _ENTRY, "an entry")
    name = read.text(node, "name") or ("default" if index is None else f"entry {index}")
    if index is None:
        for key in ("match", "priority"):
            if key in node:
                read.problems.add(f"a default entry takes no {key}", mark_of(node, key, at_key=True))
    writes = [
        _write(read, item, mark_of(node["writes"], i), table, tables)
        for i, item in enumerate(read.items(node, "writes"))
    ]
    if any(key in node for key in _WRITE):
        if table is None:
            read.problems.add("a write in a stateless stage must name its table: use writes", mark)
        else:
            writes.insert(0, _write_body(read, node, mark, table, table.name, "update"))
    match = read.as_mapping(node.get("match"), mark_of(node, "match"), "match")
    terms = tuple(
        _term(read, str(k), v, mark_of(match, k), mark_of(match, k, at_key=True), table)
        for k, v in match.items()
    )
    entry = Entry(
        name=name,
        priority=read.number(node, "priority", 0),
        match=terms,
        actions=tuple(
            _action(read, a, mark_of(node["actions"], i), tables)
            for i, a in enumerate(read.items(node, "actions"))
        ),
        writes=tuple(writes),
        goto=read.text(node, "goto") or None,
        mark=mark,
    )
    return entry, "priority" in node


def _term(read: Reader, subject: str, value: Any, mark: Mark, key_mark: Mark, table: Table | None) -> Term:
    values = value if isinstance(value, list | tuple) else [value]
    head, _, rest = subject.partition(".")
    if subject == "state":
        if value == NONE:
            return Term("state", "", ())
        states = table.states if table else ()
        labels = [
            read.state(v, states, mark_of(values, i) if isinstance(value, list) else mark)
            for i, v in enumerate(values)
        ]
        return Term("state", "", tuple(Pattern(label, 2**32 - 1) for label in labels))
    field = FIELD_BY_NAME.get(subject)
    if head == "C" and rest:
        kind, name, bits = "condition", rest, 1
    elif subject == "direction":
        kind, name, bits = "direction", "", 1
    elif head == "metadata" and rest:
        kind, name, bits = "metadata", rest, 64
    elif head == "valid" and rest:
        kind, name, bits = "valid", rest, 1
        if rest.upper() not in Header.__members__:
            headers = [h.lower() for h in Header.__members__]
            read.problems.add(f"unknown header {rest!r}", key_mark, near_miss(rest, headers))
    elif field is not None:
        kind, name, bits = "field", subject, field.bits
    else:
        known = [*field_names(), "state", "direction", "C.", "metadata.", "valid."]
        read.problems.add(f"unknown match subject {subject!r}", key_mark, near_miss(subject, known))
        return Term("state", "", ())
    patterns = []
    for i, item in enumerate(values):
        try:
            patterns.append(parse_pattern(item, bits, field))
        except SyntaxProblem as error:
            read.problems.add(
                f"{subject}: {error}", mark_of(values, i) if isinstance(value, list) else mark, error.hint
            )
    if not values:
        read.problems.add(f"{subject}: expected at least one alternative", mark)
    return Term(kind, name, tuple(patterns))


def _action(read: Reader, node: Any, mark: Mark, tables: dict[str, Table]) -> Action:
    if isinstance(node, str) and node in ("drop", "to_controller", "dec_ttl"):
        return Action(node, mark=mark)
    if isinstance(node, Mapping) and len(node) == 1:
        ((kind, value),) = node.items()
        if kind == "output":
            return Action("output", operand=read.operand(value, mark_of(node, kind)), mark=mark)
        if kind == "set" and isinstance(value, Mapping) and len(value) == 1:
            ((target, operand),) = value.items()
            return parse_set(read, str(target), operand, mark_of(value, target), mark)
        if kind == "alloc":
            return _alloc(read, value, mark_of(node, kind), tables)
        if kind == "generate":
            return parse_generate(read, value, mark_of(node, kind), parse_set)
    got = next(iter(node)) if isinstance(node, Mapping) and node else node
    hint = near_miss(str(got), _ACTIONS)
    read.problems.add(
        f"got action {got!r}, expected drop, to_controller, dec_ttl, {{output: PORT}}, {{set: {{TARGET: VALUE}}}}"
        ", {alloc: {…}} or {generate: {…}}",
        mark,
        hint if got not in _ACTIONS else "",
    )
    return Action("drop", mark=mark)


def parse_set(read: Reader, target: str, value: Any, place: Mark, mark: Mark) -> Action:
    """A ``set``; 128-bit fields also take an address, or their high and low 64 bits as a list."""
    if target not in FIELD_BY_NAME or FIELD_BY_NAME[target].bits <= 64:
        return Action("set", target, read.operand(value, place), mark=mark)
    if isinstance(value, list | tuple):
        if len(value) != 2:
            read.problems.add(
                f"{target}: got {len(value)} values, expected the high and the low 64 bits", place
            )
            return Action("drop", mark=mark)
        high, low = (read.operand(part, mark_of(value, i)) for i, part in enumerate(value))
        return Action("set", target, high, low, mark=mark)
    address = parse_address(value)
    return Action("set", target, address or read.operand(value, place), mark=mark)


def _alloc(read: Reader, node: Any, mark: Mark, tables: dict[str, Table]) -> Action:
    node = read.as_mapping(node, mark, "alloc")
    read.known_keys(node, _ALLOC, "alloc")
    missing = [key for key in ("set", "table", "key", "range") if key not in node]
    for name in missing:
        read.problems.add(f"alloc: {name!r} is missing", mark)
    if missing:
        return Action("drop", mark=mark)
    table = read.text(node, "table")
    if table not in tables:
        read.problems.add(f"unknown table {table!r}", mark_of(node, "table"), near_miss(table, tables))
    bounds = read.as_list(node["range"], mark_of(node, "range"), "range")
    if len(bounds) != 2:
        read.problems.add(f"range: got {list(bounds)!r}, expected [LOW, HIGH]", mark_of(node, "range"))
        bounds = MarkedList([0, 0])
    low, high = (read.operand(bound, mark_of(bounds, i)) for i, bound in enumerate(bounds))
    start = read.operand(node["start"], mark_of(node, "start")) if "start" in node else None
    tries = read.number(node, "tries", MAX_TRIES)
    if not 1 <= tries <= MAX_TRIES:
        read.problems.add(f"tries: got {tries}, expected 1 to {MAX_TRIES}", mark_of(node, "tries"))
    found = read.text(node, "found")
    if found and not found.startswith("metadata."):
        read.problems.add(f"found: got {found!r}, expected a metadata word", mark_of(node, "found"))
    if node.get("else", "drop") != "drop":
        read.problems.add(f"else: got {node['else']!r}, expected drop", mark_of(node, "else"))
    if not found and "else" not in node:
        read.problems.add(
            "alloc: nothing tells that there was no free value, expected found: metadata.NAME or else: drop",
            mark,
        )
    key = parse_key(read, node["key"], mark_of(node, "key"))
    search = Allocation(table, key, low, high, start, tries, found.partition(".")[2], "else" in node)
    return Action("alloc", read.text(node, "set"), search=search, mark=mark)


def _write(read: Reader, node: Any, mark: Mark, own: Table | None, tables: dict[str, Table]) -> Write:
    node = read.as_mapping(node, mark, "a write")
    read.known_keys(node, ("table", "key", *_WRITE), "a write")
    name = read.text(node, "table") or (own.name if own else "")
    table = tables.get(name)
    if table is None:
        what = f"unknown table {name!r}" if name else "a write in a stateless stage must name its table"
        read.problems.add(what, mark_of(node, "table"), near_miss(name, tables))
        table = Table(name)
    key: str | Key = "update"
    if "key" in node:
        if node["key"] in ("lookup", "update"):
            key = str(node["key"])
        else:
            key = parse_key(read, node["key"], mark_of(node, "key"))
    if isinstance(key, str) and (own is None or own.name != name):
        read.problems.add(f"a write to table {name!r} needs a key of its own", mark)
    return _write_body(read, node, mark, table, name, key)


def _write_body(
    read: Reader, node: Mapping[str, Any], mark: Mark, table: Table, name: str, key: str | Key
) -> Write:
    next_state: int | str | None = None
    if "next_state" in node:
        place = mark_of(node, "next_state")
        next_state = (
            DELETE if node["next_state"] == DELETE else read.state(node["next_state"], table.states, place)
        )
    updates = [
        _update(read, u, mark_of(node["updates"], i)) for i, u in enumerate(read.items(node, "updates"))
    ]
    return Write(
        table=name,
        key=key,
        next_state=next_state,
        idle=_timer(read, node, "idle", table),
        hard=_timer(read, node, "hard", table),
        updates=tuple(updates),
        mark=mark,
    )


def _timer(read: Reader, node: Mapping[str, Any], key: str, table: Table) -> Timer | None:
    if key not in node:
        return None
    value, mark = node[key], mark_of(node, key)
    if value == "off":
        return Timer(0)
    to = None
    if isinstance(value, Mapping):
        read.known_keys(value, ("after", "to"), "a timer")
        if "to" in value:
            to = read.state(value["to"], table.states, mark_of(value, "to"))
        if "after" not in value:
            read.problems.add("a timer needs 'after'", mark)
            return None
        value, mark = value["after"], mark_of(value, "after")
    timeout = read.time_ns(value, mark)
    if timeout == 0:
        read.problems.add("a timer of 0 would never run: write off to clear it", mark)
    if timeout > MAX_TIMEOUT_NS:
        read.problems.add(
            f"got a timer of {value}, expected at most {MAX_TIMEOUT_NS} ns (some 146 years)", mark
        )
    return Timer(timeout, to)


def _update(read: Reader, node: Any, mark: Mark) -> Update:
    node = read.as_mapping(node, mark, "an update")
    read.known_keys(node, ("set", "op", "args", "k"), "an update")
    op, a, b, k = parse_operation(read, node, mark)
    target = read.operand(node["set"], mark_of(node, "set")) if "set" in node else Operand("const")
    if target.kind == "register":  # R.x as a target is the written context's register
        target = Operand("written", target.name)
    if target.kind not in ("written", "global"):
        got = node.get("set", "nothing")
        read.problems.add(
            f"update target: got {got!r}, expected a register R.NAME or a global G.GROUP.NAME",
            mark_of(node, "set"),
        )
    return Update(op, target, a, b, k, mark)

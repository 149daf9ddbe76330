"""From a program document (a YAML file, or what the builder makes) to a :class:`Program`, all errors at once.

Grammar, every key optional unless marked *::

    program*: NAME            description: TEXT        word_bits: 32 | 64
    parameters: {NAME: DEFAULT}                        $NAME anywhere below stands for its value
    metadata: [NAME, …]       headers: {NAME: {udp*: PORT, fields*: {NAME: BITS}}}
    tables: {NAME: {registers: [NAME | {name*, bits, initial}], states: [NAME, …], initial: NAME,
                    expiry: {stage*: NAME, timers: [idle, hard], set: {TARGET: VALUE}}}}
    globals: {GROUP: [NAME | {name*, bits, initial}]}
    stages*:
      - name*: NAME           table: NAME              create: on-lookup | on-write      commit: true | false
        key: KEY              update_key: KEY          KEY = [OPERAND, …] or {fields*: […], symmetric: true}
        temporaries: [{name*, op*, args*: [A, B], bits, k}]
        conditions: {NAME: [A, op, B]}
        entries: [ENTRY]      default: ENTRY
    ENTRY: name, priority, match: {SUBJECT: PATTERN | [PATTERN, …]}, actions: [ACTION], goto,
           writes: [WRITE], or the keys of one WRITE to the stage's own context
    WRITE: table, key: lookup | update | KEY, next_state, idle: TIMER, hard: TIMER, updates: [UPDATE]
    TIMER: DURATION, {after*: DURATION, to: STATE}, or off
    ACTION: drop | to_controller | dec_ttl | {output: OPERAND} | {set: {TARGET: VALUE}} | {alloc: ALLOC}
            | {generate: GENERATE}
            VALUE = OPERAND; for 128-bit fields an address, a 128-bit field or [HIGH, LOW]
    ALLOC: set*: TARGET, table*, key*: KEY, range*: [LOW, HIGH], start, tries, found: metadata.NAME, else: drop
    GENERATE: stage*: NAME, from: packet | nothing, headers: [NAME, …], quote: true, set: {TARGET: VALUE}
    UPDATE: {set*: TARGET, op*: OP, args*: [A] or [A, B], k}

Entries without priorities are tried in the order in which they stand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .declared import read_headers, with_full_names
from .entries import parse_entry, parse_key, parse_operation, parse_set
from .errors import Mark, Problems, near_miss
from .program import (
    CONDITION_OPS,
    DELETE,
    NONE,
    Condition,
    GlobalGroup,
    Key,
    Operand,
    Program,
    Register,
    Stage,
    Table,
    Temporary,
)
from .reading import Reader
from .templates import parse_expiry
from .yaml_source import MarkedDict, MarkedList, mark_of

_TOP = (
    "program",
    "description",
    "word_bits",
    "parameters",
    "headers",
    "metadata",
    "tables",
    "globals",
    "stages",
)
_STAGE = (
    "name",
    "table",
    "key",
    "update_key",
    "create",
    "commit",
    "temporaries",
    "conditions",
    "entries",
    "default",
)


def program_from_document(
    document: Any, parameters: Mapping[str, Any] | None = None, file: str = ""
) -> Program:
    """Build and check a program.

    Args:
        document: the loaded YAML, or plain dicts and lists of the same shape.
        parameters: values for the program's parameters; the rest take their defaults.
        file: name for messages where the document has no marks.

    Raises:
        InputError: every problem of structure, names and semantics, with file, line and column.
    """
    from .validate import validate

    problems = Problems()
    if not isinstance(document, Mapping):
        problems.add(
            f"got {type(document).__name__}, expected a mapping with program, tables, stages", Mark(file)
        )
        problems.raise_if_any()
    resolved = _substitute(document, parameters or {}, problems)
    program = _Document(resolved, problems).program()
    problems.raise_if_any()
    validate(program, problems)
    problems.raise_if_any()
    return program


def _substitute(document: Mapping[str, Any], given: Mapping[str, Any], problems: Problems) -> Any:
    """Replace ``$NAME`` by its value, keeping the place of the value that counts."""
    declared = document.get("parameters") or {}
    if not isinstance(declared, Mapping):
        problems.add("parameters: expected a mapping of names to defaults", mark_of(document, "parameters"))
        declared = {}
    for name in given:
        if name not in declared:
            known = ", ".join(declared) or "it has none"
            problems.add(
                f"program {document.get('program', '')!r} has no parameter {name!r}; known: {known}",
                mark_of(given, name, at_key=True),
                near_miss(str(name), [str(d) for d in declared]),
            )
    values = {
        name: (given[name], mark_of(given, name)) if name in given else (default, mark_of(declared, name))
        for name, default in declared.items()
    }

    def walk(node: Any, mark: Mark) -> tuple[Any, Mark]:
        if isinstance(node, Mapping):
            out = MarkedDict()
            out.mark = mark_of(node) if isinstance(node, MarkedDict) else mark
            for key, value in node.items():
                out[key], out.value_marks[key] = walk(value, mark_of(node, key))
                out.key_marks[key] = mark_of(node, key, at_key=True)
            return out, out.mark
        if isinstance(node, Sequence) and not isinstance(node, str):
            items = MarkedList()
            items.mark = mark_of(node) if isinstance(node, MarkedList) else mark
            for i, item in enumerate(node):
                value, place = walk(item, mark_of(node, i))
                # A list parameter inside a list adds its items.
                spread = isinstance(item, str) and item.startswith("$") and isinstance(value, list)
                for j, each in enumerate(value if spread else [value]):
                    items.append(each)
                    items.item_marks.append(mark_of(value, j) if spread else place)
            return items, items.mark
        if isinstance(node, str) and node.startswith("$"):
            if node[1:] not in values:
                problems.add(
                    f"unknown parameter {node!r}", mark, near_miss(node[1:], [str(v) for v in values])
                )
                return 0, mark
            value, place = values[node[1:]]
            return walk(value, place)
        return node, mark

    for name, (value, place) in values.items():
        if _refers(value):
            problems.add(f"parameter {name}: its value cannot refer to a parameter", place)
            values[name] = (0, place)

    body = {k: v for k, v in document.items() if k != "parameters"}
    out = MarkedDict(body)
    if isinstance(document, MarkedDict):
        out.mark, out.key_marks, out.value_marks = document.mark, document.key_marks, document.value_marks
    return walk(out, out.mark)[0]


def _refers(value: Any) -> bool:
    """Whether a ``$NAME`` stands in a value."""
    if isinstance(value, Mapping):
        return any(_refers(v) for v in value.values())
    if isinstance(value, list | tuple):
        return any(_refers(v) for v in value)
    return isinstance(value, str) and value.startswith("$")


class _Document:
    """Reads the parts of one document; problems are collected, never raised."""

    def __init__(self, root: MarkedDict, problems: Problems) -> None:
        self.root = root
        self.read = Reader(problems)
        self.problems = problems

    def program(self) -> Program:
        read, root = self.read, self.root
        read.known_keys(root, _TOP, "a program")
        name = read.text(root, "program", required=True)
        word_bits = self.bits(root, "word_bits")
        tables = read.mapping_of(root, "tables", self.table)
        groups = read.mapping_of(root, "globals", self.group)
        metadata = tuple(str(m) for m in read.items(root, "metadata"))
        table_by_name = {t.name: t for t in tables}
        headers = read_headers(read, root)
        if "stages" not in root:
            self.problems.add("a program needs stages", root.mark)
        else:
            root["stages"] = with_full_names(root["stages"], headers, self.problems, mark_of(root, "stages"))
        stages = [
            self.stage(node, i, mark_of(root["stages"], i), table_by_name)
            for i, node in enumerate(read.items(root, "stages"))
        ]
        return Program(
            name=name,
            tables=tuple(tables),
            globals=tuple(groups),
            stages=tuple(s for s in stages if s is not None),
            metadata=metadata,
            word_bits=word_bits,
            headers=headers,
            description=read.text(root, "description"),
            mark=root.mark,
        )

    def bits(self, node: Mapping[str, Any], key: str) -> int:
        """A width, 32 when absent."""
        value = node.get(key, 32)
        if isinstance(value, int) and value in (32, 64):
            return value
        self.problems.add(f"{key}: got {value!r}, expected 32 or 64", mark_of(node, key))
        return 32

    def registers(self, node: Any, where: Any, key: str, what: str) -> tuple[Register, ...]:
        out = []
        for i, item in enumerate(self.read.as_list(node, mark_of(where, key), what)):
            mark = mark_of(node, i)
            if isinstance(item, str):
                out.append(Register(item))
                continue
            if not isinstance(item, Mapping):
                self.problems.add(f"{what}: got {item!r}, expected a name or {{name, bits, initial}}", mark)
                continue
            self.read.known_keys(item, ("name", "bits", "initial"), what)
            bits = self.bits(item, "bits")
            initial = self.read.number(item, "initial", 0)
            if initial >= 1 << bits:
                self.problems.add(f"initial: {initial} is too wide for {bits} bits", mark_of(item, "initial"))
            out.append(Register(self.read.text(item, "name", required=True), bits, initial))
        names = [r.name for r in out]
        for name in sorted({n for n in names if names.count(n) > 1}):
            self.problems.add(f"{what}: {name!r} is declared twice", mark_of(where, key))
        return tuple(out)

    def table(self, name: str, node: Any, mark: Mark) -> Table:
        node = self.read.as_mapping(node, mark, f"table {name!r}")
        self.read.known_keys(node, ("registers", "states", "initial", "expiry"), "a table")
        states = tuple(str(s) for s in self.read.items(node, "states"))
        for i, label in enumerate(states):
            if label in (NONE, DELETE):
                message = f"a state cannot be called {label!r}: the word has a meaning of its own"
                self.problems.add(message, mark_of(node["states"], i))
            elif label in states[:i]:
                self.problems.add(f"state {label!r} is declared twice", mark_of(node["states"], i))
        initial = self.read.state(node.get("initial", 0), states, mark_of(node, "initial"))
        registers = self.registers(
            node.get("registers", []), node, "registers", f"registers of table {name!r}"
        )
        expiry = None
        if "expiry" in node:
            expiry = parse_expiry(self.read, node["expiry"], mark_of(node, "expiry"), parse_set)
        return Table(name, registers, states, initial, expiry, mark)

    def group(self, name: str, node: Any, mark: Mark) -> GlobalGroup:
        return GlobalGroup(name, self.registers(node, {}, "", f"globals {name!r}"), mark)

    def stage(self, node: Any, index: int, mark: Mark, tables: dict[str, Table]) -> Stage | None:
        read = self.read
        if not isinstance(node, Mapping):
            self.problems.add(f"stage {index}: got {node!r}, expected a mapping", mark)
            return None
        read.known_keys(node, _STAGE, "a stage")
        name = read.text(node, "name", required=True)
        table_name = read.text(node, "table") or None
        table = tables.get(table_name or "")
        if table_name is not None and table is None:
            hint = near_miss(table_name, tables)
            self.problems.add(f"stage {name!r}: unknown table {table_name!r}", mark_of(node, "table"), hint)
        create = node.get("create", "on-lookup")
        if create not in ("on-lookup", "on-write"):
            self.problems.add(
                f"create: got {create!r}, expected on-lookup or on-write", mark_of(node, "create")
            )
        entries = [
            parse_entry(read, item, i, mark_of(node["entries"], i), table, tables)
            for i, item in enumerate(read.items(node, "entries"))
        ]
        default = None
        if "default" in node:
            default = parse_entry(read, node["default"], None, mark_of(node, "default"), table, tables)
        if sum(e is not None and e[1] for e in entries) not in (0, len(entries)):
            self.problems.add(f"stage {name!r}: give every entry a priority, or none", mark)
        count = len(entries)
        return Stage(
            name=name,
            table=table_name,
            lookup=self.key(node, "key"),
            update=self.key(node, "update_key"),
            create_on_write=create == "on-write",
            commit=read.boolean(node, "commit"),
            temporaries=tuple(self.temporaries(node)),
            conditions=tuple(self.conditions(node)),
            entries=tuple(
                e[0] if e[1] else replace(e[0], priority=count - i)
                for i, e in enumerate(entries)
                if e is not None
            ),
            default=default[0] if default else None,
            mark=mark,
        )

    def key(self, node: Mapping[str, Any], name: str) -> Key | None:
        return parse_key(self.read, node[name], mark_of(node, name)) if name in node else None

    def temporaries(self, node: Mapping[str, Any]) -> list[Temporary]:
        out = []
        for i, item in enumerate(self.read.items(node, "temporaries")):
            mark = mark_of(node["temporaries"], i)
            item = self.read.as_mapping(item, mark, "a temporary")
            self.read.known_keys(item, ("name", "op", "args", "bits", "k"), "a temporary")
            op, a, b, k = parse_operation(self.read, item, mark)
            bits = self.bits(item, "bits")
            out.append(Temporary(self.read.text(item, "name", required=True), op, a, b, bits, k, mark))
        return out

    def conditions(self, node: Mapping[str, Any]) -> list[Condition]:
        def one(name: str, item: Any, mark: Mark) -> Condition:
            parts = self.read.as_list(item, mark, f"condition {name!r}")
            if len(parts) != 3:
                self.problems.add(f"condition {name!r}: got {list(parts)!r}, expected [A, op, B]", mark)
                return Condition(name, "eq", Operand("const"), Operand("const"), mark)
            a, op, b = parts
            if op not in CONDITION_OPS:
                ops = ", ".join(CONDITION_OPS)
                self.problems.add(f"unknown comparison {op!r}, expected one of {ops}", mark_of(item, 1))
            return Condition(
                name,
                str(op),
                self.read.operand(a, mark_of(item, 0)),
                self.read.operand(b, mark_of(item, 2)),
                mark,
            )

        return self.read.mapping_of(node, "conditions", one)

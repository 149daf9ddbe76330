"""Lowering: a checked :class:`Program` to the arrays that the kernels interpret."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import arrays as A
from .dataflow import operands_in
from .errors import InputError
from .fields import (
    FIELD_BY_NAME,
    W_FAMILY,
    Header,
    Layout,
    layout_for,
)
from .mirrors import HIGH, LOW, WHOLE, set_rows
from .overlaps import takes_none
from .program import (
    CONDITION_OPS,
    DELETE,
    NOW_UNITS_NS,
    OPERATIONS,
    Action,
    Condition,
    Entry,
    Key,
    Operand,
    Program,
    Stage,
    Temporary,
    Timer,
    Update,
    Write,
)
from .rows import RowMaker, is_long, rules_of
from .tuples import Rule, TupleSpace, lay_out
from .validate import partner

MAX_ROWS = 1_000_000
_ALL = 2**64 - 1


@dataclass(frozen=True)
class KeyField:
    """Where one part of a table's key stands in its packed words, for reading keys back.

    ``family_word``/``family_shift`` locate the family of a joint address; bits is 128 for addresses.
    """

    name: str
    word: int
    shift: int
    bits: int
    is_address: bool


@dataclass(frozen=True)
class Lowered:
    """A program ready to run: its arrays, its header-vector layout, and how to read its keys back.

    Attributes:
        key_fields: where the parts of a table's key stand in its packed words, and its addresses' family.
        table_keys: the first key that the pipeline names a table by; tables without one are missing.
    """

    program: Program
    arrays: A.ProgramArrays
    layout: Layout
    key_fields: dict[str, tuple[tuple[KeyField, ...], tuple[int, int] | None]]
    table_keys: dict[str, Key]
    spaces: tuple[TupleSpace, ...] = ()

    @property
    def table_names(self) -> tuple[str, ...]:
        """Names of the context tables, in order of their numbers."""
        return tuple(t.name for t in self.program.tables)


def lower(program: Program, fields: Iterable[str] = ()) -> Lowered:
    """Turn a checked program into arrays.

    Args:
        program: what :func:`~.validate.validate` finds nothing wrong with.
        fields: names of fields that header vectors are to have beyond those that the program names.

    Raises:
        InputError: a stage's lists expand to more than :data:`MAX_ROWS` rows.
    """
    layout = layout_for(_fields_of(program).union(fields), len(program.metadata))
    return Lowering(program, layout).run()


def _no_rows() -> dict[str, list[tuple[Any, ...]]]:
    names = "stages keys parts pairs operands operations conditions rows cells entries actions mirrors writes"
    return {name: [] for name in names.split()}


class Lowering:
    """Lowers the parts of one program; with a layout given, entries that come to it later."""

    def __init__(self, program: Program, layout: Layout) -> None:
        self.program = program
        self.layout = layout
        self.table_number = {t.name: i for i, t in enumerate(program.tables)}
        self.global_number = {
            f"{g.name}.{v.name}": i
            for i, (g, v) in enumerate((g, v) for g in program.globals for v in g.variables)
        }
        self.global_bits = [max(v.bits, program.word_bits) for g in program.globals for v in g.variables]
        self.rows = _no_rows()
        self.key_fields: dict[str, tuple[tuple[KeyField, ...], tuple[int, int] | None]] = {}
        self.key_words: dict[str, int] = {}
        self.table_keys: dict[str, Key] = {}
        self.maker = RowMaker(program, self.layout)
        self.spaces: list[TupleSpace] = []

    def run(self) -> Lowered:
        pipeline = self.program.pipeline()
        numbers = {s.name: i for i, s in enumerate(pipeline)}
        for number, stage in enumerate(pipeline):
            self.stage(stage, number, numbers)
        tables, registers, masks = self.tables()
        dtypes = {
            "stages": A.STAGE_DTYPE,
            "keys": A.KEY_DTYPE,
            "parts": A.PART_DTYPE,
            "pairs": A.PAIR_DTYPE,
            "operands": A.OPERAND_DTYPE,
            "operations": A.OPERATION_DTYPE,
            "conditions": A.CONDITION_DTYPE,
            "rows": A.ROW_DTYPE,
            "cells": A.CELL_DTYPE,
            "entries": A.ENTRY_DTYPE,
            "actions": A.ACTION_DTYPE,
            "mirrors": A.MIRROR_DTYPE,
            "writes": A.WRITE_DTYPE,
        }
        made = {name: np.array(self.rows[name], dtype) for name, dtype in dtypes.items()}
        matching, headers = lay_out(self.spaces)
        long = made["stages"]["classifier"] >= 0
        made["stages"]["classifier"][long] = headers
        initial = [v.initial for g in self.program.globals for v in g.variables]
        arrays = A.ProgramArrays(
            tables=tables,
            registers=np.array(registers, np.uint64),
            register_masks=np.array(masks, np.uint64),
            globals=np.array(initial, np.uint64),
            matching=matching,
            **made,
        )
        spaces = tuple(self.spaces)
        return Lowered(self.program, arrays, self.layout, self.key_fields, self.table_keys, spaces)

    def add(self, kind: str, *row: Any) -> int:
        self.rows[kind].append(row)
        return len(self.rows[kind]) - 1

    def tables(self) -> tuple[np.ndarray, list[int], list[int]]:
        rows = []
        registers: list[int] = []
        masks: list[int] = []
        for table in self.program.tables:
            words = self.key_words.get(table.name, 0)
            stride = A.C_HEADER_WORDS + words + len(table.registers)
            rows.append((words, len(table.registers), len(registers), stride, table.initial_state))
            for register in table.registers:
                registers.append(register.initial)
                masks.append((1 << max(register.bits, self.program.word_bits)) - 1)
        return np.array(rows, A.TABLE_DTYPE), registers, masks

    def stage(self, stage: Stage, number: int, numbers: dict[str, int]) -> None:
        table = -1 if stage.table is None else self.table_number[stage.table]
        lookup = self.key(stage.lookup, stage, stage.table) if stage.lookup and stage.table else -1
        site = number << 16
        first_temporary = len(self.rows["operations"])
        for temporary in stage.temporaries:
            self.operation(temporary, stage, A.O_TEMPORARY, stage.table)
        first_condition = len(self.rows["conditions"])
        for condition in stage.conditions:
            self.condition(condition, stage)
        ranked = sorted(enumerate(stage.entries), key=lambda pair: -pair[1].priority)
        entry_number = {i: self.entry(e, stage, site + i + 1, numbers) for i, e in enumerate(stage.entries)}
        first_row = len(self.rows["rows"])
        numbered = [(entry_number[i], entry) for i, entry in ranked]
        classifier = -1
        if is_long(stage.entries):
            classifier = self.classifier(numbered, stage)
        else:
            self.linear(numbered, stage)
        default = -1 if stage.default is None else self.entry(stage.default, stage, site, numbers)
        self.add(
            "stages",
            table,
            lookup,
            int(stage.create_on_write),
            int(stage.commit),
            first_temporary,
            len(stage.temporaries),
            first_condition,
            len(stage.conditions),
            first_row,
            len(self.rows["rows"]) - first_row,
            default,
            number + 1,
            classifier,
        )

    def key(self, key: Key, stage: Stage, table: str) -> int:
        """Lay a key out in packed words: 128-bit parts take two words, the others share words."""
        parts, fields, headers, temporaries = [], [], 0, 0
        word, free_word, free_bits = 0, -1, 0
        family: tuple[int, int] | None = None
        small: list[tuple[int, int, int, int, int, int, int]] = []  # kind, index, swapped, value, bits, slot
        for number, part in enumerate(key.parts):
            kind, index, swapped, value, bits, is_address, header, temporary = self.part(part, stage, key)
            headers |= header
            temporaries |= temporary
            if bits == 128:
                for i in (0, 1):
                    parts.append((A.O_WORD, index + i, swapped + i, word + i, 0, 0, _ALL))
                fields.append((number, KeyField(str(part), word, 0, 128, is_address)))
                word += 2
                if is_address and family is None:
                    family = (-1, 0)
            else:
                small.append((kind, index, swapped, value, bits, number, 0))
        if family is not None:
            small.append((A.O_WORD, W_FAMILY, W_FAMILY, 0, 8, -1, 0))
        for kind, index, swapped, value, bits, number, _ in sorted(small, key=lambda s: -s[4]):
            if free_bits < bits:
                free_word, free_bits, word = word, 64, word + 1
            shift = 64 - free_bits
            free_bits -= bits
            parts.append((kind, index, swapped, free_word, shift, value, (1 << bits) - 1))
            if number < 0:
                family = (free_word, shift)
            else:
                fields.append((number, KeyField(str(key.parts[number]), free_word, shift, bits, False)))
        assert word <= A.MAX_KEY_WORDS, f"{word} words in a key that validation lets through"
        self.key_words.setdefault(table, word)
        self.table_keys.setdefault(table, key)
        self.key_fields.setdefault(table, (tuple(f for _, f in sorted(fields, key=lambda f: f[0])), family))
        first_pair, pairs = len(self.rows["pairs"]), self.pairs(key)
        first_part = len(self.rows["parts"])
        self.rows["parts"].extend(parts)
        return self.add("keys", first_part, len(parts), word, first_pair, pairs, headers, temporaries)

    def part(self, part: Operand, stage: Stage, key: Key) -> tuple[int, int, int, int, int, bool, int, int]:
        """(kind, index, swapped index, constant, bits, joint address?, header bits, temporary bits)."""
        if part.kind == "field":
            field = FIELD_BY_NAME[part.name]
            index = swapped = self.layout.word_of[part.name]
            other = partner(part.name)
            if key.symmetric and other:
                swapped = self.layout.word_of[other]
            header = 0 if field.header is None else 1 << field.header
            return A.O_WORD, index, swapped, 0, field.bits, field.is_address, header, 0
        bits = self.program.width(part, stage)
        if part.kind == "metadata":
            index = self.layout.metadata_word + self.program.metadata.index(part.name)
            return A.O_WORD, index, index, 0, bits, False, 0, 0
        if part.kind == "temporary":
            index = [t.name for t in stage.temporaries].index(part.name)
            return A.O_TEMPORARY, index, index, 0, bits, False, 0, 1 << index
        return A.O_CONST, 0, 0, part.value, bits, False, 0, 0

    def pairs(self, key: Key) -> int:
        """Add the pairs that decide a symmetric key's order; returns how many."""
        if not key.symmetric:
            return 0
        seen: set[str] = set()
        for part in key.parts:
            other = partner(part.name) if part.kind == "field" else None
            if other is None or part.name in seen:
                continue
            seen |= {part.name, other}
            source, destination = (
                (part.name, other) if part.name.rpartition(".")[2] in ("src", "sport") else (other, part.name)
            )
            words = FIELD_BY_NAME[part.name].words
            self.add("pairs", self.layout.word_of[source], self.layout.word_of[destination], words)
        return len(seen) // 2

    def operand(self, operand: Operand, stage: Stage, written: str | None = None) -> int:
        index, header, value = 0, -1, operand.value
        if operand.kind == "const":
            kind = A.O_CONST
        elif operand.kind == "field":
            kind, index = A.O_WORD, self.layout.word_of[operand.name]
            field = FIELD_BY_NAME[operand.name]
            header = -1 if field.header is None else int(field.header)
        elif operand.kind == "metadata":
            kind, index = A.O_WORD, self.layout.metadata_word + self.program.metadata.index(operand.name)
        elif operand.kind in ("register", "written"):
            kind = A.O_REGISTER if operand.kind == "register" else A.O_WRITTEN
            index = self.register(operand.name, (stage.table if kind == A.O_REGISTER else written) or "")
        elif operand.kind == "global":
            kind, index = A.O_GLOBAL, self.global_number[operand.name]
        elif operand.kind == "temporary":
            kind, index = A.O_TEMPORARY, [t.name for t in stage.temporaries].index(operand.name)
        elif operand.kind == "now":
            kind, value = A.O_NOW, NOW_UNITS_NS[operand.name]
        else:
            kind = A.O_DIRECTION if operand.kind == "direction" else A.O_RANDOM
        return self.add("operands", kind, index, header, value)

    def register(self, name: str, table: str) -> int:
        found = self.program.table(table).register(name)
        assert found is not None, f"validation lets {name} through"
        return found

    def width(self, stage: Stage, written: str | None, *operands: Operand) -> int:
        return max(self.program.width(o, stage, written) for o in operands)

    def operation(self, item: Temporary | Update, stage: Stage, kind: int, written: str | None) -> int:
        a, b = self.operand(item.a, stage, written), self.operand(item.b, stage, written)
        if isinstance(item, Temporary):
            target_bits = max(item.bits, self.program.word_bits)
            target = [t.name for t in stage.temporaries].index(item.name)
        elif item.target.kind == "global":
            kind, target = A.O_GLOBAL, self.global_number[item.target.name]
            target_bits = self.global_bits[target]
        else:
            target = self.register(item.target.name, written or "")
            target_bits = self.program.width(item.target, stage, written)
        width = max(self.width(stage, written, item.a, item.b), target_bits)
        op = OPERATIONS.index(item.op)
        mask = (1 << width) - 1
        return self.add("operations", op, a, b, item.k, width, mask, kind, target, (1 << target_bits) - 1)

    def condition(self, item: Condition, stage: Stage) -> int:
        width = self.width(stage, None, item.a, item.b)
        a, b = self.operand(item.a, stage), self.operand(item.b, stage)
        return self.add("conditions", CONDITION_OPS.index(item.op), a, b, width, (1 << width) - 1)

    def alone(
        self, entry: Entry, stage: Stage, site: int, numbers: dict[str, int]
    ) -> dict[str, list[tuple[Any, ...]]]:
        """Rows of one entry and of all that it refers to, numbered from 0."""
        self.rows = _no_rows()
        self.entry(entry, stage, site, numbers)
        return self.rows

    def entry(self, entry: Entry, stage: Stage, site: int, numbers: dict[str, int]) -> int:
        first_action = len(self.rows["actions"])
        for action in entry.actions:
            self.action(action, stage)
        actions = len(self.rows["actions"]) - first_action
        if actions > A.MAX_ACTIONS:
            raise InputError(f"{entry.name}: more than {A.MAX_ACTIONS} actions", entry.mark)
        writes = [self.write_row(write, stage) for write in entry.writes]
        first_write = len(self.rows["writes"])
        self.rows["writes"].extend(writes)
        goto = (
            A.GOTO_NEXT if entry.goto is None else A.GOTO_END if entry.goto == "end" else numbers[entry.goto]
        )
        return self.add("entries", first_action, actions, first_write, len(writes), goto, site)

    def action(self, action: Action, stage: Stage) -> None:
        kind, target = action.kind, action.target
        if kind == "set" and target in FIELD_BY_NAME:
            self.set_field(action, stage)
            return
        number = self.operand(action.operand, stage)
        if kind == "set":
            word = self.layout.metadata_word + self.program.metadata.index(target.partition(".")[2])
            self.add("actions", A.A_SET, word, 0, -1, number, (1 << self.program.word_bits) - 1, 0, 0, 0)
        elif kind == "dec_ttl":
            v4, v6 = self.layout.word_of["ipv4.ttl"], self.layout.word_of["ipv6.hop_limit"]
            self.add("actions", A.A_DEC_TTL, v4, v6, -1, number, 0, 0, 0, 0)
        else:
            code = {"output": A.A_OUTPUT, "drop": A.A_DROP, "to_controller": A.A_CONTROLLER}[kind]
            self.add("actions", code, 0, 0, -1, number, 0xFFFF_FFFF, 0, 0, 0)

    def set_field(self, action: Action, stage: Stage) -> None:
        """One action row a word that changes, with the words that follow it."""
        rows = set_rows(action.target)
        if action.operand.kind == "address":
            version = Header.IPV4 if action.operand.family == 4 else Header.IPV6
            rows = tuple(row for row in rows if row.header in (version, Header.INNER_IPV6))
        for row in rows:
            first = len(self.rows["mirrors"])
            for m in row.mirrors:
                if m.field in self.layout.word_of:
                    word = self.layout.word_of[m.field] + m.offset
                    self.add("mirrors", word, m.need, m.unless, m.right, m.left, m.mask)
            companion = 0
            if action.low is not None:  # both or neither: the IPv4 row and the high half come before another
                companion = -1 if row is rows[-1] else 1
            header = -1 if row.header is None else int(row.header)
            word = self.layout.word_of[row.field] + row.offset
            operand = self.half(action, row.half, stage)
            mirrors = len(self.rows["mirrors"]) - first
            guard = int(row.only_if_set)
            self.add("actions", A.A_SET, word, guard, header, operand, row.mask, companion, first, mirrors)

    def half(self, action: Action, half: str, stage: Stage) -> int:
        """The operand for one word of a value."""
        operand = action.operand
        if half == WHOLE:
            return self.operand(operand, stage)
        if action.low is not None:
            return self.operand(operand if half == HIGH else action.low, stage)
        if operand.kind == "address":
            value = operand.value >> 64 if half == HIGH else operand.value & _ALL
            return self.add("operands", A.O_CONST, 0, -1, value)
        field = FIELD_BY_NAME[operand.name]
        header = -1 if field.header is None else int(field.header)
        return self.add("operands", A.O_WORD, self.layout.word_of[field.name] + (half == LOW), header, 0)

    def write_row(self, write: Write, stage: Stage) -> tuple[Any, ...]:
        key = A.KEY_LOOKED_UP
        if isinstance(write.key, Key):
            key = self.key(write.key, stage, write.table)
        elif write.key == "update" and stage.update is not None:
            key = self.key(stage.update, stage, write.table)
        next_mode, state = A.NEXT_STAY, 0
        if write.next_state == DELETE:
            next_mode = A.NEXT_DELETE
        elif write.next_state is not None:
            next_mode, state = A.NEXT_SET, int(write.next_state)
        first = len(self.rows["operations"])
        for update in write.updates:
            self.operation(update, stage, A.O_WRITTEN, write.table)
        idle, hard = _timer(write.idle), _timer(write.hard)
        return (
            self.table_number[write.table],
            key,
            next_mode,
            state,
            *idle,
            *hard,
            first,
            len(write.updates),
        )

    def linear(self, ranked: list[tuple[int, Entry]], stage: Stage) -> None:
        """Add the rows of a short stage, in the order in which they are tried."""
        for number, entry in ranked:
            none = int(takes_none(entry))
            for cells in self.maker.ternary(entry, stage):
                first = len(self.rows["cells"])
                self.rows["cells"].extend(cells)
                self.add("rows", number, first, len(cells), none)

    def classifier(self, ranked: list[tuple[int, Entry]], stage: Stage) -> int:
        """Add the classifier of a long stage; returns its number."""
        rules: list[Rule] = []
        for number, entry in ranked:
            if len(rules) + rules_of(entry) > MAX_ROWS:
                raise InputError(
                    f"{entry.name}: the program needs more than {MAX_ROWS} ternary rows", entry.mark
                )
            rules.extend(Rule(number, entry.priority, cells) for cells in self.maker.rules(entry, stage))
        self.spaces.append(TupleSpace(rules))
        return len(self.spaces) - 1  # until all are laid out


def _timer(timer: Timer | None) -> tuple[int, int, int]:
    if timer is None:
        return 0, 0, 0
    return 1, timer.timeout_ns, A.ROLLBACK_DELETE if timer.to is None else timer.to


def _fields_of(program: Program) -> set[str]:
    """Every field that a program reads, matches or sets."""
    names: set[str] = set()
    for stage in program.stages:
        for temporary in stage.temporaries:
            names.update(_named(temporary.a, temporary.b))
        for condition in stage.conditions:
            names.update(_named(condition.a, condition.b))
        for key in (stage.lookup, stage.update):
            if key is not None:
                names.update(_fields_of_key(key))
        for entry in (*stage.entries, *((stage.default,) if stage.default else ())):
            names.update(fields_of_entry(entry))
    return names


def fields_of_entry(entry: Entry) -> set[str]:
    """Every field that an entry reads, matches or sets."""
    names = {t.name for t in entry.match if t.kind == "field"}
    for action in entry.actions:
        names.update(_named(*operands_in(action)))
        if action.target in FIELD_BY_NAME:
            names.add(action.target)
        if action.kind == "dec_ttl":
            names.update(("ipv4.ttl", "ipv6.hop_limit"))
    for write in entry.writes:
        if isinstance(write.key, Key):
            names.update(_fields_of_key(write.key))
        for update in write.updates:
            names.update(_named(update.a, update.b))
    return names


def _named(*items: Operand) -> set[str]:
    return {o.name for o in items if o.kind == "field"}


def _fields_of_key(key: Key) -> set[str]:
    names = _named(*key.parts)
    if key.symmetric:
        names.update(filter(None, [partner(name) for name in names]))
    return names

"""Lowering: a checked :class:`Program` to the arrays that the kernels interpret."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import arrays as A
from .errors import InputError
from .fields import FIELD_BY_NAME, Layout, layout_for
from .lower_operands import KeyField, no_rows
from .lower_templates import TemplateLowering
from .overlaps import takes_none
from .program import (
    DELETE,
    Entry,
    Key,
    Program,
    Stage,
    Timer,
    Write,
)
from .rows import RowMaker, is_long, rules_of
from .tuples import Rule, TupleSpace, lay_out
from .used_fields import fields_of

MAX_ROWS = 1_000_000
_ALL = 2**64 - 1


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
    layout = layout_for(fields_of(program, fields), len(program.metadata), program.headers)
    return Lowering(program, layout).run()


class Lowering(TemplateLowering):
    """Lowers the parts of one program; with a layout given, entries that come to it later."""

    def __init__(self, program: Program, layout: Layout) -> None:
        super().__init__(program, layout)
        self.maker = RowMaker(program, self.layout)
        self.spaces: list[TupleSpace] = []
        self.read_ahead = 0  # keys that have a place

    def run(self) -> Lowered:
        pipeline = self.program.pipeline()
        numbers = {s.name: i for i, s in enumerate(pipeline)}
        for number, stage in enumerate(pipeline):
            self.stage(stage, number, numbers)
        for table in self.program.tables:
            if table.expiry is not None and table.name in self.table_keys:
                self.expiry(table, table.expiry, numbers)
        self.places()
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
            "allocs": A.ALLOC_DTYPE,
            "templates": A.TEMPLATE_DTYPE,
            "moves": A.MOVE_DTYPE,
            "places": A.PLACE_DTYPE,
            "writes": A.WRITE_DTYPE,
        }
        made = {name: np.array(self.rows[name], dtype) for name, dtype in dtypes.items()}
        self.hints(pipeline, made["stages"], made["keys"])
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

    def tables(self) -> tuple[np.ndarray, list[int], list[int]]:
        rows = []
        registers: list[int] = []
        masks: list[int] = []
        for table in self.program.tables:
            words = self.key_words.get(table.name, 0)
            stride = A.C_HEADER_WORDS + words + len(table.registers)
            event, timers = self.events.get(table.name, (-1, 0))
            rows.append(
                (words, len(table.registers), len(registers), stride, table.initial_state, event, timers)
            )
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
            self.ahead(stage),
            0,
            -1,
        )

    def ahead(self, stage: Stage) -> int:
        """The place of a stage's lookup key among those that can be read from a packet before it runs, or -1."""
        if stage.lookup is None or self.read_ahead == A.MAX_AHEAD:
            return -1
        if any(part.kind not in ("field", "const") for part in stage.lookup.parts):
            return -1
        self.read_ahead += 1
        return self.read_ahead - 1

    def hints(self, pipeline: Sequence[Stage], stages: np.ndarray, keys: np.ndarray) -> None:
        """Say which key tells flows apart, and which stages' keys are not known before a packet runs."""
        early = np.flatnonzero(stages["ahead"] >= 0)
        if not len(early):
            return
        stages["flow"][early[np.argmax(keys["words"][stages["lookup"][early]])]] = 1
        columns = itertools.count()
        rewritten = False
        for number, stage in enumerate(pipeline):
            if stages["hint"].max() == A.MAX_HINTED - 1:
                break
            if stages["table"][number] >= 0 and (rewritten or stages["ahead"][number] < 0):
                stages["hint"][number] = next(columns)
            entries = (*stage.entries, *((stage.default,) if stage.default else ()))
            rewritten |= any(
                a.target in FIELD_BY_NAME or a.kind == "dec_ttl" for e in entries for a in e.actions
            )

    def alone(
        self, entry: Entry, stage: Stage, site: int, numbers: dict[str, int]
    ) -> dict[str, list[tuple[Any, ...]]]:
        """Rows of one entry and of all that it refers to, numbered from 0."""
        self.rows = no_rows()
        self.entry(entry, stage, site, numbers)
        return self.rows

    def entry(self, entry: Entry, stage: Stage, site: int, numbers: dict[str, int]) -> int:
        first_action = len(self.rows["actions"])
        for action in entry.actions:
            self.action(action, stage, numbers)
        actions = len(self.rows["actions"]) - first_action
        if actions > A.MAX_ACTIONS:
            raise InputError(f"{entry.name}: more than {A.MAX_ACTIONS} actions", entry.mark)
        writes = [self.write_row(write, stage) for write in entry.writes]
        first_write = len(self.rows["writes"])
        self.rows["writes"].extend(writes)
        goto = (
            A.GOTO_NEXT if entry.goto is None else A.GOTO_END if entry.goto == "end" else numbers[entry.goto]
        )
        return self.add("entries", first_action, actions, first_write, len(writes), goto, site, 0, 0, 0)

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

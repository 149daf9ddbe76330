"""Lowering keys, operands, operations and conditions to rows of the arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import arrays as A
from .fields import FIELD_BY_NAME, W_FAMILY, Layout
from .program import (
    CONDITION_OPS,
    NOW_UNITS_NS,
    OPERATIONS,
    Condition,
    Key,
    Operand,
    Program,
    Stage,
    Temporary,
    Update,
)
from .validate import partner

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


def no_rows() -> dict[str, list[tuple[Any, ...]]]:
    names = "stages keys parts pairs operands operations conditions rows cells entries actions mirrors allocs templates moves places writes"
    return {name: [] for name in names.split()}


class OperandLowering:
    """Makes the rows of what entries and stages read; rows refer to each other by number."""

    def __init__(self, program: Program, layout: Layout) -> None:
        self.program = program
        self.layout = layout
        self.table_number = {t.name: i for i, t in enumerate(program.tables)}
        self.global_number = {
            f"{g.name}.{v.name}": i
            for i, (g, v) in enumerate((g, v) for g in program.globals for v in g.variables)
        }
        self.global_bits = [max(v.bits, program.word_bits) for g in program.globals for v in g.variables]
        self.rows = no_rows()
        self.key_fields: dict[str, tuple[tuple[KeyField, ...], tuple[int, int] | None]] = {}
        self.key_words: dict[str, int] = {}
        self.table_keys: dict[str, Key] = {}
        self.events: dict[str, tuple[int, int]] = {}

    def add(self, kind: str, *row: Any) -> int:
        self.rows[kind].append(row)
        return len(self.rows[kind]) - 1

    def key(self, key: Key, stage: Stage, table: str) -> int:
        """Add a key by which the program names a table's contexts; returns its number."""
        number, word, fields, family = self.packed(key, stage)
        self.key_words.setdefault(table, word)
        self.table_keys.setdefault(table, key)
        self.key_fields.setdefault(table, (fields, family))
        return number

    def packed(self, key: Key, stage: Stage) -> tuple[int, int, tuple[KeyField, ...], tuple[int, int] | None]:
        """Lay a key out in packed words: 128-bit parts take two words, the others share words.

        Returns:
            the key's number, its words, where its parts stand in them, and where the family of its addresses does.
        """
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
        first_pair, pairs = len(self.rows["pairs"]), self.pairs(key)
        first_part = len(self.rows["parts"])
        self.rows["parts"].extend(parts)
        reads = 0
        for kind, index, swapped, *_ in parts:
            reads |= (1 << index % 64 | 1 << swapped % 64) if kind == A.O_WORD else 0
        row = (first_part, len(parts), word, first_pair, pairs, headers, temporaries, reads)
        number = self.add("keys", *row)
        return number, word, tuple(f for _, f in sorted(fields, key=lambda f: f[0])), family

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

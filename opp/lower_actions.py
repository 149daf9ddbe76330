"""Lowering actions to rows of the arrays."""

from __future__ import annotations

from . import arrays as A
from .fields import FIELD_BY_NAME, Header
from .lower_operands import OperandLowering
from .mirrors import HIGH, LOW, WHOLE, set_rows
from .program import Action, Allocation, Operand, Stage, Template

_ALL = 2**64 - 1


class ActionLowering(OperandLowering):
    """Adds the rows of an entry's actions."""

    def action(self, action: Action, stage: Stage, numbers: dict[str, int]) -> None:
        """Add one action's rows; ``numbers`` are those of the stages."""
        kind, target = action.kind, action.target
        if kind == "set" and target in FIELD_BY_NAME:
            self.set_field(action, stage)
            return
        if action.template is not None:
            self.generate(action.template, stage, numbers)
            return
        if kind == "alloc" and action.search is not None:
            self.alloc(action, action.search, stage)
            return
        number = self.operand(action.operand, stage)
        if kind == "set":
            self.set_metadata(A.A_SET, target, number)
        elif kind == "dec_ttl":
            v4, v6 = self.layout.word_of["ipv4.ttl"], self.layout.word_of["ipv6.hop_limit"]
            self.add("actions", A.A_DEC_TTL, v4, v6, -1, number, 0, 0, 0, 0)
        else:
            code = {"output": A.A_OUTPUT, "drop": A.A_DROP, "to_controller": A.A_CONTROLLER}[kind]
            self.add("actions", code, 0, 0, -1, number, 0xFFFF_FFFF, 0, 0, 0)

    def metadata_word(self, name: str) -> int:
        """The word of a metadata word, by its name."""
        return self.layout.metadata_word + self.program.metadata.index(name)

    def set_metadata(self, kind: int, target: str, operand: int) -> None:
        word = self.metadata_word(target.partition(".")[2])
        self.add("actions", kind, word, 0, -1, operand, (1 << self.program.word_bits) - 1, 0, 0, 0)

    def alloc(self, action: Action, search: Allocation, stage: Stage) -> None:
        """Rows that hold the search's operands and what it sets, then the search itself."""
        for operand in (search.low, search.high, search.start or search.low):
            self.add("actions", A.A_VALUE, 0, 0, -1, self.operand(operand, stage), 0, 0, 0, 0)
        nothing = self.operand(Operand("const"), stage)
        if action.target in FIELD_BY_NAME:
            self.set_field(action, stage, A.A_VALUE)
        else:
            self.set_metadata(A.A_VALUE, action.target, nothing)
        key, _, fields, _ = self.packed(search.key, stage)
        place = next(f for f in fields if f.name == action.target)
        found = self.metadata_word(search.found) if search.found else -1
        table, mask = self.table_number[search.table], (1 << place.bits) - 1
        row = (table, key, place.word, place.shift, mask, search.tries, found, int(search.drop))
        self.add(
            "actions",
            A.A_ALLOC,
            self.add("allocs", *row),
            0,
            -1,
            self.operand(Operand("const"), stage),
            0,
            0,
            0,
            0,
        )

    def generate(self, template: Template, stage: Stage, numbers: dict[str, int]) -> None:
        """Add the rows of a packet to generate; see :mod:`.lower_templates`."""
        raise NotImplementedError

    def set_field(self, action: Action, stage: Stage, kind: int = A.A_SET) -> None:
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
            self.add("actions", kind, word, guard, header, operand, row.mask, companion, first, mirrors)

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

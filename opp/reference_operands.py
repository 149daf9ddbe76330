"""What operands and keys read, in the plain reference.

Plain numbers; an absent value is None. See :mod:`.reference`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .fields import FIELD_BY_NAME
from .program import NOW_UNITS_NS, Entry, Key, Operand, Program, Stage, Temporary, Update
from .reference_values import ContextState, KeyTuple, Packet, Value, compute, compute_single, splitmix64

Pair = tuple[int | None, int | None]  # values of an operation's operands


@dataclass
class Visit:
    """One packet at one stage: everything that operands and match terms read.

    Attributes:
        key: of the looked-up context; None where a part is absent, and in a stateless stage.
        context: the looked-up context, or a default one that does not exist (create: on-write); None without a key.
        choice: number of the chosen entry in the stage from 1; 0 before the choice and for the default entry.
    """

    stage: Stage
    index: int
    packet: Packet
    now: int
    key: KeyTuple | None = None
    context: ContextState | None = None
    direction: int = 0
    temporaries: dict[str, int | None] = field(default_factory=dict)
    conditions: dict[str, bool] = field(default_factory=dict)
    choice: int = 0

    @property
    def passed_over(self) -> bool:
        """Whether this is a stateful stage whose key has an absent part."""
        return self.stage.table is not None and self.key is None


class Operands:
    """Reads operands and keys for one program.

    Attributes:
        globals: ``group.name`` -> value.
    """

    program: Program
    seed: int
    globals: dict[str, int]

    def _extract(self, key: Key, visit: Visit) -> tuple[KeyTuple | None, int]:
        """The key and its direction; None where a part is absent."""
        values: list[Value] = []
        for part in key.parts:
            value = self._value(part, visit)
            if value is None:
                return None, 0
            values.append(value)
        pairs = _pairs(key) if key.symmetric else []
        if [values[src] for src, _ in pairs] <= [values[dst] for _, dst in pairs]:
            return tuple(values), 0
        for src, dst in pairs:
            values[src], values[dst] = values[dst], values[src]
        return tuple(values), 1

    def _value(self, operand: Operand, visit: Visit, written: ContextState | None = None) -> Value | None:
        """What an operand reads, not yet reduced to a width; None where it is absent."""
        if operand.kind == "const":
            return operand.value
        if operand.kind == "address":
            return operand.family, operand.value
        if operand.kind == "field":
            return visit.packet.fields.get(operand.name)
        if operand.kind == "metadata":
            return visit.packet.metadata[self.program.metadata.index(operand.name)]
        if operand.kind == "temporary":
            return visit.temporaries[operand.name]
        if operand.kind == "global":
            return self.globals[operand.name]
        if operand.kind in ("register", "written"):
            context = visit.context if operand.kind == "register" else written
            return None if context is None else context.registers[operand.name]
        if operand.kind == "now":
            return visit.now // NOW_UNITS_NS[operand.name]
        if operand.kind == "direction":
            return visit.direction
        assert operand.kind == "random", f"unknown kind of operand {operand.kind!r}"
        site = 65536 * visit.index + visit.choice
        return splitmix64(splitmix64(splitmix64(self.seed) ^ visit.packet.number) ^ site) % 2**32

    def _number(self, operand: Operand, visit: Visit, written: ContextState | None = None) -> int | None:
        value = self._value(operand, visit, written)
        assert not isinstance(value, tuple), f"{operand}: an address can only be matched or part of a key"
        return value

    def _operate(
        self, operation: Temporary | Update, target: Operand, values: Pair, stage: Stage, written: str | None
    ) -> int | None:
        """One operation at the width that its operands and target ask for, reduced to the target's."""
        a, b = values
        if a is None or b is None:
            return None
        bits = self._bits(target, stage, written)
        width = max(bits, *(self._bits(operand, stage, written) for operand in (operation.a, operation.b)))
        if operation.op.startswith("f"):
            return compute_single(operation.op, a, b)
        return compute(operation.op, a, b, operation.k, width) % (1 << bits)

    def _bits(self, operand: Operand, stage: Stage, written: str | None) -> int:
        """The operand's declared width, 32 or 64; ``written`` is the table of the written context."""
        bits = 32
        if operand.kind == "const":
            bits = 64 if operand.value >= 2**32 else 32
        elif operand.kind == "field":
            bits = 64 if FIELD_BY_NAME[operand.name].bits > 32 else 32
        elif operand.kind == "temporary":
            bits = next(t.bits for t in stage.temporaries if t.name == operand.name)
        elif operand.kind == "global":
            group, variable = operand.name.split(".")
            variables = next(g.variables for g in self.program.globals if g.name == group)
            bits = next(v.bits for v in variables if v.name == variable)
        elif operand.kind in ("register", "written"):
            table = stage.table if operand.kind == "register" else written
            bits = next(r.bits for r in self.program.table(table or "").registers if r.name == operand.name)
        return max(bits, self.program.word_bits)


def entries_of(stage: Stage) -> tuple[Entry, ...]:
    return (*stage.entries, stage.default) if stage.default is not None else stage.entries


def first_keys(pipeline: tuple[Stage, ...]) -> dict[str, Key]:
    """The key that the pipeline names each table by first: a stage's own, or of a write."""
    found: dict[str, Key] = {}
    for stage in pipeline:
        if stage.table is not None and stage.lookup is not None:
            found.setdefault(stage.table, stage.lookup)
        for entry in entries_of(stage):
            for write in entry.writes:
                if isinstance(write.key, Key):
                    found.setdefault(write.table, write.key)
    return found


def _pairs(key: Key) -> list[tuple[int, int]]:
    """Positions of (source, destination) of every pair that a symmetric key swaps, by the pair's first member."""
    at = {part.name: i for i, part in enumerate(key.parts) if part.kind == "field"}
    destinations = {"src": "dst", "sport": "dport"}
    sources = {dst: src for src, dst in destinations.items()}
    pairs = []
    for name in at:
        prefix, _, last = name.rpartition(".")
        src = sources.get(last, last)
        if src in destinations:
            pair = (at[f"{prefix}.{src}"], at[f"{prefix}.{destinations[src]}"])
            if pair not in pairs:
                pairs.append(pair)
    return pairs


def decrement_ttl(packet: Packet) -> None:
    for name in ("ipv4.ttl", "ipv6.hop_limit"):
        value = packet.fields.get(name)
        if isinstance(value, int):
            packet.fields[name] = max(value - 1, 0)

"""Values, packets, contexts and results of the plain reference (:mod:`.reference`).

Plain numbers of any size; nothing here is shared with the lowered form and its compiled step.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from .fields import FIELD_BY_NAME, W_FAMILY, W_HEADERS, W_ID, W_NOW, Header, Layout
from .program import Pattern, Timer

Value = int | tuple[int, int]  # a number, or (family, number) of a joint address
KeyTuple = tuple[Value, ...]
Snapshot = tuple[
    int, tuple[int, ...], tuple[int, ...]
]  # state, registers, timers; see Reference.canonical_contexts


def compute(op: str, a: int, b: int, k: int, width: int) -> int:
    """The result of one operation on operands of any size, at a width of 32 or 64 bits."""
    a, b = a % (1 << width), b % (1 << width)
    if op == "div":
        return a // b if b else (1 << width) - 1
    if op == "mod":
        return a % b if b else a
    if op == "shl":
        return (a << b) % (1 << width) if b < width else 0
    if op == "shr":
        return a >> b if b < width else 0
    if op == "ewma":
        return ((8 - k) * a + k * b) % 2**64 // 8 % (1 << width)
    if op in ("min", "max"):
        return min(a, b) if op == "min" else max(a, b)
    plain = {"mov": a, "add": a + b, "sub": a - b, "mul": a * b, "and": a & b, "or": a | b, "xor": a ^ b}
    return plain[op] % (1 << width)


def compute_single(op: str, a: int, b: int) -> int:
    """One operation of IEEE 754 single precision on the bits of its operands."""
    x, y = (struct.unpack("<f", struct.pack("<I", bits % 2**32))[0] for bits in (a, b))
    negative = math.copysign(1.0, x) * math.copysign(1.0, y) < 0
    try:
        # A double holds the exact result, or more than twice its bits: rounding it once more does no harm.
        z = {"fadd": x + y, "fsub": x - y, "fmul": x * y}[op] if op != "fdiv" else x / y
        return int.from_bytes(struct.pack("<f", z), "little") if z == z else 0x7FC00000
    except ZeroDivisionError:
        return 0x7FC00000 if x == 0 or x != x else 0xFF800000 if negative else 0x7F800000
    except OverflowError:
        return 0xFF800000 if z < 0 else 0x7F800000


def run_on(op: str, count: int, sample: int, old: int, width: int) -> int:
    """A running mean or variance: old + (new - old) / count, signed, rounded toward zero."""
    size = 1 << width
    count, sample, old = count % size, sample % size, old % size
    if op == "avg":
        new = 1000 * sample
    else:
        deviation = sample - size if sample >= size // 2 else sample
        new = deviation * deviation % 2**64 // 1000
    if count == 0:
        return new % size
    step = (new - old) % size
    step = step - size if step >= size // 2 else step
    quotient = abs(step) // count
    return (old + (quotient if step >= 0 else -quotient)) % size


def compare(op: str, a: int, b: int, width: int) -> bool:
    """Whether the condition holds between operands of any size, at a width of 32 or 64 bits."""
    a, b = a % (1 << width), b % (1 << width)
    if op in ("slt", "sle"):  # two's complement: the sign bit weighs -2^(width-1)
        a, b = (v - (1 << width) if v >= 1 << (width - 1) else v for v in (a, b))
        op = op[1:]
    return {"lt": a < b, "le": a <= b, "gt": a > b, "ge": a >= b, "eq": a == b, "ne": a != b}[op]


def splitmix64(x: int) -> int:
    """The published mixer (Steele, Lea, Flood, OOPSLA 2014, figure 17), modulo 2^64."""
    z = (x + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def fits(pattern: Pattern, value: Value) -> bool:
    """Whether a value has the pattern's masked bits, or stands in its range; a joint address must be of its family."""
    if isinstance(value, tuple):
        family, value = value
        if pattern.family not in (0, family):
            return False
        if pattern.family == 0 and family == 4:
            value |= 0xFFFF << 32  # as an IPv4-mapped IPv6 address
    if pattern.high is not None:
        return pattern.value <= value <= pattern.high
    return value & pattern.mask == pattern.value & pattern.mask


@dataclass
class Packet:
    """A packet as the machine sees it; the pipeline changes ``fields`` and ``metadata``.

    Attributes:
        fields: value of every field that is present: a number, or (family, number) of a joint address,
            where an IPv4 number is the plain 32-bit address. Absent fields are not in it.
        headers: names of the :class:`~.fields.Header` members that are valid, in upper case.
        now: ingress stamp, nanoseconds.
        number: of the packet in its run.
        metadata: words, in the program's order; missing ones are 0.
    """

    fields: dict[str, Value] = field(default_factory=dict)
    headers: set[str] = field(default_factory=set)
    now: int = 0
    number: int = 0
    metadata: list[int] = field(default_factory=list)

    @classmethod
    def from_fields(
        cls,
        fields: Mapping[str, Value],
        headers: Iterable[str] = (),
        now: int = 0,
        number: int = 0,
        metadata: Iterable[int] = (),
    ) -> Packet:
        """A packet with exactly these fields and headers; header names in any case."""
        return cls(dict(fields), {h.upper() for h in headers}, now, number, list(metadata))

    @classmethod
    def from_vector(cls, row: Sequence[int], layout: Layout) -> Packet:
        """The packet in one row of a header vector: every field of the layout whose header is valid."""
        valid = int(row[W_HEADERS])
        packet = cls(now=int(row[W_NOW]), number=int(row[W_ID]))
        packet.headers = {h.name for h in Header if valid >> h & 1}
        for name, word in layout.word_of.items():
            known = FIELD_BY_NAME[name]
            if known.header is not None and known.header.name not in packet.headers:
                continue
            value = int(row[word])
            if known.words == 2:
                value = value << 64 | int(row[word + 1])
            if known.is_address:
                family = int(row[W_FAMILY])
                packet.fields[name] = (family, value % 2**32 if family == 4 else value)
            else:
                packet.fields[name] = value
        first = layout.metadata_word
        packet.metadata = [int(row[first + i]) for i in range(layout.metadata_words)]
        return packet


@dataclass
class ContextState:
    """One flow context. A timeout of 0 or a deadline of None is no timer; a rollback label of None deletes."""

    state: int
    registers: dict[str, int]
    idle_timeout_ns: int = 0
    idle_to: int | None = None
    hard_deadline_ns: int | None = None
    hard_to: int | None = None
    last_used_ns: int = 0

    def passed_timer(self, now: int) -> tuple[bool, int | None]:
        """Whether a deadline has passed, and the rollback label of the first that did: hard before idle."""
        if self.hard_deadline_ns is not None and now > self.hard_deadline_ns:
            return True, self.hard_to
        if self.idle_timeout_ns and now > self.last_used_ns + self.idle_timeout_ns:
            return True, self.idle_to
        return False, None

    def deadline(self, now: int) -> int:
        """The deadline that has passed first, by :meth:`passed_timer`'s order."""
        if self.hard_deadline_ns is not None and now > self.hard_deadline_ns:
            return self.hard_deadline_ns
        return self.last_used_ns + self.idle_timeout_ns

    def set_timers(self, idle: Timer | None, hard: Timer | None, now: int) -> None:
        """Start the given timers; a timeout of 0 clears, None leaves as it is."""
        if idle is not None:
            self.idle_timeout_ns = idle.timeout_ns
            self.idle_to = idle.to if idle.timeout_ns else None
        if hard is not None:
            self.hard_deadline_ns = now + hard.timeout_ns if hard.timeout_ns else None
            self.hard_to = hard.to if hard.timeout_ns else None

    def snapshot(self) -> Snapshot:
        """Plain values to compare; see :meth:`Reference.canonical_contexts`."""
        rollbacks = (-1 if to is None else to for to in (self.idle_to, self.hard_to))
        timers = (self.idle_timeout_ns, self.hard_deadline_ns or 0, *rollbacks, self.last_used_ns)
        return self.state, tuple(self.registers.values()), timers


@dataclass
class Count:
    """Packets and bytes that took an entry, and `now` of the last one there."""

    packets: int = 0
    bytes: int = 0
    last_hit_ns: int | None = None


class Verdict(IntEnum):
    """What the pipeline decided about a packet."""

    NONE = 0
    FORWARD = 1
    DROP = 2
    CONTROLLER = 3


@dataclass
class Result:
    """What the pipeline did with one packet.

    Attributes:
        verdict: a :class:`Verdict`.
        port: output port, 0 unless an entry set it.
        lookups: (table, key) of every lookup with a key, in order.
        stages: names of the stages that the packet reached, those that it was passed over included.
        choices: what each allocation found, in order; None for nothing.
        made: the packets that came of it, in the order in which they ran after it; in the result of a packet from
            outside only.
    """

    verdict: int = Verdict.NONE
    port: int = 0
    lookups: list[tuple[str, KeyTuple]] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    choices: list[int | None] = field(default_factory=list)
    made: list[Any] = field(default_factory=list)

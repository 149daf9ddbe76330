"""The program model: what an OPP program is, as plain immutable data.

A :class:`Program` is what every consumer starts from: validation, lowering to arrays, the plain reference,
analysis and translation. It keeps names (of tables, registers, stages), so that messages, traces and
documents speak the user's words; :mod:`.lower` turns names into numbers. Two programs are equal if they
mean the same text, wherever they were written: marks do not count.

The semantics are those of the model page in the documentation; the classes here say only what exists.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .errors import NOWHERE, Mark
from .fields import DeclaredHeader

# Limits of the model itself; a NIC profile is usually much smaller.
MAX_KEY_BITS = 512
MAX_REGISTERS = 64
MAX_GLOBALS = 4096
MAX_TEMPORARIES = 64
MAX_CONDITIONS = 32
MAX_METADATA = 128
MAX_STAGES = 4096
MAX_TABLES = 256
MAX_UPDATES = 64  # of one entry, over all its writes
MAX_RECORDS = 576  # of one table that one packet can come to
MAX_DELETES = 1024  # that one packet can do
MAX_WRITES = 8  # of one entry
MAX_TRIES = 65_536  # of one allocation
MAX_GENERATED = 16  # packets that one packet and those generated from it generate together
MAX_STATE = 2**32 - 2
MAX_PRIORITY = 2**62
MAX_TIMEOUT_NS = 2**62  # so that no deadline wraps

CONDITION_OPS = ("lt", "le", "gt", "ge", "eq", "ne", "slt", "sle")
INTEGER_OPS = (
    "mov",
    "add",
    "sub",
    "mul",
    "div",
    "mod",
    "and",
    "or",
    "xor",
    "shl",
    "shr",
    "min",
    "max",
    "ewma",
)
FLOAT_OPS = ("fadd", "fsub", "fmul", "fdiv")
RUNNING_OPS = ("avg", "var")  # they also read the target's old value, so only updates have them
OPERATIONS = INTEGER_OPS + FLOAT_OPS + RUNNING_OPS
NOW_UNITS_NS = {"now": 1, "now_us": 1_000, "now_ms": 1_000_000, "now_s": 1_000_000_000}
DELETE = "delete"
NONE = "none"


@dataclass(frozen=True)
class Operand:
    """A value that an operation reads.

    Attributes:
        kind: ``const``, ``field``, ``metadata``, ``register`` (of the looked-up context), ``written`` (a
            register of the context that the update is written to), ``global``, ``temporary``, ``now``,
            ``direction``, ``random``, or ``address`` (an IPv4 or IPv6 address that a 128-bit field is set to).
        name: field, metadata, register or temporary name; ``group.name`` of a global; the unit of ``now``;
            the text of an address.
        value: the constant or address.
    """

    kind: str
    name: str = ""
    value: int = 0

    @property
    def family(self) -> int:
        """IP version of an address."""
        return 6 if ":" in self.name else 4

    def __str__(self) -> str:
        prefix = {
            "metadata": "metadata.",
            "register": "R.",
            "written": "W.",
            "global": "G.",
            "temporary": "T.",
        }
        # A declared field's full name goes on behind an @, see .declared.
        name = self.name.partition("@")[0]
        return str(self.value) if self.kind == "const" else prefix.get(self.kind, "") + name


@dataclass(frozen=True)
class Register:
    """A register of a context table or a global variable: ``bits`` is 32 or 64, ``initial`` its default."""

    name: str
    bits: int = 32
    initial: int = 0


@dataclass(frozen=True)
class Expiry:
    """The packet that tells of a context's passed timer.

    Attributes:
        stage: where it enters.
        idle, hard: which timers tell.
        sets: ``set`` actions on the packet, which has the fields of the context's key; they read the context as
            ``R.NAME``.
    """

    stage: str
    idle: bool
    hard: bool
    sets: tuple[Action, ...] = ()
    mark: Mark = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Table:
    """A context table: what every context in it holds.

    Attributes:
        expiry: the packet that a passed timer makes, if it does.
        states: names of the state labels, in order of their numbers; labels may also be plain numbers.
        initial_state: label of a context that nothing has written to.
    """

    name: str
    registers: tuple[Register, ...] = ()
    states: tuple[str, ...] = ()
    initial_state: int = 0
    expiry: Expiry | None = None
    mark: Mark = field(default=NOWHERE, compare=False, repr=False)

    def register(self, name: str) -> int | None:
        """Index of the named register, or None."""
        return next((i for i, r in enumerate(self.registers) if r.name == name), None)

    def state_name(self, label: int) -> str:
        """The label's name, or its number as text."""
        return self.states[label] if label < len(self.states) else str(label)


@dataclass(frozen=True)
class GlobalGroup:
    """A named group of global variables."""

    name: str
    variables: tuple[Register, ...]
    mark: Mark = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Key:
    """A key extractor: operands of kind field, metadata, temporary or const, in order.

    ``symmetric`` swaps every source with its destination, jointly, where the sources' values are larger
    than the destinations' (compared pair by pair, in the order in which the pairs first appear).
    """

    parts: tuple[Operand, ...]
    symmetric: bool = False
    mark: Mark = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Temporary:
    """T[name] := op(a, b), computed in order after the lookup; ``bits`` 32 or 64."""

    name: str
    op: str
    a: Operand
    b: Operand
    bits: int = 32
    k: int = 0
    mark: Mark = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Condition:
    """C[name] := a op b, evaluated on the looked-up context before any update."""

    name: str
    op: str
    a: Operand
    b: Operand
    mark: Mark = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Pattern:
    """One alternative of a match term: value/mask, or an inclusive range where ``high`` is not None.

    ``family`` (4 or 6) restricts a joint address to one IP version; the value of an IPv4 pattern is then
    the plain 32-bit address and its mask a 32-bit mask.
    """

    value: int
    mask: int
    high: int | None = None
    family: int = 0


@dataclass(frozen=True)
class Term:
    """One condition of a ternary match: the subject has a value that fits one of the patterns.

    Attributes:
        kind: ``field``, ``metadata``, ``state``, ``direction``, ``condition`` or ``valid`` (a header is there).
        name: of the field, metadata word, condition or header; empty for state and direction.
        patterns: alternatives; for ``state`` an empty tuple means ``none`` (the key is absent).
    """

    kind: str
    name: str
    patterns: tuple[Pattern, ...]


@dataclass(frozen=True)
class Allocation:
    """The search of ``alloc``: the first value, from ``start`` on, with which a key is in no context of a table.

    Attributes:
        table: in which the key must be free.
        key: as it would be read with the value in the action's target, which is one of its parts.
        low, high: the range of values, inclusive.
        start: where the search starts, None for ``low``; it wraps around at the end of the range.
        tries: values that are looked at, at most.
        found: metadata word that gets 1 or 0, empty for none.
        drop: whether the packet is dropped where there is no free value.
    """

    table: str
    key: Key
    low: Operand
    high: Operand
    start: Operand | None = None
    tries: int = MAX_TRIES
    found: str = ""
    drop: bool = False


@dataclass(frozen=True)
class Template:
    """A packet to generate.

    Attributes:
        stage: where it enters.
        blank: whether it has nothing of the packet that it is generated from, rather than being a copy of it.
        headers: names of the headers that it has, None for those of the packet.
        quote: whether it quotes the packet, as an ICMP error does.
        sets: ``set`` actions on it, whose operands are those of the entry.
    """

    stage: str
    blank: bool = False
    headers: tuple[str, ...] | None = None
    quote: bool = False
    sets: tuple[Action, ...] = ()


@dataclass(frozen=True)
class Action:
    """What an entry does to the packet.

    Attributes:
        kind: ``set``, ``dec_ttl``, ``output``, ``drop``, ``to_controller``, ``alloc`` or
            ``generate``.
        target: for ``set`` and ``alloc``: a field name or ``metadata.NAME``.
        operand: the value that is set, or the port.
        low: for ``set`` of a 128-bit field from two values: its low 64 bits, ``operand`` being the high ones.
    """

    kind: str
    target: str = ""
    operand: Operand = Operand("const")
    low: Operand | None = None
    search: Allocation | None = None
    template: Template | None = None
    mark: Mark = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Update:
    """target := op(a, b). The target is ``W.NAME`` (a register of the written context) or ``G.GROUP.NAME``."""

    op: str
    target: Operand
    a: Operand
    b: Operand
    k: int = 0
    mark: Mark = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Timer:
    """A deadline set by a write: ``timeout_ns`` from now; 0 clears the timer. ``to``: rollback label, None deletes."""

    timeout_ns: int
    to: int | None = None


@dataclass(frozen=True)
class Write:
    """What an entry does to one context.

    Attributes:
        table: of the context.
        key: ``lookup``, ``update`` (the stage's extractors) or an extractor of its own, which reads the
            headers as they are after the entry's actions.
        next_state: label, None to stay, or ``delete``.
        idle, hard: timers to set, None to leave as they are.
    """

    table: str
    key: str | Key = "update"
    next_state: int | str | None = None
    idle: Timer | None = None
    hard: Timer | None = None
    updates: tuple[Update, ...] = ()
    mark: Mark = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Entry:
    """An EFSM entry: where every term matches, do the actions and writes, then go on at ``goto``.

    Attributes:
        priority: larger wins.
        goto: name of a later stage, ``end``, or None for the next stage.
    """

    name: str
    priority: int = 0
    match: tuple[Term, ...] = ()
    actions: tuple[Action, ...] = ()
    writes: tuple[Write, ...] = ()
    goto: str | None = None
    mark: Mark = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Stage:
    """One stage: stateless (``table`` None) or stateful, with its extractors, temporaries and entries.

    Attributes:
        update: update extractor, None where it is the lookup extractor.
        create_on_write: contexts come into being at their first write rather than at their first lookup.
        commit: runs last, unless the packet was dropped.
        default: what happens where no entry matches, or None for nothing.
    """

    name: str
    table: str | None = None
    lookup: Key | None = None
    update: Key | None = None
    create_on_write: bool = False
    commit: bool = False
    temporaries: tuple[Temporary, ...] = ()
    conditions: tuple[Condition, ...] = ()
    entries: tuple[Entry, ...] = ()
    default: Entry | None = None
    mark: Mark = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Program:
    """A whole program; ``parameters`` are the values that it was loaded with, as text, for the record."""

    name: str
    tables: tuple[Table, ...] = ()
    globals: tuple[GlobalGroup, ...] = ()
    stages: tuple[Stage, ...] = ()
    metadata: tuple[str, ...] = ()
    word_bits: int = 32
    headers: tuple[DeclaredHeader, ...] = ()
    description: str = field(default="", compare=False)
    mark: Mark = field(default=NOWHERE, compare=False, repr=False)

    def table(self, name: str) -> Table:
        """The named table; KeyError if there is none."""
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(name)

    def pipeline(self) -> tuple[Stage, ...]:
        """Stages in the order in which they run: commit stages last."""
        return tuple(s for s in self.stages if not s.commit) + tuple(s for s in self.stages if s.commit)

    def first_key(self, table: str) -> Key | None:
        """The key that the pipeline names a table by first, a stage's own before those of its writes."""
        for stage in self.pipeline():
            if stage.table == table and stage.lookup is not None:
                return stage.lookup
            for entry in (*stage.entries, *((stage.default,) if stage.default else ())):
                for write in entry.writes:
                    if write.table == table and isinstance(write.key, Key):
                        return write.key
        return None

    def width(self, operand: Operand, stage: Stage, written: str | None = None) -> int:
        """Bits of an operand, by declaration: 32 unless the thing read is wider or the word is 64 bits.

        Args:
            operand: what is read.
            stage: where; its table gives registers, its temporaries T.
            written: table of the written context, for ``written`` operands.
        """
        from .fields import FIELD_BY_NAME

        declared = 32
        if operand.kind == "field":
            declared = 64 if FIELD_BY_NAME[operand.name].bits > 32 else 32
        elif operand.kind in ("register", "written"):
            name = stage.table if operand.kind == "register" else (written or stage.table)
            if name is not None:
                table = self.table(name)
                declared = next((r.bits for r in table.registers if r.name == operand.name), 32)
        elif operand.kind == "global":
            group, _, variable = operand.name.partition(".")
            declared = next(
                (v.bits for g in self.globals if g.name == group for v in g.variables if v.name == variable),
                32,
            )
        elif operand.kind == "temporary":
            declared = next((t.bits for t in stage.temporaries if t.name == operand.name), 32)
        elif operand.kind == "const":
            declared = 64 if operand.value >= 2**32 else 32
        return max(declared, self.word_bits)

"""Building a pipeline forwards: stages with entries that are tried in order, and labels to go on at.

A stage takes entries as long as first-match order among them says what the rules say. An entry that changes the
packet and goes on at the next rule needs the next rule in a later stage, unless the rules between cannot match the
same packet: :meth:`Flow.entry` finds out and begins a stage where one is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from oppcache.opp.errors import NOWHERE, Mark
from oppcache.opp.program import Action, Condition, Entry, Key, Operand, Stage, Temporary, Update, Write
from oppcache.opp.syntax import parse_operand

from .clauses import ALWAYS, Clause, Clauses, Spans, Subject, apart, terms

STEP = 1 << 20  # between priorities, so that entries can come between others at run time
TOP = 1 << 40


class Label:
    """A place in the pipeline, known once a stage begins there."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.at: int | None = None


ON = Label("next rule")  # where a packet goes that a rule has only changed


@cache
def value(text: str | int) -> Operand:
    """An operand as programs write it: ``R.x``, ``metadata.x``, ``tcp.seq``, 5, …"""
    return parse_operand(text)


def as_operand(item: Operand | str | int) -> Operand:
    """An operand from itself or its text."""
    return item if isinstance(item, Operand) else value(item)


def put(target: str, item: Operand | str | int) -> Action:
    """The action that sets a field or ``metadata.NAME``."""
    return Action("set", target, as_operand(item))


def puts(**words: Operand | str | int) -> tuple[Action, ...]:
    """Actions that set metadata words."""
    return tuple(put(f"metadata.{name}", item) for name, item in words.items())


DROP = Action("drop")


def update(target: str, op: str, a: Operand | str | int, b: Operand | str | int = 0) -> Update:
    """An update of ``W.NAME`` or ``G.GROUP.NAME``."""
    return Update(op, value(target), as_operand(a), as_operand(b))


def store(**registers: Operand | str | int) -> tuple[Update, ...]:
    """Updates that set registers of the written context."""
    return tuple(update(f"W.{name}", "mov", item) for name, item in registers.items())


def key_of(*parts: Operand | str | int) -> Key:
    """A key of operands."""
    return Key(tuple(as_operand(p) for p in parts))


@dataclass
class Draft:
    """A stage that is being filled."""

    name: str
    table: str | None = None
    key: Key | None = None
    commit: bool = False
    temporaries: dict[str, Temporary] = field(default_factory=dict)
    conditions: dict[str, Condition] = field(default_factory=dict)
    entries: list[tuple[Entry, Label | str | None]] = field(default_factory=list)
    default: tuple[Entry, Label | str | None] | None = None
    pending: list[tuple[Clause, frozenset[Subject]]] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)
    guards: set[frozenset[tuple[Subject, Any]]] = field(default_factory=set)

    # Arithmetic: each call adds a temporary, or finds the same one.

    def t(self, op: str, a: Operand | str | int, b: Operand | str | int = 0, bits: int = 32) -> Operand:
        """A temporary op(a, b)."""
        one, two = as_operand(a), as_operand(b)
        for known in self.temporaries.values():
            if (known.op, known.a, known.b, known.bits) == (op, one, two, bits):
                return Operand("temporary", known.name)
        name = f"t{len(self.temporaries)}"
        self.temporaries[name] = Temporary(name, op, one, two, bits)
        return Operand("temporary", name)

    def before(self, a: Operand | str | int, b: Operand | str | int) -> Operand:
        """1 where a precedes b, as sequence numbers do (modulo 2^32), else 0."""
        return self.t("shr", self.t("sub", a, b), 31)

    def zero(self, a: Operand | str | int) -> Operand:
        """1 where a is 0, else 0."""
        return self.t("xor", self.t("min", a, 1), 1)

    def same(self, a: Operand | str | int, b: Operand | str | int) -> Operand:
        """1 where a equals b, else 0."""
        return self.zero(self.t("xor", a, b))

    def bit(self, a: Operand | str | int, mask: int) -> Operand:
        """1 where a has a bit of the mask, else 0."""
        return self.t("min", self.t("and", a, mask), 1)

    def both(self, *items: Operand) -> Operand:
        """The product of 0s and 1s."""
        out = items[0]
        for item in items[1:]:
            out = self.t("and", out, item)
        return out

    def either(self, *items: Operand) -> Operand:
        """The disjunction of 0s and 1s."""
        out = items[0]
        for item in items[1:]:
            out = self.t("or", out, item)
        return out

    def no(self, item: Operand) -> Operand:
        """The negation of a 0 or 1."""
        return self.t("xor", item, 1)

    def choose(self, which: Operand, a: Operand | str | int, b: Operand | str | int) -> Operand:
        """a where ``which`` is 1, b where it is 0."""
        return self.t("add", b, self.t("mul", which, self.t("sub", a, b)))

    def c(self, name: str, a: Operand | str | int, op: str = "ne", b: Operand | str | int = 0) -> Clause:
        """A condition, and the clause that it holds."""
        self.conditions[name] = Condition(name, op, as_operand(a), as_operand(b))
        return {("condition", name): Spans.of((1, 1))}


def holds(name: str, truth: bool = True) -> Clause:
    """The clause that a condition holds, or does not."""
    return {("condition", name): Spans.of((int(truth), int(truth)))}


class Flow:
    """The pipeline so far."""

    def __init__(self) -> None:
        self.drafts: list[Draft] = []
        self.prefix = ""
        self._open = False
        self._names: dict[str, int] = {}

    @property
    def draft(self) -> Draft:
        """The stage that takes the next entry; a new one where none is open."""
        return self.drafts[-1] if self._open else self.begin()

    def begin(
        self, name: str = "", table: str | None = None, key: Key | None = None, commit: bool = False
    ) -> Draft:
        """Begin a stage."""
        name = name or self.prefix
        count = self._names[name] = self._names.get(name, 0) + 1
        self.drafts.append(Draft(name if count == 1 else f"{name} {count}", table, key, commit))
        self._open = True
        return self.drafts[-1]

    def close(self) -> None:
        """Let the next entry begin a stage."""
        self._open = False

    def here(self, *labels: Label) -> None:
        """Put labels at the next stage."""
        self.close()
        for label in labels:
            label.at = len(self.drafts)

    def otherwise(self, goto: Label | str | None, actions: Iterable[Action] = ()) -> None:
        """Set the default entry of the open stage, which is also where entries go on that only changed the packet."""
        self.draft.entries = [(e, goto if where is ON else where) for e, where in self.draft.entries]
        self.draft.default = (Entry("otherwise", actions=tuple(actions)), goto)
        self.close()

    def make_room(self, clauses: Clauses) -> None:
        """Close the open stage if an entry with these clauses could meet packets that one of its entries changed."""
        if self._open and any(not apart(p, c, ch) for c in clauses for p, ch in self.draft.pending):
            self.close()

    def entry(
        self,
        clauses: Clauses,
        name: str,
        actions: Sequence[Action] = (),
        writes: Sequence[Write] = (),
        goto: Label | str | None = None,
        *,
        changed: frozenset[Subject] | None = None,
        mark: Mark = NOWHERE,
        again: bool = False,
    ) -> None:
        """Add an entry for each clause.

        Args:
            changed: None where the packet does not go on at the next rule; else the subjects that the actions
                change, and ``goto`` is not looked at: the packet goes on at the next rule.
            again: whether this is another outcome of the rule that the last entry was for.
        """
        if not again:
            self.make_room(clauses)
        draft = self.draft
        for clause in clauses:
            count = draft.names[name] = draft.names.get(name, 0) + 1
            unique = name if count == 1 else f"{name} ({count})"
            entry = Entry(unique, 0, terms(clause), tuple(actions), tuple(writes), mark=mark)
            draft.entries.append((entry, goto if changed is None else ON))
            if changed is not None:
                draft.pending.append((clause, changed))
        if changed is not None and not again and any(not clause for clause in clauses):
            self.close()

    def stages(self) -> tuple[Stage, ...]:
        """All stages, with labels resolved."""
        return tuple(self._stage(i, draft) for i, draft in enumerate(self.drafts))

    def _stage(self, index: int, draft: Draft) -> Stage:
        entries = [self._finish(entry, goto, index) for entry, goto in draft.entries]
        return Stage(
            name=draft.name,
            table=draft.table,
            lookup=draft.key,
            create_on_write=draft.table is not None,
            commit=draft.commit,
            temporaries=tuple(draft.temporaries.values()),
            conditions=tuple(draft.conditions.values()),
            entries=tuple(_ranked(entries)),
            default=self._finish(*draft.default, index) if draft.default is not None else None,
        )

    def _finish(self, entry: Entry, goto: Label | str | None, index: int) -> Entry:
        from dataclasses import replace

        if goto is ON:
            goto = None
        if goto is None or goto == "end":
            return replace(entry, goto=goto)
        assert isinstance(goto, Label)
        assert goto.at is not None, f"label {goto.name!r} stands nowhere"
        assert goto.at > index, f"{entry.name}: {goto.name!r} is not ahead"
        if goto.at == index + 1:
            return entry
        if goto.at >= len(self.drafts) or self.drafts[goto.at].commit:
            return replace(entry, goto="end")
        return replace(entry, goto=self.drafts[goto.at].name)


def _ranked(entries: list[Entry]) -> Iterable[Entry]:
    """Entries with priorities that fall from the first to the last; one that always matches is last of all."""
    from dataclasses import replace

    for i, entry in enumerate(entries):
        last = i == len(entries) - 1 and not entry.match
        yield replace(entry, priority=0 if last else TOP - i * STEP)


def rule_writes(*updates: Update, table: str, key: Key | str = "lookup", **parts: Any) -> tuple[Write, ...]:
    """One write."""
    return (Write(table, key, updates=updates, **parts),)


def unless(clause: Mapping[Subject, Any]) -> Clause:
    """The negation of a clause of one condition."""
    ((subject, _),) = clause.items()
    return {subject: Spans.of((0, 0))}


__all__ = [
    "ALWAYS",
    "DROP",
    "Draft",
    "Flow",
    "Label",
    "as_operand",
    "holds",
    "key_of",
    "put",
    "puts",
    "store",
    "update",
    "value",
]

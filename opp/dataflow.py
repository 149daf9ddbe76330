"""Which state a program reads and writes, where, and what each choice of an entry depends on.

The pass runs once over the pipeline in order, since a packet never goes back. It follows values through
temporaries, metadata and header fields: a condition on metadata that an earlier stage set from a global
reads that global. It may find a dependence that no packet shows, never the reverse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any

from .fields import FIELD_BY_NAME
from .mirrors import changed_with
from .program import DELETE, Action, Entry, Key, Operand, Program, Stage, Temporary, Term, Update, Write
from .templates import made_packets
from .validate import term_ternaries

LABEL, REGISTER, GLOBAL = "label", "register", "global"
DROP = "drop"


@dataclass(frozen=True, order=True)
class Variable:
    """A piece of state: the label or a register of a table's contexts, or a global.

    Attributes:
        kind: ``label``, ``register`` or ``global``.
        owner: the context table, or the group of globals.
        name: of the register or global, empty for a label.
    """

    kind: str
    owner: str
    name: str = ""

    def __str__(self) -> str:
        if self.kind == LABEL:
            return f"{self.owner}.state"
        return f"G.{self.owner}.{self.name}" if self.kind == GLOBAL else f"{self.owner}.{self.name}"


Deps = frozenset[Variable]
_HALVES = tuple(f"ip.{which}.{half}" for which in ("src", "dst") for half in ("high", "low"))
_IP = ("ip", "ipv4", "ipv6", "flow")
_L4 = ("l4", "tcp", "udp", "udplite", "sctp", "flow")
# Which context of a table: the looked-up one, or the one that a key names.
Place = str | Key
LOOKED_UP = "lookup"
NOTHING: Deps = frozenset()


@dataclass(frozen=True)
class ReadSite:
    """One reading of a variable.

    Attributes:
        how: ``condition``, ``match``, ``action``, ``key`` or ``update``.
        place: which context (registers and labels only).
        own: whether it is an update of the variable itself, in the same context, that reads it.
    """

    variable: Variable
    how: str
    stage: Stage
    entry: Entry
    place: Place = LOOKED_UP
    own: bool = False


@dataclass(frozen=True)
class WriteSite:
    """One writing of a variable.

    Attributes:
        form: how the new value comes from the old one: ``add`` (plus or minus what does not depend on it),
            ``min``, ``max`` (with what does not depend on it), ``set`` (the old value plays no part) or
            ``other``.
        chosen_by: every variable that decides whether a packet comes to this write.
        update: None where a label is set.
    """

    variable: Variable
    form: str
    stage: Stage
    entry: Entry
    write: Write
    place: Place
    chosen_by: Deps
    update: Update | None = None


def place_of(write: Write, stage: Stage) -> Place:
    """Which context a write goes to; an update extractor that is not given is the lookup extractor."""
    if isinstance(write.key, Key):
        return write.key
    if write.key == "update" and stage.update is not None:
        return stage.update
    return LOOKED_UP


def entries_of(stage: Stage) -> tuple[Entry, ...]:
    """A stage's entries, the default one last."""
    return (*stage.entries, *((stage.default,) if stage.default else ()))


def operands_in(node: Any) -> Iterator[Operand]:
    """Every operand that stands anywhere in a part of a program."""
    if isinstance(node, Operand):
        yield node
    elif isinstance(node, tuple):
        for item in node:
            yield from operands_in(item)
    else:
        for name in _members(node.__class__):
            yield from operands_in(getattr(node, name))


@cache
def _members(kind: Any) -> tuple[str, ...]:
    """Names of a dataclass's fields, none of another type."""
    return tuple(item.name for item in fields(kind)) if is_dataclass(kind) else ()


def changed_by(action: Action) -> tuple[str, ...]:
    """Fields and metadata words that an action changes."""
    if action.kind == "dec_ttl":
        return ("ipv4.ttl", "ipv6.hop_limit")
    names = changed_with(action.target) if action.target in FIELD_BY_NAME else (action.target,)
    found = (f"metadata.{action.search.found}",) if action.search and action.search.found else ()
    return tuple(name for name in names + found if name)


def may_drop(action: Action) -> bool:
    """Whether a packet may end at an action."""
    return action.kind == DROP or (action.search is not None and action.search.drop)


def searched(action: Action) -> Deps:
    """What an allocation finds depends on which contexts exist; that stands with their labels."""
    return frozenset((Variable(LABEL, action.search.table),)) if action.search is not None else NOTHING


def canonical(name: str) -> str:
    """One name for all names of an address, a port or a time to live; any other name as it is."""
    if name in _HALVES:
        name = name.rpartition(".")[0]
    layer, _, last = name.rpartition(".")
    if layer in _IP and last in ("src", "dst", "ttl", "hop_limit", "proto"):
        return "ttl" if last == "hop_limit" else last
    return last if layer in _L4 and last in ("sport", "dport") else name


def overlap(one: Entry, other: Entry) -> bool:
    """Whether some packet and context could match both entries, as far as their patterns tell."""
    theirs = {(term.kind, term.name): term for term in other.match}
    for term in one.match:
        match = theirs.get((term.kind, term.name))
        if match is not None and not _compatible(term, match):
            return False
    return True


def _compatible(one: Term, other: Term) -> bool:
    if not one.patterns or not other.patterns:  # state: none
        return one.patterns == other.patterns
    return any(
        (va ^ vb) & ma & mb == 0 and (fa == fb or 0 in (fa, fb))
        for va, ma, fa in term_ternaries(one)
        for vb, mb, fb in term_ternaries(other)
    )


class Dataflow:
    """All read and write sites of a program, in pipeline order: ``reads`` and ``writes``."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.pipeline = program.pipeline()
        self.reads: list[ReadSite] = []
        self.writes: list[WriteSite] = []
        # What has flowed into a metadata word or header field so far.
        self._carried: dict[str, Deps] = {}
        # What decides whether a stage is reached at all.
        self._reached_by: list[Deps] = [NOTHING] * len(self.pipeline)
        self._numbers = {stage.name: i for i, stage in enumerate(self.pipeline)}
        self._expiries()
        made = bool(made_packets(program))
        while True:  # packets that are made may enter before the stage that makes them
            before = dict(self._carried), list(self._reached_by)
            self.reads.clear()
            self.writes.clear()
            for number, stage in enumerate(self.pipeline):
                self._stage(number, stage)
            if not made or before == (self._carried, self._reached_by):
                break

    def _expiries(self) -> None:
        """Packets that tell of a passed timer carry their context's registers."""
        for table in self.program.tables:
            if table.expiry is None:
                continue
            label = frozenset((Variable(LABEL, table.name),))
            nowhere = Stage("expiry", table=table.name)
            for action in table.expiry.sets:
                for target in changed_by(action):
                    came = self.deps(operands_in(action), nowhere) | label
                    self._carry(target, came)
            self._enters(table.expiry.stage, label)

    def _carry(self, target: str, came: Deps) -> None:
        name = canonical(target)
        self._carried[name] = self._carried.get(name, NOTHING) | came

    def _enters(self, stage: str, why: Deps) -> None:
        """A packet that is made enters at a stage for some reason, and goes on from there."""
        for number in range(self._numbers[stage], len(self.pipeline)):
            self._reached_by[number] |= why

    def variables(self) -> Iterator[Variable]:
        """Every declared variable, in the order of the program."""
        for table in self.program.tables:
            yield Variable(LABEL, table.name)
            for register in table.registers:
                yield Variable(REGISTER, table.name, register.name)
        for group in self.program.globals:
            for variable in group.variables:
                yield Variable(GLOBAL, group.name, variable.name)

    def leaves(self, operand: Operand, stage: Stage) -> Iterator[Operand]:
        """The operands that a value comes from, temporaries resolved."""
        if operand.kind == "temporary":
            temporary = _temporary(stage, operand.name)
            if temporary is not None:
                for part in operands_in(temporary):
                    yield from self.leaves(part, stage)
        else:
            yield operand

    def variable(self, operand: Operand, stage: Stage, written: str | None) -> Variable | None:
        """The variable that an operand reads itself, if it reads one."""
        if operand.kind == "global":
            group, _, name = operand.name.partition(".")
            return Variable(GLOBAL, group, name)
        if operand.kind == "register" and stage.table is not None:
            return Variable(REGISTER, stage.table, operand.name)
        if operand.kind == "written" and written is not None:
            return Variable(REGISTER, written, operand.name)
        return None

    def deps(self, operands: Iterable[Operand], stage: Stage, written: str | None = None) -> Deps:
        """Every variable that has a part in these values."""
        found: set[Variable] = set()
        for operand in operands:
            for leaf in self.leaves(operand, stage):
                variable = self.variable(leaf, stage, written)
                if variable is not None:
                    found.add(variable)
                found |= self._carried.get(canonical(str(leaf)), NOTHING)
        return frozenset(found)

    def _stage(self, number: int, stage: Stage) -> None:
        listed = entries_of(stage)
        chosen = {id(e): self._reached_by[number] | self._choice(e, stage) for e in listed}
        for entry in listed:
            self._entry(entry, stage, chosen[id(entry)])
        flows: list[tuple[str, Deps]] = []
        for entry in listed:
            for action in entry.actions:
                came = self.deps(operands_in(action), stage) | chosen[id(entry)] | searched(action)
                flows.extend((target, came) for target in changed_by(action))
                if action.template is not None:
                    self._enters(action.template.stage, chosen[id(entry)])
                    for one in action.template.sets:
                        flows.extend((target, came) for target in changed_by(one))
            for skipped in self._skipped(entry, number):
                self._reached_by[skipped] |= chosen[id(entry)].union(*map(searched, entry.actions))
        for target, came in flows:
            self._carry(target, came)

    def _skipped(self, entry: Entry, number: int) -> Iterator[int]:
        """Stages that a packet does not come to because this entry was chosen."""
        after = range(number + 1, len(self.pipeline))
        if any(may_drop(action) for action in entry.actions):
            yield from after
        elif entry.goto is not None:
            for later in after:
                stage = self.pipeline[later]
                if stage.commit or stage.name == entry.goto:
                    return
                yield later

    def _choice(self, entry: Entry, stage: Stage) -> Deps:
        """What the choice of an entry depends on: its terms, and those of entries that could win over it."""
        default = entry is stage.default
        rivals = [e for e in stage.entries if default or (e.priority > entry.priority and overlap(e, entry))]
        found = NOTHING
        for one in (*([] if default else [entry]), *rivals):
            for term in one.match:
                found |= self._term(term, stage)
        return found

    def _term(self, term: Term, stage: Stage) -> Deps:
        if term.kind == "state" and stage.table is not None:
            return frozenset((Variable(LABEL, stage.table),))
        if term.kind == "condition":
            return self.deps(condition_operands(term, stage), stage)
        if term.kind == "metadata":
            return self._carried.get(f"metadata.{term.name}", NOTHING)
        if term.kind == "direction" and stage.lookup is not None:
            return self.deps(stage.lookup.parts, stage)
        return self._carried.get(canonical(term.name), NOTHING)

    def _entry(self, entry: Entry, stage: Stage, chosen: Deps) -> None:
        for term in entry.match:
            if term.kind == "state" and stage.table is not None:
                self.reads.append(ReadSite(Variable(LABEL, stage.table), "match", stage, entry))
            elif term.kind == "condition":
                self._read(condition_operands(term, stage), "condition", stage, entry)
        self._read(operands_in(entry.actions), "action", stage, entry)
        for action in entry.actions:
            if action.search is not None:
                label = Variable(LABEL, action.search.table)
                self.reads.append(ReadSite(label, "action", stage, entry, action.search.key))
        for write in entry.writes:
            place = place_of(write, stage)
            if isinstance(place, Key):
                self._read(place.parts, "key", stage, entry)
            self._label(write, place, stage, entry, chosen)
            for update in write.updates:
                self._update(update, write, place, stage, entry, chosen)

    def _read(self, operands: Iterable[Operand], how: str, stage: Stage, entry: Entry) -> None:
        for operand in operands:
            for leaf in self.leaves(operand, stage):
                variable = self.variable(leaf, stage, None)
                if variable is not None:
                    self.reads.append(ReadSite(variable, how, stage, entry))

    def _label(self, write: Write, place: Place, stage: Stage, entry: Entry, chosen: Deps) -> None:
        rolls_back = any(timer is not None and timer.to is not None for timer in (write.idle, write.hard))
        if write.next_state not in (None, DELETE) or rolls_back:
            variable = Variable(LABEL, write.table)
            self.writes.append(WriteSite(variable, "set", stage, entry, write, place, chosen))

    def _update(
        self, update: Update, write: Write, place: Place, stage: Stage, entry: Entry, chosen: Deps
    ) -> None:
        target = self.variable(update.target, stage, write.table)
        if target is None:
            return
        form = _Form(self, target, place, stage, write, update).of()
        self.writes.append(WriteSite(target, form, stage, entry, write, place, chosen, update))
        for operand in _sources(update):
            for leaf in self.leaves(operand, stage):
                variable = self.variable(leaf, stage, write.table)
                if variable is None:
                    continue
                where = place if leaf.kind == "written" else LOOKED_UP
                own = variable == target and (target.kind == GLOBAL or where == place)
                self.reads.append(ReadSite(variable, "update", stage, entry, where, own))


class _Form:
    """How one update's result comes from its target's old value (see :class:`WriteSite`)."""

    def __init__(
        self, flow: Dataflow, target: Variable, place: Place, stage: Stage, write: Write, update: Update
    ) -> None:
        self.flow, self.target, self.place = flow, target, place
        self.stage, self.write, self.update = stage, write, update
        self.bits = flow.program.width(update.target, stage, write.table)

    def of(self) -> str:
        form = self.operation(self.update)
        return {"self": "add", "free": "set"}.get(form, form)

    def operation(self, item: Update | Temporary) -> str:
        forms = [self.operand(o) for o in _sources(item)]
        if all(form == "free" for form in forms):
            return "free"
        if item.op == "mov":
            return forms[0]
        if len(forms) != 2:
            return "other"
        first, second = forms
        if item.op in ("add", "sub") and first in ("self", "add") and second == "free":
            return "add"
        if item.op == "add" and first == "free" and second in ("self", "add"):
            return "add"
        if item.op in ("min", "max"):
            mine, theirs = (first, item.b) if second == "free" else (second, item.a)
            fits = self.flow.program.width(theirs, self.stage, self.write.table) <= self.bits
            if "free" in forms and mine in ("self", item.op) and (fits or item.op == "min"):
                return item.op
        return "other"

    def operand(self, operand: Operand) -> str:
        if self.is_target(operand):
            return "self"
        if self.target not in self.flow.deps((operand,), self.stage, self.write.table):
            return "free"
        if operand.kind == "temporary":
            temporary = _temporary(self.stage, operand.name)
            wide = max(temporary.bits, self.flow.program.word_bits) if temporary else 0
            if temporary is not None and wide >= self.bits:
                return self.operation(temporary)
        elif self.flow.variable(operand, self.stage, self.write.table) == self.target:
            return "free"  # the same register of another context
        return "other"

    def is_target(self, operand: Operand) -> bool:
        if self.flow.variable(operand, self.stage, self.write.table) != self.target:
            return False
        where = self.place if operand.kind == "written" else LOOKED_UP
        return self.target.kind == GLOBAL or where == self.place


def condition_operands(term: Term, stage: Stage) -> list[Operand]:
    """What the condition that a term matches on compares."""
    return [o for c in stage.conditions if c.name == term.name for o in operands_in(c)]


def _temporary(stage: Stage, name: str) -> Temporary | None:
    return next((t for t in stage.temporaries if t.name == name), None)


def _sources(item: Update | Temporary) -> list[Operand]:
    """What an operation reads; the target of an update is not among it, nor the second operand of mov."""
    if item.op == "mov":
        return [item.a]
    return [
        operand
        for part in fields(item)
        if part.name != "target"
        for operand in operands_in(getattr(item, part.name))
    ]

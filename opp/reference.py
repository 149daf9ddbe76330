"""The plain reference: what a program means, in ordinary Python, one packet after the other.

Slow on purpose, this module shares no code with the lowered form and its compiled step: they are compared
with it, and where the model page (``docs/machine.md``) is silent, it decides. The methods of
:class:`Reference` follow the steps of that page; operations on values are in :mod:`.reference_values`.
An absent value is None throughout. The program is taken as valid; :mod:`.validate` has checked it.

>>> from oppcache.opp.program import Action, Entry, Operand, Program, Stage
>>> everything = Entry("everything", actions=(Action("output", operand=Operand("const", value=7)),))
>>> Reference(Program("hub", stages=(Stage("only", default=everything),))).process(Packet()).port
7
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .fields import FIELD_BY_NAME
from .program import (
    DELETE,
    NOW_UNITS_NS,
    Action,
    Allocation,
    Entry,
    Key,
    Operand,
    Program,
    Stage,
    Temporary,
    Term,
    Timer,
    Update,
    Write,
)
from .reference_alloc import check_choice, first_free
from .reference_headers import can_set, set_field
from .reference_values import (
    ContextState,
    Count,
    KeyTuple,
    Packet,
    Result,
    Snapshot,
    Value,
    Verdict,
    compare,
    compute,
    compute_single,
    fits,
    run_on,
    splitmix64,
)

__all__ = ["ContextState", "Packet", "Reference", "Result", "Verdict"]

Bounds = tuple[int | None, ...]  # of an allocation: low, high, start
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


class Reference:
    """One program and all its state.

    Attributes:
        contexts: the contexts that exist: table name -> key -> context. A key has one element for each part
            of its extractor, after symmetric swapping.
        counts: what took each entry: stage name -> entry name -> count.
        globals: ``group.name`` -> value.
    """

    def __init__(self, program: Program, seed: int = 0) -> None:
        self.program = program
        self.seed = seed
        self.pipeline = program.pipeline()
        self.contexts: dict[str, dict[KeyTuple, ContextState]] = {t.name: {} for t in program.tables}
        self.counts = {s.name: {e.name: Count() for e in entries_of(s)} for s in self.pipeline}
        self._choices: list[int | None] | None = None
        self.globals = {f"{g.name}.{v.name}": v.initial for g in program.globals for v in g.variables}

    def process(self, packet: Packet, choices: Sequence[int | None] | None = None) -> Result:
        """Take one packet through the whole pipeline; changes its fields and metadata.

        Args:
            packet: what enters.
            choices: what some machine's allocations gave this packet, in order, None where one found nothing: they
                are checked and taken over. Without them the reference makes the machine's deterministic choices.

        Raises:
            ChoiceError: an allocation cannot have given that.
        """
        self._choices = None if choices is None else list(choices)
        packet.metadata += [0] * (len(self.program.metadata) - len(packet.metadata))
        result = Result()
        index = 0
        while index < len(self.pipeline):
            stage = self.pipeline[index]
            result.stages.append(stage.name)
            visit = self._look_up(stage, index, packet, result)
            self._prepare(visit)
            entry = self._choose(visit)
            if entry is not None:
                self._count(entry, visit)
                self._run(entry, visit, result)
            if result.verdict == Verdict.DROP:
                break
            index = self._next(index, entry)
        return result

    def canonical_contexts(self) -> dict[str, dict[KeyTuple, Snapshot]]:
        """A snapshot to compare: table -> key -> (state, registers in the table's order, timers).

        Timers are (idle timeout ns, hard deadline ns, idle rollback, hard rollback, last-used ns): 0 and -1
        where there is no timer, rollback -1 where the timer deletes. Expiry happens at a touch, so contexts
        whose deadline has passed since are still here.
        """
        return {
            table: {key: contexts[key].snapshot() for key in sorted(contexts)}
            for table, contexts in self.contexts.items()
        }

    def _count(self, entry: Entry, visit: Visit) -> None:
        count = self.counts[visit.stage.name].setdefault(entry.name, Count())
        count.packets += 1
        length = visit.packet.fields.get("packet_length", 0)
        count.bytes += length if isinstance(length, int) else 0
        count.last_hit_ns = visit.now

    # Steps 1 and 2: key and lookup.

    def _look_up(self, stage: Stage, index: int, packet: Packet, result: Result) -> Visit:
        visit = Visit(stage, index, packet, packet.now)
        if stage.table is None or stage.lookup is None:
            return visit
        visit.key, direction = self._extract(stage.lookup, visit)
        if visit.key is None:
            return visit
        visit.direction = direction
        result.lookups.append((stage.table, visit.key))
        visit.now = self._expire(stage.table, visit.key, packet.now)
        contexts = self.contexts[stage.table]
        if visit.key not in contexts and not stage.create_on_write:
            contexts[visit.key] = self._default(stage.table)
        if visit.key in contexts:
            contexts[visit.key].last_used_ns = visit.now
        visit.context = contexts.get(visit.key) or self._default(stage.table)
        return visit

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

    def _expire(self, table: str, key: KeyTuple, packet_now: int) -> int:
        """Check the timers of a context that may exist; returns `now` at this context."""
        context = self.contexts[table].get(key)
        if context is None:
            return packet_now
        now = max(packet_now, context.last_used_ns)
        passed, rollback = context.passed_timer(now)
        if passed and rollback is None:
            del self.contexts[table][key]
        elif passed and rollback is not None:
            context.state = rollback
            context.set_timers(Timer(0), Timer(0), now)
        return now

    def _default(self, table_name: str) -> ContextState:
        table = self.program.table(table_name)
        return ContextState(table.initial_state, {r.name: r.initial for r in table.registers})

    # Step 3: temporaries and conditions.

    def _prepare(self, visit: Visit) -> None:
        table = visit.stage.table
        for t in visit.stage.temporaries:
            values = self._number(t.a, visit), self._number(t.b, visit)
            target = Operand("temporary", t.name)
            visit.temporaries[t.name] = self._operate(t, target, values, visit.stage, table)
        for c in visit.stage.conditions:
            a, b = self._number(c.a, visit), self._number(c.b, visit)
            width = max(self._bits(operand, visit.stage, table) for operand in (c.a, c.b))
            visit.conditions[c.name] = a is not None and b is not None and compare(c.op, a, b, width)

    # Step 4: match.

    def _choose(self, visit: Visit) -> Entry | None:
        best: Entry | None = None
        for number, entry in enumerate(visit.stage.entries, 1):
            better = best is None or entry.priority > best.priority
            if better and self._matches(entry, visit):
                best, visit.choice = entry, number
        if best is None and not visit.passed_over:
            return visit.stage.default
        return best

    def _matches(self, entry: Entry, visit: Visit) -> bool:
        if visit.passed_over and not any(t.kind == "state" and not t.patterns for t in entry.match):
            return False
        return all(self._holds(term, visit) for term in entry.match)

    def _holds(self, term: Term, visit: Visit) -> bool:
        if term.kind == "state" and not term.patterns:
            return visit.passed_over
        value = self._subject(term, visit)
        return value is not None and any(fits(p, value) for p in term.patterns)

    def _subject(self, term: Term, visit: Visit) -> Value | None:
        if term.kind == "state":
            return None if visit.context is None else visit.context.state
        if term.kind == "direction":
            return visit.direction
        if term.kind == "condition":
            return int(visit.conditions[term.name])
        if term.kind == "valid":
            return int(term.name.upper() in visit.packet.headers)
        return self._value(Operand(term.kind, term.name), visit)

    # Step 5: the entry.

    def _run(self, entry: Entry, visit: Visit, result: Result) -> None:
        """Read everything, then act, then write. (W operands read as absent here; see _updated.)"""
        action_values = [self._action_value(action, visit) for action in entry.actions]
        update_values = [
            [(self._number(u.a, visit), self._number(u.b, visit)) for u in w.updates] for w in entry.writes
        ]
        bounds = [self._bounds(action.search, visit) for action in entry.actions]
        for action, value, allowed in zip(entry.actions, action_values, bounds, strict=True):
            if action.search is not None:
                self._allocate(action, action.search, allowed, visit, result)
            else:
                self._act(action, value, visit, result)
        for write, values in zip(entry.writes, update_values, strict=True):
            self._write(write, values, visit)

    def _action_value(self, action: Action, visit: Visit) -> Value | None:
        """What an action sets; an address, or a number of 128 bits, where its target is that wide."""
        value = self._value(action.operand, visit)
        if action.low is None or value is None:
            return value
        low = self._number(action.low, visit)
        assert isinstance(value, int), "validation lets addresses into a pair"
        return None if low is None else value % 2**64 << 64 | low % 2**64

    def _bounds(self, search: Allocation | None, visit: Visit) -> Bounds:
        """What an allocation's range and start are before the entry."""
        if search is None:
            return ()
        start = search.low if search.start is None else search.start
        return tuple(self._number(operand, visit) for operand in (search.low, search.high, start))

    def _act(self, action: Action, value: Value | None, visit: Visit, result: Result) -> None:
        if action.kind == "drop":
            result.verdict = Verdict.DROP
        elif action.kind == "to_controller":
            result.verdict = Verdict.CONTROLLER
        elif action.kind == "dec_ttl":
            _decrement_ttl(visit.packet)
        elif isinstance(value, int) and action.kind == "output":
            result.verdict = Verdict.FORWARD
            result.port = value % 2**32
        elif value is not None and action.kind == "set":
            self._set(action.target, value, visit.packet)

    def _allocate(
        self, action: Action, search: Allocation, values: Bounds, visit: Visit, result: Result
    ) -> None:
        packet, target = visit.packet, action.target
        chosen = self._chosen(target, search, values, visit)
        if chosen is not None:
            self._set(target, chosen, packet)
        elif search.drop:
            result.verdict = Verdict.DROP
        if search.found:
            self._set(f"metadata.{search.found}", int(chosen is not None), packet)
        result.choices.append(chosen)

    def _chosen(self, target: str, search: Allocation, values: Bounds, visit: Visit) -> int | None:
        """The value that an allocation gives, None for none."""
        recorded = self._choices.pop(0) if self._choices else None
        place = [str(part) for part in search.key.parts].index(target)
        key, _ = self._extract(search.key, visit)
        in_metadata = target.startswith("metadata.")
        if key is None or None in values or not (in_metadata or can_set(visit.packet, target)):
            return None
        bits = self.program.word_bits if in_metadata else FIELD_BY_NAME[target].bits
        low, high, start = (value % (1 << bits) for value in values if value is not None)

        def free(value: int) -> bool:
            wanted = (*key[:place], value, *key[place + 1 :])
            context = self.contexts[search.table].get(wanted)
            if context is None:
                return True
            passed, rollback = context.passed_timer(max(visit.packet.now, context.last_used_ns))
            return passed and rollback is None

        if self._choices is not None:
            return check_choice(recorded, low, high, search.tries, free)
        return first_free(low, high, start, search.tries, free)

    def _set(self, target: str, value: Value, packet: Packet) -> None:
        if target.startswith("metadata."):
            assert isinstance(value, int), f"{target} cannot take an address"
            word = self.program.metadata.index(target.removeprefix("metadata."))
            packet.metadata[word] = value % (1 << self.program.word_bits)
        else:
            set_field(packet, target, value)

    def _write(self, write: Write, values: list[Pair], visit: Visit) -> None:
        """Do one write; ``values`` are what its updates' operands were before the entry."""
        key = self._written_key(write, visit)
        if key is None:
            return
        looked_up = (write.table, key) == (visit.stage.table, visit.key)
        now = visit.now if looked_up else self._expire(write.table, key, visit.packet.now)
        contexts = self.contexts[write.table]
        context = contexts.setdefault(key, self._default(write.table))
        results = [
            self._updated(u, v, write, context, visit) for u, v in zip(write.updates, values, strict=True)
        ]
        for update, value in zip(write.updates, results, strict=True):
            if value is not None:
                target = self.globals if update.target.kind == "global" else context.registers
                target[update.target.name] = value
        if write.next_state == DELETE:
            del contexts[key]
            return
        if isinstance(write.next_state, int):
            context.state = write.next_state
        context.set_timers(write.idle, write.hard, now)
        context.last_used_ns = now

    def _written_key(self, write: Write, visit: Visit) -> KeyTuple | None:
        """Extractors other than the lookup's read the packet as the actions have left it."""
        if isinstance(write.key, Key):
            return self._extract(write.key, visit)[0]
        if write.key == "update" and visit.stage.update is not None:
            return self._extract(visit.stage.update, visit)[0]
        return visit.key

    def _updated(
        self, update: Update, values: Pair, write: Write, context: ContextState, visit: Visit
    ) -> int | None:
        a, b = (
            self._number(operand, visit, context) if operand.kind == "written" else value
            for operand, value in zip((update.a, update.b), values, strict=True)
        )
        if update.op in ("avg", "var") and a is not None and b is not None:
            bits = self._bits(update.target, visit.stage, write.table)
            width = max(bits, *(self._bits(o, visit.stage, write.table) for o in (update.a, update.b)))
            is_global = update.target.kind == "global"
            old = self.globals[update.target.name] if is_global else context.registers[update.target.name]
            return run_on(update.op, a, b, old, width) % (1 << bits)
        return self._operate(update, update.target, (a, b), visit.stage, write.table)

    # Step 6: next.

    def _next(self, index: int, entry: Entry | None) -> int:
        if entry is None or entry.goto is None:
            return index + 1
        if entry.goto == "end":
            return sum(not stage.commit for stage in self.pipeline)
        return [stage.name for stage in self.pipeline].index(entry.goto)

    # Operands.

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


def _decrement_ttl(packet: Packet) -> None:
    for name in ("ipv4.ttl", "ipv6.hop_limit"):
        value = packet.fields.get(name)
        if isinstance(value, int):
            packet.fields[name] = max(value - 1, 0)

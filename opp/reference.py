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

from .fields import FIELD_BY_NAME
from .program import (
    DELETE,
    MAX_GENERATED,
    Action,
    Allocation,
    Entry,
    Key,
    Operand,
    Program,
    Stage,
    Template,
    Term,
    Timer,
    Update,
    Write,
)
from .reference_alloc import check_choice, first_free
from .reference_headers import as_number, can_set, set_field
from .reference_made import MadePacket, build, of_key
from .reference_operands import Operands, Pair, Visit, decrement_ttl, entries_of, first_keys
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
    fits,
    run_on,
)

__all__ = ["ContextState", "Packet", "Reference", "Result", "Verdict"]

Bounds = tuple[int | None, ...]  # of an allocation: low, high, start


class Reference(Operands):
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
        self._keys = first_keys(self.pipeline)  # entries that come and go later do not alter them
        self._seen: dict[str, list[KeyTuple]] = {t.name: [] for t in program.tables}
        self._made: list[MadePacket] = []
        self._root = self._swept = 0
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
        self._root, self._made = packet.number, []
        result = self._take(packet, 0)
        self._take_made()
        result.made = self._made
        return result

    def sweep(self, now: int) -> list[MadePacket]:
        """Expire every context whose deadline has passed at a time, with the packets that tell of it; return those.

        The contexts go in the order of their deadlines, each before what it makes; then of tables, then of the keys'
        first sight.
        """
        due = [
            (context.deadline(now), number, self._seen[table].index(key), table, key)
            for number, (table, contexts) in enumerate(self.contexts.items())
            for key, context in contexts.items()
            if context.passed_timer(now)[0]
        ]
        found: list[MadePacket] = []
        for _, _, _, table, key in sorted(due, key=lambda row: row[:3]):
            context = self.contexts[table].get(key)
            if context is not None and context.passed_timer(now)[0]:
                self._root, self._made = 2**63 + self._swept, []
                self._swept += 1
                self._pass_timer(table, key, now, Packet(now=now, number=self._root))
                self._take_made()
                found += self._made
        return found

    def _take_made(self) -> None:
        """Run what was made, in order; more may come while it runs."""
        names = [stage.name for stage in self.pipeline]
        for made in self._made:
            made.result = self._take(made.packet, names.index(made.stage))

    def _make(self, packet: Packet, parent: Packet, stage: str, event: bool) -> None:
        nth = len(self._made)
        packet.number = (self._root + (nth + 1) * 2**40) % 2**64
        self._made.append(MadePacket(packet, parent.number, nth, event, stage))

    def _take(self, packet: Packet, index: int) -> Result:
        """Take one packet through the pipeline from a stage on."""
        result = Result()
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
        self._sight(stage.table, visit.key)
        visit.now = self._expire(stage.table, visit.key, packet)
        contexts = self.contexts[stage.table]
        if visit.key not in contexts and not stage.create_on_write:
            contexts[visit.key] = self._default(stage.table)
        if visit.key in contexts:
            contexts[visit.key].last_used_ns = visit.now
        visit.context = contexts.get(visit.key) or self._default(stage.table)
        return visit

    def _sight(self, table: str, key: KeyTuple) -> None:
        if key not in self._seen[table]:
            self._seen[table].append(key)

    def _expire(self, table: str, key: KeyTuple, packet: Packet) -> int:
        """Check the timers of a context that may exist; returns `now` at this context."""
        context = self.contexts[table].get(key)
        if context is None:
            return packet.now
        now = max(packet.now, context.last_used_ns)
        if context.passed_timer(now)[0]:
            self._pass_timer(table, key, now, packet)
        return now

    def _pass_timer(self, table: str, key: KeyTuple, now: int, packet: Packet) -> None:
        """Do what a passed timer does, after the packet that tells of it was made."""
        context = self.contexts[table][key]
        _, rollback = context.passed_timer(now)
        hard = context.hard_deadline_ns is not None and now > context.hard_deadline_ns
        expiry = self.program.table(table).expiry
        if expiry is not None and (expiry.hard if hard else expiry.idle):
            made = of_key(self._keys[table], key, self.program.metadata)
            made.now = packet.now
            visit = Visit(Stage("expiry", table), 0, made, packet.now, key, context)
            for action in expiry.sets:
                value = self._action_value(action, visit)
                if value is not None:
                    self._set(action.target, value, made)
            self._make(made, packet, expiry.stage, True)
        if rollback is None:
            del self.contexts[table][key]
        else:
            context.state = rollback
            context.set_timers(Timer(0), Timer(0), now)

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
        set_values = [
            [self._action_value(one, visit) for one in (action.template.sets if action.template else ())]
            for action in entry.actions
        ]
        for action, value, allowed, sets in zip(
            entry.actions, action_values, bounds, set_values, strict=True
        ):
            if action.search is not None:
                self._allocate(action, action.search, allowed, visit, result)
            elif action.template is not None:
                self._generate(action.template, sets, visit)
            else:
                self._act(action, value, visit, result)
        for write, values in zip(entry.writes, update_values, strict=True):
            self._write(write, values, visit)

    def _action_value(self, action: Action, visit: Visit) -> Value | None:
        """What an action sets; an address, or a number of 128 bits, where its target is that wide."""
        value = self._value(action.operand, visit)
        if isinstance(value, tuple) and action.operand.kind == "field":
            return as_number(value)
        if action.low is None or value is None:
            return value
        low = self._number(action.low, visit)
        assert isinstance(value, int), "validation lets addresses into a pair"
        return None if low is None else value % 2**64 << 64 | low % 2**64

    def _generate(self, template: Template, values: list[Value | None], visit: Visit) -> None:
        if sum(not made.event for made in self._made) >= MAX_GENERATED:
            return
        packet = build(template, visit.packet)
        if packet is None:
            return
        for action, value in zip(template.sets, values, strict=True):
            if value is not None:
                self._set(action.target, value, packet)
        self._make(packet, visit.packet, template.stage, False)

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
            decrement_ttl(visit.packet)
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
        self._sight(write.table, key)
        now = visit.now if looked_up else self._expire(write.table, key, visit.packet)
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

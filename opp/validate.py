"""What a program must satisfy beyond its grammar; every problem at once, each at its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from .errors import Mark, Problems, near_miss
from .fields import FIELD_BY_NAME, Header
from .mirrors import changed_with
from .overlaps import Overlaps
from .overlaps import term_ternaries as term_ternaries
from .program import (
    DELETE,
    MAX_CONDITIONS,
    MAX_DELETES,
    MAX_GLOBALS,
    MAX_KEY_BITS,
    MAX_METADATA,
    MAX_PRIORITY,
    MAX_RECORDS,
    MAX_REGISTERS,
    MAX_STAGES,
    MAX_TABLES,
    MAX_TEMPORARIES,
    MAX_UPDATES,
    MAX_WRITES,
    RUNNING_OPS,
    Action,
    Allocation,
    Entry,
    Expiry,
    Key,
    Operand,
    Program,
    Stage,
    Table,
    Template,
    Term,
    Write,
)
from .templates import TRANSPORTS, closed, settable_in_template

# Headers of which a packet has at most one.
_APART = (tuple(TRANSPORTS), (Header.IPV4, Header.IPV6, Header.ARP))
PAIRS = {"src": "dst", "dst": "src", "sport": "dport", "dport": "sport"}


def validate(program: Program, problems: Problems) -> None:
    """Check names, ranges, widths, order and ambiguity of a whole program, adding to ``problems``."""
    Check(program, problems).run()


def partner(name: str) -> str | None:
    """The field that ``symmetric`` swaps with this one: ip.src ↔ ip.dst, l4.sport ↔ l4.dport; or None."""
    prefix, _, last = name.rpartition(".")
    return f"{prefix}.{PAIRS[last]}" if last in PAIRS else None


def key_bits(program: Program, key: Key, stage: Stage) -> int:
    """Width of a key: declared widths of its parts, and 8 bits for the family where it names a joint address."""
    total, family = 0, False
    for part in key.parts:
        if part.kind == "field":
            field = FIELD_BY_NAME[part.name]
            total += field.bits
            family |= field.is_address
        else:
            total += program.width(part, stage)
    return total + (8 if family else 0)


class Check:
    """The checks of one program; see :func:`validate`."""

    def __init__(self, program: Program, problems: Problems) -> None:
        self.program = program
        self.problems = problems
        self.tables = {t.name: t for t in program.tables}
        self.globals = {f"{g.name}.{v.name}" for g in program.globals for v in g.variables}
        self.pipeline = [s.name for s in program.pipeline()]
        self.overlaps: dict[str, Overlaps] = {}
        self.shapes: dict[str, tuple[list[tuple[int, bool]], str]] = {}
        self.allocations: list[tuple[Allocation, Stage]] = []

    def run(self) -> None:
        program = self.program
        self.limit(len(program.stages), MAX_STAGES, "stages", program.mark)
        self.limit(len(program.tables), MAX_TABLES, "tables", program.mark)
        self.limit(len(program.metadata), MAX_METADATA, "metadata words", program.mark)
        self.limit(len(self.globals), MAX_GLOBALS, "globals", program.mark)
        self.unique((s.name for s in program.stages), "stage", program.mark)
        self.unique(program.metadata, "metadata word", program.mark)
        for group in program.globals:
            if "." in group.name:
                self.problems.add(f"globals {group.name!r}: expected a name without a dot", group.mark)
        for table in program.tables:
            self.limit(len(table.registers), MAX_REGISTERS, f"registers in table {table.name!r}", table.mark)
            if table.expiry is not None:
                self.expiry(table.expiry, table)
        self.bounded()
        commits: dict[str, str] = {}
        for stage in program.stages:
            self.stage(stage)
            if stage.commit and stage.table:
                if stage.table in commits:
                    self.problems.add(
                        f"table {stage.table!r} has two commit stages, {commits[stage.table]!r} and {stage.name!r}",
                        stage.mark,
                    )
                commits[stage.table] = stage.name
        self.searched_shapes()

    def searched_shapes(self) -> None:
        """Keys of allocations look like those of their tables, wherever in the program these stand."""
        for search, stage in self.allocations:
            if search.table in self.shapes:
                self.shape_of_table(search.table, search.key, stage, "the key of an alloc")
        self.allocations.clear()

    def bounded(self) -> None:
        """How many contexts one packet can come to, and delete: both have a bound in the machine."""
        records: Counter[str] = Counter()
        deletes = 0
        for stage in self.program.stages:
            entries = (*stage.entries, *((stage.default,) if stage.default else ()))
            if stage.table is not None and stage.lookup is not None:
                records[stage.table] += any(part.kind != "const" for part in stage.lookup.parts)
            own: Counter[str] = Counter()
            for entry in entries:
                here = Counter(w.table for w in entry.writes if w.key != "lookup")
                own |= here
            records += own
            deletes += max((sum(w.next_state == DELETE for w in e.writes) for e in entries), default=0)
        for table in self.program.tables:
            self.limit(
                records[table.name], MAX_RECORDS, f"contexts of table {table.name!r} a packet", table.mark
            )
        self.limit(deletes, MAX_DELETES, "deletions a packet", self.program.mark)

    def limit(self, got: int, most: int, what: str, mark: Mark) -> None:
        if got > most:
            self.problems.add(f"{got} {what}, expected at most {most}", mark)

    def unique(self, names: Iterable[str], what: str, mark: Mark) -> None:
        listed = list(names)
        for name in sorted(n for n, count in Counter(listed).items() if count > 1):
            self.problems.add(f"{what} {name!r} is declared twice", mark)

    def stage(self, stage: Stage) -> None:
        if stage.name == "end":
            self.problems.add("a stage cannot be named 'end', which is where goto ends", stage.mark)
        if stage.table is not None and stage.lookup is None:
            self.problems.add(f"stage {stage.name!r} has a table but no key", stage.mark)
        if stage.table is None and (stage.lookup or stage.update or stage.create_on_write):
            self.problems.add(f"stage {stage.name!r} has a key but no table", stage.mark)
        for key, what in ((stage.lookup, "key"), (stage.update, "update_key")):
            if key is not None:
                self.key(key, stage, what, temporaries=what != "key")
            if key is not None and stage.table is not None:
                self.shape_of_table(stage.table, key, stage, what)
        self.limit(len(stage.temporaries), MAX_TEMPORARIES, "temporaries", stage.mark)
        self.limit(len(stage.conditions), MAX_CONDITIONS, "conditions", stage.mark)
        self.unique((t.name for t in stage.temporaries), "temporary", stage.mark)
        self.unique((e.name for e in stage.entries), "entry", stage.mark)
        for i, temporary in enumerate(stage.temporaries):
            earlier = [t.name for t in stage.temporaries[:i]]
            if temporary.op in RUNNING_OPS:
                self.problems.add(
                    f"{temporary.op} runs on its target's old value: only updates have it", temporary.mark
                )
            for operand in (temporary.a, temporary.b):
                self.operand(operand, stage, temporary.mark, earlier)
        for condition in stage.conditions:
            for operand in (condition.a, condition.b):
                self.operand(operand, stage, condition.mark)
        for entry in (*stage.entries, *((stage.default,) if stage.default else ())):
            self.entry(entry, stage)
        self.ambiguous(stage)

    def key(self, key: Key, stage: Stage, what: str, *, temporaries: bool) -> None:
        for part in key.parts:
            if part.kind not in ("field", "metadata", "temporary", "const"):
                self.problems.add(
                    f"{what}: {part} cannot be part of a key, expected fields, metadata, temporaries",
                    key.mark,
                )
            elif part.kind == "temporary" and not temporaries:
                self.problems.add(
                    f"{what}: {part} is not computed yet at the lookup, expected fields or metadata", key.mark
                )
            else:
                self.operand(part, stage, key.mark, wide=True)
        if key.symmetric:
            names = [p.name for p in key.parts if p.kind == "field"]
            paired = [n for n in names if partner(n)]
            for name in paired:
                if partner(name) not in names:
                    self.problems.add(
                        f"{what}: symmetric, but {name} stands without {partner(name)}", key.mark
                    )
            if not paired:
                self.problems.add(f"{what}: symmetric, but it has no source and destination", key.mark)
            if len(set(names)) != len(names):
                self.problems.add(f"{what}: a field stands twice in a symmetric key", key.mark)
        bits = key_bits(self.program, key, stage)
        if bits > MAX_KEY_BITS:
            self.problems.add(f"{what}: {bits} bits, expected at most {MAX_KEY_BITS}", key.mark)

    def operand(
        self,
        operand: Operand,
        stage: Stage,
        mark: Mark,
        temporaries: list[str] | None = None,
        written: str | None = None,
        *,
        wide: bool = False,
    ) -> None:
        """Check that what is read exists where it is read."""
        kind, name = operand.kind, operand.name
        if kind in ("register", "written"):
            if kind == "written" and written is None:
                self.problems.add(f"{operand}: only the updates of a write can read W", mark)
                return
            owner = stage.table if kind == "register" else written
            table = self.tables.get(owner or "")
            if owner is None:
                self.problems.add(f"{operand}: a stateless stage has no registers", mark)
            elif table is not None and table.register(name) is None:
                known = [r.name for r in table.registers]
                hint = near_miss(name, known) or f"known: {', '.join(known) or 'none'}"
                self.problems.add(f"{operand}: table {owner!r} has no register {name!r}", mark, hint)
        elif kind == "global" and name not in self.globals:
            self.problems.add(f"{operand}: no such global", mark, near_miss(name, self.globals))
        elif kind == "metadata" and name not in self.program.metadata:
            self.problems.add(
                f"{operand}: no such metadata word", mark, near_miss(name, self.program.metadata)
            )
        elif kind == "temporary":
            known = [t.name for t in stage.temporaries] if temporaries is None else temporaries
            if name not in known:
                self.problems.add(
                    f"{operand}: no such temporary before this place", mark, near_miss(name, known)
                )
        elif kind == "const" and operand.value >= 2**64:
            self.problems.add(f"constant {operand.value} is too wide, expected at most 64 bits", mark)
        elif kind == "field" and FIELD_BY_NAME[name].bits > 64 and not wide:
            self.problems.add(f"{name} has 128 bits and cannot be an operand, only a key or a match", mark)

    def entry(self, entry: Entry, stage: Stage) -> None:
        for term in entry.match:
            self.term(term, entry, stage)
        if not 0 <= entry.priority <= MAX_PRIORITY:
            self.problems.add(
                f"{entry.name}: priority {entry.priority}, expected at most {MAX_PRIORITY}", entry.mark
            )
        subjects = [(t.kind, t.name) for t in entry.match]
        if len(set(subjects)) != len(subjects):
            self.problems.add(f"{entry.name}: a match names a subject twice", entry.mark)
        for action in entry.actions:
            self.action(action, stage)
        self.goto(entry, stage)
        self.limit(len(entry.writes), MAX_WRITES, "writes", entry.mark)
        self.limit(sum(len(w.updates) for w in entry.writes), MAX_UPDATES, "updates", entry.mark)
        for write in entry.writes:
            self.write(write, stage)
        self.targets(entry, stage)

    def term(self, term: Term, entry: Entry, stage: Stage) -> None:
        if term.kind in ("state", "direction") and stage.table is None:
            self.problems.add(f"{entry.name}: a stateless stage has no {term.kind} to match", entry.mark)
        elif term.kind == "condition" and term.name not in [c.name for c in stage.conditions]:
            hint = near_miss(term.name, [c.name for c in stage.conditions])
            self.problems.add(f"{entry.name}: no such condition C.{term.name}", entry.mark, hint)
        elif term.kind == "metadata":
            self.operand(Operand("metadata", term.name), stage, entry.mark)
            limit = 1 << self.program.word_bits
            if any(max(p.value, p.high or 0) >= limit for p in term.patterns):
                self.problems.add(
                    f"{entry.name}: a constant is too wide for metadata.{term.name}", entry.mark
                )

    def action(self, action: Action, stage: Stage) -> None:
        field = FIELD_BY_NAME.get(action.target)
        wide = action.kind == "set" and field is not None and field.bits > 64
        self.operand(action.operand, stage, action.mark, wide=wide and action.low is None)
        if action.low is not None:
            self.operand(action.low, stage, action.mark)
        if action.kind == "set":
            self.settable(action.target, action.operand, action.mark)
        if wide and action.low is None:
            self.wide(action)
        if action.search is not None:
            self.search(action, action.search, stage)
        if action.template is not None:
            self.template(action.template, stage, action.mark)

    def template(self, template: Template, stage: Stage, mark: Mark) -> None:
        """A packet to generate: where it enters, headers that go together, and what is set."""
        self.entrance(template.stage, "generate", mark)
        headers = closed(template.headers or ())
        self.together(headers, "generate", mark)
        if (
            template.quote
            and template.headers is not None
            and not headers & (1 << Header.ICMP | 1 << Header.ICMPV6)
        ):
            self.problems.add("generate: only an ICMP error quotes a packet, expected icmp or icmpv6", mark)
        for action in template.sets:
            self.made(action, stage)

    def together(self, headers: int, what: str, mark: Mark) -> None:
        for group in _APART:
            chosen = [h.name.lower() for h in group if headers >> h & 1]
            if len(chosen) > 1:
                self.problems.add(f"{what}: a packet cannot have both {chosen[0]} and {chosen[1]}", mark)

    def entrance(self, stage: str, what: str, mark: Mark) -> None:
        if stage not in self.pipeline:
            self.problems.add(
                f"{what}: enters an unknown stage {stage!r}", mark, near_miss(stage, self.pipeline)
            )

    def made(self, action: Action, stage: Stage) -> None:
        """A ``set`` on a packet that is made: as any other, but more fields can be set."""
        target = action.target
        if target in FIELD_BY_NAME and not FIELD_BY_NAME[target].writable and settable_in_template(target):
            self.operand(action.operand, stage, action.mark)
            self.fits(action.operand, target, action.mark)
        else:
            self.action(action, stage)

    def expiry(self, expiry: Expiry, table: Table) -> None:
        """The packet that tells of a passed timer; it reads its context, and not what only a packet has."""
        self.entrance(expiry.stage, "expiry", expiry.mark)
        nowhere = Stage("expiry", table=table.name)
        key = self.program.first_key(table.name)
        names = [part.name for part in key.parts if part.kind == "field"] if key is not None else []
        found = [FIELD_BY_NAME[name].header for name in names]
        self.together(closed(h.name for h in found if h is not None), "expiry", expiry.mark)
        for action in expiry.sets:
            self.made(action, nowhere)
            for operand in (action.operand, action.low or action.operand):
                if operand.kind in ("temporary", "written", "direction", "random"):
                    self.problems.add(f"expiry: {operand} is not there when a timer passes", action.mark)

    def search(self, action: Action, search: Allocation, stage: Stage) -> None:
        """An allocation: what it sets stands once in its key, under the same name, and its bounds fit there."""
        target, key = action.target, search.key
        self.settable(target, Operand("field"), action.mark)
        if target in FIELD_BY_NAME and FIELD_BY_NAME[target].bits > 64:
            self.problems.add(f"alloc: {target} has 128 bits, expected at most 64", action.mark)
        for operand in (search.low, search.high, search.start):
            if operand is not None:
                self.operand(operand, stage, action.mark)
                self.fits(operand, target, action.mark)
        if search.low.kind == search.high.kind == "const" and search.low.value > search.high.value:
            self.problems.add(
                f"alloc: got the range {search.low} to {search.high}, expected the low end first", action.mark
            )
        if search.found:
            self.operand(Operand("metadata", search.found), stage, action.mark)
        self.key(key, stage, "key of an alloc", temporaries=True)
        names = [str(part) for part in key.parts]
        if names.count(target) != 1:
            self.problems.add(f"alloc: its key must name {target} once: that is what is tried", action.mark)
        if target in FIELD_BY_NAME and FIELD_BY_NAME[target].writable:
            for name in sorted(set(changed_with(target)) & set(names) - {target}):
                self.problems.add(f"alloc: its key names {name}, which changes with {target}", action.mark)
        if key.symmetric:
            self.problems.add("alloc: its key cannot be symmetric", key.mark)
        self.allocations.append((search, stage))

    def fits(self, operand: Operand, target: str, mark: Mark) -> None:
        field = FIELD_BY_NAME.get(target)
        bits = self.program.word_bits if field is None else field.bits
        if operand.kind == "const" and operand.value >= 1 << bits:
            self.problems.add(f"constant {operand.value} is too wide for {target}, {bits} bits", mark)

    def wide(self, action: Action) -> None:
        """A 128-bit field takes an address of its family or another 128-bit field; pairs are checked by operand."""
        target, operand = action.target, action.operand
        if operand.kind == "address":
            if target != "ip.src" and target != "ip.dst" and operand.family == 4:
                self.problems.add(f"set: got the IPv4 address {operand} for {target}", action.mark)
        elif operand.kind != "field" or FIELD_BY_NAME[operand.name].bits <= 64:
            self.problems.add(
                f"set: {target} has 128 bits, got {operand}, expected an address, a 128-bit field or [HIGH, LOW]",
                action.mark,
            )

    def settable(self, target: str, operand: Operand, mark: Mark) -> None:
        head, _, rest = target.partition(".")
        if head == "metadata":
            self.operand(Operand("metadata", rest), self.program.stages[0], mark)
            bits = self.program.word_bits
        elif target in FIELD_BY_NAME:
            field = FIELD_BY_NAME[target]
            bits = field.bits
            if not field.writable:
                self.problems.add(f"set: {target} cannot be set", mark)
        else:
            known = [f.name for f in FIELD_BY_NAME.values() if f.writable]
            self.problems.add(f"set: no such field {target!r}", mark, near_miss(target, known))
            return
        if operand.kind == "const" and operand.value >= 1 << bits:
            self.problems.add(f"set: constant {operand.value} is too wide for {target}, {bits} bits", mark)

    def goto(self, entry: Entry, stage: Stage) -> None:
        if entry.goto is None:
            return
        if stage.commit:
            self.problems.add(f"{entry.name}: a commit stage cannot goto", entry.mark)
        elif entry.goto != "end":
            if entry.goto not in self.pipeline:
                hint = near_miss(entry.goto, [*self.pipeline, "end"])
                self.problems.add(f"{entry.name}: goto an unknown stage {entry.goto!r}", entry.mark, hint)
            elif self.pipeline.index(entry.goto) <= self.pipeline.index(stage.name):
                self.problems.add(
                    f"{entry.name}: goto backwards to {entry.goto!r}, expected a later stage", entry.mark
                )
            elif next(s for s in self.program.stages if s.name == entry.goto).commit:
                self.problems.add(
                    f"{entry.name}: goto a commit stage {entry.goto!r}; it runs anyway", entry.mark
                )

    def write(self, write: Write, stage: Stage) -> None:
        if isinstance(write.key, Key):
            self.key(write.key, stage, "key of a write", temporaries=True)
            self.shape_of_table(write.table, write.key, stage, "the key")
        for update in write.updates:
            for operand in (update.a, update.b):
                self.operand(operand, stage, update.mark, written=write.table)
            self.operand(update.target, stage, update.mark, written=write.table)
            width = self.program.width(update.target, stage, write.table)
            for operand in (update.a, update.b):
                if operand.kind == "const" and operand.value >= 1 << width:
                    self.problems.add(
                        f"constant {operand.value} is too wide for {update.target}, {width} bits", update.mark
                    )

    def shape_of_table(self, table: str, key: Key, stage: Stage, what: str) -> None:
        """All keys of a table look alike: as the first one that the program names it by."""
        shape = _shape(self.program, key, stage)
        first, where = self.shapes.setdefault(table, (shape, stage.name))
        if shape != first:
            self.problems.add(
                f"{what} has parts of other widths than stage {where!r} uses for table {table!r}", key.mark
            )

    def targets(self, entry: Entry, stage: Stage) -> None:
        """Two updates of one target in one entry have no order, so they are refused."""
        seen: set[tuple[str, object, str]] = set()
        for write in entry.writes:
            key = write.key if isinstance(write.key, Key) or stage.update else "lookup"
            for update in write.updates:
                where: tuple[str, object, str] = ("", "", update.target.name)
                if update.target.kind == "written":
                    where = (write.table, key, update.target.name)
                if where in seen:
                    self.problems.add(f"{entry.name}: two updates of {update.target}", update.mark)
                seen.add(where)
        places = [
            (w.table, w.key if isinstance(w.key, Key) or stage.update else "lookup") for w in entry.writes
        ]
        if len(set(places)) != len(places):
            self.problems.add(f"{entry.name}: two writes to one context", entry.mark)

    def ambiguous(self, stage: Stage) -> None:
        """Overlapping entries of one priority have no winner."""
        overlaps = self.overlaps[stage.name] = Overlaps()
        for entry in stage.entries:
            for other in overlaps.among(entry):
                self.problems.add(overlap_message(entry, other), entry.mark)
            overlaps.add(entry)


def _shape(program: Program, key: Key, stage: Stage) -> list[tuple[int, bool]]:
    out = []
    for part in key.parts:
        if part.kind == "field":
            out.append((FIELD_BY_NAME[part.name].bits, FIELD_BY_NAME[part.name].is_address))
        else:
            out.append((program.width(part, stage), False))
    return out


def overlap_message(entry: Entry, other: Entry) -> str:
    """What is said of two entries of one priority that overlap."""
    where = f" (line {other.mark.line})" if other.mark.line else ""
    return f"{entry.name!r} and {other.name!r}{where} have priority {entry.priority} and overlap"

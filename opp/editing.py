"""Changing a program while it runs: entries are added, deleted and replaced one at a time, between packets.

Arrays have spare room and classifiers are changed in place, so that a change costs the same among ten entries as
among ten thousand; kernels are not compiled again, since only contents change. Every so often an array is
full and half as long again is made, and after twice as many changes as a classifier had rules it is built anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from . import arrays as A
from .blocks import Blocks
from .declared import with_full_names
from .entries import parse_entry
from .entry_checker import EntryChecker
from .errors import NOWHERE, InputError, Problems, near_miss
from .lower import MAX_ROWS, Lowered, Lowering
from .overlaps import takes_none
from .program import Entry, Stage
from .reading import Reader
from .rows import is_long, rules_of
from .tuples import Rule, TupleSpace, lay_out
from .used_fields import fields_of_entry
from .yaml_source import MarkedDict

MAX_ENTRIES = 65_535  # of one stage: the number of an entry is 16 bits of its site
_BLOCKS = "entries actions mirrors allocs templates moves operands writes operations keys parts pairs rows cells".split()


@dataclass
class _Stage:
    """A stage and what its entries are in the arrays: their numbers, and their rules' slots."""

    number: int
    stage: Stage
    entries: dict[str, Entry]
    numbers: dict[str, int]
    space: TupleSpace | None = None
    slots: dict[str, list[int]] = field(default_factory=dict)


class Editor:
    """Changes one lowered program, whose arrays it takes over.

    Attributes:
        lowered: the program as it is now. Its arrays may be other ones after a change.
    """

    def __init__(self, lowered: Lowered) -> None:
        self.lowered = lowered
        program = lowered.program
        self._checker = EntryChecker(program)
        self._lowering = Lowering(program, lowered.layout)
        self._tables = {t.name: t for t in program.tables}
        for table, words in zip(program.tables, lowered.arrays.tables["key_words"], strict=True):
            if words:
                self._lowering.key_words[table.name] = int(words)
        self._blocks = Blocks({name: getattr(lowered.arrays, name) for name in _BLOCKS})
        self._numbers = {s.name: i for i, s in enumerate(program.pipeline())}
        self._stages: dict[str, _Stage] = {}
        spaces = iter(lowered.spaces)
        at = 0
        for number, stage in enumerate(program.pipeline()):
            entries = {e.name: e for e in stage.entries}
            numbers = {e.name: at + i for i, e in enumerate(stage.entries)}
            at += len(stage.entries) + (stage.default is not None)
            state = self._stages[stage.name] = _Stage(number, stage, entries, numbers)
            if lowered.arrays.stages["classifier"][number] >= 0:
                state.space = next(spaces)
                self._note_slots(state)

    @property
    def numbers(self) -> dict[str, dict[str, int]]:
        """Where each stage's entries stand in the arrays, in order."""
        return {name: {e: state.numbers[e] for e in state.entries} for name, state in self._stages.items()}

    # What users call

    def add(self, stage: str, entry: Entry | Mapping[str, Any]) -> Lowered:
        """Add an entry behind the others of its stage.

        Raises:
            InputError: everything that loading the program with this entry would refuse, and a field that the
                header vectors do not have or a table that has no key yet.
        """
        state = self._stage(stage)
        new = self._read(entry, state)
        if new.name in state.entries:
            raise InputError(f"stage {stage!r} has an entry {new.name!r} already", new.mark)
        if len(state.entries) >= MAX_ENTRIES:
            raise InputError(f"stage {stage!r} has {MAX_ENTRIES} entries, which is the most", new.mark)
        return self._change(state, None, new)

    def delete(self, stage: str, name: str) -> Lowered:
        """Take an entry out; those behind it move up.

        Raises:
            InputError: there is none of that name, or the program without it would be refused: another key of a
                table comes first then, which its expiry cannot use.
        """
        state = self._stage(stage)
        return self._change(state, self._entry(state, name), None)

    def modify(self, stage: str, name: str, entry: Entry | Mapping[str, Any]) -> Lowered:
        """Put an entry in the place of another, whose name it may have.

        Raises:
            InputError: as for :meth:`add` and :meth:`delete`.
        """
        state = self._stage(stage)
        old = self._entry(state, name)
        new = self._read(entry, state, instead=name)
        if new.name != name and new.name in state.entries:
            raise InputError(f"stage {stage!r} has an entry {new.name!r} already", new.mark)
        return self._change(state, old, new)

    # Checking

    def _stage(self, name: str) -> _Stage:
        if name not in self._stages:
            hint = near_miss(name, self._stages)
            raise InputError(f"the program has no stage {name!r} {hint}".strip())
        return self._stages[name]

    def _entry(self, state: _Stage, name: str) -> Entry:
        if name not in state.entries:
            hint = near_miss(name, state.entries)
            raise InputError(f"stage {state.stage.name!r} has no entry {name!r} {hint}".strip())
        return state.entries[name]

    def _read(self, entry: Entry | Mapping[str, Any], state: _Stage, instead: str = "") -> Entry:
        """The entry, checked as loading the program would check it."""
        problems = Problems()
        if not isinstance(entry, Entry):
            mark = entry.mark if isinstance(entry, MarkedDict) else NOWHERE
            node: Any = with_full_names(entry, self.lowered.program.headers, problems, mark)
            table = self._tables.get(state.stage.table or "")
            parsed, has_priority = parse_entry(Reader(problems), node, -1, mark, table, self._tables)
            for key, there in (("name", "name" in node), ("priority", has_priority)):
                if not there:
                    problems.add(f"an entry for a running program needs a {key}", mark)
            problems.raise_if_any()
            entry = parsed
        self._check(entry, state, problems, instead)
        problems.raise_if_any()
        return entry

    def _check(self, entry: Entry, state: _Stage, problems: Problems, instead: str) -> None:
        self._checker.check(entry, state.stage, problems, instead)
        lost = sorted(fields_of_entry(entry) - self.lowered.layout.word_of.keys())
        for name in lost:
            problems.add(f"{entry.name}: {name} is not in this machine's header vectors", entry.mark)
        for write in entry.writes:
            if write.table not in self._lowering.key_words:
                problems.add(
                    f"{entry.name}: no stage or entry has a key for table {write.table!r} yet", entry.mark
                )
        if rules_of(entry) > MAX_ROWS:
            problems.add(f"{entry.name}: needs more than {MAX_ROWS} ternary rows", entry.mark)

    def _check_timers(self, state: _Stage, old: Entry | None, new: Entry | None) -> None:
        """Refuse a change by which a table's first key becomes one that its expiry cannot use."""
        program = self.lowered.program
        if not any(table.expiry is not None for table in program.tables):
            return
        entries = [new if e is old else e for e in state.entries.values()]
        if old is None:
            entries.append(new)
        stage = replace(state.stage, entries=tuple(e for e in entries if e is not None))
        stages = tuple(stage if s.name == stage.name else s for s in program.stages)
        problems = Problems()
        self._checker.timers(replace(program, stages=stages), problems)
        problems.raise_if_any()

    # Changing

    def _change(self, state: _Stage, old: Entry | None, new: Entry | None) -> Lowered:
        """Replace an entry by another; without an old one it is added, without a new one deleted."""
        number = None if old is None else state.numbers[old.name]
        self._check_timers(state, old, new)
        if new is not None:
            site = state.number << 16 | len(state.entries) + 1
            if number is not None:
                site = int(self._blocks.arrays["entries"]["site"][number])
            rows = self._lowering.alone(new, state.stage, site, self._numbers)
            rules = [] if state.space is None else self._rules(new, state, 0)
        # Nothing can be refused from here on.
        overlaps = self._checker.overlaps[state.stage.name]
        if old is not None and number is not None:
            overlaps.remove(old)
            if state.space is not None:
                for slot in state.slots.pop(old.name):
                    state.space.remove(slot)
            del state.numbers[old.name]
            self._drop(number)
            if new is None:
                del state.entries[old.name]
                self._move_up(state, number)
        if new is not None:
            overlaps.add(new)
            at = state.numbers[new.name] = self._put(rows)
            if old is None or old.name == new.name:
                state.entries[new.name] = new
            else:
                state.entries = {n.name: n for n in (new if e is old else e for e in state.entries.values())}
            if state.space is not None:
                state.slots[new.name] = [state.space.insert(replace(rule, entry=at)) for rule in rules]
        return self._settle(state)

    def _rules(self, entry: Entry, state: _Stage, number: int) -> list[Rule]:
        cells = self._lowering.maker.rules(entry, state.stage)
        return [Rule(number, entry.priority, rule) for rule in cells]

    def _note_slots(self, state: _Stage) -> None:
        """Read from a classifier that was just built which slots are whose."""
        assert state.space is not None
        names = {number: name for name, number in state.numbers.items()}
        state.slots = {name: [] for name in state.entries}
        for slot, number in enumerate(state.space.records["rules"]["entry"][: state.space.used].tolist()):
            state.slots[names[number]].append(slot)

    def _put(self, rows: dict[str, list[tuple[Any, ...]]]) -> int:
        """Store one entry's rows, which count from 0, where there is room; returns the entry's number."""
        put = self._blocks.put
        operands = [put("operands", [row]) for row in rows["operands"]]
        operations = [_pointing(A.OPERATION_DTYPE, row, a=operands, b=operands) for row in rows["operations"]]
        keys = []
        for row in rows["keys"]:
            key = dict(zip(A.KEY_DTYPE.names or (), row, strict=True))
            for name, first, count in (("parts", "first_part", "parts"), ("pairs", "first_pair", "pairs")):
                key[first] = put(name, rows[name][key[first] : key[first] + key[count]])
            keys.append(put("keys", [tuple(key.values())]))
        writes = []
        for row in rows["writes"]:
            write = dict(zip(A.WRITE_DTYPE.names or (), row, strict=True))
            first = write["first_update"]
            write["first_update"] = put("operations", operations[first : first + write["updates"]])
            if write["key"] >= 0:
                write["key"] = keys[write["key"]]
            writes.append(tuple(write.values()))
        actions = []
        for row in rows["actions"]:
            action = dict(zip(A.ACTION_DTYPE.names or (), row, strict=True))
            action["operand"] = operands[action["operand"]]
            if action["kind"] == A.A_ALLOC:
                alloc = dict(zip(A.ALLOC_DTYPE.names or (), rows["allocs"][action["target"]], strict=True))
                alloc["key"] = keys[alloc["key"]]
                action["target"] = put("allocs", [tuple(alloc.values())])
            elif action["kind"] == A.A_GENERATE:
                template = dict(
                    zip(A.TEMPLATE_DTYPE.names or (), rows["templates"][action["target"]], strict=True)
                )
                first = template["first_move"]
                template["first_move"] = put("moves", rows["moves"][first : first + template["moves"]])
                action["target"] = put("templates", [tuple(template.values())])
            first = action["first_mirror"]
            action["first_mirror"] = put("mirrors", rows["mirrors"][first : first + action["mirrors"]])
            actions.append(tuple(action.values()))
        entry = dict(zip(A.ENTRY_DTYPE.names or (), rows["entries"][0], strict=True))
        entry["first_action"], entry["first_write"] = put("actions", actions), put("writes", writes)
        return put("entries", [tuple(entry.values())])

    def _drop(self, number: int) -> None:
        """Take back an entry's rows."""
        arrays, back = self._blocks.arrays, self._blocks.take_back
        entry = arrays["entries"][number]
        first, count = int(entry["first_action"]), int(entry["actions"])
        for action in arrays["actions"][first : first + count]:
            back("operands", int(action["operand"]), 1)
            back("mirrors", int(action["first_mirror"]), int(action["mirrors"]))
            if action["kind"] == A.A_ALLOC:
                self._drop_key(int(arrays["allocs"]["key"][action["target"]]))
                back("allocs", int(action["target"]), 1)
            elif action["kind"] == A.A_GENERATE:
                template = arrays["templates"][action["target"]]
                back("moves", int(template["first_move"]), int(template["moves"]))
                back("templates", int(action["target"]), 1)
        back("actions", first, count)
        first, count = int(entry["first_write"]), int(entry["writes"])
        for write in arrays["writes"][first : first + count]:
            update, updates = int(write["first_update"]), int(write["updates"])
            for operation in arrays["operations"][update : update + updates]:
                back("operands", int(operation["a"]), 1)
                back("operands", int(operation["b"]), 1)
            back("operations", update, updates)
            if write["key"] >= 0:
                self._drop_key(int(write["key"]))
        back("writes", first, count)
        back("entries", number, 1)

    def _drop_key(self, number: int) -> None:
        key = self._blocks.arrays["keys"][number]
        self._blocks.take_back("parts", int(key["first_part"]), int(key["parts"]))
        self._blocks.take_back("pairs", int(key["first_pair"]), int(key["pairs"]))
        self._blocks.take_back("keys", number, 1)

    def _move_up(self, state: _Stage, deleted: int) -> None:
        """Count the entries behind a deleted one anew: their numbers are part of what `random` gives."""
        sites = self._blocks.arrays["entries"]["site"]
        gone = sites[deleted]
        sites[(sites > gone) & (sites >> 16 == state.number)] -= 1
        sites[deleted] = 0

    def _settle(self, state: _Stage) -> Lowered:
        """Bring rows, classifiers and the program itself up to date."""
        program, arrays = self.lowered.program, self.lowered.arrays
        state.stage = replace(state.stage, entries=tuple(state.entries.values()))
        program = replace(
            program, stages=tuple(state.stage if s.name == state.stage.name else s for s in program.stages)
        )
        if state.space is None and not is_long(state.stage.entries):
            self._set_linear(state, list(self._ternary(state)))
        elif state.space is None or state.space.worn:
            self._set_linear(state, [])
            self._build(state)
        spaces = [s.space for s in self._stages.values() if s.space is not None]
        matching = arrays.matching
        if any(space.moved for space in spaces):
            matching, headers = lay_out(spaces)
            arrays.stages["classifier"][arrays.stages["classifier"] >= 0] = headers
        arrays = arrays._replace(matching=matching, **self._blocks.arrays)
        self.lowered = replace(self.lowered, program=program, arrays=arrays, spaces=tuple(spaces))
        return self.lowered

    def _ternary(self, state: _Stage) -> list[tuple[int, int, list[tuple[int, int, int, int]]]]:
        """(entry number, for packets without a key, cells) of every row of a short stage, the best first."""
        ranked = sorted(state.entries.values(), key=lambda e: -e.priority)
        return [
            (state.numbers[e.name], int(takes_none(e)), cells)
            for e in ranked
            for cells in self._lowering.maker.ternary(e, state.stage)
        ]

    def _set_linear(
        self, state: _Stage, rows: list[tuple[int, int, list[tuple[int, int, int, int]]]]
    ) -> None:
        """Store a stage's rows in place of those it has."""
        stages, arrays = self.lowered.arrays.stages, self._blocks.arrays
        first, count = int(stages["first_row"][state.number]), int(stages["rows"][state.number])
        for row in arrays["rows"][first : first + count]:
            self._blocks.take_back("cells", int(row["first_cell"]), int(row["cells"]))
        self._blocks.take_back("rows", first, count)
        new = [(entry, self._blocks.put("cells", cells), len(cells), none) for entry, none, cells in rows]
        stages["first_row"][state.number] = self._blocks.put("rows", new)
        stages["rows"][state.number] = len(new)

    def _build(self, state: _Stage) -> None:
        """Make a stage's classifier from all its entries."""
        rules: list[Rule] = []
        for entry in sorted(state.entries.values(), key=lambda e: -e.priority):
            rules.extend(self._rules(entry, state, state.numbers[entry.name]))
        state.space = TupleSpace(rules)
        self.lowered.arrays.stages["classifier"][state.number] = 0  # until it is laid out
        self._note_slots(state)


def _pointing(dtype: Any, row: tuple[Any, ...], **references: list[int]) -> tuple[Any, ...]:
    """The row with the named members replaced by what they stand for."""
    return tuple(
        references[name][value] if name in references else value
        for name, value in zip(dtype.names, row, strict=True)
    )

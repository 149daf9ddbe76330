"""Why a NIC cannot run an entry: what it does to the packet, its writes and its updates."""

from __future__ import annotations

from collections.abc import Iterator

from oppcache.opp.dataflow import operands_in
from oppcache.opp.errors import Mark
from oppcache.opp.fields import FIELD_BY_NAME
from oppcache.opp.program import DELETE, Action, Entry, Key, Operand, Program, Stage, Update, Write

from .demand import groups_of_field, key_kind, updates_of
from .profiles import Profile
from .reasons import Reason

_WITH_OPERAND = ("set", "output")


def entry_reasons(program: Program, profile: Profile, stage: Stage, entry: Entry) -> Iterator[Reason]:
    """Every reason why packets that need this entry are punted."""
    yield from _Entry(program, profile, stage, entry).reasons()


def names(profile: Profile, key: str) -> str:
    """What a profile allows, for a message."""
    value = profile.value(key)
    return ", ".join(value) if isinstance(value, tuple) and value else "none"


class _Entry:
    def __init__(self, program: Program, profile: Profile, stage: Stage, entry: Entry) -> None:
        self.program, self.profile, self.stage, self.entry = program, profile, stage, entry

    def no(
        self, code: str, text: str, mark: Mark, got: int | None = None, limit: int | None = None
    ) -> Reason:
        return Reason(code, text, self.entry.name, got, limit, mark)

    def at_most(self, code: str, got: int, what: str, mark: Mark) -> Iterator[Reason]:
        most = self.profile.number(code)
        if most is not None and got > most:
            yield self.no(code, f"{what}, the NIC has {most}", mark, got, most)

    def one_of(self, code: str, name: str, what: str, mark: Mark) -> Iterator[Reason]:
        if not self.profile.allows(code, name):
            yield self.no(code, f"{what}, the NIC has {names(self.profile, code)}", mark)

    def reasons(self) -> Iterator[Reason]:
        entry = self.entry
        for action in entry.actions:
            yield from self.action(action)
        yield from self.at_most(
            "writes.per_entry", len(entry.writes), f"{len(entry.writes)} writes", entry.mark
        )
        for write in entry.writes:
            yield from self.write(write)
        updates = list(updates_of(entry))
        yield from self.at_most("updates.per_entry", len(updates), f"{len(updates)} updates", entry.mark)
        for write, update in updates:
            yield from self.update(write, update)
        if entry.goto is not None and not self.profile.allows("pipeline.goto"):
            yield self.no("pipeline.goto", f"goto {entry.goto}, the NIC runs stages in order", entry.mark)

    def action(self, action: Action) -> Iterator[Reason]:
        yield from self.one_of("actions.kinds", action.kind, f"action {action.kind}", action.mark)
        if action.kind in _WITH_OPERAND:
            for operand in operands_in(action):
                kind = "const" if operand.kind == "address" else operand.kind
                what = f"{action.kind} reads {operand} ({kind})"
                yield from self.one_of("actions.operands", kind, what, action.mark)
                yield from self.field(operand, action.mark)
        if action.target:
            field = FIELD_BY_NAME.get(action.target)
            bits = self.program.word_bits if field is None else field.bits
            yield from self.at_most(
                "actions.set_bits", bits, f"sets {action.target}, {bits} bit", action.mark
            )
            if field is not None:
                yield from self.field(Operand("field", field.name), action.mark)

    def field(self, operand: Operand, mark: Mark) -> Iterator[Reason]:
        if operand.kind != "field":
            return
        groups = groups_of_field(operand.name)
        if groups and not any(self.profile.allows("parser.headers", group) for group in groups):
            read = names(self.profile, "parser.headers")
            yield self.no("parser.headers", f"uses {operand.name}, the NIC's parser reads {read}", mark)

    def write(self, write: Write) -> Iterator[Reason]:
        mark = write.mark
        kind = key_kind(write, self.stage)
        if write.table != self.stage.table and not self.profile.allows("writes.other_tables"):
            text = f"writes table {write.table!r}, the NIC writes only the stage's own"
            yield self.no("writes.other_tables", text, mark)
        elif kind == "other":
            yield from self.one_of(
                "writes.keys", kind, f"writes to a key of its own in {write.table!r}", mark
            )
        else:
            yield from self.one_of("writes.keys", kind, f"writes to the {kind} key", mark)
        if isinstance(write.key, Key):
            for operand in write.key.parts:
                yield from self.field(operand, mark)
        if write.next_state == DELETE and not self.profile.allows("writes.delete"):
            yield self.no("writes.delete", "deletes its context, the NIC cannot", mark)
        for name, timer in (("idle", write.idle), ("hard", write.hard)):
            if timer is not None and timer.timeout_ns:
                yield from self.one_of("writes.timers", name, f"sets the {name} timer", mark)

    def update(self, write: Write, update: Update) -> Iterator[Reason]:
        mark = update.mark
        yield from self.one_of("updates.operations", update.op, f"{update.op} of {update.target}", mark)
        operands = [update.a] if update.op == "mov" else [update.a, update.b]
        for operand in operands:
            kind = operand.kind
            if (
                kind == "written"
                and key_kind(write, self.stage) == "lookup"
                and write.table == self.stage.table
            ):
                kind = "register"
            what = f"{update.op} of {update.target} reads {operand} ({kind})"
            yield from self.one_of("updates.operands", kind, what, mark)
            yield from self.field(operand, mark)
        if update.op in ("shl", "shr"):
            what = f"{update.op} of {update.target} by {update.b} ({update.b.kind})"
            yield from self.one_of("updates.shift_by", update.b.kind, what, mark)
        width = max(self.program.width(o, self.stage, write.table) for o in (*operands, update.target))
        yield from self.at_most(
            "pipeline.word_bits", width, f"{update.op} of {update.target} is {width} bit wide", mark
        )

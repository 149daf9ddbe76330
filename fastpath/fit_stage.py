"""Why a NIC cannot run a stage: its key, context, conditions, ternary entries, globals, and what it parses.

What a stage asks may depend on the packet's IP version: an IPv6 key is wider, and an entry that matches IPv6
prefixes is of no use to IPv4. So everything that depends on it is reckoned for both.
"""

from __future__ import annotations

from oppcache.opp.dataflow import entries_of
from oppcache.opp.program import Condition, Program, Stage, Temporary

from . import demand
from .fit_entries import names
from .profiles import Profile
from .reasons import Reason


class StageCheck:
    """Holds one stage against a profile.

    Attributes:
        reasons: why no packet can have this stage run on the NIC.
        by_version: why packets of one IP version cannot, for each version that can come to it.
        used: what it takes of each numbered limit, by the profile's key.
    """

    def __init__(self, program: Program, profile: Profile, stage: Stage) -> None:
        self.program, self.profile, self.stage = program, profile, stage
        self.reasons: list[Reason] = []
        self.used: dict[str, int] = {}
        versions = {4, 6}
        if self.stage.lookup is not None:
            versions = set(demand.widths(self.program, self.stage.lookup, self.stage))
        self.by_version: dict[int, list[Reason]] = {version: [] for version in sorted(versions)}
        self.parser()
        self.keys()
        self.context()
        self.conditions()
        self.temporaries()
        self.ternary()
        self.globals()
        self.settle()

    def no(self, code: str, text: str, got: int | None = None, limit: int | None = None) -> None:
        self.reasons.append(Reason(code, text, "", got, limit, self.stage.mark))

    def at_most(self, code: str, got: int, what: str) -> None:
        most = self.profile.number(code)
        self.used[code] = max(got, self.used.get(code, 0))
        if most is not None and got > most:
            self.no(code, f"{what}, the NIC has {most}", got, most)

    def at_most_by_version(self, code: str, got: dict[int, int], what: str) -> None:
        """As :meth:`at_most` for what depends on the IP version; ``what`` has a place ``{got}``."""
        most = self.profile.number(code)
        for version in self.by_version:
            asked = got.get(version, 0)
            if most is not None and asked > most:
                text = f"{what.format(got=asked)}, the NIC has {most}"
                self.by_version[version].append(Reason(code, text, "", asked, most, self.stage.mark))
        first = next(iter(self.by_version))
        self.used[code] = max(got.get(first, 0), self.used.get(code, 0))

    def one_of(self, code: str, name: str, what: str) -> None:
        if not self.profile.allows(code, name):
            self.no(code, f"{what}, the NIC has {names(self.profile, code)}")

    def parser(self) -> None:
        """Fields that keys, conditions, temporaries and matches read."""
        read = names(self.profile, "parser.headers")
        for name in demand.fields_decided_on(self.stage):
            groups = demand.groups_of_field(name)
            if groups and not any(self.profile.allows("parser.headers", group) for group in groups):
                self.no("parser.headers", f"reads {name}, the NIC's parser reads {read}")
        for name in demand.headers_matched(self.stage):
            groups = demand.groups_of_header(name)
            if not any(self.profile.allows("parser.headers", group) for group in groups):
                self.no("parser.headers", f"matches valid.{name}, the NIC's parser reads {read}")
        if not demand.reads_ip(self.stage):
            return
        for version in self.by_version:
            if not self.profile.allows("parser.headers", f"ipv{version}"):
                text = f"the NIC's parser reads {read}"
                self.by_version[version].insert(0, Reason("parser.headers", text, mark=self.stage.mark))

    def keys(self) -> None:
        for role, key in (("lookup", self.stage.lookup), ("update", self.stage.update)):
            if key is None:
                continue
            got = demand.widths(self.program, key, self.stage)
            self.at_most_by_version("contexts.key_bits", got, f"{{got}} bit of {role} key")
            if key.symmetric and not self.profile.allows("contexts.symmetric_keys"):
                self.no("contexts.symmetric_keys", f"the {role} key is symmetric, the NIC's are not")

    def context(self) -> None:
        if self.stage.table is None:
            return
        table = self.program.table(self.stage.table)
        bits = demand.label_bits(self.program, table)
        self.at_most("contexts.label_bits", bits, f"{bits} bit of state label")
        count = len(table.registers)
        self.at_most("contexts.registers", count, f"{count} registers")
        for register in table.registers:
            wide = max(register.bits, self.program.word_bits)
            self.at_most("contexts.register_bits", wide, f"register {register.name} of {wide} bit")
        others = [s.name for s in self.program.pipeline() if s is not self.stage and s.table == table.name]
        if others and not self.profile.allows("contexts.shared_tables"):
            text = (
                f"table {table.name!r} is also looked up in {', '.join(others)}, on the NIC it is one stage's"
            )
            self.no("contexts.shared_tables", text)

    def conditions(self) -> None:
        count = len(self.stage.conditions)
        self.at_most("efsm.conditions", count, f"{count} conditions")
        for one in self.stage.conditions:
            self.one_of("efsm.comparisons", one.op, f"condition {one.name} is {one.op}")
            self.compared(one, f"condition {one.name}")

    def compared(self, item: Condition | Temporary, what: str) -> None:
        operands = [item.a] if item.op == "mov" else [item.a, item.b]
        for operand in operands:
            self.one_of("efsm.condition_operands", operand.kind, f"{what} reads {operand} ({operand.kind})")
        width = max(self.program.width(o, self.stage) for o in operands)
        if isinstance(item, Temporary):
            width = max(width, item.bits)
        self.at_most("pipeline.word_bits", width, f"{what} is {width} bit wide")

    def temporaries(self) -> None:
        count = len(self.stage.temporaries)
        self.at_most("pipeline.temporaries", count, f"{count} temporaries")
        if self.profile.number("pipeline.temporaries") == 0:
            return
        for one in self.stage.temporaries:
            what = f"temporary {one.name}"
            self.one_of("updates.operations", one.op, f"{what} is {one.op}")
            if one.op in ("shl", "shr"):
                self.one_of("updates.shift_by", one.b.kind, f"{what} shifts by {one.b} ({one.b.kind})")
            self.compared(one, what)

    def ternary(self) -> None:
        rows = demand.rows_by_version(self.stage)
        self.at_most_by_version("efsm.entries", rows, "{got} ternary entries after expansion")
        wide = {v: demand.match_bits(self.program, self.stage, v) for v in self.by_version}
        self.at_most_by_version("efsm.width_bits", wide, "entries of {got} bit")

    def globals(self) -> None:
        mine = demand.globals_of(self.stage)
        self.at_most("updates.globals", len(mine), f"{len(mine)} globals")
        declared = {f"{g.name}.{v.name}": v for g in self.program.globals for v in g.variables}
        for name in mine:
            bits = max(declared[name].bits, self.program.word_bits)
            self.at_most("updates.global_bits", bits, f"global {name} of {bits} bit")
        if self.profile.allows("updates.shared_globals"):
            return
        for name in mine:
            others = [
                s.name
                for s in self.program.pipeline()
                if s is not self.stage and name in demand.globals_of(s)
            ]
            if others and self.written(name):
                text = f"global {name} is also used in {', '.join(others)}, on the NIC it is one stage's"
                self.no("updates.shared_globals", text)

    def written(self, name: str) -> bool:
        """Whether some entry updates a global; else every stage can have it as a constant."""
        return any(
            update.target.kind == "global" and update.target.name == name
            for stage in self.program.pipeline()
            for entry in entries_of(stage)
            for _, update in demand.updates_of(entry)
        )

    def settle(self) -> None:
        """What stops every version stops the stage; what stops one remains in ``by_version``."""
        if all(self.by_version.values()):
            first = next(iter(self.by_version))
            self.reasons += self.by_version[first]
            self.by_version = {}


def capacity(program: Program, profile: Profile, stage: Stage) -> int | None:
    """Contexts of a stage's table that the NIC can hold; None if it is stateless or there is no limit.

    Where the profile gives memory rather than a number, it is shared evenly by the program's tables, and a
    slot takes key + label + registers + flags + what the protocol keeps.
    """
    if stage.table is None:
        return None
    tables = len({s.table for s in program.stages if s.table is not None})
    total, memory = profile.number("contexts.total"), profile.number("contexts.memory_bits")
    found = [profile.number("contexts.per_table"), None if total is None else total // tables]
    if memory is not None and stage.lookup is not None:
        found.append(memory // tables // slot_bits(program, profile, stage))
    return min((n for n in found if n is not None), default=None)


def slot_bits(program: Program, profile: Profile, stage: Stage) -> int:
    """Bits of one slot of a stage's table: its widest key that fits, label, registers, flags, the protocol's own."""
    assert stage.table is not None, "a stateful stage"
    assert stage.lookup is not None, "a stateful stage has a key"
    table = program.table(stage.table)
    keys = demand.widths(program, stage.lookup, stage).values()
    most = profile.number("contexts.key_bits")
    key = max((bits for bits in keys if most is None or bits <= most), default=min(keys))
    registers = sum(max(r.bits, program.word_bits) for r in table.registers)
    extra = (profile.number("contexts.flag_bits") or 0) + (profile.number("contexts.protocol_bits") or 0)
    return key + demand.label_bits(program, table) + registers + extra

"""Register-class analysis: what state a program keeps, who shares it, and what keeps it consistent.

>>> from oppcache.opp import load_program
>>> analysis = analyse(load_program("nf:stateful-firewall"))
>>> analysis.tables[0].sharing, analysis.tables[0].label.kind
('per-flow', 'guarded')
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .classes import ASSIGNED, GUARDED, MODES, Classified, Mode, classify
from .dataflow import GLOBAL, LABEL, REGISTER, Dataflow, Place, Variable, entries_of, place_of
from .paths import groups, next_stages
from .program import Program, Table
from .sharing import (
    GLOBAL_TABLE,
    PER_FLOW,
    KeyUse,
    deletes,
    has_timers,
    keys_of,
    several_contexts,
    sharing_of,
    writes_to,
)


@dataclass(frozen=True)
class Need:
    """What keeps a table's contexts consistent on two sides, and why, in one sentence."""

    how: str
    why: str


@dataclass(frozen=True)
class TableAnalysis:
    """One context table.

    Attributes:
        sharing: ``per-flow``, ``shared`` or ``global``; ``why`` says what decided it.
        written: whether packets change its contexts at all.
        timers, deletes: whether entries set timers, or delete contexts.
        several_contexts: whether one packet may touch two contexts of it.
    """

    table: Table
    keys: tuple[KeyUse, ...]
    sharing: str
    why: str
    label: Classified
    registers: tuple[Classified, ...]
    written: bool
    timers: bool
    deletes: bool
    several_contexts: bool
    need: Need


@dataclass(frozen=True)
class GlobalAnalysis:
    """One global variable: its class and what keeps it consistent."""

    variable: Classified
    mode: Mode


@dataclass(frozen=True)
class Analysis:
    """A whole program; ``groups`` are shared objects that lie on one path, each needing one home."""

    program: Program
    tables: tuple[TableAnalysis, ...]
    globals: tuple[GlobalAnalysis, ...]
    groups: tuple[tuple[str, ...], ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything, as plain values for JSON."""
        return {
            "program": self.program.name,
            "stages": [
                {"name": s.name, "table": s.table, "commit": s.commit} for s in self.program.pipeline()
            ],
            "tables": [_table_dict(table) for table in self.tables],
            "globals": [_global_dict(one) for one in self.globals],
            "groups": [list(group) for group in self.groups],
        }


def analyse(program: Program) -> Analysis:
    """Analyse a checked program."""
    flow = Dataflow(program)
    classes = {one.variable: one for one in classify(flow)}
    tables = tuple(_table(program, flow, table, classes) for table in program.tables)
    variables = tuple(
        GlobalAnalysis(one, MODES[one.kind]) for one in classes.values() if one.variable.kind == GLOBAL
    )
    shared = [t.table.name for t in tables if t.sharing != PER_FLOW and t.written]
    exact = [str(g.variable.variable) for g in variables if g.variable.kind in (GUARDED, ASSIGNED)]
    return Analysis(program, tables, variables, tuple(groups(flow, [*shared, *exact])))


def _table(
    program: Program, flow: Dataflow, table: Table, classes: dict[Variable, Classified]
) -> TableAnalysis:
    uses = keys_of(program, table.name)
    sharing, why = sharing_of(program, uses)
    written = bool(writes_to(program, table.name))
    timers = has_timers(program, table.name)
    own = [one for v, one in classes.items() if v.kind != GLOBAL and v.owner == table.name]
    several = several_contexts(program, uses)
    return TableAnalysis(
        table=table,
        keys=tuple(uses),
        sharing=sharing,
        why=why,
        label=next(one for one in own if one.variable.kind == LABEL),
        registers=tuple(one for one in own if one.variable.kind == REGISTER),
        written=written,
        timers=timers,
        deletes=deletes(program, table.name),
        several_contexts=several,
        need=_need(sharing, written, several, _follows_a_table(flow, table.name)),
    )


def _follows_a_table(flow: Dataflow, table: str) -> bool:
    """Whether a packet may have looked up some other context before it comes to one of this table."""
    pipeline = flow.pipeline
    before: list[set[tuple[str, Place | None]]] = [set() for _ in range(len(pipeline) + 1)]
    for number, stage in enumerate(pipeline):
        here = before[number]
        if stage.table == table and here - {(table, stage.lookup)}:
            return True
        if stage.table is not None:
            here = here | {(stage.table, stage.lookup)}
        for entry in entries_of(stage):
            for write in entry.writes:
                place = place_of(write, stage)
                key = stage.lookup if isinstance(place, str) else place
                if write.table == table and here - {(table, key)}:
                    return True
        for _, at in next_stages(flow, number):
            before[at] |= here
    return False


def _need(sharing: str, written: bool, several: bool, follows: bool) -> Need:
    if not written:
        return Need("replicate", "no packet changes its contexts, so both sides may hold copies")
    if sharing == GLOBAL_TABLE:
        return Need("home", "every packet touches its one context, so it never pays to move it")
    if sharing == PER_FLOW and not follows:
        return Need(
            "migrate", "only one connection's packets touch a context, so it can move when they pause"
        )
    if sharing == PER_FLOW:
        return Need(
            "migrate with BFENCE",
            "a packet punted at an earlier table reaches the CPU untagged and may be bounced back to the NIC; "
            "the fence keeps later packets of its connection behind it",
        )
    if several:
        return Need(
            "home",
            "one packet touches two of its contexts, each shared by connections: unless one side runs both, "
            "packets can pass them in opposite orders",
        )
    return Need(
        "home, or migrate with BFENCE",
        "packets of several connections touch a context and may be punted at different stages; without the "
        "fence one can overtake a bounced packet of another",
    )


def _class_dict(one: Classified) -> dict[str, Any]:
    return {"class": one.kind, "why": one.why, "read_in": one.readers, "written_in": one.writers}


def _table_dict(one: TableAnalysis) -> dict[str, Any]:
    registers = zip(one.table.registers, one.registers, strict=True)
    return {
        "name": one.table.name,
        "sharing": one.sharing,
        "why": one.why,
        "keys": [
            {
                "stage": use.stage,
                "role": use.role,
                "entry": use.entry or None,
                "parts": [str(part) for part in use.key.parts],
                "symmetric": use.key.symmetric,
                "bits": use.bits,
                "bits_ipv4": use.bits_ipv4,
            }
            for use in one.keys
        ],
        "state": {"labels": list(one.table.states), **_class_dict(one.label)},
        "registers": [{"name": r.name, "bits": r.bits, **_class_dict(found)} for r, found in registers],
        "written": one.written,
        "timers": one.timers,
        "deletes": one.deletes,
        "several_contexts": one.several_contexts,
        "consistency": {"needs": one.need.how, "why": one.need.why},
    }


def _global_dict(one: GlobalAnalysis) -> dict[str, Any]:
    mode = one.mode
    consistency = {"modes": mode.modes, "relaxed": mode.relaxed, "promise": mode.promise, "why": mode.why}
    return {"name": str(one.variable.variable), **_class_dict(one.variable), "consistency": consistency}

"""Which stages and entries run on the NIC ("sandwich"): what fits its profile, and what stays exact there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from oppcache.fastpath import Profile, fit
from oppcache.opp.analysis import Analysis, analyse
from oppcache.opp.classes import ASSIGNED, GUARDED
from oppcache.opp.dataflow import GLOBAL, LOOKED_UP, Dataflow, ReadSite, WriteSite, entries_of, place_of
from oppcache.opp.lower import Lowered
from oppcache.opp.program import Program
from oppcache.opp.sharing import PER_FLOW

from .flows import counts_flows


@dataclass(frozen=True)
class Placement:
    """Where the parts of a program run.

    Attributes:
        stages: per stage of the pipeline, whether the NIC runs it at all.
        punted: per stage, the IP versions whose packets the NIC cannot run.
        entries: ``uint8`` per lowered entry, whether the NIC can run it.
        ordered: per stage, whether each context of its table is one connection's.
        may_overtake: whether packets of one connection can leave the NIC at different stages, so that one which does
            not may be done before an older one which did.
        grouped: tables whose contexts have one home on the CPU, as packets run on several of them, or on globals, at once.
        globals: by stage and lowered entry (−1: none), globals that a packet meets there and whose order matters, by number.
    """

    stages: tuple[bool, ...]
    punted: tuple[frozenset[int], ...]
    entries: np.ndarray
    ordered: tuple[bool, ...]
    may_overtake: bool
    grouped: frozenset[str] = frozenset()
    globals: Mapping[tuple[int, int], tuple[int, ...]] = field(default_factory=dict)


def place(program: Program, lowered: Lowered, profile: Profile, *, moves_take_time: bool) -> Placement:
    """Place a program.

    Args:
        program: as loaded.
        lowered: the same as arrays.
        profile: the NIC's.
        moves_take_time: whether contexts migrate by messages. Then what this version cannot keep exact on two sides
            has its home on the CPU: stages that read or write a global whose updates do not commute, stages that
            write another key's context or allocate, and all stages of the tables that these write or search.
    """
    fitted = fit(program, profile)
    whole = {reason.code for reason in fitted.reasons}
    most = profile.number("pipeline.stages")
    analysis = analyse(program)
    together = _at_home(analysis)
    at_home = together if moves_take_time else set()
    runs, punted = [], []
    entries = np.ones(max(len(lowered.arrays.entries), 1), np.uint8)
    numbers = _entry_numbers(program, lowered)
    for number, (stage, one) in enumerate(zip(program.pipeline(), fitted.stages, strict=True)):
        room = most is None or number < most
        runs.append(one.fits and room and stage.name not in at_home and "pipeline.metadata_bits" not in whole)
        punted.append(frozenset(version for version, reasons in one.punted.items() if reasons))
        for name in one.punting_entries:
            entries[numbers[stage.name, name]] = 0
    sharing = {table.table.name: table.sharing for table in analysis.tables}
    ordered = tuple(
        stage.table is not None and sharing[stage.table] == PER_FLOW for stage in program.pipeline()
    )
    leaves = [
        stage.table is not None or not run or bool(versions) or bool(one.punting_entries)
        for stage, run, versions, one in zip(program.pipeline(), runs, punted, fitted.stages, strict=True)
    ]
    alone = leaves[:1] == [True] and not any(leaves[1:]) and counts_flows(program)
    grouped = frozenset(s.table for s in program.pipeline() if s.name in together and s.table is not None)
    met = _globals_met(analysis, numbers)
    return Placement(tuple(runs), tuple(punted), entries, ordered, any(leaves) and not alone, grouped, met)


def _at_home(analysis: Analysis) -> set[str]:
    """Names of the stages that must all run on one side."""
    program = analysis.program
    stages = {
        name
        for one in analysis.globals
        if one.variable.kind in (GUARDED, ASSIGNED)
        for name in (*one.variable.readers, *one.variable.writers)
    }
    tables = set()
    for stage in program.pipeline():
        foreign = [
            write
            for entry in entries_of(stage)
            for write in entry.writes
            if place_of(write, stage) != LOOKED_UP
        ]
        searched = {
            action.search.table for entry in entries_of(stage) for action in entry.actions if action.search
        }
        if foreign or searched:
            stages.add(stage.name)
            tables |= {stage.table, *searched, *(write.table for write in foreign)}
    return stages | {stage.name for stage in program.pipeline() if stage.table in tables - {None}}


def _globals_met(
    analysis: Analysis, numbers: Mapping[tuple[str, str], int]
) -> dict[tuple[int, int], tuple[int, ...]]:
    """Globals whose updates do not commute, where packets read or write them."""
    kept = {one.variable.variable for one in analysis.globals if one.variable.kind in (GUARDED, ASSIGNED)}
    if not kept:
        return {}
    program = analysis.program
    flow = Dataflow(program)
    number = {one: at for at, one in enumerate(v for v in flow.variables() if v.kind == GLOBAL)}
    places = {stage.name: at for at, stage in enumerate(program.pipeline())}
    met: dict[tuple[int, int], set[int]] = {}
    sites: list[ReadSite | WriteSite] = [*flow.reads, *flow.writes]
    for site in sites:
        if site.variable not in kept:
            continue
        whole = isinstance(site, ReadSite) and site.how in ("condition", "match", "key")
        entries = [-1, *(numbers[site.stage.name, e.name] for e in entries_of(site.stage))]
        for entry in entries if whole else [numbers[site.stage.name, site.entry.name]]:
            met.setdefault((places[site.stage.name], entry), set()).add(number[site.variable])
    return {place_: tuple(sorted(found)) for place_, found in met.items()}


def _entry_numbers(program: Program, lowered: Lowered) -> dict[tuple[str, str], int]:
    """Number of each entry by stage and name, as :func:`oppcache.opp.lower.lower` gives them."""
    sites = {int(site): number for number, site in enumerate(lowered.arrays.entries["site"])}
    numbers = {}
    for place_, stage in enumerate(program.pipeline()):
        for index, entry in enumerate(stage.entries):
            numbers[stage.name, entry.name] = sites[place_ << 16 | index + 1]
        if stage.default is not None:
            numbers[stage.name, stage.default.name] = sites[place_ << 16]
    return numbers

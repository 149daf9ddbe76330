"""The list of entries that a NIC has of a stage: cached ones, covers, and a last resort that sends the rest to the CPU."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from oppcache.opp.lower import Lowered, Lowering
from oppcache.opp.program import Entry, Stage, Term

from .selection import Selection

TO_CPU = -2  # as an entry number: the packet's stage runs on the CPU


@dataclass(frozen=True)
class NicSide:
    """A program as the NIC has it.

    :func:`oppcache.opp.step.choose` on ``lowered.arrays`` gives a number whose place in ``entries`` says what to do:
    carry out that entry of the whole program, or leave the stage to the CPU (:data:`TO_CPU`). A choice of −1 (no entry,
    no default) is ``entries[-1]``.

    Attributes:
        lowered: the program with the NIC's entries; header vectors are laid out as the whole program's.
        entries: ``int64[entries of lowered + 1]``: number in the whole program's arrays, −1 or :data:`TO_CPU`.
    """

    lowered: Lowered
    entries: np.ndarray


def nic_side(whole: Lowered, selections: dict[str, Selection]) -> NicSide:
    """Make the NIC's side of a program.

    Args:
        whole: the program.
        selections: by name of the stage, what the NIC holds; stages without one it holds whole.
    """
    program = whole.program
    stages: dict[str, Stage] = {}
    entries: list[int] = []
    at = 0
    for stage in program.pipeline():
        part, numbers = stage, list(range(at, at + len(stage.entries) + (stage.default is not None)))
        if stage.name in selections:
            part, numbers = _partial(stage, selections[stage.name], at)
        stages[stage.name] = part
        entries += numbers
        at += len(stage.entries) + (stage.default is not None)
    made = Lowering(
        replace(program, stages=tuple(stages[s.name] for s in program.stages)), whole.layout
    ).run()
    # Tables are as wide as the whole program has them, whatever keys the NIC's entries name.
    arrays = made.arrays._replace(tables=whole.arrays.tables)
    return NicSide(replace(made, arrays=arrays), np.array([*entries, -1], np.int64))


def _partial(stage: Stage, selection: Selection, first: int) -> tuple[Stage, list[int]]:
    """A stage with the entries that the NIC has of it, and what each of their numbers means.

    Covers and the last resort do nothing. ``first`` is the number of the whole stage's first entry.
    """
    entries, numbers = [], []
    for i in np.flatnonzero(selection.present[:-1]).tolist():
        entry = stage.entries[i]
        if selection.cached[i]:
            entries.append(entry)
            numbers.append(first + i)
        else:
            entries.append(replace(entry, actions=(), writes=(), goto=None))
            numbers.append(TO_CPU)
    if selection.cached[-1]:
        numbers += [first + len(stage.entries)] * (stage.default is not None)
        return replace(stage, entries=tuple(entries)), numbers
    resort = Entry(name="to the CPU", priority=min((e.priority for e in entries), default=0) - 1)
    if stage.table is not None:
        # A default is not for packets without a key.
        entries.append(replace(resort, match=(Term("state", "", ()),)))
        numbers.append(TO_CPU)
    return replace(stage, entries=tuple(entries), default=resort), [*numbers, TO_CPU]

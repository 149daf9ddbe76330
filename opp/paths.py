"""Which shared objects one packet can touch on its way: such objects form groups that need one home."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .dataflow import Dataflow, condition_operands, entries_of, operands_in
from .program import Entry, Stage


def groups(flow: Dataflow, objects: Sequence[str]) -> list[tuple[str, ...]]:
    """Group the objects that lie on one path, in the order of ``objects``; only groups of two or more.

    Args:
        flow: of the program.
        objects: names of context tables (``NAME``) and of globals (``G.GROUP.NAME``).
    """
    group_of = {name: {name} for name in objects}
    for together in _touched_together(flow, set(objects)):
        merged = set().union(*(group_of[name] for name in together)) if together else set()
        for name in merged:
            group_of[name] = merged
    found: list[tuple[str, ...]] = []
    for name in objects:
        group = tuple(other for other in objects if other in group_of[name])
        if len(group) > 1 and group not in found:
            found.append(group)
    return found


def _touched_together(flow: Dataflow, objects: set[str]) -> Iterable[set[str]]:
    """For every object that an entry or its stage touches: the objects that can follow on the way."""
    pipeline = flow.pipeline
    later: list[set[int]] = [set() for _ in range(len(pipeline) + 1)]
    for number in reversed(range(len(pipeline))):
        ways = next_stages(flow, number)
        later[number] = {number}.union(*(later[at] for _, at in ways))
    touched = [_front(flow, stage) & objects for stage in pipeline]
    by_entry = [{e.name: _entry(flow, e, stage) & objects for e in entries_of(stage)} for stage in pipeline]
    whole = [touched[i].union(*by_entry[i].values()) for i in range(len(pipeline))]
    for number in range(len(pipeline)):
        following: dict[str | None, set[str]] = {name: set() for name in by_entry[number]}  # drop: nothing
        for name, at in next_stages(flow, number):
            after = set().union(*(whole[i] for i in later[at])) if at < len(pipeline) else set()
            following[name] = following.get(name, set()) | after
        for entry, after in following.items():
            here = touched[number] | (by_entry[number][entry] if entry is not None else set())
            for one in here:
                for other in here | after:
                    yield {one, other}


def next_stages(flow: Dataflow, number: int) -> list[tuple[str | None, int]]:
    """Where a packet goes from a stage: (entry, None where none is chosen; number of the next stage)."""
    pipeline = flow.pipeline
    numbers = {stage.name: i for i, stage in enumerate(pipeline)}
    commit = next((i for i, stage in enumerate(pipeline) if stage.commit), len(pipeline))
    ways: list[tuple[str | None, int]] = [(None, number + 1)]
    for entry in entries_of(pipeline[number]):
        if any(action.kind == "drop" for action in entry.actions):
            continue
        at = number + 1
        if entry.goto is not None:
            at = commit if entry.goto == "end" else numbers[entry.goto]
        ways.append((entry.name, at))
    return ways


def _front(flow: Dataflow, stage: Stage) -> set[str]:
    """What a packet touches in a stage whatever entry is chosen: its context, and globals in conditions."""
    names = {stage.table} if stage.table is not None else set()
    used = [
        o
        for entry in entries_of(stage)
        for term in entry.match
        if term.kind == "condition"
        for o in condition_operands(term, stage)
    ]
    return {name for name in names if name} | {str(v) for v in flow.deps(used, stage) if v.kind == "global"}


def _entry(flow: Dataflow, entry: Entry, stage: Stage) -> set[str]:
    """What one entry touches besides: contexts that it writes, globals that it reads or updates."""
    leaves = (leaf for operand in operands_in(entry) for leaf in flow.leaves(operand, stage))
    searched = {action.search.table for action in entry.actions if action.search is not None}
    return (
        searched
        | {write.table for write in entry.writes}
        | {str(leaf) for leaf in leaves if leaf.kind == "global"}
    )

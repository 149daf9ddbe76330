"""What a changed ruleset changes of a running program: single entries where the stages stay the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from oppcache.opp.machine import Machine
from oppcache.opp.program import Entry, Program, Stage


@dataclass(frozen=True)
class Change:
    """An entry to add to a stage (``entry``), or to delete from it (None)."""

    stage: str
    name: str
    entry: Entry | None = None


def changes(old: Program, new: Program) -> list[Change] | None:
    """What makes the one program the other, or None if it takes more than entries.

    Entries that stay keep their priorities; a new one gets one between its neighbours', and a name that none has.
    """
    if replace(old, stages=()) != replace(new, stages=()):
        return None
    if len(old.stages) != len(new.stages):
        return None
    out: list[Change] = []
    for one, other in zip(old.stages, new.stages, strict=True):
        if replace(one, entries=()) != replace(other, entries=()):
            return None
        found = _of_stage(one, other)
        if found is None:
            return None
        out.extend(found)
    return out


def _meaning(entry: Entry) -> object:
    return entry.match, entry.actions, entry.writes, entry.goto


def _of_stage(old: Stage, new: Stage) -> list[Change] | None:
    """Changes of one stage's entries, deletions first."""
    before = sorted(old.entries, key=lambda e: -e.priority)
    after = sorted(new.entries, key=lambda e: -e.priority)
    start = 0
    while start < min(len(before), len(after)) and _meaning(before[start]) == _meaning(after[start]):
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and _meaning(before[-1 - end]) == _meaning(
        after[-1 - end]
    ):
        end += 1
    olds, news = before[start : len(before) - end], after[start : len(after) - end]
    gone: list[Change] = []
    fresh: list[Change] = []
    names = {e.name for e in before}
    matcher = SequenceMatcher(
        None, [repr(_meaning(e)) for e in olds], [repr(_meaning(e)) for e in news], False
    )
    for tag, a, b, c, d in matcher.get_opcodes():
        if tag == "equal":
            continue
        gone.extend(Change(old.name, e.name) for e in olds[a:b])
        names -= {e.name for e in olds[a:b]}
        high = before[start + a - 1].priority if start + a else before[0].priority + (1 << 30)
        low = before[start + b].priority if start + b < len(before) else -1
        step = (high - low) // (d - c + 1) if d > c else 1
        if step < 1:
            return None
        for i, entry in enumerate(news[c:d], 1):
            name = _free(entry.name, names)
            names.add(name)
            fresh.append(Change(old.name, name, replace(entry, name=name, priority=high - i * step)))
    return gone + fresh


def _free(name: str, taken: set[str]) -> str:
    count, unique = 1, name
    while unique in taken:
        count += 1
        unique = f"{name} [{count}]"
    return unique


def apply(machine: Machine, todo: Sequence[Change]) -> None:
    """Make the changes to a running machine; contexts and globals stay."""
    for change in todo:
        if change.entry is None:
            machine.delete_entry(change.stage, change.name)
        else:
            machine.add_entry(change.stage, change.entry)

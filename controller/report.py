"""A translated ruleset for people: its stages, what they are on, how many entries they have."""

from __future__ import annotations

from typing import Any

from oppcache.opp.program import Stage

from .translate import Translation


def as_dict(translation: Translation) -> dict[str, Any]:
    """The facts of a translation, for JSON."""
    program = translation.program
    return {
        "program": program.name,
        "conntrack": translation.conntrack or None,
        "reassemble": translation.reassemble,
        "stateful_stages": sum(s.table is not None for s in program.stages),
        "stateless_stages": sum(s.table is None and not is_fixed(s) for s in program.stages),
        "router_stages": sum(is_fixed(s) for s in program.stages),
        "entries": sum(len(s.entries) for s in program.stages),
        "tables": [{"name": t.name, "registers": len(t.registers)} for t in program.tables],
        "globals": [f"{g.name}.{v.name}" for g in program.globals for v in g.variables],
        "stages": [_stage(stage) for stage in program.pipeline()],
    }


def is_fixed(stage: Stage) -> bool:
    """Whether a stage is the router's own work (which hook, routing, the way out), a fixed function of a device."""
    return stage.name.startswith("router ")


def _kind(stage: Stage) -> str:
    if stage.commit:
        return "commit"
    if is_fixed(stage):
        return "router"
    return "stateful" if stage.table is not None else "stateless"


def _stage(stage: Stage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "kind": _kind(stage),
        "table": stage.table,
        "entries": len(stage.entries) + (stage.default is not None),
        "temporaries": len(stage.temporaries),
        "conditions": len(stage.conditions),
    }


def as_text(translation: Translation) -> str:
    """The same as text."""
    facts = as_dict(translation)
    block = (
        f"connections tracked by the {facts['conntrack']} block" if facts["conntrack"] else "no connections"
    )
    lines = [
        f"program {facts['program']}: {facts['stateful_stages']} stateful and {facts['stateless_stages']} "
        f"stateless stages and {facts['router_stages']} of the router itself, {facts['entries']} entries; {block}",
    ]
    if facts["reassemble"]:
        lines.append("fragments are put together before the program")
    lines.append("")
    width = max(len(stage["name"]) for stage in facts["stages"])
    for stage in facts["stages"]:
        on = f" on {stage['table']}" if stage["table"] else ""
        number = stage["entries"]
        entries = f"{number} entr{'y' if number == 1 else 'ies'}"
        lines.append(f"  {stage['name']:<{width}}  {entries:<12} {stage['kind']}{on}")
    return "\n".join(lines) + "\n"

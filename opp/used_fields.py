"""Which header fields a program uses: what its header vectors must have."""

from __future__ import annotations

from .dataflow import operands_in
from .fields import FIELD_BY_NAME
from .program import Entry, Key, Operand, Program
from .validate import partner


def fields_of(program: Program) -> set[str]:
    """Every field that a program reads, matches or sets."""
    names: set[str] = set()
    for stage in program.stages:
        for temporary in stage.temporaries:
            names.update(_named(temporary.a, temporary.b))
        for condition in stage.conditions:
            names.update(_named(condition.a, condition.b))
        for key in (stage.lookup, stage.update):
            if key is not None:
                names.update(_fields_of_key(key))
        for entry in (*stage.entries, *((stage.default,) if stage.default else ())):
            names.update(fields_of_entry(entry))
    return names


def fields_of_entry(entry: Entry) -> set[str]:
    """Every field that an entry reads, matches or sets."""
    names = {t.name for t in entry.match if t.kind == "field"}
    for action in entry.actions:
        names.update(_named(*operands_in(action)))
        if action.target in FIELD_BY_NAME:
            names.add(action.target)
        if action.kind == "dec_ttl":
            names.update(("ipv4.ttl", "ipv6.hop_limit"))
    for write in entry.writes:
        if isinstance(write.key, Key):
            names.update(_fields_of_key(write.key))
        for update in write.updates:
            names.update(_named(update.a, update.b))
    return names


def _named(*items: Operand) -> set[str]:
    return {o.name for o in items if o.kind == "field"}


def _fields_of_key(key: Key) -> set[str]:
    names = _named(*key.parts)
    if key.symmetric:
        names.update(filter(None, [partner(name) for name in names]))
    return names

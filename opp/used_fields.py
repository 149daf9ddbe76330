"""Which header fields a program uses: what its header vectors must have."""

from __future__ import annotations

from collections.abc import Iterable

from .dataflow import operands_in
from .fields import FIELD_BY_NAME
from .program import Entry, Key, Operand, Program
from .validate import partner


def fields_of(program: Program, more: Iterable[str] = ()) -> set[str]:
    """Every field that a program reads, matches or sets, ``more`` fields, and what either needs beside it."""
    names: set[str] = set(more)
    for table in program.tables:
        for action in table.expiry.sets if table.expiry is not None else ():
            names.update(_named(*operands_in(action)))
            names.update({action.target} if action.target in FIELD_BY_NAME else ())
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
    return names | _quoted(program, names)


def _quoted(program: Program, names: set[str]) -> set[str]:
    """What a packet must have so that an ICMP error that quotes it has the fields that a program uses of that."""
    actions = (
        a
        for s in program.stages
        for e in (*s.entries, *((s.default,) if s.default else ()))
        for a in e.actions
    )
    if not any(action.template is not None and action.template.quote for action in actions):
        return set()
    found = {name.removeprefix("inner.") for name in names if name.startswith(("inner.ipv4.", "inner.ipv6."))}
    if names & {"inner.icmp.id", "flow.sport", "flow.dport"}:
        found |= {"icmp.id", "icmpv6.id"}
    return found


def fields_of_entry(entry: Entry) -> set[str]:
    """Every field that an entry reads, matches or sets."""
    names = {t.name for t in entry.match if t.kind == "field"}
    for action in entry.actions:
        names.update(_named(*operands_in(action)))
        if action.target in FIELD_BY_NAME:
            names.add(action.target)
        for made in action.template.sets if action.template is not None else ():
            names.update({made.target} if made.target in FIELD_BY_NAME else ())
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

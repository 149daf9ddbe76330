"""Register classes: what the packets of a program do to each label, register and global.

The class decides what keeps a variable consistent on two sides; see :data:`MODES` for globals.
"""

from __future__ import annotations

from dataclasses import dataclass

from .dataflow import (
    GLOBAL,
    Dataflow,
    Place,
    ReadSite,
    Variable,
    WriteSite,
    canonical,
    changed_by,
    entries_of,
    operands_in,
    place_of,
)
from .fields import FIELD_BY_NAME, Header
from .program import DELETE, Entry, Key, Operand, Stage, Update
from .templates import made_packets

CONSTANT, SCRATCH, COUNTER, MIN_MAX = "constant", "scratch", "counter", "min/max"
GUARDED, ASSIGNED = "guarded", "assigned"
CLASSES = (CONSTANT, SCRATCH, COUNTER, MIN_MAX, GUARDED, ASSIGNED)


@dataclass(frozen=True)
class Mode:
    """What keeps a global of one class consistent.

    Attributes:
        modes: any of them does.
        relaxed: what does where a safe answer is enough.
    """

    modes: tuple[str, ...]
    promise: str
    why: str
    relaxed: tuple[str, ...] = ()


MODES = {
    CONSTANT: Mode(("replicate",), "exact", "no packet writes it, so both sides may hold a copy"),
    SCRATCH: Mode(
        ("local",),
        "exact",
        "a packet reads only what it wrote itself, so each side has its own (it takes the value along where it crosses)",
    ),
    COUNTER: Mode(
        ("delta",),
        "final value exact; in between off by at most rate x merge interval",
        "additions commute and no packet sees the sum, so both sides add and merge",
    ),
    MIN_MAX: Mode(
        ("merge",), "final value exact", "min and max commute and no packet sees the result, so sides merge"
    ),
    GUARDED: Mode(
        ("home-nic", "home-cpu"),
        "exact; escrow never over-admits, but may refuse early and is not one history",
        "its value decides over its own update, so one side must do all steps",
        ("escrow",),
    ),
    ASSIGNED: Mode(
        ("home-nic", "home-cpu"), "exact", "the order of its updates shows, so one side must do all steps"
    ),
}


@dataclass(frozen=True)
class Classified:
    """A variable's class, and the one fact that decided it."""

    variable: Variable
    kind: str
    why: str
    readers: tuple[str, ...]  # stages
    writers: tuple[str, ...]


def classify(flow: Dataflow) -> list[Classified]:
    """Classify every label, register and global of a program, in the program's order."""
    return [_classify(flow, variable) for variable in flow.variables()]


def _classify(flow: Dataflow, variable: Variable) -> Classified:
    reads = [r for r in flow.reads if r.variable == variable]
    writes = [w for w in flow.writes if w.variable == variable]
    kind, why = _class_of(flow, reads, writes)
    return Classified(variable, kind, why, _stages(reads), _stages(writes))


def _class_of(flow: Dataflow, reads: list[ReadSite], writes: list[WriteSite]) -> tuple[str, str]:
    if not writes:
        return CONSTANT, "no entry writes it" + ("" if reads else " or reads it")
    foreign = [r for r in reads if not r.own]
    forms = {w.form for w in writes}
    if not foreign and forms == {"add"}:
        return COUNTER, "entries only add to it or subtract, and nothing else reads it"
    if not foreign and forms in ({"min"}, {"max"}):
        return MIN_MAX, f"entries only take the {forms.pop()} of it and a value, and nothing else reads it"
    if reads and all(_written_before(flow, read) for read in reads):
        return SCRATCH, "every packet that reads it has written it before"
    guard = next((w for w in writes if w.variable in w.chosen_by), None)
    if guard is not None:
        return GUARDED, f"its value decides whether {_at(guard)} writes it"
    ticket = _ticket(foreign, writes)
    if ticket is not None:
        return GUARDED, f"{_at(ticket)} hands its value out and moves it on"
    return ASSIGNED, _why_assigned(foreign, writes)


def _ticket(foreign: list[ReadSite], writes: list[WriteSite]) -> ReadSite | None:
    """Where an entry both hands the value out (round robin, a pool) and computes the next one from it."""
    moved = {(w.stage.name, w.entry.name) for w in writes if w.form in ("add", "other")}
    if any(w.form == "set" and not _resets(w) for w in writes):
        return None
    for read in foreign:
        if read.how in ("action", "key") and (read.stage.name, read.entry.name) in moved:
            return read
    return None


def _resets(write: WriteSite) -> bool:
    return write.update is not None and write.update.op == "mov" and write.update.a.kind == "const"


def _why_assigned(foreign: list[ReadSite], writes: list[WriteSite]) -> str:
    plain = next((w for w in writes if w.form not in ("add", "min", "max")), None)
    if plain is not None:
        what = "sets it" if plain.form == "set" else "computes it anew from itself"
        return f"{_at(plain)} {what}"
    if foreign:
        return f"{_at(foreign[0])} reads it ({foreign[0].how})"
    return "its updates do not commute"


def _at(site: ReadSite | WriteSite) -> str:
    return f"{site.entry.name!r} in {site.stage.name}"


def _stages(sites: list[ReadSite] | list[WriteSite]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(site.stage.name for site in sites))


# --- scratch: written before read, on every path -------------------------------------------------------

_IMPLIED = {
    Header.IPV4: Header.IP,
    Header.IPV6: Header.IP,
    **dict.fromkeys(
        (Header.TCP, Header.UDP, Header.UDPLITE, Header.SCTP, Header.ICMP, Header.ICMPV6), Header.IP
    ),
}
Headers = frozenset[Header]


def _written_before(flow: Dataflow, read: ReadSite) -> bool:
    """Whether on every path to a read the same packet has written that variable, in that context."""
    key = _key_at(read.place, read.stage)
    if read.variable.kind != GLOBAL and (key is None or _rewritten(flow, key)):
        return False
    present = _of_key(key) if key is not None and read.variable.kind != GLOBAL else frozenset()
    if not _takes_none(read.entry):
        present |= _of_match(read.entry) | _of_key(read.stage.lookup)
    return _Paths(flow, read.variable, key, present).written_at(read.stage)


class _Paths:
    """Walks every path of a packet that has certain headers, noting whether a variable was surely written."""

    def __init__(self, flow: Dataflow, variable: Variable, key: Key | None, present: Headers) -> None:
        self.flow, self.variable, self.key, self.present = flow, variable, key, present

    def written_at(self, target: Stage) -> bool:
        pipeline = self.flow.pipeline
        numbers = {stage.name: i for i, stage in enumerate(pipeline)}
        commit = next((i for i, stage in enumerate(pipeline) if stage.commit), len(pipeline))
        arriving: list[bool | None] = [None] * (len(pipeline) + 1)  # None: not reached
        arriving[0] = False
        for name, _ in made_packets(self.flow.program):
            arriving[numbers[name]] = False
        for number, stage in enumerate(pipeline):
            before = arriving[number]
            if stage.name == target.name:
                return before is True
            if before is None:
                continue
            ways = [(before, number + 1)] if self._may_pass(stage) else []
            for entry in entries_of(stage):
                if any(action.kind == "drop" for action in entry.actions):
                    continue
                at = number + 1
                if entry.goto is not None:
                    at = commit if entry.goto == "end" else numbers[entry.goto]
                ways.append((before or self._writes(entry, stage), at))
            for written, at in ways:
                arriving[at] = written if arriving[at] is None else arriving[at] and written
        return False

    def _may_pass(self, stage: Stage) -> bool:
        """Whether a packet may come through a stage without any entry being chosen."""
        if stage.lookup is not None and not _of_key(stage.lookup) <= self.present:
            return True
        return stage.default is None and not any(not entry.match for entry in stage.entries)

    def _writes(self, entry: Entry, stage: Stage) -> bool:
        present = self.present | _of_match(entry)
        if not _takes_none(entry):
            present |= _of_key(stage.lookup)
        for write in entry.writes:
            key = _key_at(place_of(write, stage), stage)
            if key is None or not _of_key(key) <= present:
                continue
            if any(part.kind == "temporary" for part in key.parts):
                continue
            if self.variable.kind != GLOBAL:
                same = write.table == self.variable.owner and key == self.key
                if not same or write.next_state == DELETE:
                    continue
            if any(self._sets(update, stage, write.table, present) for update in write.updates):
                return True
        return False

    def _sets(self, update: Update, stage: Stage, table: str, present: Headers) -> bool:
        if self.flow.variable(update.target, stage, table) != self.variable:
            return False
        leaves = (leaf for o in operands_in((update.a, update.b)) for leaf in self.flow.leaves(o, stage))
        return all(_needs(leaf) <= present for leaf in leaves)


def _key_at(place: Place, stage: Stage) -> Key | None:
    return place if isinstance(place, Key) else stage.lookup


def _rewritten(flow: Dataflow, key: Key) -> bool:
    """Whether some entry changes a part of a key, so that it may name another context later on."""
    parts = {canonical(str(part)) for part in key.parts}
    return any(
        canonical(target) in parts
        for stage in flow.pipeline
        for entry in entries_of(stage)
        for action in entry.actions
        for target in changed_by(action)
    )


def _takes_none(entry: Entry) -> bool:
    return any(term.kind == "state" and not term.patterns for term in entry.match)


def _needs(operand: Operand) -> Headers:
    """Headers without which an operand is absent."""
    header = FIELD_BY_NAME[operand.name].header if operand.kind == "field" else None
    return frozenset() if header is None else frozenset((header,))


def _closed(headers: Headers) -> Headers:
    return headers | {_IMPLIED[h] for h in headers if h in _IMPLIED}


def _of_key(key: Key | None) -> Headers:
    """Headers that a packet has if its key is there."""
    if key is None:
        return frozenset()
    return _closed(frozenset(header for part in key.parts for header in _needs(part)))


def _of_match(entry: Entry) -> Headers:
    """Headers that a packet has if it matches an entry."""
    found: set[Header] = set()
    for term in entry.match:
        if term.kind == "field":
            found |= _needs(Operand("field", term.name))
        elif term.kind == "valid" and all(p.value & p.mask for p in term.patterns):
            found.add(Header[term.name.upper()])
    return _closed(frozenset(found))

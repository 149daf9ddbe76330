"""Counterexamples: the shortest way to a violation, step by step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..lower import RowPlace, lower_with_places
from ..vocabulary import (
    E_STATE,
    EV_BOUNCED,
    EV_PUNT_ABSENT,
    EV_PUNT_DEPARTED,
    EV_PUNT_WATCHED,
    EV_UNTAGGED,
    EVENT_NAMES,
    NIC,
    PROPERTIES,
    PROPERTY,
    ROLES,
)
from . import layout as L
from .ghosts import DISABLED
from .model import P_EVERY
from .moves import (
    MOVE_ARRIVE,
    MOVE_BFENCE,
    MOVE_CHECKPOINT,
    MOVE_CPU_CRASH,
    MOVE_DROP,
    MOVE_LOSE,
    MOVE_NIC_CRASH,
    MOVE_OWN,
    MOVE_RX,
    MOVE_TO_CPU,
    MOVE_TO_NIC,
    MOVE_TX,
    NO_COUNT,
    NO_EVENT,
    WAITS,
    list_moves,
    look,
    make,
)
from .search import Scratch, System, first_state, make_scratch, next_state, number_packets
from .step import is_marker, other_copy
from .store import is_same

if TYPE_CHECKING:
    from .verdict import Verdict

WIRE, FAULT = "wire", "fault"
_QUEUE_NAMES = ("RX", "RX2", "TX", "control to NIC", "control to CPU")


@dataclass
class Sent:
    """A packet or message on its way: who sent it in which step, and who took it (-1: nobody so far)."""

    item: int
    queue: int
    label: str
    sent: int
    taken: list[int] = field(default_factory=list)
    dropped: int = -1


@dataclass
class Step:
    """One step of a counterexample.

    Attributes:
        side: ``nic``, ``cpu``, ``wire`` (a packet's output leaves) or ``fault``.
        what: the event, in words.
        does: what the table says, in words.
        states: (NIC state, CPU state) of every key after the step.
        wrong: names of the properties that it violates.
        egress: packets that leave in it.
    """

    side: str
    key: int
    what: str
    does: str
    states: list[tuple[str, str]]
    wrong: list[str] = field(default_factory=list)
    egress: list[int] = field(default_factory=list)


@dataclass
class Trace:
    """A counterexample: its steps, and what was on its way between the sides."""

    violates: str
    start: list[tuple[str, str]]
    steps: list[Step]
    sent: list[Sent]

    @property
    def end(self) -> str:
        """What is wrong at the end, in one sentence."""
        doc = next(p.doc for p in PROPERTIES if p.name == self.violates)
        if self.violates == "liveness":
            return "from here no step leads to where all is delivered and the key has one owner"
        return f"not so any more: {doc}"

    def text(self) -> str:
        """The steps as lines."""
        side = max((len(step.side) for step in self.steps), default=0)
        lines = []
        for number, step in enumerate(self.steps, 1):
            does = f": {step.does}" if step.does else ""
            lines.append(f"{number:3d}  {step.side.upper():{side}s}  {step.what}{does}")
        lines.append(f"     {self.violates}: {self.end}")
        return "\n".join(lines)


def label(item: int) -> str:
    """A packet, marker or message in words."""
    kind = item & 31
    g, r = item >> L.I_G & 63, item >> L.I_R & 31
    n, mask = item >> L.I_N & 15, item >> L.I_MASK & 31
    packet = (item >> L.I_ID & 7) + 1
    incarnation = item >> L.I_INCARNATION & 3
    tenancy = f"g{g >> 4}.{g & 15}" if g else "none"
    if kind == L.OUTPUT:
        return f"output of packet {packet}"
    if kind == EV_BOUNCED:
        return f"packet {packet} back"
    if kind == EV_UNTAGGED:
        return f"packet {packet} without a tag"
    if kind == EV_PUNT_ABSENT:
        return f"packet {packet} ⟨A⟩"
    if kind == EV_PUNT_WATCHED:
        return f"packet {packet} ⟨W,{tenancy},{n}⟩"
    if kind == EV_PUNT_DEPARTED:
        return f"packet {packet} ⟨D,{tenancy}⟩"
    request = f"r{r >> 3}.{r & 7}"
    fields = {
        "watch": [request],
        "install": [*([tenancy, str(n)] if g else []), applied(mask)],
        "evict": [tenancy],
        "ctxack": [tenancy],
        "hello": [f"CPU {incarnation}"],
        "efence": [tenancy, str(n)],
        "wback": [tenancy],
        "fence": [tenancy, request, str(n)],
        "installed": [tenancy],
        "ctx": [tenancy, applied(mask)],
        "wb": [tenancy, applied(mask)],
        "gone": [tenancy if g else request],
        "state": [f"CPU {incarnation}", tenancy],
        "fetch": [tenancy],
        "bfence": [str(n)],
    }[EVENT_NAMES[kind]]
    fields = [word for word in fields if word not in ("none", "r0.0")] or fields[:0]
    return f"{EVENT_NAMES[kind].upper()}({', '.join(fields)})" if fields else EVENT_NAMES[kind].upper()


def applied(mask: int) -> str:
    """A context in words: the packets applied to it."""
    packets = ",".join(str(i + 1) for i in range(L.PACKETS_MAX) if mask >> i & 1)
    return f"{{{packets}}}" if packets else "no packet"


def make_trace(verdict: Verdict, name: str) -> Trace:
    """The shortest way to the first violation of a property."""
    number = verdict.stuck if name == "liveness" else int(verdict.store.first[PROPERTY[name]])
    if number < 0:
        raise ValueError(f"{name} is not violated")
    return _Tracer(verdict, name).run(number)


class _Tracer:
    def __init__(self, verdict: Verdict, name: str) -> None:
        self.verdict, self.name = verdict, name
        self.system: System = verdict.system
        self.keys = verdict.model.keys
        self.scratch: Scratch = make_scratch(self.system)
        self.places: list[RowPlace] = lower_with_places(verdict.protocol)[1]
        self.steps: list[Step] = []
        self.sent: list[Sent] = []
        self.rings: list[list[Sent]] = [[] for _ in range(L.QUEUES)]

    def run(self, number: int) -> Trace:
        chain = [number]
        while chain[-1] != 0:
            chain.append(int(self.verdict.store.parents[chain[-1]]))
        s = first_state(self.system, self.verdict.model)
        start = self._states(s)
        for target in reversed(chain[:-1]):
            s = self._step(s, target)
        if self.name != "liveness":
            self._step(s, -1)
        return Trace(self.name, start, self.steps, self.sent)

    def _states(self, s: np.ndarray) -> list[tuple[str, str]]:
        found = []
        for key in range(self.keys):
            b = L.S_KEYS + key * L.KEY_WORDS
            nic, cpu = int(s[b + E_STATE]), int(s[b + 8 + E_STATE])
            roles = self.verdict.protocol.roles
            found.append((list(roles["nic"].states)[nic], list(roles["cpu"].states)[cpu]))
        return found

    def _step(self, s: np.ndarray, target: int) -> np.ndarray:
        """Make the move that leads to a stored state, or (-1) that violates the property; record it."""
        system, scratch, store = self.system, self.scratch, self.verdict.store
        scratch.s[:] = s
        moves = np.zeros_like(scratch.moves)
        count = list_moves(system.parameters, system.protocol, scratch.s, system.facts, moves)
        for move in moves[:count]:
            wrong = next_state(system, scratch, move)
            if wrong & DISABLED:
                continue
            found = bool(wrong >> PROPERTY[self.name] & 1) if target < 0 else self._leads_to(store, target)
            if found:
                after = scratch.t.copy()
                self._record(s, move, int(wrong), after)
                return after
        raise AssertionError("the way to a violation cannot be found again")

    def _leads_to(self, store: object, target: int) -> bool:
        scratch, t = self.scratch, self.scratch.t.copy()
        number_packets(self.system, t)
        length = L.pack(t, self.keys, scratch.words)
        h = L.hash_of(scratch.words, 0, length)
        return bool(is_same(store, target, scratch.words, length, np.uint64(h)))

    def _record(self, s: np.ndarray, move: np.ndarray, wrong: int, after: np.ndarray) -> None:
        system, scratch = self.system, self.scratch
        raw = s.copy()
        row = look(system.parameters, system.protocol, raw, move, scratch.message, scratch.fired)
        make(
            system.parameters, system.analysis, system.protocol, raw, move, row, scratch.message, scratch.out
        )
        kind, a, b = (int(word) for word in move[:3])
        number = len(self.steps)
        side, key, what = self._describe(s, kind, a, b, int(move[5]))
        does = self._does(int(row)) if side in ROLES else ""
        before = self._states(s)[key]
        states = self._states(after)
        if side in ROLES and before[ROLES.index(side)] != states[key][ROLES.index(side)]:
            does += f"{'; ' if does else ''}→ {states[key][ROLES.index(side)]}"
        self._follow(s, raw, kind, a, b, number)
        names = [p.name for p in PROPERTIES if wrong >> p.code & 1]
        left = int(after[L.S_EGRESSED]) & ~int(s[L.S_EGRESSED])
        egress = [i + 1 for i in range(L.PACKETS_MAX) if left >> i & 1]
        self.steps.append(Step(side, key, what, does, states, names, egress))

    def _describe(self, s: np.ndarray, kind: int, a: int, b: int, role: int) -> tuple[str, int, str]:
        """Side, key, and the event in words."""

        def at(queue: int, place: int) -> int:
            return int(s[L.start_of(s, queue) + place])

        b, flow = (b & 1, b >> 1) if kind == MOVE_ARRIVE else (b, 0)
        of = f" of key {b + 1}" if self.keys > 1 else ""
        of += f" of flow {flow + 1}" if kind == MOVE_ARRIVE and self.verdict.model.flows > 1 else ""
        if kind == MOVE_ARRIVE and EVENT_NAMES[a] == "untagged":
            return "nic", b, f"packet {int(s[L.S_ENTERED]) + 1}{of} is punted by an earlier stage"
        if kind == MOVE_BFENCE:
            return "cpu", a, f"BFENCE{of} again"
        if kind == MOVE_OWN and EVENT_NAMES[a] == "untagged":
            packet = int(s[L.S_KEYS + b * L.KEY_WORDS + L.B_BOUNCED]) & 7
            return "cpu", b, f"packet {packet}{of}, which waited"
        if kind == MOVE_ARRIVE:
            cannot = " (the NIC cannot run its entry)" if EVENT_NAMES[a] == "unrunnable" else ""
            return "nic", b, f"packet {int(s[L.S_ENTERED]) + 1}{of} arrives{cannot}"
        if kind == MOVE_OWN:
            return ROLES[role], b, EVENT_NAMES[a] + of
        if kind in (MOVE_RX, MOVE_TX, MOVE_TO_NIC, MOVE_TO_CPU):
            queue = {MOVE_RX: L.Q_RX + a, MOVE_TX: L.Q_TX, MOVE_TO_NIC: L.Q_TO_NIC, MOVE_TO_CPU: L.Q_TO_CPU}[
                kind
            ]
            item = at(queue, a if kind in (MOVE_TO_NIC, MOVE_TO_CPU) else 0)
            key = item >> L.I_KEY & 1
            if item & 31 == L.OUTPUT:
                return WIRE, key, f"{label(item)} leaves"
            where = "" if kind in (MOVE_TO_NIC, MOVE_TO_CPU) else f" from {_QUEUE_NAMES[queue]}"
            return ("cpu" if kind in (MOVE_RX, MOVE_TO_CPU) else "nic"), key, f"{label(item)}{where}"
        if kind == MOVE_DROP:
            return FAULT, 0, f"{_QUEUE_NAMES[a]} drops {label(at(a, b))}"
        words = {
            MOVE_NIC_CRASH: "the NIC restarts",
            MOVE_CPU_CRASH: "the CPU restarts",
            MOVE_LOSE: "all control messages under way are lost",
            MOVE_CHECKPOINT: "the CPU's contexts are checkpointed",
        }
        return FAULT, a if kind == MOVE_CHECKPOINT else 0, words[kind]

    def _does(self, row: int) -> str:
        """The chosen row's actions."""
        if row in (NO_EVENT, WAITS, NO_COUNT):
            return {WAITS: "waits behind what was bounced", NO_COUNT: "does not count"}.get(row, "")
        if row == -1:
            return "ignored"
        if row < 0 or self.system.protocol.rows["next"][row] < 0:
            return "impossible"
        return ", ".join(self.places[row].row.actions) or "nothing"

    def _follow(self, s: np.ndarray, raw: np.ndarray, kind: int, a: int, b: int, number: int) -> None:
        """Keep account of what is on its way."""
        gone = self._gone(s, kind, a, b)
        for queue in range(L.QUEUES):
            ring = self.rings[queue]
            ordered = queue in (L.Q_RX, L.Q_RX + 1, L.Q_TX) or not self.verdict.model.lossy
            had, has = int(s[L.S_COUNTS + queue]), int(raw[L.S_COUNTS + queue])
            taken = {
                MOVE_RX: L.Q_RX + a,
                MOVE_TX: L.Q_TX,
                MOVE_TO_NIC: L.Q_TO_NIC,
                MOVE_TO_CPU: L.Q_TO_CPU,
            }.get(kind)
            if taken == queue:
                if ordered:
                    ring.pop(0).taken.append(number)
                    had -= 1
                else:
                    self._taken(ring, int(s[L.start_of(s, queue) + a]), number)
            for place in [place for where, place in gone if where == queue]:
                ring.pop(place).dropped = number
                had -= 1
            crashed = kind == MOVE_NIC_CRASH and queue == L.Q_TX
            if crashed or (kind == MOVE_LOSE and queue in (L.Q_TO_NIC, L.Q_TO_CPU)):
                for lost in ring:
                    lost.dropped = number if not lost.taken else lost.dropped
                ring.clear()
                continue
            for place in range(had, has):
                item = int(raw[L.start_of(raw, queue) + place])
                ring.append(Sent(item, queue, label(item), number))
                self.sent.append(ring[-1])

    def _gone(self, s: np.ndarray, kind: int, a: int, b: int) -> list[tuple[int, int]]:
        """Queue and place, from the last on, of what rings drop, and of copies of markers that never count then."""
        every = self.system.parameters[P_EVERY]
        rx = (L.Q_RX, L.Q_RX + 1)
        if kind == MOVE_DROP:
            other = other_copy(s, a, b) if every and a in rx and is_marker(s[L.start_of(s, a) + b]) else -1
            return [(a, b)] + [(rx[1 - a], int(other))] * (other >= 0)
        if kind == MOVE_CPU_CRASH and every:
            places = [(q, i) for q in rx for i in range(int(s[L.S_COUNTS + q]))]
            return [(q, i) for q, i in reversed(places) if int(s[L.start_of(s, q) + i]) & L.COUNTED]
        return []

    def _taken(self, ring: list[Sent], item: int, number: int) -> None:
        """A message of the set was delivered: the newest that says the same, numbers of tenancies apart."""
        blurred = ~(L.ITEM_G | L.ITEM_R)
        for sent in reversed(ring):
            if sent.item & blurred == item & blurred:
                sent.taken.append(number)
                return


__all__ = ["NIC", "Sent", "Step", "Trace", "label", "make_trace"]

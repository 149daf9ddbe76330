"""Replaying a serial order on the plain reference: it must give what the run gave."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from oppcache.opp.program import Program, Stage
from oppcache.opp.reference import ContextState, Packet, Reference, Result
from oppcache.opp.reference_alloc import ChoiceError
from oppcache.opp.reference_operands import Visit
from oppcache.opp.reference_values import KeyTuple

from .objects import Fall, Objects
from .records import LOST, Finding, History, Key, named

Named = tuple[str, KeyTuple]  # table and key
Contexts = Mapping[str, Mapping[KeyTuple, Any]]


@dataclass(frozen=True)
class Outcome:
    """What a run gave, to compare with.

    Attributes:
        names: what each context is called.
        packets: by number: the packet as it entered, made anew at each call.
        left: by number: fields and metadata of those that left.
        contexts: in the end: table -> key -> state, registers, timers.
        globals: in the end, by ``group.name``.
    """

    names: Mapping[Key, Named]
    packets: Callable[[int], Packet]
    left: Callable[[int], Packet]
    contexts: Contexts
    globals: Mapping[str, int]


NEVER: tuple[int, ContextState | None] = (-1, None)  # before the first packet


def content(context: ContextState | None) -> Any:
    """What a context says, to compare: without the time of its last use, where no idle timer counts from it."""
    if context is None:
        return None
    state, registers, timers = context.snapshot()
    return state, registers, timers if context.idle_timeout_ns else timers[:-1]


class _Lost(Exception):
    """A packet that was lost has come to the stage that it never reached."""


class _Partly(Reference):
    """The reference, which may be told how far a packet came."""

    reached: set[int] | None = None
    meeting: frozenset[int] = frozenset()  # stages without a table that touch globals or other keys' contexts

    def _look_up(self, stage: Stage, index: int, packet: Packet, result: Result) -> Visit:
        # Not each packet touches something there: one that came further has passed it.
        if self.reached is not None and index in self.meeting and index > max(self.reached, default=-1):
            raise _Lost
        if self.reached is not None and stage.table is not None and index not in self.reached:
            key = (
                None
                if stage.lookup is None
                else self._extract(stage.lookup, Visit(stage, index, packet, packet.now))[0]
            )
            if key is not None:
                raise _Lost
        return super()._look_up(stage, index, packet, result)


@dataclass
class Replay:
    """One replay.

    Attributes:
        commits: whether no crash may undo what a packet did that has left.
    """

    program: Program
    seed: int
    history: History
    objects: Objects
    outcome: Outcome
    commits: bool = False
    findings: list[Finding] = field(default_factory=list)
    versions: dict[Key, list[tuple[int, ContextState | None]]] = field(default_factory=dict)

    def run(self, order: list[int | Fall]) -> list[Finding]:
        """Take packets and roll-backs in an order; return what differs."""
        self.reference = _Partly(self.program, self.seed)
        self.falls = {
            key for key, line in self.objects.lineages.items() if any(isinstance(s, Fall) for s in line.order)
        }
        self.stages: dict[int, list[tuple[int, Key]]] = {}  # contexts that a packet has looked up
        self.touched: dict[int, list[Key]] = {}  # and all that it has changed, in order
        self.met: dict[int, set[int]] = {}  # stages in which it has met globals or other keys' contexts
        for step in self.history.steps:
            if step.key is None or step.packet < 0:
                continue
            if step.kind != "apply":
                self.met.setdefault(step.packet, set()).add(step.stage)
            if step.kind == "global":
                continue
            self.touched.setdefault(step.packet, []).append(step.key)
            if step.kind == "apply":
                self.stages.setdefault(step.packet, []).append((step.stage, step.key))
        pipeline = self.program.pipeline()
        met = frozenset().union(*self.met.values())
        self.reference.meeting = frozenset(stage for stage in met if pipeline[stage].table is None)
        for one in order:
            if isinstance(one, Fall):
                self._go_back(one)
            else:
                self._packet(one)
        self._compare_state()
        return self.findings

    def _packet(self, number: int) -> None:
        stages = self.stages.get(number, [])
        left = self.history.departures.get(number)
        whole = left is not None and left.verdict != LOST
        reached = {stage for stage, _ in stages} | self.met.get(number, set())
        self.reference.reached = None if whole else reached
        packet = self.outcome.packets(number)
        result: Result | None = None
        try:
            result = self.reference.process(packet, self.history.choices.get(number))
        except _Lost:
            pass
        except ChoiceError as error:
            self._differs("choice", f"packet {number}: {error}")
            return
        if whole and result is not None and left is not None:
            self._compare_packet(number, packet, result, left.verdict, left.port)
        for key in self.touched.get(number, ()):
            if key in self.falls:
                self.versions.setdefault(key, [NEVER]).append((number, self._context(key)))

    def _compare_packet(self, number: int, packet: Packet, result: Result, verdict: int, port: int) -> None:
        touched = [self.outcome.names[key] for _, key in sorted(self.stages.get(number, ()))]
        if touched != result.lookups:
            self._differs(
                "touched",
                f"packet {number} was applied to {touched}, the reference applies it to {result.lookups}",
            )
        if (result.verdict, result.port) != (verdict, port):
            self._differs(
                "verdict", f"packet {number} left as {verdict} at port {port}, the reference says {int(result.verdict)} at "
                f"{result.port}",
            )  # fmt: skip
        out = self.outcome.left(number)
        if out.fields != packet.fields:
            names = sorted(
                n
                for n in packet.fields.keys() | out.fields.keys()
                if packet.fields.get(n) != out.fields.get(n)
            )
            self._differs(
                "headers",
                f"packet {number} left with other values than the reference's in {', '.join(names)}",
            )

    def _context(self, key: Key) -> ContextState | None:
        table, name = self.outcome.names[key]
        found = self.reference.contexts[table].get(name)
        return None if found is None else replace(found, registers=dict(found.registers))

    def _go_back(self, fall: Fall) -> None:
        """What a crash leaves of a context."""
        kept = self.versions.setdefault(fall.key, [NEVER])
        if self.commits:
            self._look_at_undone(fall, kept)
        del kept[fall.after + 1 :]
        table, name = self.outcome.names[fall.key]
        context = kept[-1][1]
        if context is None:
            self.reference.contexts[table].pop(name, None)
        else:
            self.reference.contexts[table][name] = replace(context, registers=dict(context.registers))

    def _look_at_undone(self, fall: Fall, kept: list[tuple[int, ContextState | None]]) -> None:
        """Packets whose effect is undone must not have left, but those that changed nothing."""
        for (_, before), (number, after) in pairwise(kept[fall.after :]):
            left = self.history.departures.get(number)
            if left is not None and left.verdict != LOST and content(before) != content(after):
                self._differs(
                    "output-commit",
                    f"packet {number} has left, and a crash undoes what it did to {named(fall.key)}",
                )

    def _compare_state(self) -> None:
        expected = self.reference.canonical_contexts()
        for table in expected:
            there: Mapping[Any, Any] = self.outcome.contexts[table]
            for key in expected[table].keys() | there.keys():
                ours, its = there.get(key), expected[table].get(key)
                if ours != its:
                    self._differs(
                        "contexts", f"context {key} of {table} is {ours} in the end, the reference's {its}"
                    )
        for name, value in self.reference.globals.items():
            if self.outcome.globals.get(name, value) != value:
                self._differs(
                    "globals", f"{name} is {self.outcome.globals[name]} in the end, the reference's {value}"
                )

    def _differs(self, kind: str, text: str) -> None:
        self.findings.append(Finding(kind, text))

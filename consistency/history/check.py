"""All checks of one history."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from oppcache.opp.program import Program

from .objects import Fall, follow
from .order import Order, serialise
from .records import DROPPED, LOST, Finding, History
from .replay import Outcome, Replay


@dataclass(frozen=True)
class Verdict:
    """What a check found.

    Attributes:
        findings: what contradicts a property, in the order in which it was found; none: it was one machine.
        order: the serial order, or the cycle.
        lost_updates: updates that crashes have undone, as they may.
        lost_packets: packets that a ring, a queue or a crash has lost.
    """

    findings: list[Finding]
    order: Order
    lost_updates: int
    lost_packets: int

    @property
    def holds(self) -> bool:
        """Whether nothing contradicts the properties."""
        return not self.findings

    def counts(self) -> dict[str, int]:
        """How many findings there are of each kind."""
        return dict(Counter(finding.kind for finding in self.findings))


def check(
    history: History,
    program: Program | None = None,
    outcome: Outcome | None = None,
    seed: int = 0,
    commits: bool = False,
) -> Verdict:
    """Check a history.

    Args:
        history: of a run that has come to its end.
        program, outcome: what ran, and what it gave: replayed and compared if both are there.
        seed: of the run, for a program that draws.
        commits: whether no crash may undo what a packet did that has left (``output-commit``).
    """
    objects = follow(history)
    findings = [*objects.findings, *_all_left(history), *_egress(history)]
    order = serialise(history, objects)
    if order.cycle:
        around = " ".join(f"{_word(step)} <{why}>" for step, why in order.cycle)
        findings.append(Finding("serial_cycles", f"no serial order: {around} {_word(order.cycle[0][0])}"))
    elif program is not None and outcome is not None and not findings:
        findings += Replay(program, seed, history, objects, outcome, commits).run(order.order)
    lost = sum(left.verdict == LOST for left in history.departures.values())
    return Verdict(findings, order, objects.lost_updates, lost)


def _word(step: int | Fall) -> str:
    return f"roll-back of {step.key}" if isinstance(step, Fall) else str(step)


def _all_left(history: History) -> list[Finding]:
    """Nothing is held for ever."""
    inside = sorted(history.arrivals.keys() - history.departures.keys())
    return [Finding("packets_stuck", f"packet {packet} never left") for packet in inside]


def _egress(history: History) -> list[Finding]:
    """Each direction of a connection leaves in the order in which it came."""
    findings, newest = [], dict[tuple[int, int], int]()
    for packet, left in history.departures.items():
        arrival = history.arrivals[packet]
        if left.verdict in (LOST, DROPPED) or arrival.connection < 0:
            continue
        flow = arrival.connection, arrival.direction
        if packet < newest.get(flow, -1):
            findings.append(
                Finding("reorders", f"packet {packet} leaves behind packet {newest[flow]} of its flow")
            )
        newest[flow] = max(packet, newest.get(flow, -1))
    return findings

"""What a run recorded, as the checker takes it: plain values, times in picoseconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from oppcache.opp.reference_values import Verdict

from ..vocabulary import CPU, NIC

__all__ = [
    "CPU",
    "DROPPED",
    "GLOBAL",
    "LOST",
    "NIC",
    "Arrival",
    "Departure",
    "Finding",
    "History",
    "Key",
    "Step",
    "named",
]

LOST = -1
DROPPED = int(Verdict.DROP)

Key = tuple[int, int]  # (table, record): a context; (GLOBAL, number): a global that packets read
GLOBAL = -1


def named(key: Key) -> str:
    """What a key is called in findings."""
    return f"global {key[1]}" if key[0] == GLOBAL else f"context {key}"


class Step(NamedTuple):
    """Something that happened to a context, or to all of them.

    Attributes:
        kind: ``apply``, a packet is about to be run on a side's copy;
            ``write``, a packet is about to write the copy of a context of another key than it has looked up;
            ``global``, a packet is about to read or write a global;
            ``take``, a side puts another copy in the place of its own;
            ``free``, the NIC has no copy any more;
            ``checkpoint``, of all copies on the CPU;
            ``crash``, of a side.
        side: NIC or CPU.
        key: the context or global; None for checkpoints and crashes.
        packet: its number; −1 where there is none.
        stage: of the program; −1 where there is none.
        version: of the copy: packets applied to it so far, before this one if the step is an application, a write or a
            use of a global.
        witness: of the copy: w ← H(w, packet) over them.
    """

    kind: str
    side: int
    key: Key | None = None
    packet: int = -1
    stage: int = -1
    version: int = 0
    witness: int = 0


class Arrival(NamedTuple):
    """When a packet entered, and in which connection and direction (−1: none)."""

    time: int
    connection: int = -1
    direction: int = 0


class Departure(NamedTuple):
    """When a packet left, and as what; verdict :data:`LOST`: a ring, a queue or a crash has lost it."""

    time: int
    verdict: int
    port: int = 0


@dataclass(frozen=True)
class History:
    """A whole run.

    Attributes:
        arrivals: by packet number.
        departures: by packet number, in the order in which they left; one that is missing is still inside.
        steps: in the order in which they happened.
        final: (version, witness) of the copy of each context and global that counts in the end.
        choices: by packet number: what its allocations found, in order.
    """

    arrivals: dict[int, Arrival]
    departures: dict[int, Departure]
    steps: list[Step]
    final: dict[Key, tuple[int, int]]
    choices: dict[int, list[int | None]] = field(default_factory=dict)


class Finding(NamedTuple):
    """Something that contradicts a property.

    Attributes:
        kind: the metric that counts it, or what differs from the reference.
        text: one line.
    """

    kind: str
    text: str

"""What a packet costs in this machine's software path, as an experiment's ``cpu`` section says it."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import numpy as np

from oppcache.opp import Layout, Machine, Program
from oppcache.traffic import make_generator, open_capture

from .inputs import TRAFFIC, headers_capture

ROUNDS = 7
BATCH = 16_384  # packets that the machine takes at a time


@dataclass(frozen=True)
class Calibration:
    """Medians over the rounds, ns of CPU time a packet: of the program's stages, and of parsing a frame's headers.

    CPU time, so that what else runs on the machine does not count.
    """

    program: str
    packets: int
    stages_ns: float
    parse_ns: float

    @property
    def service_ns(self) -> int:
        """Time of a packet, whole ns, at least 1."""
        return max(1, round(self.stages_ns + self.parse_ns))


def calibrate(program: Program, packets: int = 200_000) -> Calibration:
    """Measure the software path.

    Args:
        program: what runs on each packet.
        packets: generated ones, through tables that a first round has filled.
    """
    machine = Machine(program)
    chunks = make_generator(TRAFFIC, 0, packets).chunks(machine.layout)
    vectors = np.concatenate([chunk.vectors.copy() for chunk in chunks])
    spent = []
    for _ in range(ROUNDS + 1):
        batches = [np.copy(vectors[at : at + BATCH]) for at in range(0, len(vectors), BATCH)]
        started = time.process_time()
        for batch in batches:
            machine.process(batch)
        spent.append((time.process_time() - started) / len(vectors) * 1e9)
    return Calibration(program.name, packets, statistics.median(spent[1:]), _parse_ns(packets))


def _parse_ns(packets: int) -> float:
    """Time to read a frame's headers, ns."""
    with headers_capture(min(packets, 50_000)) as path:
        spent = []
        for _ in range(ROUNDS + 1):
            started, count = time.process_time(), 0
            for chunk in open_capture(path).chunks(Layout()):
                count += len(chunk)
            spent.append((time.process_time() - started) / count * 1e9)
    return statistics.median(spent[1:])

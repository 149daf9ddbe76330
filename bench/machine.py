"""The software path alone: OPP programs on parsed packets, one core."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from oppcache.opp import Machine, load_program
from oppcache.traffic import make_generator

from .inputs import TRAFFIC

TITLE = "the software machine on parsed packets: header vectors in, verdicts out"
UNIT = "packets"
EXCLUDES = "imports, kernel compilation, parsing"

PROGRAMS = ("stateful-firewall-2stage", "stateful-firewall")


@contextmanager
def candidates(quick: bool) -> Iterator[dict[str, Callable[[], int]]]:
    """Each program on the same generated packets, its tables filled by the round that does not count."""
    packets = 20_000 if quick else 500_000

    def candidate(name: str) -> Callable[[], int]:
        machine = Machine(load_program(f"nf:{name}"))
        chunks = make_generator(TRAFFIC, 0, packets).chunks(machine.layout)
        batches = [chunk.vectors.copy() for chunk in chunks]

        def run() -> int:
            # A program may rewrite its packets: every round begins with the packets as they were.
            for batch in batches:
                machine.process(np.copy(batch))
            return packets

        return run

    yield {f"oppcache {name}": candidate(name) for name in PROGRAMS}

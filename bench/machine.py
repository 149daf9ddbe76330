"""The software path alone: OPP programs on parsed packets, one core."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from oppcache._memory import copied, zeros
from oppcache.opp import Machine, Program, load_program
from oppcache.opp.fields import (
    IPV4_MAPPED,
    W_IN_PORT,
    W_IP_DST,
    W_IP_PROTO,
    W_L4_DPORT,
)
from oppcache.traffic import make_generator

from .harness import Prepared
from .inputs import TRAFFIC

TITLE = "the software machine on parsed packets: header vectors in, verdicts out"
UNIT = "packets"
EXCLUDES = "imports, kernel compilation, parsing (the header vectors lie in memory)"

PROGRAMS = ("stateful-firewall-2stage", "stateful-firewall", "three-functions")
# The generator's packets from inside enter at port 0, those from outside at port 1.
_GATEWAY = {"lan_port": 0, "internet_port": 1, "dmz_port": 2}
_PUBLIC = IPV4_MAPPED | 0xCB007101  # 203.0.113.1


@contextmanager
def candidates(quick: bool) -> Iterator[dict[str, Prepared]]:
    """Each program on the same generated packets, its tables filled by the round that does not count."""
    packets = 20_000 if quick else 500_000

    def candidate(name: str) -> Prepared:
        gateway = name == "three-functions"
        program = load_program(f"nf:{name}", _GATEWAY if gateway else {})
        machine = Machine(program)
        chunks = make_generator(TRAFFIC, 0, packets).chunks(machine.layout)
        batches = [copied(chunk.vectors) for chunk in chunks]
        if gateway:
            _answer_to_public_ports(program, batches)

        rooms = [zeros(batch.shape, np.uint64) for batch in batches]

        def prepare() -> None:
            # A program may rewrite its packets: every round begins with the packets as they were.
            for vectors, batch in zip(rooms, batches, strict=True):
                np.copyto(vectors, batch)

        def run() -> int:
            for vectors in rooms:
                machine.process(vectors)
            return packets

        return Prepared(prepare, run)

    yield {f"oppcache {name}": candidate(name) for name in PROGRAMS}


def _answer_to_public_ports(program: Program, batches: list[np.ndarray]) -> None:
    """Send what comes from outside to the public port of its socket, if that has one, as a NAT's peers do."""
    machine = Machine(program)
    words = machine.layout.word_of
    for batch in batches:
        machine.process(batch[batch[:, W_IN_PORT] == 0])
    ports = {key: registers[0] for key, (_, registers, _) in machine.contexts()["sockets"].items()}
    for batch in batches:
        for row in np.flatnonzero(batch[:, W_IN_PORT] == 1):
            host, proto, port = (int(batch[row, w]) for w in (W_IP_DST + 1, W_IP_PROTO, W_L4_DPORT))
            public = ports.get((host & 0xFFFF_FFFF, proto, port))
            if public is not None:
                batch[row, W_IP_DST + 1], batch[row, words["ipv4.dst"]] = _PUBLIC, _PUBLIC & 0xFFFF_FFFF
                batch[row, W_L4_DPORT] = public

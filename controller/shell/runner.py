"""What runs the translated program on one packet: a machine in software, or anything else that can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from oppcache.opp.arrays import VERDICT_FORWARD
from oppcache.opp.fields import Layout
from oppcache.opp.machine import Verdicts
from oppcache.traffic import Chunk, rewrite
from oppcache.traffic.parser import Parser, Records


class Outcome(NamedTuple):
    """What became of a packet.

    Attributes:
        forwarded: whether the program sent it out of a port; else it is dropped.
        port: where to.
        frame: with the headers that the program wrote.
        metadata: all words of the program, as it left them.
    """

    forwarded: bool
    port: int
    frame: bytes
    metadata: tuple[int, ...]


class Runner(Protocol):
    """Runs one packet from its first stage to its end."""

    def run(self, frame: bytes, in_port: int, now_ns: int, metadata: Sequence[int]) -> Outcome:
        """Run a packet.

        Args:
            frame: from the Ethernet header on.
            in_port: number of the interface, 0: none.
            now_ns: monotone.
            metadata: the first words; the others are 0.
        """
        ...


class Processes(Protocol):
    """A machine that takes batches of header vectors: in software, or NIC and CPU as one."""

    @property
    def layout(self) -> Layout:
        """What header vectors must look like."""
        ...

    def process(self, vectors: np.ndarray) -> Verdicts:
        """Run packets, in order; rewritten fields are left in their rows."""
        ...


class MachineRunner:
    """The program on a machine, such as :class:`oppcache.opp.Machine`."""

    def __init__(self, machine: Processes) -> None:
        self.machine = machine
        self._layout = machine.layout
        self._parser = Parser(machine.layout)
        self._records = Records(1)
        self._row = np.zeros((1, machine.layout.words), np.uint64)

    def run(self, frame: bytes, in_port: int, now_ns: int, metadata: Sequence[int]) -> Outcome:
        """As :meth:`Runner.run`."""
        first = self._layout.metadata_word
        data = np.frombuffer(frame, np.uint8)
        vectors = self.vector(data, in_port, now_ns)
        vectors[0, first : first + len(metadata)] = metadata
        before = vectors.copy()
        verdicts = self.machine.process(vectors)
        chunk = Chunk(vectors, data, self._records.offsets, self._records.captured)
        changed = rewrite(chunk, before, self._layout).data
        assert changed is not None
        words = tuple(int(w) for w in vectors[0, first:])
        return Outcome(
            int(verdicts.verdict[0]) == VERDICT_FORWARD, int(verdicts.port[0]), changed.tobytes(), words
        )

    def vector(self, data: np.ndarray, in_port: int, now_ns: int) -> np.ndarray:
        """The header vector of one frame: ``uint64[1, layout.words]``, overwritten by the next call."""
        records = self._records
        records.captured[0] = records.lengths[0] = len(data)
        records.stamps[0], records.ports[0] = now_ns, in_port
        return self._parser.parse(data, records, 0, 1, self._row)

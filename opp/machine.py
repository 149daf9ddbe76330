"""The software machine: a lowered program with its contexts and globals, taking packets in batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from oppcache._jit import kernel

from . import arrays as A
from .contexts import grow, has_room, make_store
from .editing import Editor
from .fields import Layout
from .lower import Lowered, lower
from .program import MAX_STAGES, MAX_WRITES, Entry, Program
from .snapshot import Snapshot, snapshot
from .step import begin, find_context, run_stage

# Records that one packet can create in one table at most.
RESERVE = MAX_STAGES * (MAX_WRITES + 1)


class Verdicts(NamedTuple):
    """What became of a batch of packets: ``uint8[n]`` verdict codes and ``uint32[n]`` output ports."""

    verdict: np.ndarray
    port: np.ndarray


@kernel
def _process(program, store, variables, vectors, start, seed, verdicts, ports, scratch):
    """Run packets from ``start`` on; return the packet before which the store must grow, or their number."""
    stages = program.stages.shape[0]
    for i in range(start, vectors.shape[0]):
        if not has_room(store, RESERVE):
            return i
        vector = vectors[i]
        begin(scratch, vector, seed)
        stage = np.int64(0)
        while stage < stages:
            record = find_context(program, store, stage, vector, scratch)
            stage = run_stage(program, store, variables, stage, record, vector, scratch)
        verdicts[i] = np.uint8(scratch[A.S_VERDICT])
        ports[i] = np.uint32(scratch[A.S_PORT])
    return vectors.shape[0]


class Machine:
    """One OPP program in software, without limits on its tables.

    Args:
        program: a checked program.
        seed: of the ``random`` operand.
        fields: names of fields that header vectors are to have beyond those that the program names, for entries
            to come.

    Attributes:
        layout: what header vectors must look like.
        lowered: the program as it is now, in arrays; other ones after a change.
        version: of the program: grows by one with every change.
        globals: ``uint64`` global variables, in order of declaration.
    """

    def __init__(self, program: Program, seed: int = 0, fields: Iterable[str] = ()) -> None:
        self.lowered: Lowered = lower(program, fields)
        # Where there are many entries, what changes need takes a while to make: not at the first change.
        self._editor = Editor(self.lowered) if self.lowered.spaces else None
        self.version = 0
        self.seed = np.uint64(seed)
        self.store = make_store(self.lowered.arrays, capacity=4 * RESERVE)
        self.globals = self.lowered.arrays.globals.copy()
        self._scratch = np.zeros(A.S_WORDS, np.uint64)

    @property
    def layout(self) -> Layout:
        return self.lowered.layout

    @property
    def program(self) -> Program:
        """The program as it is now."""
        return self.lowered.program

    def add_entry(self, stage: str, entry: Entry | Mapping[str, Any]) -> None:
        """Add an entry behind those of a stage; the next packet meets it.

        Args:
            stage: name.
            entry: an entry, or a mapping as in a program file, with a name and a priority.

        Raises:
            InputError: everything that loading the program with this entry would refuse, and a field that the
                header vectors do not have or a table that has no key yet. Nothing has changed then.
        """
        self._changed(self._edit().add(stage, entry))

    def delete_entry(self, stage: str, name: str) -> None:
        """Take an entry out of a stage; contexts stay as they are.

        Raises:
            InputError: there is no such stage or entry.
        """
        self._changed(self._edit().delete(stage, name))

    def modify_entry(self, stage: str, name: str, entry: Entry | Mapping[str, Any]) -> None:
        """Put an entry in the place of another, whose name it may have; no packet meets neither or both.

        Raises:
            InputError: as for :meth:`add_entry` and :meth:`delete_entry`.
        """
        self._changed(self._edit().modify(stage, name, entry))

    def _edit(self) -> Editor:
        if self._editor is None:
            self._editor = Editor(self.lowered)
        return self._editor

    def _changed(self, lowered: Lowered) -> None:
        self.lowered = lowered
        self.version += 1

    def process(self, vectors: np.ndarray) -> Verdicts:
        """Run a batch of packets, in order; rewritten fields are left in their rows.

        Args:
            vectors: ``uint64[n, layout.words]``, C-contiguous.
        """
        count = len(vectors)
        verdicts, ports = np.zeros(count, np.uint8), np.zeros(count, np.uint32)
        done = 0
        with np.errstate(all="ignore"):
            while True:
                done = int(
                    _process(
                        self.lowered.arrays,
                        self.store,
                        self.globals,
                        vectors,
                        done,
                        self.seed,
                        verdicts,
                        ports,
                        self._scratch,
                    )
                )
                if done == count:
                    return Verdicts(verdicts, ports)
                self.store = grow(self.lowered.arrays, self.store, RESERVE)

    def contexts(self) -> Snapshot:
        """Every existing context, in the plain form that the reference gives too."""
        return snapshot(self.lowered, self.store)

    def global_values(self) -> dict[str, int]:
        """Global variables by ``group.name``."""
        names = [f"{g.name}.{v.name}" for g in self.lowered.program.globals for v in g.variables]
        return dict(zip(names, map(int, self.globals), strict=True))

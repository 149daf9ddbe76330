"""Counting connections: distinct bidirectional 5-tuples, whatever the program's own keys are."""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.opp import arrays as A
from oppcache.opp.contexts import grow, has_room, make_store
from oppcache.opp.lower import lower
from oppcache.opp.program import Key, Operand, Program, Stage, Table
from oppcache.opp.step import find_context

_RESERVE = 64
_FIVE_TUPLE = ("ip.src", "ip.dst", "ip.proto", "l4.sport", "l4.dport")
_KEY = Key(tuple(Operand("field", name) for name in _FIVE_TUPLE), symmetric=True)
# The key stands in the core words, so any program's header vectors will do.
_PROGRAM = Program("flows", tables=(Table("flows"),), stages=(Stage("flows", "flows", _KEY),))


@kernel
def _count(program, store, vectors, start, scratch, directed):
    """Give every packet's connection a record; return where to go on. ``directed``: 2 · record + direction, or −1."""
    for i in range(start, vectors.shape[0]):
        if not has_room(store, _RESERVE):
            return i
        record = find_context(program, store, np.int64(0), vectors[i], scratch)
        directed[i] = 2 * record + np.int64(scratch[A.S_DIRECTION]) if record >= 0 else np.int64(-1)
    return vectors.shape[0]


def counts_flows(program: Program) -> bool:
    """Whether the program itself looks every IP packet's connection up, in its first stage and there alone."""
    first = program.pipeline()[0] if program.stages else None
    return (
        first is not None
        and first.lookup is not None
        and [s.table for s in program.stages].count(first.table) == 1
        and first.lookup.symmetric
        and {part.name for part in first.lookup.parts} == set(_FIVE_TUPLE)
    )


class FlowCounter:
    """Counts the connections among the packets that it is shown."""

    def __init__(self) -> None:
        self._program = lower(_PROGRAM).arrays
        self._store = make_store(self._program)
        self._scratch = np.zeros(A.S_WORDS, np.uint64)

    def add(self, vectors: np.ndarray) -> np.ndarray:
        """Take note of packets, as ``uint64[n, words]`` header vectors; packets without IP do not count.

        Returns:
            ``int64[n]``: 2 · the connection's number + the packet's direction, −1 without IP.
        """
        done, directed = 0, np.empty(len(vectors), np.int64)
        with np.errstate(over="ignore"):
            while (
                done := int(_count(self._program, self._store, vectors, done, self._scratch, directed))
            ) < len(vectors):
                self._store = grow(self._program, self._store, _RESERVE)
        return directed

    @property
    def capacity(self) -> int:
        """Connections that there is room for before the store must grow."""
        return int(self._store.tables["capacity"][0])

    def __len__(self) -> int:
        return int(self._store.tables["used"][0])

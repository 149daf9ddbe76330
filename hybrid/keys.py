"""Numbering packets by a key of header fields: the trace that a cache of such contexts would see."""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.opp import arrays as A
from oppcache.opp.contexts import grow, has_room, make_store
from oppcache.opp.lower import lower
from oppcache.opp.program import Key, Operand, Program, Stage, Table
from oppcache.opp.step import find_context

FIVE_TUPLE = ("ip.src", "ip.dst", "ip.proto", "l4.sport", "l4.dport")
_RESERVE = 64


@kernel
def _number(program, store, vectors, start, scratch, out):
    """Write every packet's record, −1 where it has no key; returns where to go on."""
    for i in range(start, vectors.shape[0]):
        if not has_room(store, _RESERVE):
            return i
        out[i] = find_context(program, store, np.int64(0), vectors[i], scratch)
    return vectors.shape[0]


class KeyNumbers:
    """Gives each distinct key a number, from 0 in order of appearance.

    Args:
        fields: of the key.
        symmetric: whether both directions of a connection have one key.
    """

    def __init__(self, fields: tuple[str, ...] = FIVE_TUPLE, symmetric: bool = True) -> None:
        key = Key(tuple(Operand("field", name) for name in fields), symmetric=symmetric)
        lowered = lower(Program("keys", tables=(Table("keys"),), stages=(Stage("keys", "keys", key),)))
        self.layout = lowered.layout
        self._program = lowered.arrays
        self._store = make_store(self._program)
        self._scratch = np.zeros(A.S_WORDS, np.uint64)

    def of(self, vectors: np.ndarray) -> np.ndarray:
        """Numbers of packets, given as ``uint64[n, words]`` of :attr:`layout`; −1 for those without the key."""
        out, done = np.empty(len(vectors), np.int64), 0
        with np.errstate(over="ignore"):
            while done < len(vectors):
                done = int(_number(self._program, self._store, vectors, done, self._scratch, out))
                if done < len(vectors):
                    self._store = grow(self._program, self._store, _RESERVE)
        return out

"""Putting another program in the place of a running one: which contexts and globals carry over.

A table's contexts stay if the new program has a table of that name with the same key (the same parts in the same
order, of the same widths, symmetric or not, in the first key that the pipeline names the table by), the same
registers (names and widths, in any order) and the same state labels, to which it may have added others behind. The
contexts keep state, registers, timers and time of last use. A global variable keeps its value if the new program has
one of that group, name and width. Everything else begins as if the new program had just been loaded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import arrays as A
from .arrays import Store
from .contexts import allocate, rehash
from .lower import Lowered


@dataclass(frozen=True)
class Carried:
    """What a swap kept: names of tables whose contexts stayed, and of globals (``group.name``), in the new order."""

    tables: tuple[str, ...]
    globals: tuple[str, ...]


def carried(old: Lowered, new: Lowered) -> Carried:
    """What would carry over from one program to the other."""
    tables = tuple(name for name in new.table_names if _stays(old, new, name))
    widths = _globals(old)
    kept = tuple(name for name, bits in _globals(new).items() if widths.get(name) == bits)
    return Carried(tables, kept)


def _stays(old: Lowered, new: Lowered, name: str) -> bool:
    if name not in old.table_keys or name not in new.table_keys:
        return False
    one, other = old.table_keys[name], new.table_keys[name]
    states, more = (p.program.table(name).states for p in (old, new))
    return (
        (one.parts, one.symmetric) == (other.parts, other.symmetric)
        and old.key_fields[name] == new.key_fields[name]
        and _registers(old, name) == _registers(new, name)
        and more[: len(states)] == states
    )


def _registers(lowered: Lowered, name: str) -> dict[str, int]:
    least = lowered.program.word_bits
    return {r.name: max(r.bits, least) for r in lowered.program.table(name).registers}


def _globals(lowered: Lowered) -> dict[str, int]:
    least = lowered.program.word_bits
    return {f"{g.name}.{v.name}": max(v.bits, least) for g in lowered.program.globals for v in g.variables}


def swap(
    old: Lowered, store: Store, variables: np.ndarray, new: Lowered, reserve: int
) -> tuple[Store, np.ndarray, Carried]:
    """The state of the old program, as the new one goes on from it; neither store nor variables change.

    Args:
        reserve: records of every table that are to be free at first.

    Returns:
        a store without NIC slots, ``uint64`` globals, and what was carried over.
    """
    kept = carried(old, new)
    contexts = {name: _contexts(old, store, name) for name in kept.tables}
    room = [reserve + len(contexts.get(name, ())) for name in new.table_names]
    made = allocate(new.arrays, np.array(room, np.int64), np.zeros(len(room), np.int64))
    for name, words in contexts.items():
        _put(old, new, made, name, words)
    values = new.arrays.globals.copy()
    places = {name: i for i, name in enumerate(_globals(old))}
    for i, name in enumerate(_globals(new)):
        if name in kept.globals:
            values[i] = variables[places[name]]
    return made, values, kept


def _contexts(lowered: Lowered, store: Store, name: str) -> np.ndarray:
    """The records of a table's existing contexts, wherever they are, ``uint64[n, stride]``."""
    t = lowered.table_names.index(name)
    row, stride = store.tables[t], int(lowered.arrays.tables["stride"][t])
    base, used = int(row["base"]), int(row["used"])
    words = store.memory[base : base + used * stride].reshape(used, stride).copy()
    place = words[:, A.C_PLACE].astype(np.int64)
    for record in np.flatnonzero(place):
        at = int(row["nic_base"]) + (int(place[record]) - 1) * stride
        words[record] = store.memory[at : at + stride]
    words[:, A.C_PLACE] = 0
    exists: np.ndarray = words[:, A.C_STATE] & np.uint64(A.CONTEXT_EXISTS) != 0
    return np.asarray(words[exists])


def _put(old: Lowered, new: Lowered, store: Store, name: str, words: np.ndarray) -> None:
    """Fill a table of the new store from the old program's records, registers in the new order."""
    t = new.table_names.index(name)
    first = A.C_HEADER_WORDS + int(new.arrays.tables["key_words"][t])
    order = [old.program.table(name).register(r.name) for r in new.program.table(name).registers]
    columns = [*range(first), *(first + i for i in order if i is not None)]
    base, stride = int(store.tables["base"][t]), int(new.arrays.tables["stride"][t])
    store.memory[base : base + words.shape[0] * stride] = words[:, columns].reshape(-1)
    store.tables["used"][t] = words.shape[0]
    with np.errstate(over="ignore"):
        rehash(new.arrays, store, t)

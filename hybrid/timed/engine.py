"""The compiled kernels of timed runs: one signature each, whatever the program, the profile, the protocol and the policies."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from numba import types

from oppcache._jit import JIT_DISABLED, kernel, straight
from oppcache.cache.contract import ADMISSION_SIGNATURES, EVICTION_SIGNATURES

from .events import other_event, run_events
from .handover import side_event


class Engine(NamedTuple):
    """The kernels of timed runs, of which the first is called with the others."""

    run: Any
    react: Any
    other: Any


@cache
def engine() -> Engine:
    """Compile the kernels, or load them."""
    if JIT_DISABLED:
        return Engine(run_events, side_event, other_event)
    i64 = types.int64
    hit, victim, insert, remove = (
        types.FunctionType(EVICTION_SIGNATURES[name]) for name in ("hit", "victim", "insert", "remove")
    )
    admit = types.FunctionType(ADMISSION_SIGNATURES["admit"])
    react = i64(i64, *[i64] * 7, insert, remove)
    other = i64(i64, i64, types.uint64, victim, insert, remove, types.FunctionType(react), admit)
    vectors, leavers = types.Array(types.uint64, 2, "C"), types.Array(types.int64, 1, "C")
    pointers = [types.FunctionType(react), types.FunctionType(other)]
    run = i64(i64, vectors, leavers, i64, i64, types.uint64, hit, victim, insert, remove, admit, *pointers)
    return Engine(
        straight(kernel(run_events, signature=run)),
        kernel(side_event, signature=react),
        kernel(other_event, signature=other),
    )


def warm_up() -> None:
    """Compile the kernel, or load it from the cache."""
    engine()

"""The compiled kernels of timed runs: one signature each, whatever the program, the profile, the protocol and the policies."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from numba import types

from oppcache._jit import JIT_DISABLED, kernel, straight

from .calls import SIGNATURES
from .events import other_event, run_events
from .handover import side_event


class Engine(NamedTuple):
    """The kernels of timed runs; the others are in the first one's world."""

    run: Any
    react: Any
    other: Any


@cache
def engine() -> Engine:
    """Compile the kernels, or load them."""
    if JIT_DISABLED:
        return Engine(run_events, side_event, other_event)
    i64 = types.int64
    vectors, leavers = types.Array(types.uint64, 2, "C"), types.Array(i64, 1, "C")
    return Engine(
        straight(kernel(run_events, signature=i64(i64, vectors, leavers, i64, i64, types.uint64))),
        kernel(side_event, signature=SIGNATURES["react"]),
        kernel(other_event, signature=SIGNATURES["other"]),
    )

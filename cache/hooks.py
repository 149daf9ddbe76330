"""The optional functions of policies that an engine calls during a run, as one tuple that kernels take.

A policy that does not define a function has one here that does nothing, and a number that says so, so that the engines need
not call it. The tuple is of one type whatever the policies are: a new one compiles nothing but itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from oppcache._jit import kernel
from oppcache._reference import Pointer

from .contract import ADMISSION_OPTIONS, EVICTION_OPTIONS
from .loading import Admission, Eviction


class Hooks(NamedTuple):
    """What a pair of policies defines besides what they must: whether (0 or 1), and the functions of :mod:`.contract`."""

    observes: int
    releases: int
    notes: int
    prefers: int
    observe: Any
    release: Any
    note: Any
    prefer: Any


def _observe(state, slot, label, r0, now):
    pass


def _release(state, now):
    return np.int64(-1)


def _note(state, key, now):
    pass


def _prefer(state, key, loser):
    return np.int64(1)


_SIGNATURES = {**EVICTION_OPTIONS, **ADMISSION_OPTIONS}
_NOTHING: dict[str, Callable[..., Any]] = {
    "observe": _observe,
    "release": _release,
    "note": _note,
    "prefer": _prefer,
}


@cache
def _nothing(name: str) -> Any:
    return kernel(_NOTHING[name], signature=_SIGNATURES[name])


def hooks_of(eviction: Eviction, admission: Admission) -> Hooks:
    """The optional functions of two policies."""
    given = (eviction.observe, eviction.release, admission.note, admission.prefer)
    functions = [function or _nothing(name) for name, function in zip(_NOTHING, given, strict=True)]
    pointers = (Pointer(f, _SIGNATURES[name]) for name, f in zip(_NOTHING, functions, strict=True))
    return Hooks(*(int(function is not None) for function in given), *pointers)

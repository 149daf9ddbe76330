"""What kernels of timed runs call through pointers: the policies' functions, and each other."""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import types

from oppcache._reference import Pointer
from oppcache.cache import Admission, Eviction
from oppcache.cache.contract import ADMISSION_SIGNATURES, EVICTION_SIGNATURES

_I64 = types.int64


class Calls(NamedTuple):
    """The functions. What is called directly is compiled again in each of its callers, so that ``react`` and ``other`` are here."""

    hit: Any
    victim: Any
    insert: Any
    remove: Any
    admit: Any
    react: Any  # handover.side_event
    other: Any  # events.other_event


SIGNATURES = {
    **{name: EVICTION_SIGNATURES[name] for name in ("hit", "victim", "insert", "remove")},
    "admit": ADMISSION_SIGNATURES["admit"],
    "react": _I64(_I64, *[_I64] * 7),
    "other": _I64(_I64, _I64, types.uint64),
}


def no_calls() -> Calls:
    """Pointers to nothing, of the right types."""
    return Calls(*(Pointer(None, SIGNATURES[name]) for name in Calls._fields))


def calls_of(eviction: Eviction, admission: Admission, react: Any, other: Any) -> Calls:
    """Pointers to two policies' functions and to the engine's own."""
    functions = (
        eviction.hit,
        eviction.victim,
        eviction.insert,
        eviction.remove,
        admission.admit,
        react,
        other,
    )
    return Calls(*(Pointer(f, SIGNATURES[name]) for name, f in zip(Calls._fields, functions, strict=True)))

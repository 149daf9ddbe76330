"""The trace simulator: how many requests of a trace an eviction policy misses, for one size of the cache.

One loop, :func:`_loop`, asks the policy. For a built-in policy it is compiled with the policy's functions inlined and
kept on disk; for a user's it takes them as function pointers and is compiled once.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types

from oppcache._jit import JIT_DISABLED, kernel
from oppcache._memory import full, zeros
from oppcache.opp.errors import OppCacheError

from .contract import EVICTION_OPTIONS, EVICTION_SIGNATURES
from .ids import next_uses
from .loading import Eviction, make_state

_NOTHING = np.zeros(0, np.int64)


class PolicyFault(OppCacheError):
    """A policy broke its contract in the middle of a trace."""


class Slots(NamedTuple):
    """The cache: which key is in which slot."""

    slot_of: np.ndarray  # int32[keys], −1 where the key is not cached
    key_in: np.ndarray  # int32[capacity], −1 where the slot is empty
    free: np.ndarray  # int64[capacity]: a stack of slots that were given up
    fresh: np.ndarray  # int64[2]: slots from here on were never used; number of slots on the stack


def make_slots(capacity: int, keys: int) -> Slots:
    """An empty cache of ``capacity`` slots for keys below ``keys``."""
    return Slots(
        full(keys, -1, np.int32),
        full(capacity, -1, np.int32),
        zeros(capacity, np.int64),
        np.zeros(2, np.int64),
    )


@kernel
def _occupied(slots, slot):
    return 0 <= slot < slots.key_in.shape[0] and slots.key_in[slot] >= 0


def _loop(
    dense, next_uses, times, slots, state, candidates, hit, victim, insert, remove, release, releases
):  # fmt: skip
    """Take a trace through a cache; returns the misses, or −1 − the request at which the policy was wrong."""
    misses = np.int64(0)
    for i in range(dense.shape[0]):
        key = np.int64(dense[i])
        next_use = next_uses[i] if next_uses.shape[0] > 0 else np.int64(-1)
        now = times[i] if times.shape[0] > 0 else np.int64(i)
        while releases:
            slot = release(state, now)
            if slot < 0:
                break
            if not _occupied(slots, slot):
                return np.int64(-1) - i
            remove(state, slot, np.int64(1))
            slots.slot_of[slots.key_in[slot]] = -1
            slots.key_in[slot] = -1
            slots.free[slots.fresh[1]] = slot
            slots.fresh[1] += 1
        slot = np.int64(slots.slot_of[key])
        if slot >= 0:
            hit(state, slot, now, next_use)
            continue
        misses += 1
        if slots.fresh[1] > 0:
            slots.fresh[1] -= 1
            slot = slots.free[slots.fresh[1]]
        elif slots.fresh[0] < slots.key_in.shape[0]:
            slot = slots.fresh[0]
            slots.fresh[0] = slot + 1
        else:
            slot = victim(state, candidates, np.int64(0), key, now, next_use)
            if slot == -1:
                continue  # declined
            if not _occupied(slots, slot):
                return np.int64(-1) - i
            remove(state, slot, np.int64(1))
            slots.slot_of[slots.key_in[slot]] = -1
        slots.slot_of[key] = slot
        slots.key_in[slot] = key
        insert(state, slot, key, now, next_use)
    return misses


@kernel
def _never(state, now):
    return np.int64(-1)


_inlinable: Any = kernel(_loop, on_disk=False)


# A policy's copy of the function below has its own functions in place of these: see _specialised.
loop: Any = _inlinable
hit: Any = None
victim: Any = None
insert: Any = None
remove: Any = None
release: Any = None
releases: Any = False


def _with(dense, next_uses, times, slots, state, candidates):
    return loop(
        dense, next_uses, times, slots, state, candidates, hit, victim, insert, remove, release, releases
    )


def _argument_types() -> list[Any]:
    integers, slots = np.zeros(0, np.int64), make_slots(0, 0)
    return [numba.typeof(x) for x in (np.zeros(0, np.int32), integers, integers, slots, integers, integers)]


@cache
def _specialised(name: str) -> Callable[..., int]:
    """The loop with a built-in policy's functions inlined."""
    file = name.replace("-", "_")
    functions = vars(importlib.import_module(f"oppcache.cache.eviction.{file}"))["_compiled"]
    scope = {"loop": _inlinable, "releases": "release" in functions, "release": _never, **functions}
    copy = FunctionType(_with.__code__, scope, f"replay_{file}")
    copy.__module__, copy.__qualname__ = __name__, f"replay_{file}"
    compiled: Callable[..., int] = kernel(copy, signature=types.int64(*_argument_types()))
    return compiled


@cache
def _general() -> Any:
    """The loop that takes the policy's functions as pointers."""
    if JIT_DISABLED:
        return _loop
    signatures = [EVICTION_SIGNATURES[k] for k in ("hit", "victim", "insert", "remove")]
    pointers = [types.FunctionType(s) for s in (*signatures, EVICTION_OPTIONS["release"])]
    return kernel(_loop, signature=types.int64(*_argument_types(), *pointers, types.boolean))


@cache
def _never_pointer() -> Any:
    return kernel(_never if JIT_DISABLED else _never.py_func, signature=EVICTION_OPTIONS["release"])


def replay(
    policy: Eviction,
    dense: np.ndarray,
    keys: int,
    capacity: int,
    *,
    times: np.ndarray | None = None,
    uses: np.ndarray | None = None,
    seed: int = 0,
) -> int:
    """Count the requests of a trace that a cache misses; every missed id is inserted (unless the policy declines).

    Args:
        policy: as :func:`~.loading.load_policy` gives it.
        dense: ids from 0, ``int32[requests]``, as :func:`~.ids.dense_ids` gives them.
        keys: how many there are.
        capacity: the cache's slots, from 1.
        times: ``int64[requests]`` in ns, for a policy that looks at the time; the request's number unless given.
        uses: :func:`~.ids.next_uses`, found here if the policy needs them and they are not given.
        seed: keys the random stream of a policy that draws.

    Raises:
        PolicyFault: the policy chose a slot that is empty or does not exist.
    """
    if capacity < 1:
        raise ValueError(f"capacity: got {capacity}, expected 1 or more")
    if uses is None:
        uses = next_uses(dense, keys) if policy.needs_next_use else _NOTHING
    state = make_state(policy, capacity, keys, seed=seed, component="cache.eviction")
    arguments = (
        dense,
        uses,
        _NOTHING if times is None else times,
        make_slots(capacity, keys),
        state,
        _NOTHING,
    )
    if policy.built_in:
        misses = int(_specialised(policy.name)(*arguments))
    else:
        release = policy.release or _never_pointer()
        functions = (policy.hit, policy.victim, policy.insert, policy.remove, release)
        misses = int(_general()(*arguments, *functions, policy.release is not None))
    if misses < 0:
        raise PolicyFault(
            f"eviction policy {policy.name}: chose an empty or impossible slot at request {-1 - misses}"
        )
    return misses

"""Built-in eviction policies against plain versions of themselves, brute force, and libCacheSim's counts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oppcache.cache import Eviction, eviction_names, load_policy
from oppcache.cache.ids import dense_ids, next_uses
from oppcache.cache.loading import make_state
from oppcache.cache.replay import replay
from oppcache.opp.random_streams import stream

NAMES = eviction_names()
COUNTS = json.loads(Path(__file__).with_name("libcachesim_counts.json").read_text())
GUARD, GUARD_WORDS = -7_777_777, 16
SECOND = 1_000_000_000


class Cache:
    """A fully associative cache that asks a compiled policy and its plain version, and holds them equal.

    Guard words stand around the policy's state.
    """

    def __init__(self, policy: Eviction, plain: Any, capacity: int, keys: int = 1 << 10) -> None:
        self.policy, self.plain, self.capacity = policy, plain, capacity
        made = make_state(policy, capacity, keys)
        self.memory = np.full(len(made) + 2 * GUARD_WORDS, GUARD, np.int64)
        self.state = self.memory[GUARD_WORDS : GUARD_WORDS + len(made)]
        self.state[:] = made
        if policy.seed is not None:
            plain.seed(int(stream(0, "cache").integers(1, 2**31 - 1)))
        self.candidates = np.zeros(capacity, np.int64)
        self.slot_of: dict[int, int] = {}
        self.free = list(range(capacity))[::-1]
        self.now = 0

    def request(self, key: int, next_use: int = -1, choose: Any = None) -> bool:
        """Look a key up and insert it if it is not there; returns whether it was."""
        self.release()
        if key in self.slot_of:
            self.policy.hit(self.state, self.slot_of[key], self.now, next_use)
            self.plain.hit(self.slot_of[key], self.now, next_use)
            return True
        if not self.free and not self.evict(key, choose(sorted(self.slot_of.values())) if choose else []):
            return False
        slot = self.free.pop()
        self.slot_of[key] = slot
        assert len(self.slot_of) <= self.capacity
        self.policy.insert(self.state, slot, key, self.now, next_use)
        self.plain.insert(slot, key, self.now, next_use)
        return False

    def evict(self, key: int, candidates: list[int]) -> bool:
        """Make room for a key; returns whether the policy did."""
        self.candidates[: len(candidates)] = candidates
        slot = int(self.policy.victim(self.state, self.candidates, len(candidates), key, self.now, -1))
        assert slot == -1 or slot in (candidates or self.slot_of.values())
        wanted = self.plain.victim(candidates, key, self.now)
        if self.policy.name == "belady":  # any of those that are never needed again will do
            assert self.plain.ranks[slot][0] == self.plain.ranks[wanted][0]
        else:
            assert slot == wanted
        if slot >= 0:
            self.remove(slot, evicted=True)
        return slot >= 0

    def remove(self, slot: int, evicted: bool) -> None:
        self.policy.remove(self.state, slot, int(evicted))
        self.plain.remove(slot, evicted)
        self.slot_of = {k: s for k, s in self.slot_of.items() if s != slot}
        self.free.append(slot)

    def release(self) -> None:
        while self.policy.release is not None:
            slot = int(self.policy.release(self.state, self.now))
            assert slot == self.plain.release(self.now)
            if slot < 0:
                break
            assert slot in self.slot_of.values()
            self.remove(slot, evicted=True)

    def observe(self, key: int, r0: int) -> None:
        if self.policy.observe is not None:
            self.policy.observe(self.state, self.slot_of[key], 0, r0, self.now)
            self.plain.observe(self.slot_of[key], r0)

    def check_guards(self) -> None:
        ends = np.concatenate([self.memory[:GUARD_WORDS], self.memory[-GUARD_WORDS:]])
        assert (ends == GUARD).all(), "the policy wrote outside its state"


def uses_of(keys: list[int]) -> list[int]:
    """For each request the index of the key's next one, −1 for none."""
    last: dict[int, int] = {}
    out = [-1] * len(keys)
    for i in range(len(keys) - 1, -1, -1):
        out[i] = last.get(keys[i], -1)
        last[keys[i]] = i
    return out


def test_every_built_in_policy_has_a_plain_version(plain: ModuleType) -> None:
    assert sorted(plain.PLAIN) == NAMES


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=120, derandomize=True, deadline=None)
@given(
    capacity=st.integers(1, 9),
    # A key to request, to invalidate or to observe if it is cached; or time goes on.
    steps=st.lists(st.tuples(st.integers(0, 14), st.sampled_from("rrrrrriot")), max_size=80),
    with_candidates=st.booleans(),
    data=st.data(),
)
def test_victims_are_those_of_the_plain_version(
    plain: ModuleType,
    name: str,
    capacity: int,
    steps: list[tuple[int, str]],
    with_candidates: bool,
    data: st.DataObject,
) -> None:
    cache = Cache(load_policy(name), plain.PLAIN[name](capacity), capacity)
    following = iter(uses_of([key for key, kind in steps if kind == "r"]))

    def choose(slots: list[int]) -> list[int]:
        return data.draw(st.lists(st.sampled_from(slots), unique=True, max_size=len(slots)))

    for key, kind in steps:
        cache.now += 1
        if kind == "r":
            cache.request(key, next(following), choose if with_candidates else None)
        elif kind == "t":
            cache.now += key * SECOND // 4
        elif kind == "i" and key in cache.slot_of:
            cache.remove(cache.slot_of[key], evicted=False)
        elif kind == "o" and key in cache.slot_of:
            cache.observe(key, (key * 7) % 5)
    cache.check_guards()


@pytest.mark.parametrize("name", NAMES)
def test_larger_caches_and_the_simulator_agree_with_the_plain_version(
    plain: ModuleType, libcachesim_counts: ModuleType, name: str, full: bool
) -> None:
    """Sizes at which all parts of a policy are at work; the simulator takes the policy both inlined and by pointer."""
    policy = load_policy(name)
    by_pointer = dataclasses.replace(policy, built_in=False)
    rng = np.random.default_rng(7)
    for keys, alpha, capacity in [(40, 0.4, 11), (400, 0.9, 30), (900, 0.8, 206)]:
        requests = 20_000 if full else 2_500
        ids = libcachesim_counts.zipf(keys, requests, alpha, capacity)
        dense, count = dense_ids(ids)
        cache = Cache(policy, plain.PLAIN[name](capacity), capacity)
        cache.plain.observe = lambda slot, r0: None
        times = np.cumsum(rng.integers(0, SECOND // 200, requests))
        misses = 0
        for key, use, now in zip(
            dense.tolist(), next_uses(dense, count).tolist(), times.tolist(), strict=True
        ):
            cache.now = now
            misses += not cache.request(key, use)
        cache.check_guards()
        if policy.seed is None:  # the simulator's stream has another name than the test's
            assert replay(policy, dense, count, capacity, times=times) == misses
        once, again, other = (
            replay(p, dense, count, capacity, times=times, seed=3) for p in (policy, policy, by_pointer)
        )
        assert once == again == other


def cached_after(name: str, plain: ModuleType, keys: list[int], capacity: int) -> int:
    cache = Cache(load_policy(name), plain.PLAIN[name](capacity), capacity)
    return sum(cache.request(key, use) for key, use in zip(keys, uses_of(keys), strict=True))


def most_hits(keys: list[int], capacity: int) -> int:
    """The most hits that any choice of victims gives, by trying all; every miss is inserted."""

    @cache
    def best(at: int, cached: frozenset[int]) -> int:
        if at == len(keys):
            return 0
        key = keys[at]
        if key in cached:
            return 1 + best(at + 1, cached)
        if len(cached) < capacity:
            return best(at + 1, cached | {key})
        return max(best(at + 1, cached - {victim} | {key}) for victim in cached)

    return best(0, frozenset())


@settings(max_examples=200, derandomize=True, deadline=None)
@given(capacity=st.integers(1, 3), keys=st.lists(st.integers(0, 5), max_size=16))
def test_belady_is_as_good_as_the_best_of_all_choices(
    plain: ModuleType, capacity: int, keys: list[int]
) -> None:
    assert cached_after("belady", plain, keys, capacity) == most_hits(keys, capacity)


def check_counts(ids: np.ndarray, misses: dict[str, dict[str, int]]) -> None:
    dense, keys = dense_ids(ids)
    for name, by_size in misses.items():
        for size, wanted in by_size.items():
            got = replay(load_policy(name), dense, keys, int(size))
            if name == "wtinylfu":  # the sketches hash differently
                assert abs(got - wanted) / len(ids) < 0.01, (size, got, wanted)
            else:
                assert got == wanted, (name, size)


@pytest.mark.parametrize(
    "trace", [c for c in COUNTS if "zipf" in c], ids=lambda c: "-".join(map(str, c["zipf"]))
)
def test_misses_on_zipf_are_libcachesims(libcachesim_counts: ModuleType, trace: dict[str, Any]) -> None:
    check_counts(libcachesim_counts.zipf(*trace["zipf"]), trace["misses"])


@pytest.mark.parametrize("trace", [c for c in COUNTS if "file" in c], ids=lambda c: c["file"])
def test_misses_on_a_real_trace_are_libcachesims(traces: Path, trace: dict[str, Any]) -> None:
    kinds = [("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")]
    check_counts(np.fromfile(traces / trace["file"], kinds)["id"], trace["misses"])


def test_the_guides_example_is_lru(libcachesim_counts: ModuleType, checkout: Path) -> None:
    dense, keys = dense_ids(libcachesim_counts.zipf(500, 5_000, 0.9, 5))
    mine, ours = load_policy(checkout / "docs" / "examples" / "my_policy.py"), load_policy("lru")
    for size in (1, 2, 17, 100, 600):
        assert replay(mine, dense, keys, size) == replay(ours, dense, keys, size)


@pytest.mark.parametrize("name", ["slru", "twoq", "s3fifo", "wtinylfu"])
def test_small_caches_work(libcachesim_counts: ModuleType, name: str) -> None:
    """Where libCacheSim's caches nothing, as a part of the cache rounds to nothing."""
    dense, keys = dense_ids(libcachesim_counts.zipf(500, 20_000, 1.0, 1))
    misses = [replay(load_policy(name), dense, keys, size) for size in (1, 2, 3, 5, 10, 19, 50, 99)]
    fifo = [replay(load_policy("fifo"), dense, keys, size) for size in (1, 2, 3, 5, 10, 19, 50, 99)]
    assert all(ours < 1.12 * theirs for ours, theirs in zip(misses, fifo, strict=True)), (misses, fifo)
    assert misses[-1] < 0.6 * len(dense)


def test_policies_run_without_compilation(run_script: Callable[..., str]) -> None:
    """What the simulator counts is what plain Python counts."""
    script = (
        "import numpy as np\nfrom oppcache.cache import eviction_names, load_policy\n"
        "from oppcache.cache.ids import dense_ids\nfrom oppcache.cache.replay import replay\n"
        "dense, keys = dense_ids((np.random.default_rng(1).pareto(1.0, 1500) * 9).astype(np.int64))\n"
        "print([replay(load_policy(name), dense, keys, 13) for name in eviction_names()])\n"
    )
    printed = [run_script(script), run_script(script, NUMBA_DISABLE_JIT="1")]
    assert printed[0] == printed[1]

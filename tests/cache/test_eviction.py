"""Built-in eviction policies against plain versions of themselves, brute force, and libCacheSim's counts."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oppcache.cache import Eviction, eviction_names, load_policy
from oppcache.cache.loading import make_state

NEVER = 2**62


class Plain:
    """A policy as a list of slots, oldest first; the victim is the first of them that may go."""

    def __init__(self) -> None:
        self.queue: list[int] = []

    def insert(self, slot: int, next_use: int) -> None:
        self.queue.append(slot)

    def hit(self, slot: int, next_use: int) -> None:
        pass

    def victim(self, candidates: list[int]) -> int:
        return next(slot for slot in self.queue if not candidates or slot in candidates)

    def remove(self, slot: int) -> None:
        self.queue.remove(slot)


class Lru(Plain):
    def hit(self, slot: int, next_use: int) -> None:
        self.queue.remove(slot)
        self.queue.append(slot)


class Sieve(Plain):
    """The hand is the slot that it will look at next, None for the oldest."""

    def __init__(self) -> None:
        super().__init__()
        self.visited: set[int] = set()
        self.hand: int | None = None

    def hit(self, slot: int, next_use: int) -> None:
        self.visited.add(slot)

    def victim(self, candidates: list[int]) -> int:
        if candidates:
            order = [slot for slot in self.queue if slot in candidates]
            unvisited = [slot for slot in order if slot not in self.visited]
            if not unvisited:
                self.visited -= set(candidates)
            return (unvisited or order)[0]
        at = 0 if self.hand is None else self.queue.index(self.hand)
        while self.queue[at] in self.visited:
            self.visited.remove(self.queue[at])
            at = (at + 1) % len(self.queue)
        self.hand = self.queue[at]
        return self.queue[at]

    def remove(self, slot: int) -> None:
        if self.hand == slot:
            behind = self.queue[self.queue.index(slot) + 1 :]
            self.hand = behind[0] if behind else None
        self.visited.discard(slot)
        super().remove(slot)


class Belady(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.uses: dict[int, int] = {}

    def insert(self, slot: int, next_use: int) -> None:
        self.uses[slot] = NEVER if next_use < 0 else next_use

    hit = insert

    def latest(self, candidates: list[int]) -> int:
        return max(use for slot, use in self.uses.items() if not candidates or slot in candidates)

    def remove(self, slot: int) -> None:
        del self.uses[slot]


PLAIN: dict[str, type[Plain]] = {"fifo": Plain, "lru": Lru, "sieve": Sieve, "belady": Belady}
GUARD, GUARD_WORDS = -7_777_777, 16


class Cache:
    """A fully associative cache that asks a compiled policy, with guard words around the policy's state."""

    def __init__(self, policy: Eviction, capacity: int, keys: int = 1 << 10) -> None:
        self.policy = policy
        made = make_state(policy, capacity, keys)
        self.memory = np.full(len(made) + 2 * GUARD_WORDS, GUARD, np.int64)
        self.state = self.memory[GUARD_WORDS : GUARD_WORDS + len(made)]
        self.state[:] = made
        self.candidates = np.zeros(max(capacity, 1), np.int64)
        self.slot_of: dict[int, int] = {}
        self.free = list(range(capacity))[::-1]
        self.now = 0

    def request(self, key: int, next_use: int, choose: Any = None) -> tuple[bool, int | None, list[int]]:
        """Look a key up and insert it if it is not there; returns (hit, victim's slot, candidates)."""
        self.now += 1
        if key in self.slot_of:
            self.policy.hit(self.state, self.slot_of[key], self.now, next_use)
            return True, None, []
        victim, candidates = None, []
        if self.free:
            slot = self.free.pop()
        else:
            candidates = choose(sorted(self.slot_of.values())) if choose else []
            self.candidates[: len(candidates)] = candidates
            slot = victim = int(
                self.policy.victim(self.state, self.candidates, len(candidates), key, self.now, next_use)
            )
            self.policy.remove(self.state, slot, 1)
            self.slot_of = {k: s for k, s in self.slot_of.items() if s != slot}
        self.slot_of[key] = slot
        self.policy.insert(self.state, slot, key, self.now, next_use)
        return False, victim, candidates

    def invalidate(self, key: int) -> int:
        slot = self.slot_of.pop(key)
        self.policy.remove(self.state, slot, 0)
        self.free.append(slot)
        return slot

    def check_guards(self) -> None:
        ends = np.concatenate([self.memory[:GUARD_WORDS], self.memory[-GUARD_WORDS:]])
        assert (ends == GUARD).all(), "the policy wrote outside its state"


def next_uses(keys: list[int]) -> list[int]:
    """For each request the index of the key's next one, −1 for none."""
    last: dict[int, int] = {}
    out = [-1] * len(keys)
    for i in range(len(keys) - 1, -1, -1):
        out[i] = last.get(keys[i], -1)
        last[keys[i]] = i
    return out


def test_every_built_in_policy_has_a_plain_version_here() -> None:
    assert sorted(PLAIN) == eviction_names()


@pytest.mark.parametrize("name", PLAIN)
@settings(max_examples=150, derandomize=True, deadline=None)
@given(
    capacity=st.integers(1, 5),
    # A key to request, or to invalidate if it is cached.
    steps=st.lists(st.tuples(st.integers(0, 8), st.sampled_from("rrrri")), max_size=60),
    with_candidates=st.booleans(),
    data=st.data(),
)
def test_victims_are_those_of_the_plain_version(
    name: str, capacity: int, steps: list[tuple[int, str]], with_candidates: bool, data: st.DataObject
) -> None:
    cache, plain = Cache(load_policy(name), capacity), PLAIN[name]()
    requested = [key for key, kind in steps if kind == "r"]
    following = iter(next_uses(requested))

    def choose(slots: list[int]) -> list[int]:
        return data.draw(st.lists(st.sampled_from(slots), unique=True, max_size=len(slots)))

    for key, kind in steps:
        if kind == "i":
            if key in cache.slot_of:
                plain.remove(cache.invalidate(key))
            continue
        next_use = next(following)
        occupied = set(cache.slot_of.values())
        hit, victim, candidates = cache.request(key, next_use, choose if with_candidates else None)
        if hit:
            plain.hit(cache.slot_of[key], next_use)
            continue
        if victim is not None:
            assert victim in (candidates or occupied)
            if isinstance(plain, Belady):  # any of those that are never needed again will do
                assert plain.uses[victim] == plain.latest(candidates)
            else:
                assert victim == plain.victim(candidates)
            plain.remove(victim)
        plain.insert(cache.slot_of[key], next_use)
    cache.check_guards()


def hits_of(name: str, keys: list[int], capacity: int) -> int:
    cache = Cache(load_policy(name), capacity)
    hits = sum(cache.request(key, use)[0] for key, use in zip(keys, next_uses(keys), strict=True))
    cache.check_guards()
    return hits


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
def test_belady_is_as_good_as_the_best_of_all_choices(capacity: int, keys: list[int]) -> None:
    assert hits_of("belady", keys, capacity) == most_hits(keys, capacity)


def zipf(keys: int, requests: int, alpha: float, seed: int) -> list[int]:
    """Zipf-distributed requests by inversion: the same numbers wherever NumPy's PCG64 is."""
    cdf = np.cumsum(1.0 / np.arange(1, keys + 1) ** alpha)
    uniform = np.random.Generator(np.random.PCG64(seed)).random(requests)
    return np.searchsorted(cdf / cdf[-1], uniform).tolist()


# Made once with libcachesim 0.3.5: for each id of zipf(keys, requests, alpha, seed)
#   cache.get(Request(obj_id=id, obj_size=1, next_access_vtime=index of its next request or 2**63 - 1))
# on FIFO(capacity), LRU(capacity), Sieve(capacity), Belady(capacity), counting what returns True.
LIBCACHESIM = [
    ((500, 20_000, 0.8, 1), 50, {"fifo": 6230, "lru": 7073, "sieve": 9439, "belady": 12125}),
    ((2000, 20_000, 1.1, 2), 128, {"fifo": 11935, "lru": 13003, "sieve": 14350, "belady": 15749}),
    ((100, 5_000, 0.5, 3), 7, {"fifo": 534, "lru": 553, "sieve": 822, "belady": 1697}),
]


@pytest.mark.parametrize(("trace", "capacity", "counts"), LIBCACHESIM)
def test_hits_are_libcachesims(
    trace: tuple[int, int, float, int], capacity: int, counts: dict[str, int]
) -> None:
    keys = zipf(*trace)
    assert {name: hits_of(name, keys, capacity) for name in counts} == counts

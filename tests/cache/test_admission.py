"""Built-in admission policies against plain versions of themselves and what they promise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from oppcache.cache import admission_names, load_admission
from oppcache.cache.loading import make_state
from oppcache.opp.random_streams import stream

SLOTS = 40


def asked(source: Any, keys: list[int], rates: list[int] | None = None, **options: Any) -> list[bool]:
    """What a policy says to each packet of a trace of flows; guard words stand behind its state."""
    policy = load_admission(source)
    state = make_state(policy, SLOTS, 1 << 20, **options)
    memory = np.concatenate([state, np.full(16, -77)])
    state = memory[: len(state)]
    seen: dict[int, int] = {}
    out = []
    for i, key in enumerate(keys):
        seen[key] = seen.get(key, 0) + 1
        out.append(bool(policy.admit(state, key, seen[key], rates[i] if rates else 0, i)))
    assert (memory[len(state) :] == -77).all()
    return out


@pytest.fixture(scope="module")
def keys(libcachesim_counts: ModuleType) -> list[int]:
    return list(libcachesim_counts.zipf(3_000, 6_000, 1.1, 9).tolist())


def test_all_are_known() -> None:
    known = {
        "always",
        "packet",
        "probability",
        "rate",
        "count-min",
        "spacesaving",
        "heavykeeper",
        "gap-aware",
    }
    assert known <= set(admission_names())


def draws(number: int) -> Iterator[int]:
    while True:
        number = number * 48271 % (2**31 - 1)
        yield number


def first_draws(seed: int) -> Iterator[int]:
    return draws(int(stream(seed, "cache").integers(1, 2**31 - 1)))


def test_probability_tosses_a_coin_for_each_packet(keys: list[int]) -> None:
    numbers = first_draws(5)
    wanted = [next(numbers) <= 0.25 * 2**31 for _ in keys]
    assert asked({"probability": 0.25}, keys, seed=5) == wanted
    assert abs(sum(wanted) / len(wanted) - 0.25) < 0.02
    assert not any(asked({"probability": 0.0}, keys))
    assert all(asked({"probability": 1}, keys))
    assert asked({"probability": 0.25}, keys, seed=6) != wanted


def test_rate_admits_from_the_rate_on() -> None:
    assert asked({"rate": 1000.0}, [1, 1, 1, 1], [0, 999, 1000, 2000]) == [False, False, True, True]


def test_count_min_is_its_plain_version(plain: ModuleType, keys: list[int]) -> None:
    sketch = plain.Sketch(16 * SLOTS, 16 * SLOTS)
    wanted = []
    for key in keys:
        wanted.append(sketch.count(key) + 1 >= 4)
        sketch.use(key, conservative=True)
        sketch.tick()
    assert asked({"count-min": 4}, keys) == wanted
    assert 0 < sum(wanted) < len(wanted)


def test_spacesaving_is_its_plain_version(keys: list[int]) -> None:
    counters: dict[int, list[int]] = {}  # key: count, error, when it was counted last
    wanted = []
    for i, key in enumerate(keys):
        if key not in counters:
            count = 0
            if len(counters) == SLOTS:
                least = min(counters, key=lambda k: (counters[k][0], counters[k][2]))
                count = counters.pop(least)[0]
            counters[key] = [count, count, i]
        counters[key][0] += 1
        counters[key][2] = i
        wanted.append(counters[key][0] - counters[key][1] >= 3)
    assert asked({"spacesaving": 3}, keys) == wanted
    # What is sure is true: no flow is admitted before its third packet.
    seen: dict[int, int] = {}
    for key, admitted in zip(keys, wanted, strict=True):
        seen[key] = seen.get(key, 0) + 1
        assert not admitted or seen[key] >= 3


def test_heavykeeper_is_its_plain_version(keys: list[int]) -> None:
    buckets: list[dict[int, tuple[int, int]]] = [{}, {}]
    numbers = first_draws(0)
    wanted = []
    for key in keys:
        most = 0
        for array, factor in enumerate((2654435761, 2246822519)):
            mixed = (key + 1) * factor % 2**32
            mixed ^= mixed >> 15
            place = mixed * 668265263 % 2**32 * 2 * SLOTS >> 32
            owner, count = buckets[array].get(place, (-1, 0))
            if owner != key:
                if count > 0 and next(numbers) / (2**31 - 1) < 1.08**-count:
                    count -= 1
                if count > 0:
                    buckets[array][place] = (owner, count)
                    continue
            buckets[array][place] = (key, count + 1)
            most = max(most, count + 1)
        wanted.append(most >= 3)
    assert asked({"heavykeeper": 3}, keys) == wanted
    assert 0 < sum(wanted) < len(wanted)


def test_gap_aware_asks_more_of_flows_that_leave_no_gaps() -> None:
    for rtt, rate in [(10_000, 0), (10_000, 10_000), (10_000, 200_000), (50_000, 20_000)]:
        answers = asked({"gap-aware": 4}, [1] * 200, [rate] * 200, rtt_ns=rtt)
        least = math.ceil(4 * math.exp(rate * rtt / 1e9))
        assert answers == [n >= least for n in range(1, 201)]
    assert not any(asked({"gap-aware": 1}, [1] * 1000, [812_000] * 1000, rtt_ns=10_000))


@pytest.mark.parametrize("name", ["count-min", "spacesaving", "heavykeeper", "gap-aware"])
def test_eight_packets_unless_told_otherwise(name: str, keys: list[int]) -> None:
    assert asked(name, keys) == asked({name: 8}, keys)
    assert asked(name, [1] * 20) == [n >= 8 for n in range(1, 21)]

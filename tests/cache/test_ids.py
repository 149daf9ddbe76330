"""Numbering ids, next uses, stack distances and samples against dictionaries and the simulator."""

from __future__ import annotations

from types import ModuleType

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from oppcache.cache import load_policy
from oppcache.cache.ids import dense_ids, next_uses
from oppcache.cache.replay import replay
from oppcache.cache.stack_distances import distance_counts, lru_misses, sample_group


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 5), max_size=200))
def test_ids_are_numbered_in_order_of_appearance(ids: list[int]) -> None:
    numbers: dict[int, int] = {}
    wanted = [numbers.setdefault(i, len(numbers)) for i in ids]
    dense, keys = dense_ids(np.array(ids, np.int64))
    assert (dense.tolist(), keys) == (wanted, len(numbers))
    following = [next((j for j in range(i + 1, len(ids)) if ids[j] == ids[i]), -1) for i in range(len(ids))]
    assert next_uses(dense, keys).tolist() == following


def test_many_ids_make_the_table_grow() -> None:
    ids = np.random.default_rng(1).integers(0, 2**63, 150_000, dtype=np.uint64)
    both = np.concatenate([ids, ids[::-1]])
    dense, keys = dense_ids(both)
    found, inverse = np.unique(both, return_inverse=True)
    assert keys == len(found)
    assert len(set(zip(dense.tolist(), inverse.tolist(), strict=True))) == keys


def test_the_table_grows_where_the_sample_of_a_long_trace_misled() -> None:
    """The sample is by hash: here no id at all is in it, then only such ids are."""
    ids = np.random.default_rng(2).integers(0, 2**63, 300_000, dtype=np.uint64)
    sampled = (ids * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(58) == 0
    for part in (ids[~sampled], np.resize(ids[sampled], 300_000)):
        dense, keys = dense_ids(part)
        found, inverse = np.unique(part, return_inverse=True)
        assert keys == len(found) == dense.max() + 1
        assert len(set(zip(dense.tolist(), inverse.tolist(), strict=True))) == keys


def test_stack_distances_give_lru_at_every_size(libcachesim_counts: ModuleType) -> None:
    for keys, alpha in [(1, 1.0), (30, 0.3), (700, 0.9)]:
        dense, count = dense_ids(libcachesim_counts.zipf(keys, 4_000, alpha, 4))
        sizes = np.array([1, 2, 3, 10, 29, 30, 31, 200, 650, 5_000])
        wanted = [replay(load_policy("lru"), dense, count, int(size)) for size in sizes]
        assert lru_misses(distance_counts(dense, count), sizes).tolist() == wanted


def test_samples_are_equal_shares_of_the_ids() -> None:
    groups = sample_group(np.arange(100_000, dtype=np.uint64), 10)
    sizes = np.bincount(groups, minlength=10)
    assert len(sizes) == 10
    assert (abs(sizes - 10_000) < 500).all()
    assert (sample_group(np.arange(50, dtype=np.int64), 10) == groups[:50]).all()

"""What policies are told beforehand, and the hit rate over time."""

from __future__ import annotations

from random import Random
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oppcache.hybrid.account import CROSSED, LOOKED_UP
from oppcache.hybrid.rehearsal import rehearse
from oppcache.hybrid.series import MAX_POINTS, HitSeries
from oppcache.opp.lower import lower


@pytest.mark.parametrize("seeds", [range(150)])
def test_next_uses_are_those_of_the_references_lookups(random_programs: ModuleType, seeds: range) -> None:
    looked_up = 0
    for seed in seeds:
        drawn = random_programs.draw(Random(seed), 40)
        if drawn is None:
            continue
        program, vectors, expected = drawn
        numbers: dict[str, int] = {}
        uses: list[tuple[str, object, int]] = []  # table, key, number among the table's lookups
        for table, key in (lookup for packet in expected.lookups for lookup in packet):
            uses.append((table, key, numbers.setdefault(table, 0)))
            numbers[table] += 1
        following: dict[tuple[str, object], int] = {}
        wanted = []
        for table, key, number in reversed(uses):
            wanted.append(following.get((table, key), -1))
            following[table, key] = number
        lowered = lower(program)
        chunks = (vectors[i : i + 7].copy() for i in range(0, len(vectors), 7))
        rehearsal = rehearse(lowered, chunks, 40, next_uses=True)
        assert rehearsal.next_uses.tolist() == wanted[::-1], seed
        for name, keys in zip(lowered.table_names, rehearsal.keys, strict=True):
            assert keys >= len({key for table, key, _ in uses if table == name})
        assert not len(rehearse(lowered, [vectors.copy()], 40, next_uses=False).next_uses)
        looked_up += len(uses)
    assert looked_up > 1000


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 700), max_size=8), seed=st.integers(0, 99), repeat=st.sampled_from([1, 300])
)
def test_the_series_forgets_no_packet(sizes: list[int], seed: int, repeat: int) -> None:
    """However the packets come in chunks, windows have equal numbers of them and hits sum up."""
    rng = np.random.Generator(np.random.PCG64(seed))
    flags = rng.choice([0, LOOKED_UP, LOOKED_UP | CROSSED], sum(sizes) * repeat).astype(np.uint8)
    now = np.arange(len(flags), dtype=np.uint64) * np.uint64(1000)
    series, whole = HitSeries(), HitSeries()
    whole.add(now, flags)
    at = 0
    for size in sizes * repeat:
        series.add(now[at : at + size], flags[at : at + size])
        at += size
    got, once = series.columns(), whole.columns()
    for name in got:
        np.testing.assert_array_equal(got[name], once[name])
    packets = got["packets"]
    assert packets.sum() == len(flags)
    assert len(packets) <= MAX_POINTS + 1
    assert len(set(packets[:-1].tolist())) <= 1
    start = 0
    for count, rate, end in zip(packets, got["hit_rate"], got["time"], strict=True):
        part = flags[start : start + count]
        start += count
        looked, crossed = int((part & LOOKED_UP).astype(bool).sum()), int((part & CROSSED).astype(bool).sum())
        assert end == int(now[start - 1]) / 1e9
        assert np.isnan(rate) if not looked else rate == (looked - crossed) / looked

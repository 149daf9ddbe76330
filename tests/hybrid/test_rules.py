"""Rule caching in a run: entries come and go by traffic and within the rate, and the NIC's table is what is told."""

from __future__ import annotations

import numpy as np
import pytest

from oppcache.fastpath import load_profile
from oppcache.hybrid.rules import RuleCaching, limited, without_limit
from oppcache.hybrid.setup import RuleSettings
from oppcache.opp import load_program
from oppcache.opp.lower import Lowered, lower

PREFIXES = ("10.1.2.3/32", "10.1.2.0/24", "10.1.0.0/16", "10.0.0.0/8", "11.0.0.0/8", "12.0.0.0/8")


@pytest.fixture
def routes() -> Lowered:
    """A short stage, and one of six prefixes with a default."""
    entries = [
        {"priority": 9 - i, "match": {"ip.dst": prefix}, "actions": [{"output": i}]}
        for i, prefix in enumerate(PREFIXES)
    ]
    first = {"name": "first", "entries": [{"match": {"ip.proto": 6}, "actions": [{"output": 9}]}]}
    second = {"name": "route", "entries": entries, "default": {"actions": ["drop"]}}
    return lower(load_program({"program": "routes", "stages": [first, second]}))


def test_entries_come_and_go_by_traffic(routes: Lowered) -> None:
    settings = RuleSettings("cover-sets", rows=3, changes=1_000.0, interval=1_000_000)
    profile = limited(load_profile("ideal"), settings)
    caching = RuleCaching(routes, profile, settings)
    assert [s.number for s in caching.stages] == [1]
    count = len(routes.arrays.entries)
    assert count == 1 + 6 + 1
    runnable = np.ones(count + 2, np.uint8)
    caching.begin(runnable)
    assert runnable.tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 1, 0]
    taken = np.zeros(count + 2, np.int64)
    taken[[1 + 3, 1 + 4, 8, 9]] = 50, 20, 7, 2
    assert caching.hits(taken) == 72
    caching.update(0, taken, runnable)
    assert not runnable[1:8].any(), "no time has passed, so nothing may change"
    assert caching.next_update() == 1_000_000
    taken[:] = 0
    caching.update(2_000_000, taken, runnable)
    assert caching.updates == 2, "1,000 changes a second are two in two milliseconds"
    assert runnable[1:7].tolist() == [0, 0, 0, 1, 0, 0]
    caching.update(3_000_000, taken, runnable)
    assert runnable[1:7].tolist() == [0, 0, 0, 1, 1, 0]
    assert (caching.updates, caching.writes) == (3, 3)
    taken[1] = 10_000
    for now in range(4, 9):
        caching.update(1_000_000 * now, taken, runnable)
        stage = caching.stages[0]
        assert stage.cache.safe
        present = np.flatnonzero((stage.cache.cached | stage.cache.covers)[:-1])
        assert stage.tcam.used == len(present)
        assert all(len(stage.tcam.addresses(int(entry))) == 1 for entry in present)
    assert runnable[1] == 1


def test_what_the_nic_cannot_run_takes_no_row(routes: Lowered) -> None:
    settings = RuleSettings("dependent-sets", rows=4)
    caching = RuleCaching(routes, limited(load_profile("netfpga-sume"), settings), settings)
    runnable = np.ones(10, np.uint8)
    runnable[[1 + 4, 1 + 2]] = 0
    caching.begin(runnable)
    taken = np.array([0, 0, 0, 9, 1, 99, 1, 0, 0, 0])
    caching.update(0, taken, runnable)
    caching.update(10**9, taken, runnable)
    due = caching.next_update()
    assert due is not None
    caching.update(due, taken, runnable)  # now the row has been written
    cached = caching.stages[0].cache.cached
    assert np.flatnonzero(cached).tolist() == [5], "11.0.0.0/8 cannot run, and for the chain there is no room"
    assert runnable[1:7].tolist() == [0, 0, 0, 0, 0, 1]


def test_stages_that_fit_are_left_alone(routes: Lowered) -> None:
    for settings in (
        RuleSettings("cover-sets", rows=6),
        RuleSettings("", rows=2),
        RuleSettings("cover-sets"),
    ):
        caching = RuleCaching(routes, limited(load_profile("ideal"), settings), settings)
        assert caching.stages == []
        assert caching.next_update() is None
        runnable = np.ones(10, np.uint8)
        caching.begin(runnable)
        assert runnable.all()


def test_placement_asks_for_no_number_of_entries() -> None:
    profile = load_profile("netfpga-sume")
    assert limited(profile, RuleSettings(rows=7)).number("efsm.entries") == 7
    assert limited(profile, RuleSettings()) is profile
    assert without_limit(profile).number("efsm.entries") is None
    assert without_limit(profile).number("efsm.width_bits") == 160

"""The model checker: what holds, and that its own machinery neither loses nor invents states."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from oppcache.cli import call
from oppcache.consistency import load_protocol
from oppcache.consistency.checker import Model, check
from oppcache.consistency.checker import layout as L
from oppcache.consistency.checker.canonical import canonicalise
from oppcache.opp.errors import InputError

LOSSY = Model(lossy=True)
SMALL = [
    LOSSY.but(packets=2, promotions=1, demotions=1),
    LOSSY.but(packets=1, promotions=1, cpu_crashes=1),
    LOSSY.but(packets=1, promotions=1, nic_crashes=1),
    LOSSY.but(packets=2, promotions=1, ring_drops=1),
    Model(keys=2, packets=2, promotions=1, queues=2),
    Model(packets=2, promotions=1, untagged=2),
    Model(packets=3, promotions=2, demotions=2, timers=False),
    Model(packets=2, promotions=1, demotions=1, cpu_crashes=1, timers=False),
]
LARGE = [
    LOSSY.but(packets=3, promotions=1, demotions=1),
    LOSSY.but(packets=2, promotions=2, demotions=1),
    LOSSY.but(packets=2, promotions=1, demotions=1, nic_crashes=1),
    LOSSY.but(packets=2, promotions=1, demotions=1, cpu_crashes=1),
    LOSSY.but(packets=1, promotions=1, demotions=1, cpu_crashes=2),
    LOSSY.but(packets=3, promotions=1, ring_drops=1),
    LOSSY.but(packets=3, promotions=2),
    LOSSY.but(packets=3, promotions=1, nic_crashes=1),
    LOSSY.but(packets=3, promotions=1, cpu_crashes=1),
    LOSSY.but(packets=2, promotions=1, untagged=2),
    Model(packets=3, promotions=1, untagged=2),
    Model(packets=2, promotions=1, untagged=2, nic_crashes=1),
    Model(packets=2, promotions=1, untagged=2, cpu_crashes=1),
    Model(packets=2, promotions=1, untagged=2, ring_drops=1),
    LOSSY.but(packets=2, promotions=1, nic_crashes=1, cpu_crashes=1, liveness=False),
]


@pytest.mark.parametrize("model", SMALL, ids=range(len(SMALL)))
@pytest.mark.parametrize("name", ["cas", "cas-hold"])
def test_the_strong_protocols_hold_within_small_bounds(name: str, model: Model) -> None:
    assert check(load_protocol(name), model).holds


@pytest.mark.parametrize("model", LARGE, ids=range(len(LARGE)))
@pytest.mark.parametrize("name", ["cas", "cas-hold"])
def test_the_strong_protocols_hold_within_large_bounds(name: str, model: Model, full: bool) -> None:
    if not full:
        pytest.skip("large bounds: --full")
    assert check(load_protocol(name), model).holds


def test_a_promotion_that_cannot_complete_leaves_it_undecided() -> None:
    verdict = check(load_protocol("fetch"), Model(promotions=1))
    assert not verdict.violated
    assert verdict.missing() == ["no promotion completes"]
    assert not verdict.holds


def test_hash_compaction_finds_the_same_states() -> None:
    model = LOSSY.but(packets=2, promotions=1)
    exact = check(load_protocol("cas-hold"), model)
    compact = check(load_protocol("cas-hold"), model, compact=True)
    assert (exact.states, exact.transitions, exact.depth) == (
        compact.states,
        compact.transitions,
        compact.depth,
    )
    assert 0 < compact.odds < 1e-8
    assert compact.holds
    naive = check(
        load_protocol("naive"), Model(packets=2, promotions=1), properties=["exactly-once"], compact=True
    )
    again = check(load_protocol("naive"), Model(packets=2, promotions=1), properties=["exactly-once"])
    assert naive.trace("exactly-once").text() == again.trace("exactly-once").text()


def test_stored_states_come_back_as_they_were_and_are_in_their_one_form() -> None:
    model = LOSSY.but(packets=2, promotions=1, nic_crashes=1, ring_drops=1)
    verdict = check(load_protocol("cas-hold"), model, states_max=20_000)
    s, words = np.zeros(L.WORDS, np.int64), np.zeros(L.STORED_MAX, np.uint32)
    for number in range(0, 20_000, 97):
        start, end = verdict.store.starts[number : number + 2]
        L.unpack(verdict.store.arena, start, 1, s)
        assert L.pack(s, 1, words) == end - start
        assert np.array_equal(words[: end - start], verdict.store.arena[start:end])
        assert canonicalise(s, 1, True, verdict.system.analysis)
        assert L.pack(s, 1, words) == end - start
        assert np.array_equal(words[: end - start], verdict.store.arena[start:end])


def test_a_search_that_runs_out_of_room_is_undecided() -> None:
    verdict = check(load_protocol("cas"), LOSSY.but(packets=2, promotions=1), states_max=1000)
    assert not verdict.decided
    assert verdict.why_undecided == "memory or the limit of states ran out"


def test_bounds_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match=r"packets: got 6, expected 0 to 5"):
        check(load_protocol("cas"), Model(packets=6))
    with pytest.raises(InputError, match=r"nic-crashes: got 3, expected 0 to 2"):
        check(load_protocol("cas"), Model(nic_crashes=3))


@pytest.mark.parametrize(
    ("words", "status", "last"),
    [
        (["cas", "--packets", "1", "--promotions", "1"], 0, "holds: all properties, "),
        (["cas", "--packets", "1", "--promotions", "1", "--safety-only"], 0, "holds: safety, "),
        (["cas", "--packets", "1", "--promotions", "1", "--hash-compact"], 0, "holds: all properties, "),
        (["naive", "--packets", "2", "--promotions", "1"], 1, "violated: one-owner after "),
        (["fetch", "--promotions", "1"], 3, "undecided: within these bounds no promotion completes, "),
    ],
)
def test_the_last_line_and_the_exit_status_agree(
    words: list[str], status: int, last: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["-q", "verify", *words]) == status
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith(last)
    assert "states" in line
    assert "transitions" in line


def test_a_counterexample_is_drawn_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawing = tmp_path / "trace.svg"
    words = ["-q", "verify", "naive", "--packets", "1", "--promotions", "1", "--trace-out", str(drawing)]
    assert call([*words, "--format", "json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["result"] == "violated"
    assert len(facts["counterexample"]) == 2
    root = ElementTree.parse(drawing).getroot()
    assert root.tag.endswith("svg")
    text = "".join(root.itertext())
    assert "want-promote" in text
    assert "one-owner" in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["naiv"], "did you mean 'naive'?"),
        (["cas", "--packets", "9"], "packets: got 9, expected 0 to 5"),
        (["none.yaml"], "none.yaml: no such file"),
        (["cas", "--channel", "lousy"], "lousy"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["verify", *words]) == 2
    assert expected in capsys.readouterr().err

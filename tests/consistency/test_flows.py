"""Contexts that several flows share, and several RX queues: what holds, what does not, and that numbers do not matter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from oppcache.consistency import load_protocol
from oppcache.consistency.checker import Model, check, store
from oppcache.consistency.checker import layout as L
from oppcache.consistency.checker.flows import IDENTITY, move_packets
from oppcache.consistency.checker.search import number_packets
from oppcache.consistency.library import protocol_from_text, protocol_path
from oppcache.consistency.mutants import mutants
from oppcache.consistency.table import Protocol
from oppcache.consistency.vocabulary import PROPERTIES
from oppcache.opp.errors import InputError

SHARED = Model(flows=2)
SMALL = [
    SHARED.but(packets=2, promotions=1, lossy=True),
    SHARED.but(packets=3, promotions=2, demotions=2, timers=False),
    SHARED.but(packets=2, promotions=1, untagged=1),
    SHARED.but(packets=1, promotions=1, cpu_crashes=1, lossy=True),
    SHARED.but(packets=2, promotions=1, ring_drops=1),
]
LARGE = [
    SHARED.but(packets=3, promotions=1, demotions=1, lossy=True),
    SHARED.but(packets=3, promotions=1, ring_drops=1, lossy=True),
    SHARED.but(packets=2, promotions=1, nic_crashes=1, lossy=True),
    SHARED.but(packets=2, promotions=1, cpu_crashes=1, lossy=True),
    SHARED.but(packets=2, promotions=1, untagged=2, lossy=True),
    SHARED.but(packets=3, promotions=1, untagged=2),
    SHARED.but(packets=2, promotions=1, untagged=2, ring_drops=1),
    SHARED.but(packets=2, promotions=1, untagged=2, nic_crashes=1),
    SHARED.but(packets=2, promotions=1, untagged=2, cpu_crashes=1),
    SHARED.but(packets=3, promotions=1, flows=3, lossy=True),
    SHARED.but(packets=2, promotions=1, nic_crashes=1, cpu_crashes=1, lossy=True, liveness=False),
]
TWO_QUEUES = SHARED.but(queues=2)
QUEUES_SMALL = [
    TWO_QUEUES.but(packets=1, promotions=1, lossy=True),
    TWO_QUEUES.but(packets=2, promotions=1, demotions=1, timers=False),
    TWO_QUEUES.but(packets=2, promotions=1, untagged=2, timers=False),
]
QUEUES_LARGE = [
    TWO_QUEUES.but(packets=2, promotions=1, demotions=1),
    TWO_QUEUES.but(packets=2, promotions=1, demotions=1, lossy=True),
    TWO_QUEUES.but(packets=3, promotions=1, liveness=False),
    TWO_QUEUES.but(packets=1, promotions=1, ring_drops=1, lossy=True),
    TWO_QUEUES.but(packets=1, promotions=1, nic_crashes=1, lossy=True),
    TWO_QUEUES.but(packets=1, promotions=1, cpu_crashes=1, lossy=True),
    TWO_QUEUES.but(packets=2, promotions=1, untagged=1),
]
NAME = "cas-hold-queues"


def changed(old: str, new: str) -> Protocol:
    """The protocol for several queues with one change in its file."""
    text = protocol_path(NAME).read_text(encoding="utf-8")
    assert text.count(old) == 1
    return protocol_from_text(text.replace(old, new))


@pytest.mark.parametrize("model", SMALL, ids=range(len(SMALL)))
@pytest.mark.parametrize("name", ["cas", "cas-hold"])
def test_the_strong_protocols_hold_where_flows_share_a_context(name: str, model: Model) -> None:
    assert check(load_protocol(name), model).holds


@pytest.mark.parametrize("model", LARGE, ids=range(len(LARGE)))
@pytest.mark.parametrize("name", ["cas", "cas-hold"])
def test_and_so_they_do_within_large_bounds(name: str, model: Model, full: bool) -> None:
    if not full:
        pytest.skip("large bounds: --full")
    assert check(load_protocol(name), model).holds


@pytest.mark.parametrize("model", QUEUES_SMALL, ids=range(len(QUEUES_SMALL)))
def test_fences_through_every_queue_hold_where_each_flow_has_its_own(model: Model) -> None:
    assert check(load_protocol(NAME), model).holds


@pytest.mark.parametrize("model", QUEUES_LARGE, ids=range(len(QUEUES_LARGE)))
def test_and_so_they_do_with_more(model: Model, full: bool) -> None:
    if not full:
        pytest.skip("large bounds: --full")
    assert check(load_protocol(NAME), model).holds


def test_a_fence_that_counts_when_its_first_copy_has_arrived_is_found() -> None:
    wrong = check(load_protocol(NAME), TWO_QUEUES.but(packets=1, promotions=1, first_fence=True))
    assert wrong.violated == ["one-owner"]
    assert len(wrong.trace("one-owner").steps) == 7


def test_a_fence_through_one_of_the_queues_of_flows_is_found() -> None:
    wrong = check(changed("fences: every-queue\n", ""), TWO_QUEUES.but(packets=1, promotions=1))
    assert wrong.violated == ["one-owner"]
    assert len(wrong.trace("one-owner").steps) == 7


def test_the_count_of_a_late_packet_says_nothing_where_there_are_other_queues() -> None:
    late = "do: [count-try, process, send watch], next: trying}"
    wrong = check(changed(late, "do: [count-try, process, take-n, put efence, send install]}"), TWO_QUEUES.but(packets=2, promotions=1))  # fmt: skip
    assert wrong.violated == ["impossible"]
    assert len(wrong.trace("impossible").steps) == 8


def test_packets_of_a_flow_on_any_queue_keep_all_but_their_order(full: bool) -> None:
    spread = changed("steering: flow", "steering: spread")
    model = Model(packets=2, promotions=1, queues=2, timers=full)
    wrong = check(spread, model, properties=[p.name for p in PROPERTIES], to_the_end=True)
    assert wrong.complete
    assert wrong.violated == ["order", "egress-order"]
    assert len(wrong.trace("order").steps) == 4


def test_a_flow_that_shares_a_context_tells_why_a_bounced_packet_flushes() -> None:
    """A packet is held here while the NIC is handed back another: no single flow can do that."""
    found = [m for m in mutants(load_protocol("cas-hold")) if m.name == "nic holding bounced: without flush"]
    model = SHARED.but(packets=2, promotions=1, demotions=1, untagged=2, timers=False)
    assert check(load_protocol("cas-hold"), model).holds
    assert check(found[0].protocol, model.but(flows=1)).holds
    assert check(found[0].protocol, model).violated == ["liveness"]


def test_order_is_asked_within_a_flow_alone() -> None:
    model = Model(packets=2, promotions=1, queues=2)
    spread = changed("steering: flow", "steering: spread")
    told = check(spread, model.but(flows=2), properties=["order"]).trace("order").text()
    assert "packet 2 of flow 1" in told
    assert "of flow 2" not in told


@pytest.mark.parametrize("name", ["cas-hold", NAME])
def test_a_states_packets_have_one_numbering(name: str) -> None:
    model = SHARED.but(packets=3, promotions=1, cpu_crashes=1, lossy=True, queues=1 + (name == NAME))
    verdict = check(load_protocol(name), model, states_max=20_000)
    s, words = np.zeros(L.WORDS, np.int64), np.zeros(L.STORED_MAX, np.uint32)
    flows, swapped = set(), 0
    for number in range(0, 20_000, 97):
        start, end = verdict.store.starts[number : number + 2]
        stored = verdict.store.arena[start:end]
        L.unpack(verdict.store.arena, start, 1, s)
        flows.add(int(s[L.S_FLOW_OF]))
        applied = int(s[L.S_HISTORY])
        number_packets(verdict.system, s)
        assert L.pack(s, 1, words) == end - start
        assert np.array_equal(words[: end - start], stored)
        assert s[L.S_HISTORY] == applied
        for first in range(int(s[L.S_ENTERED]) - 1):
            if L.flow_of(s, first) != L.flow_of(s, first + 1):
                other = s.copy()
                _swap(verdict.system, other, first)
                there = L.pack(other, 1, words)
                swapped += not np.array_equal(words[:there], stored)
                number_packets(verdict.system, other)
                assert np.array_equal(words[: L.pack(other, 1, words)], stored)
    assert len(flows) > 2
    assert swapped > 20


def _swap(system: Any, s: np.ndarray, first: int) -> None:
    """Number two neighbours the other way round; they are of different flows, so that no flow's order changes."""
    places = IDENTITY + (1 << 3 * first) - (1 << 3 * (first + 1))
    bits = int(s[L.S_FLOW_OF]) >> 2 * first
    s[L.S_FLOW_OF] += ((bits >> 2 & 3) - (bits & 3) << 2 * first) - (
        (bits >> 2 & 3) - (bits & 3) << 2 * (first + 1)
    )
    move_packets(system.parameters, s, places)


@pytest.mark.parametrize("liveness", [True, False])
@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize("refused", [True, False])
def test_however_arrays_grow_they_hold_the_same(
    refused: bool, compact: bool, liveness: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given all room at once from a size on, or, where the system does not give so much, by eighths."""
    protocol, model = load_protocol("cas-hold"), Model(packets=2, promotions=1, lossy=True, liveness=liveness)
    before = check(protocol, model, compact=compact)
    empty, asked = np.empty, []

    def sparing(size: Any, *rest: Any) -> np.ndarray:
        asked.append(size)
        if refused and size > 2_000_000:
            raise MemoryError
        return empty(size, *rest)

    monkeypatch.setattr(store, "LARGE", 1 << 16)
    monkeypatch.setattr(np, "empty", sparing)
    after = check(protocol, model, compact=compact, memory=1 << 30)
    assert max(asked) >= (1 << 30) // 24
    assert after.holds
    assert (before.states, before.transitions) == (after.states, after.transitions)


def test_what_the_model_does_not_have_is_refused() -> None:
    with pytest.raises(InputError, match=r"flows: got 4, expected 1 to 3"):
        check(load_protocol("cas"), Model(flows=4))
    with pytest.raises(InputError, match=r"untagged: got several queues, expected one, or .* steering: flow"):
        check(load_protocol("cas"), Model(packets=1, untagged=1, queues=2))

"""Policies at work in a run: users' own beside the built-in ones, admission, and faults."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from oppcache.hybrid import Outcome, PolicyFault, Setup, simulate
from oppcache.opp import InputError, OppCacheError, load_program

# What a user would write from the guide alone: no imports.
LRU = """
def state_size(capacity, keys):
    return capacity + 1

def init(state, capacity):
    state[0] = 0

def touch(state, slot):
    state[0] += 1
    state[1 + slot] = state[0]

def hit(state, slot, now, next_use):
    touch(state, slot)

def victim(state, candidates, n, key, now, next_use):
    if n > 0:
        best = candidates[0]
        for i in range(n):
            if state[1 + candidates[i]] < state[1 + best]:
                best = candidates[i]
        return best
    best = 0
    for slot in range(state.shape[0] - 1):
        if state[1 + slot] < state[1 + best]:
            best = slot
    return best

def insert(state, slot, key, now, next_use):
    touch(state, slot)

def remove(state, slot, evicted):
    pass
"""

# Least requests ever, a count for each key: needs keys. Words: capacity, key of each slot, count of each key.
PERFECT_LFU = """
def state_size(capacity, keys):
    return 1 + capacity + keys

def init(state, capacity):
    state[0] = capacity

def hit(state, slot, now, next_use):
    state[1 + state[0] + state[1 + slot]] += 1

def count(state, slot):
    return state[1 + state[0] + state[1 + slot]]

def victim(state, candidates, n, key, now, next_use):
    best = candidates[0] if n > 0 else 0
    for i in range(n if n > 0 else state[0]):
        slot = candidates[i] if n > 0 else i
        if count(state, slot) < count(state, best):
            best = slot
    return best

def insert(state, slot, key, now, next_use):
    state[1 + slot] = key
    state[1 + state[0] + key] += 1

def remove(state, slot, evicted):
    pass
"""

# Belady's by a scan over the slots.
FURTHEST = """
NEEDS_NEXT_USE = True

def state_size(capacity, keys):
    return capacity

def init(state, capacity):
    pass

def note(state, slot, next_use):
    state[slot] = next_use if next_use >= 0 else 1 << 62

def hit(state, slot, now, next_use):
    note(state, slot, next_use)

def victim(state, candidates, n, key, now, next_use):
    best = candidates[0] if n > 0 else 0
    for i in range(n if n > 0 else state.shape[0]):
        slot = candidates[i] if n > 0 else i
        if state[slot] > state[best]:
            best = slot
    return best

def insert(state, slot, key, now, next_use):
    note(state, slot, next_use)

def remove(state, slot, evicted):
    pass
"""


def zipf(keys: int, packets: int, seed: int) -> list[int]:
    cdf = np.cumsum(1.0 / np.arange(1, keys + 1))
    return np.searchsorted(cdf / cdf[-1], np.random.Generator(np.random.PCG64(seed)).random(packets)).tolist()


TRAFFIC = zipf(300, 4_000, 5)


@pytest.fixture
def run(random_programs: ModuleType, tmp_path: Path) -> Any:
    """Run the firewall over flow numbers; policies given as text are written to files."""

    def go(flows: list[int], contexts: int = 20, gaps_ns: Any = 1_000, **policies: Any) -> Outcome:
        for kind, policy in policies.items():
            if isinstance(policy, str) and "\n" in policy:
                (tmp_path / f"{kind}.py").write_text(policy)
                policies[kind] = str(tmp_path / f"{kind}.py")
        source = random_programs.MemorySource(random_programs.vectors_of_flows(flows, gaps_ns), 977)
        return simulate(
            Setup(load_program("nf:stateful-firewall"), source, contexts, poison=True, **policies)
        )

    return go


@pytest.mark.parametrize("contexts", [1, 2, 20, 299, 1000])
def test_a_users_lru_counts_as_the_built_in_one(run: Any, contexts: int) -> None:
    assert run(TRAFFIC, contexts, eviction=LRU).metrics == run(TRAFFIC, contexts, eviction="lru").metrics


def test_a_users_policy_may_keep_state_for_every_key(run: Any) -> None:
    counts: dict[int, int] = {}
    slots: list[int] = []
    hits = 0
    for flow in TRAFFIC:
        counts[flow] = counts.get(flow, 0) + 1
        if flow in slots:
            hits += 1
        elif len(slots) < 20:
            slots.append(flow)
        else:
            slots[min(range(20), key=lambda slot: counts[slots[slot]])] = flow
    assert run(TRAFFIC, eviction=PERFECT_LFU).metrics["context_hits"] == hits


def test_a_users_policy_may_look_ahead(run: Any) -> None:
    assert run(TRAFFIC, eviction=FURTHEST).metrics == run(TRAFFIC, eviction="belady").metrics


def test_next_use_is_given_only_to_whom_asks(run: Any) -> None:
    """The policy faults at the first next_use that is not −1."""
    spy = LRU.replace(
        "    best = 0\n", "    if next_use != -1 or state[0] < 0:\n        return -9\n    best = 0\n"
    ).replace(
        "def hit(state, slot, now, next_use):\n",
        "def hit(state, slot, now, next_use):\n    if next_use != -1:\n        state[0] = -1000000\n",
    )
    assert run(TRAFFIC, eviction=spy).metrics["context_hits"] > 0
    with pytest.raises(PolicyFault):
        run(TRAFFIC, eviction="NEEDS_NEXT_USE = True\n" + spy)


def test_now_is_the_packets_time_in_ns(run: Any) -> None:
    late = LRU.replace("    best = 0\n", "    if now < 5000:\n        return -9\n    best = 0\n")
    # Loading rehearses with small times, so the check is for runs alone.
    late = late.replace("if now < 5000", "if state.shape[0] != 5 and now % 250 != 0")
    run(TRAFFIC, 20, 250, eviction=late)
    with pytest.raises(PolicyFault):
        run(TRAFFIC, 20, 251, eviction=late)


@pytest.mark.parametrize("slot", [-2, -(2**62), 20, 2**40, 2**62])
def test_a_victim_that_is_no_slot_is_a_fault_and_no_crash(run: Any, slot: int) -> None:
    # It behaves at load, where four slots are tried.
    text = LRU.replace("    best = 0\n", f"    if state.shape[0] > 5:\n        return {slot}\n    best = 0\n")
    with pytest.raises(PolicyFault, match="eviction: victim chose an empty or impossible slot") as caught:
        run(TRAFFIC, eviction=text)
    assert isinstance(caught.value, OppCacheError)


def test_an_unknown_policy_is_an_input_error(run: Any) -> None:
    with pytest.raises(InputError, match="did you mean 'sieve'"):
        run([1], eviction="seive")


# --- Admission


@pytest.mark.parametrize("k", [1, 2, 5, 9, 10, 11])
def test_admission_at_the_kth_packet(run: Any, k: int) -> None:
    """A flow's first k packets are served by the CPU; the k-th brings its context to the NIC."""
    metrics = run([7] * 10, 4, admission={"packet": k}).metrics
    assert metrics["punts"] == min(k, 10)
    assert metrics["hits"] == max(10 - k, 0)
    assert metrics["promotions"] == (k <= 10)
    assert metrics["flows_inserted"] == (k < 10)
    assert metrics["packets_covered"] == max(10 - k, 0) / 10


def test_always_is_the_first_packet(run: Any) -> None:
    assert run(TRAFFIC, admission="always").metrics == run(TRAFFIC, admission={"packet": 1}).metrics


def test_an_evicted_flow_is_admitted_again_at_once(run: Any) -> None:
    """The count is of the flow's packets, whatever became of its context meanwhile."""
    flows = [1, 1, 2, 2, 1, 1]
    metrics = run(flows, 1, admission={"packet": 2}).metrics
    assert (metrics["promotions"], metrics["evictions"], metrics["hits"]) == (3, 2, 1)


ADMIT = """
def state_size(capacity, keys):
    return 1

def init(state, capacity):
    state[0] = 0

def admit(state, key, packets, rate, now):
    return {}
"""


@pytest.mark.parametrize(
    ("body", "like"),
    [
        ("1 if packets >= 3 else 0", {"packet": 3}),
        ("1", "always"),
        ("5", "always"),  # anything but 0
    ],
)
def test_an_admission_file_decides(run: Any, body: str, like: Any) -> None:
    mine = run(TRAFFIC, admission=ADMIT.format(body)).metrics
    assert mine == run(TRAFFIC, admission=like).metrics


def test_nothing_admitted_is_a_cpu_alone(run: Any) -> None:
    metrics = run(TRAFFIC, admission=ADMIT.format("0")).metrics
    assert (metrics["hits"], metrics["promotions"], metrics["punts"]) == (0, 0, len(TRAFFIC))
    assert metrics == run(TRAFFIC, 0).metrics


def test_rate_is_packets_per_second(run: Any) -> None:
    """Gaps of 1 ms are 1000 packets/s; a flow's first packet has no rate."""
    for rate, punts in ((1, 2), (1000, 2), (1001, 8)):
        metrics = run([3] * 8, 4, 1_000_000, admission=ADMIT.format(f"1 if rate >= {rate} else 0")).metrics
        assert metrics["punts"] == punts


def test_rate_is_of_a_moving_average_of_gaps(run: Any) -> None:
    """A gap of 9 ms after one of 1 ms counts an eighth: 2 ms on average, 500 packets/s."""
    gaps = [0, 1_000_000, 9_000_000, 2_000_000, 10_000_000]
    for rate, punts in ((1000, 2), (500, 3), (333, 5), (334, 5)):
        metrics = run([3] * 5, 4, gaps, admission=ADMIT.format(f"1 if rate == {rate} else 0")).metrics
        assert metrics["punts"] == punts


def test_keys_are_dense_ids_in_order_of_appearance(run: Any) -> None:
    metrics = run([50, 40, 50, 30, 30, 40], 8, admission=ADMIT.format("1 if key == 1 else 0")).metrics
    assert (metrics["hits"], metrics["promotions"]) == (1, 1)

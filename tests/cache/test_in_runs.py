"""What runs ask of policies besides a slot (observe, release, note, prefer) and ``cache.release``, against a plain NIC."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from oppcache.cache import eviction_names
from oppcache.hybrid import PolicyFault, ReleaseSettings, Setup, simulate
from oppcache.opp import InputError, load_program
from oppcache.opp.fields import W_TCP_FLAGS
from oppcache.opp.random_streams import stream

MS = 1_000_000
FIN, SYN, RST, ACK = 1, 2, 4, 16
CLOSING = """
program: closing
tables:
  connections: {states: [open, closed], registers: [seen]}
stages:
  - name: count
    table: connections
    key: {fields: [ip.src, ip.dst, ip.proto, l4.sport, l4.dport], symmetric: true}
    entries:
      - name: reset
        match: {tcp.flags: 0x04/0x04}
        next_state: closed
        updates: [{set: R.seen, op: add, args: [R.seen, 1]}]
        actions: [{output: 1}]
      - name: begin
        match: {tcp.flags: 0x02/0x02}
        next_state: open
        updates: [{set: R.seen, op: mov, args: [1]}]
        actions: [{output: 1}]
      - name: other
        match: {valid.ip: true}
        updates: [{set: R.seen, op: add, args: [R.seen, 1]}]
        actions: [{output: 1}]
"""


class PlainNic:
    """A table of slots, one context a flow, with dictionaries; counts what the engines count."""

    def __init__(self, contexts: int, eviction: Any, release: ReleaseSettings, tinylfu: Any = None) -> None:
        self.eviction, self.release, self.tinylfu = eviction, release, tinylfu
        self.free = list(range(contexts))[::-1]
        self.slots: dict[int, int] = {}
        self.used: dict[int, int] = {}
        self.keys: dict[int, int] = {}
        self.labels: dict[int, str] = {}
        self.seen: dict[int, int] = {}
        self.closing: set[int] = set()
        self.hits = self.promotions = self.evictions = self.releases = 0

    def packet(self, flow: int, now: int, flags: int) -> None:
        key = self.keys.setdefault(flow, len(self.keys))
        self.let_go(now)
        if self.tinylfu:
            self.tinylfu.use(key, conservative=True)
            self.tinylfu.tick()
        if flow in self.slots:
            self.hits += 1
            self.eviction.hit(self.slots[flow], now, -1)
            self.used[flow] = now
        self.labels[flow] = (
            "closed" if flags & RST else "open" if flags & SYN else self.labels.get(flow, "open")
        )
        restarted = flags & SYN and not flags & RST
        self.seen[flow] = 1 if restarted else self.seen.get(flow, 0) + 1
        self.note_flags(flow, flags)
        closing = flow in self.closing or self.labels[flow] in self.release.states
        if flow in self.slots:
            if closing:
                self.vacate(flow)
            else:
                self.eviction.observe(self.slots[flow], self.seen[flow])
        elif not closing:
            self.promote(flow, key, now)

    def note_flags(self, flow: int, flags: int) -> None:
        names = {name for name, bit in (("FIN", FIN), ("RST", RST)) if flags & bit}
        if names & set(self.release.flags):
            self.closing.add(flow)
        elif flags & SYN:
            self.closing.discard(flow)

    def let_go(self, now: int) -> None:
        if self.release.idle:
            for flow in sorted(self.used, key=lambda flow: self.used[flow]):
                if now - self.used[flow] > self.release.idle:
                    self.vacate(flow)
        while (slot := self.eviction.release(now)) >= 0:
            self.vacate(next(flow for flow, s in self.slots.items() if s == slot))

    def vacate(self, flow: int) -> None:
        self.releases += 1
        self.remove(flow)

    def remove(self, flow: int) -> None:
        slot = self.slots.pop(flow)
        del self.used[flow]
        self.free.append(slot)
        self.eviction.remove(slot, True)

    def promote(self, flow: int, key: int, now: int) -> None:
        if not self.free:
            slot = self.eviction.victim([], key, now)
            if slot < 0:
                return
            loser = next(flow for flow, s in self.slots.items() if s == slot)
            if self.tinylfu and self.tinylfu.count(key) <= self.tinylfu.count(self.keys[loser]):
                return
            self.remove(loser)
            self.evictions += 1
        self.promotions += 1
        self.slots[flow] = self.free.pop()
        self.used[flow] = now
        self.eviction.insert(self.slots[flow], key, now, -1)
        self.eviction.observe(self.slots[flow], self.seen[flow])

    def counts(self) -> dict[str, int]:
        return {
            "hits": self.hits,
            "promotions": self.promotions,
            "evictions": self.evictions,
            "releases": self.releases,
            "demotions": self.evictions + self.releases,
        }


def traffic(packets: int, flows: int, seed: int) -> tuple[list[int], list[int], list[int]]:
    """Flow, stamp in ns (a millisecond apart and more: all is quiet between two packets) and TCP flags of packets."""
    rng = np.random.default_rng(seed)
    shares = np.cumsum(1 / np.arange(1, flows + 1))
    numbers = np.searchsorted(shares / shares[-1], rng.random(packets))
    gaps = rng.choice([MS, 2 * MS, 5 * MS, 40 * MS], packets, p=[0.6, 0.2, 0.15, 0.05])
    flags = rng.choice([ACK, SYN, FIN | ACK, RST], packets, p=[0.8, 0.08, 0.07, 0.05])
    return numbers.tolist(), np.cumsum(gaps).tolist(), flags.tolist()


@pytest.fixture(scope="session")
def closing(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("programs") / "closing.yaml"
    path.write_text(CLOSING)
    return load_program(str(path))


@pytest.fixture
def compare(closing: Any, random_programs: ModuleType, plain: ModuleType) -> Callable[..., dict[str, Any]]:
    """Run both engines and the plain NIC; return the metrics, which are equal."""

    def go(
        eviction: str,
        contexts: int = 9,
        packets: int = 600,
        seed: int = 0,
        release: ReleaseSettings | None = None,
        admission: str = "always",
        times: int = 1,
    ) -> dict[str, Any]:
        flows, stamps, flags = traffic(packets, 40, seed)
        stamps = [stamp * times for stamp in stamps]
        release = release or ReleaseSettings()
        vectors = random_programs.vectors_of_flows(flows, np.diff(stamps, prepend=0))
        vectors[:, W_TCP_FLAGS] = flags
        source = random_programs.MemorySource(vectors, 211)
        setup = Setup(closing, source, contexts, eviction, admission, release=release, poison=True)
        sketch = plain.Sketch(16 * contexts, 10 * contexts) if admission == "tinylfu" else None
        policy = plain.PLAIN[eviction](contexts)
        if eviction == "random":
            policy.seed(int(stream(0, "cache.eviction.0").integers(1, 2**31 - 1)))
        nic = PlainNic(contexts, policy, release, sketch)
        for flow, stamp, flag in zip(flows, stamps, flags, strict=True):
            nic.packet(flow, stamp, flag)
        wanted = nic.counts()
        for one in (setup, replace(setup, organisation="fully-associative")):
            metrics = simulate(one).metrics
            assert {name: metrics[name] for name in wanted} == wanted, one.organisation
        return metrics

    return go


PLAINEST = [name for name in eviction_names() if name not in ("belady", "rebalance")]


@pytest.mark.parametrize("eviction", PLAINEST)
def test_policies_see_registers_and_release_slots_in_both_engines(compare: Any, eviction: str) -> None:
    metrics = compare(eviction, times=400)  # with gaps of seconds, so that lru-idle has something to release
    assert (metrics["releases"] > 0) == (eviction in ("lru-idle", "slru"))
    assert metrics["hits"] > 0


def test_registers_matter(compare: Any) -> None:
    hits = {name: compare(name, seed=3)["hits"] for name in ("lowest-r0", "highest-r0", "fifo")}
    assert hits["lowest-r0"] > hits["fifo"] > hits["highest-r0"]


@pytest.mark.parametrize("eviction", ["lru", "arc", "sieve"])
@pytest.mark.parametrize(
    "release",
    [
        ReleaseSettings(idle=30 * MS + MS // 2),
        ReleaseSettings(states=("closed",)),
        ReleaseSettings(flags=("FIN", "RST")),
        ReleaseSettings(flags=("FIN",)),
        ReleaseSettings(100 * MS + MS // 2, ("closed",), ("FIN",)),
    ],
    ids=["idle", "state", "flags", "FIN", "all"],
)
def test_contexts_give_their_slots_up(compare: Any, eviction: str, release: ReleaseSettings) -> None:
    for seed in range(3):
        metrics = compare(eviction, release=release, seed=seed)
        assert metrics["releases"] >= 5
        assert metrics["hits"] > 0


def test_a_released_context_is_whole_on_the_cpu(closing: Any, random_programs: ModuleType) -> None:
    """With cas at full speed the releases move contexts by messages; the final state is the machine's."""
    flows, _, flags = traffic(3_000, 40, 1)
    vectors = random_programs.vectors_of_flows(flows, [2_000] * len(flows))
    vectors[:, W_TCP_FLAGS] = flags
    release = ReleaseSettings(50_000, ("closed",), ("FIN",))
    source = random_programs.MemorySource(vectors, 500)
    alone = simulate(Setup(closing, source, 0))
    for protocol in ("cas", "cas-hold", "buffer-forward", "instant"):
        setup = Setup(closing, source, 16, profile="netfpga-sume", protocol=protocol, release=release)
        outcome = simulate(setup)
        assert outcome.contexts() == alone.contexts()
        assert outcome.metrics["releases"] > 0
        assert outcome.metrics["lost_updates"] == outcome.metrics["reorders"] == 0


@pytest.mark.parametrize("organisation", ["direct-mapped", "set-associative", "d-left", "cuckoo"])
@pytest.mark.parametrize("eviction", [name for name in eviction_names() if name != "belady"])
def test_policies_choose_among_the_places_that_a_table_offers(
    closing: Any, random_programs: ModuleType, eviction: str, organisation: str
) -> None:
    """Where only a few slots are candidates: no victim is impossible, nothing is lost, and what is popular hits."""
    flows, stamps, flags = traffic(2_500, 150, 4)
    vectors = random_programs.vectors_of_flows(flows, np.diff(stamps, prepend=0) * 20)
    vectors[:, W_TCP_FLAGS] = flags
    source = random_programs.MemorySource(vectors, 700)
    alone = simulate(Setup(closing, source, 0)).contexts()
    for admission in ("always", "tinylfu"):
        setup = Setup(closing, source, 40, eviction, admission, organisation=organisation, poison=True)
        outcome = simulate(setup)
        assert outcome.contexts() == alone
        assert outcome.metrics["evictions"] > (50 if admission == "always" else 0)
        assert outcome.metrics["hits"] > 300


def test_numbers_name_states_too(closing: Any, random_programs: ModuleType) -> None:
    flows, stamps, flags = traffic(400, 40, 2)
    vectors = random_programs.vectors_of_flows(flows, np.diff(stamps, prepend=0))
    vectors[:, W_TCP_FLAGS] = flags
    source = random_programs.MemorySource(vectors, 500)
    by_name, by_number = (
        simulate(Setup(closing, source, 9, release=ReleaseSettings(states=(state,)))).metrics
        for state in ("closed", 1)
    )
    assert by_name == by_number
    with pytest.raises(
        InputError, match="got 'close', expected a state label of the program; it has: closed, open"
    ):
        simulate(Setup(closing, source, 9, release=ReleaseSettings(states=("close",))))


@pytest.mark.parametrize("eviction", PLAINEST)
def test_tinylfu_compares_the_newcomer_with_whoever_would_go(compare: Any, eviction: str) -> None:
    """The policies go on with a victim that stays after all."""
    for seed in range(2):
        metrics = compare(eviction, admission="tinylfu", seed=seed, contexts=6 + seed)
        assert metrics["hits"] > 0


def test_tinylfu_keeps_out_what_comes_once(compare: Any) -> None:
    evictions = {name: compare("lru", admission=name)["evictions"] for name in ("always", "tinylfu")}
    hits = {name: compare("lru", admission=name)["hits"] for name in ("always", "tinylfu")}
    assert evictions["tinylfu"] < evictions["always"] / 2
    assert hits["tinylfu"] > hits["always"]


WILD = """
def state_size(capacity, keys):
    return 1

def init(state, capacity):
    pass

def hit(state, slot, now, next_use):
    pass

def victim(state, candidates, n, key, now, next_use):
    return candidates[0] if n > 0 else 0

def insert(state, slot, key, now, next_use):
    state[0] += 1

def remove(state, slot, evicted):
    pass

def release(state, now):
    return {slot} if state[0] > 5 else -1
"""


@pytest.mark.parametrize("slot", [-7, 8, 9, 2**62])
@pytest.mark.parametrize("organisation", ["", "fully-associative"])
def test_releasing_an_impossible_slot_is_a_fault(
    closing: Any, random_programs: ModuleType, tmp_path: Path, slot: int, organisation: str
) -> None:
    (tmp_path / "wild.py").write_text(WILD.format(slot=slot))
    source = random_programs.MemorySource(random_programs.vectors_of_flows(list(range(30)), MS), 10)
    setup = Setup(closing, source, 9, str(tmp_path / "wild.py"), organisation=organisation)
    with pytest.raises(PolicyFault, match="wild: victim or release chose an empty or impossible slot"):
        simulate(setup)

"""Caching whole connections: equal to caching contexts where a connection has one, else to a plain version."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from random import Random
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from oppcache.cache import eviction_names
from oppcache.hybrid import ReleaseSettings, Setup, simulate
from oppcache.opp import InputError, load_program
from oppcache.opp.fields import (
    W_HEADERS,
    W_IN_PORT,
    W_IP_DST,
    W_IP_PROTO,
    W_IP_SRC,
    W_L4_DPORT,
    W_L4_SPORT,
    W_TCP_FLAGS,
    Header,
)
from oppcache.opp.lower import lower
from oppcache.traffic import make_generator

TWO_TABLES = """
program: two-tables
tables:
  connections: {states: [new, open], registers: [seen]}
  hosts: {registers: [packets]}
stages:
  - name: track
    table: connections
    key: {fields: [ip.src, ip.dst, ip.proto, l4.sport, l4.dport], symmetric: true}
    entries:
      - name: any
        match: {valid.ip: true}
        next_state: open
        updates: [{set: R.seen, op: add, args: [R.seen, 1]}]
  - name: meter
    table: hosts
    key: [ip.src]
    entries:
      - name: any
        match: {valid.ip: true}
        updates: [{set: R.packets, op: add, args: [R.packets, 1]}]
        actions: [{output: 1}]
"""
NAMES = [name for name in eviction_names() if name not in ("lowest-r0", "highest-r0")]


class PlainBundles:
    """Connections in slots, with the contexts that they hold; dictionaries and sets."""

    def __init__(self, contexts: int, eviction: Any, threshold: int) -> None:
        self.contexts, self.eviction, self.threshold = contexts, eviction, threshold
        self.free = list(range(contexts))[::-1]
        self.slots: dict[int, int] = {}
        self.held: dict[int, list[Any]] = {}
        self.keys: dict[int, int] = {}
        self.seen: dict[int, int] = {}
        self.hits = self.context_hits = self.promotions = self.demotions = self.crossings = self.releases = 0

    def on_nic(self) -> set[Any]:
        return {context for held in self.held.values() for context in held}

    def packet(self, connection: int, wanted: list[Any], now: int) -> None:
        self.seen[connection] = self.seen.get(connection, 0) + 1
        key = self.keys.setdefault(connection, len(self.keys))
        while (idle := self.eviction.release(now)) >= 0:
            self.releases += self.drop(idle)
        if connection in self.slots:
            self.eviction.hit(self.slots[connection], now, -1)
        there = [context in self.on_nic() for context in wanted]
        self.context_hits += sum(there)
        self.hits += all(there)
        sides = [True, *there, True]  # it enters and leaves on the NIC
        self.crossings += sum(a != b for a, b in pairwise(sides))
        if connection in self.slots:
            if self.make_room(wanted, connection, key, now):
                self.join(connection, wanted)
        elif self.seen[connection] >= self.threshold:
            full = not self.free and not self.evict(None, key, now)
            if not full and self.make_room(wanted, None, key, now):
                self.slots[connection] = self.free.pop()
                self.held[connection] = []
                self.eviction.insert(self.slots[connection], key, now, -1)
                self.join(connection, wanted)

    def join(self, connection: int, wanted: list[Any]) -> None:
        self.promotions += len(set(wanted) - self.on_nic())
        self.held[connection] += [context for context in wanted if context not in self.held[connection]]

    def make_room(self, wanted: list[Any], own: int | None, key: int, now: int) -> bool:
        for table in [context[0] for context in wanted]:
            while True:
                there = {context for context in self.on_nic() if context[0] == table}
                if len(there | {context for context in wanted if context[0] == table}) <= self.contexts:
                    break
                if not self.evict(own, key, now):
                    return False
        return True

    def evict(self, own: int | None, key: int, now: int) -> bool:
        if not self.slots:
            return False
        slot = self.eviction.victim([], key, now)
        if slot < 0 or self.slots.get(own) == slot:
            return False
        self.drop(slot)
        return True

    def drop(self, slot: int) -> int:
        """Empty a slot; returns how many contexts left the NIC."""
        before = self.on_nic()
        loser = next(connection for connection, s in self.slots.items() if s == slot)
        self.free.append(self.slots.pop(loser))
        del self.held[loser]
        gone = len(before - self.on_nic())
        self.demotions += gone
        self.eviction.remove(slot, True)
        return gone

    def counts(self) -> dict[str, int]:
        return {
            "hits": self.hits,
            "context_hits": self.context_hits,
            "promotions": self.promotions,
            "demotions": self.demotions,
            "evictions": self.demotions - self.releases,
            "releases": self.releases,
            "crossings": self.crossings,
        }


@pytest.fixture(scope="module")
def two_tables(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("programs") / "two-tables.yaml"
    path.write_text(TWO_TABLES)
    return load_program(str(path))


@pytest.mark.parametrize("eviction", NAMES)
def test_a_bundle_of_one_context_is_that_context(eviction: str) -> None:
    def run(unit: str, **more: Any) -> dict[str, Any]:
        source = make_generator({"model": "caida-like", "flows": 300, "zipf": 1.0}, 3, 4_000)
        program = load_program("nf:stateful-firewall")
        return simulate(Setup(program, source, 20, eviction, unit=unit, poison=True, **more)).metrics

    assert run("bundle") == run("context")
    release = ReleaseSettings(idle=20_000)
    released = run("bundle", release=release)
    assert released == run("context", release=release)
    assert released["releases"] > 0
    for admission in ("tinylfu", {"packet": 3}, {"count-min": 2}, {"rate": 50_000}):
        assert run("bundle", admission=admission) == run("context", admission=admission)


def test_bundles_end_with_their_contexts(random_programs: ModuleType) -> None:
    """A program that forgets: the firewall for UDP has an idle timeout."""
    gaps = np.random.default_rng(2).choice([1_000_000, 40_000_000_000], 3_000, p=[0.97, 0.03])

    def run(unit: str) -> dict[str, Any]:
        flows = np.random.default_rng(1).integers(0, 30, 3_000).tolist()
        program = load_program("nf:udp-stateful-firewall")
        layout = lower(program).layout
        vectors = np.zeros((3_000, layout.words), np.uint64)
        core = random_programs.vectors_of_flows(flows, gaps)
        vectors[:, : core.shape[1]] = core
        vectors[:, W_HEADERS] ^= np.uint64(1 << Header.TCP | 1 << Header.UDP)
        vectors[:, W_IP_PROTO] = 17
        vectors[:, W_IN_PORT] = np.random.default_rng(3).integers(1, 3, 3_000)  # only one of them opens anew
        for name, port in (("udp.sport", 1000), ("udp.dport", 80)):
            vectors[:, layout.word_of[name]] = port
        source = random_programs.MemorySource(vectors, 500)
        return simulate(Setup(program, source, 8, "lru", unit=unit, poison=True)).metrics

    metrics = run("bundle")
    assert metrics == run("context")
    # More were put on the NIC than left it for others, or are there: the rest have ended.
    assert metrics["promotions"] > metrics["evictions"] + 8


def directed(packets: int, seed: int, random_programs: ModuleType) -> tuple[list[Any], np.ndarray]:
    """(connection, source host) of packets among few hosts in both directions, and their header vectors."""
    rng = np.random.default_rng(seed)
    vectors = random_programs.vectors_of_flows([0] * packets, 1_000)
    seen = []
    for i in range(packets):
        a, b = rng.zipf(1.4) % 12, 12 + rng.zipf(1.4) % 12
        port = 1000 + rng.integers(0, 2)
        source, destination, sport, dport = (a, b, port, 80) if rng.random() < 0.6 else (b, a, 80, port)
        vectors[i, W_IP_SRC + 1] += np.uint64(source)
        vectors[i, W_IP_DST + 1] = (0xFFFF << 32 | 0x0A000000) + destination
        vectors[i, W_L4_SPORT], vectors[i, W_L4_DPORT] = sport, dport
        seen.append(((a, b, port), source))
    return seen, vectors


@pytest.mark.parametrize("eviction", ["lru", "fifo", "sieve", "slru", "arc", "s3fifo", "lfu", "wtinylfu"])
@pytest.mark.parametrize("contexts", [1, 2, 7, 20])
def test_bundles_of_shared_contexts_are_those_of_the_plain_version(
    two_tables: Any, random_programs: ModuleType, plain: ModuleType, eviction: str, contexts: int
) -> None:
    for seed, threshold in [(0, 1), (1, 3)]:
        seen, vectors = directed(700, seed, random_programs)
        cache = PlainBundles(contexts, plain.PLAIN[eviction](contexts), threshold)
        for i, (connection, host) in enumerate(seen):
            cache.packet(connection, [("connections", connection), ("hosts", host)], 1_000 * (i + 1))
        source = random_programs.MemorySource(vectors, 300)
        setup = Setup(
            two_tables, source, contexts, eviction, {"packet": threshold}, unit="bundle", poison=True
        )
        metrics = simulate(setup).metrics
        wanted = cache.counts()
        assert {name: metrics[name] for name in wanted} == wanted


def test_bundles_change_no_verdict_and_no_context(random_programs: ModuleType, full: bool) -> None:
    rng = Random(8)
    done = 0
    while done < (400 if full else 40):
        drawn = random_programs.draw(rng, 60)
        if drawn is None:
            continue
        program, vectors, expected = drawn
        done += 1
        seen = random_programs.Observed()
        source = random_programs.MemorySource(vectors, 17)
        setup = Setup(
            program, source, rng.choice([0, 1, 3, 8]), rng.choice(NAMES), seed=60, unit="bundle", poison=True
        )
        outcome = simulate(setup, observe=seen)
        seen.check(expected, outcome)


def test_bundles_run_without_compilation(run_script: Callable[..., str]) -> None:
    """What plain Python counts is what compiled code counts, hooks of the policies included."""
    script = (
        "from oppcache.hybrid import ReleaseSettings, Setup, simulate\n"
        "from oppcache.opp import load_program\n"
        "from oppcache.traffic import make_generator\n"
        "program = load_program('nf:metered-firewall')\n"
        "for eviction, admission in (('lru-idle', 'tinylfu'), ('sieve', 'always'), ('belady', 'count-min')):\n"
        "    source = make_generator({'model': 'caida-like', 'flows': 40}, 0, 400)\n"
        "    release = ReleaseSettings(20_000, (), ('FIN',))\n"
        "    setup = Setup(program, source, 7, eviction, admission, unit='bundle', release=release)\n"
        "    print(simulate(setup).metrics)\n"
    )
    printed = [run_script(script), run_script(script, NUMBA_DISABLE_JIT="1")]
    assert printed[0] == printed[1]
    assert "'releases': 0" not in printed[0].splitlines()[1]


@pytest.mark.parametrize("eviction", ["random", "lru", "sieve"])
def test_whole_connections_hit_more_packets_with_fewer_contexts(eviction: str) -> None:
    """A table with one context a connection, and one with two: single contexts fill the first with what is no use."""
    program = load_program("nf:metered-firewall")
    bundle, context = (
        simulate(
            Setup(
                program,
                make_generator({"model": "caida-like", "flows": 4_000}, 0, 20_000),
                512,
                eviction,
                unit=unit,
                poison=True,
            )
        ).metrics
        for unit in ("bundle", "context")
    )
    assert bundle["hits"] > context["hits"]
    assert bundle["context_hits"] < context["context_hits"]


def test_what_bundles_cannot_have_is_refused(two_tables: Any, random_programs: ModuleType) -> None:
    source = random_programs.MemorySource(random_programs.vectors_of_flows([1, 2]), 2)
    for more, told in [
        ({"profile": "netfpga-sume"}, "a bundle moves at once, expected nic.profile ideal"),
        ({"organisation": "cuckoo"}, "without organisation"),
        ({"eviction": "lowest-r0"}, "no one register"),
        ({"unit": "bundles"}, "expected context or bundle"),
    ]:
        with pytest.raises(InputError, match=told):
            simulate(Setup(two_tables, source, 4, **{"unit": "bundle", **more}))


def test_flags_release_the_whole_bundle(two_tables: Any, random_programs: ModuleType) -> None:
    """Two contexts a connection, of hosts that no other shares: both leave with the FIN."""
    vectors = random_programs.vectors_of_flows([1, 1, 2, 1, 2, 1, 1], 1_000)
    vectors[:, W_TCP_FLAGS] = [2, 16, 2, 17, 16, 16, 2]
    source = random_programs.MemorySource(vectors, 3)
    release = ReleaseSettings(flags=("FIN",))
    metrics = simulate(Setup(two_tables, source, 4, unit="bundle", release=release)).metrics
    # Of connection 1 the second and fourth packet hit; the last but one finds it closing, the last begins anew.
    assert (metrics["hits"], metrics["releases"], metrics["promotions"]) == (3, 2, 6)

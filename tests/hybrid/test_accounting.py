"""What a run counts, against the same counts kept by hand in plain Python."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oppcache.hybrid import Setup, simulate, simulation
from oppcache.opp import InputError, load_program
from oppcache.opp.fields import W_HEADERS, W_ID, W_IP_DST, W_IP_SRC, W_L4_DPORT, W_LENGTH, W_NOW

TWO_TABLES = {
    "program": "two-tables",
    "tables": {"unused": {}, "sources": {}, "servers": {}},
    "stages": [
        {"name": "plain"},
        {"name": "by-source", "table": "sources", "key": ["ip.src"]},
        {"name": "by-server", "table": "servers", "key": ["ip.dst"]},
        {
            "name": "last",
            "entries": [
                {"match": {"l4.dport": 1}, "actions": ["drop"]},
                {"match": {"l4.dport": 2}, "actions": ["to_controller"]},
                {"match": {"l4.dport": 3}, "actions": [{"output": 9}]},
            ],
        },
    ],
}


class ByHand:
    """An LRU cache of contexts a table and the path of each packet, counted the long way."""

    def __init__(self, contexts: int) -> None:
        self.contexts = contexts
        self.cached: dict[str, list[int]] = {"sources": [], "servers": []}
        self.admitted: set[int] = set()
        self.begin()

    def begin(self) -> None:
        names = (
            "packets bytes looked looked_bytes hits hit_bytes offloaded punts bounces crossings promotions "
        )
        names += "evictions covered forwarded dropped to_controller undecided"
        self.n = dict.fromkeys(names.split(), 0)
        self.lookups = {"sources": 0, "servers": 0}
        self.found = {"sources": 0, "servers": 0}
        self.flows: set[int] = set()
        self.covered_flows: set[int] = set()
        self.connections: set[Any] = set()

    def packet(self, source: int, server: int, verdict: int, length: int, is_ip: bool) -> None:
        n = self.n
        on_cpu = crossed = False
        for table, key in (("sources", source), ("servers", server)) if is_ip else ():
            self.lookups[table] += 1
            if table == "sources":
                self.flows.add(key)
                if key in self.admitted:
                    n["covered"] += 1
                    self.covered_flows.add(key)
            cached = self.cached[table]
            if key in cached:
                self.found[table] += 1
                n["bounces"] += on_cpu
                n["crossings"] += on_cpu
                on_cpu = False
                cached.remove(key)
                cached.append(key)
                continue
            n["punts"] += not on_cpu
            n["crossings"] += not on_cpu
            on_cpu = crossed = True
            if self.contexts:
                if len(cached) == self.contexts:
                    cached.pop(0)
                    n["evictions"] += 1
                cached.append(key)
                n["promotions"] += 1
                if table == "sources":
                    self.admitted.add(key)
        n["crossings"] += on_cpu and verdict != 1
        n["packets"] += 1
        n["bytes"] += length
        n["offloaded"] += not crossed
        n[("undecided", "dropped", "to_controller", "forwarded")[verdict if is_ip else 0]] += 1
        if is_ip:
            self.connections.add((source, server, verdict))
            n["looked"] += 1
            n["looked_bytes"] += length
            n["hits"] += not crossed
            n["hit_bytes"] += 0 if crossed else length

    def metrics(self) -> dict[str, Any]:
        n = self.n

        def ratio(part: int, whole: int) -> float | None:
            return part / whole if whole else None

        out = {
            name: n[name]
            for name in [
                "packets",
                "bytes",
                "hits",
                "punts",
                "bounces",
                "crossings",
                "promotions",
                "evictions",
            ]
        }
        return out | {
            "demotions": n["evictions"],
            "flows": len(self.connections),
            "hit_rate": ratio(n["hits"], n["looked"]),
            "offload_rate": ratio(n["offloaded"], n["packets"]),
            "byte_hit_rate": ratio(n["hit_bytes"], n["looked_bytes"]),
            "context_hits": sum(self.found.values()),
            "context_hit_rate": ratio(sum(self.found.values()), sum(self.lookups.values())),
            "context_hit_rate.unused": None,
            "context_hit_rate.sources": ratio(self.found["sources"], self.lookups["sources"]),
            "context_hit_rate.servers": ratio(self.found["servers"], self.lookups["servers"]),
            "flows_inserted": ratio(len(self.covered_flows), len(self.flows)),
            "packets_covered": ratio(n["covered"], n["packets"]),
            "packets_forwarded": n["forwarded"],
            "packets_dropped": n["dropped"],
            "packets_to_controller": n["to_controller"],
            "packets_undecided": n["undecided"],
        }


PACKET = st.tuples(
    st.integers(0, 5), st.integers(0, 3), st.integers(0, 3), st.integers(60, 1500), st.integers(0, 9)
)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(
    packets=st.lists(PACKET, max_size=40),
    contexts=st.integers(0, 4),
    warmup=st.sampled_from([0.0, 0.0, 0.1, 0.5, 0.99]),
    chunk=st.integers(1, 11),
)
def test_every_metric_is_what_it_says(
    random_programs: ModuleType, packets: list[tuple[int, ...]], contexts: int, warmup: float, chunk: int
) -> None:
    vectors = random_programs.vectors_of_flows([p[0] for p in packets], 1000)
    by_hand = ByHand(contexts)
    skip = int(warmup * len(packets))
    for i, (source, server, verdict, length, other) in enumerate(packets):
        if i == skip:
            by_hand.begin()
        vectors[i, W_IP_DST + 1], vectors[i, W_L4_DPORT], vectors[i, W_LENGTH] = (
            0xFFFF << 32 | server,
            verdict,
            length,
        )
        if other == 0:  # no IP
            vectors[i, W_HEADERS] = 0
        by_hand.packet(source, server, verdict, length, other != 0)
    program = load_program(TWO_TABLES)
    source = random_programs.MemorySource(vectors, chunk)
    metrics = simulate(Setup(program, source, contexts, "lru", warmup=warmup, poison=True)).metrics
    expected = by_hand.metrics()
    assert {name: metrics[name] for name in expected} == expected
    rest = metrics.keys() - expected.keys()
    first = vectors[skip:, W_NOW]
    assert metrics["sim_seconds"] == ((int(first[-1]) - int(first[0])) / 1e9 if len(first) else 0)
    assert all(metrics[name] == 0 for name in rest - {"sim_seconds"})


def nothing(metrics: dict[str, Any]) -> None:
    """Rates are None where there is nothing to divide by, counts 0."""
    for name in ("hit_rate", "byte_hit_rate", "context_hit_rate", "flows_inserted"):
        assert metrics[name] is None, name
    for name in ("hits", "punts", "crossings", "promotions", "flows", "context_hits"):
        assert metrics[name] == 0, name


@pytest.mark.parametrize("contexts", [0, 1, 4096])
@pytest.mark.parametrize("eviction", ["lru", "fifo", "sieve", "belady"])
@pytest.mark.parametrize("warmup", [0.0, 0.5])
def test_no_packets_and_no_ip_are_nothing_to_divide_by(
    random_programs: ModuleType, contexts: int, eviction: str, warmup: float
) -> None:
    program = load_program("nf:stateful-firewall-2stage")
    empty = random_programs.vectors_of_flows([])
    outcome = simulate(Setup(program, random_programs.MemorySource(empty), contexts, eviction, warmup=warmup))
    nothing(outcome.metrics)
    assert outcome.metrics["packets"] == 0
    assert outcome.metrics["offload_rate"] is None
    assert outcome.contexts() == {"connections": {}}
    layout_words = 17  # the program has one metadata word
    other = np.zeros((100, layout_words), np.uint64)
    other[:, W_ID] = np.arange(100)
    source = random_programs.MemorySource(other, 33)
    outcome = simulate(Setup(program, source, contexts, eviction, warmup=warmup))
    nothing(outcome.metrics)
    assert outcome.metrics["packets"] == outcome.metrics["packets_undecided"] == (50 if warmup else 100)
    assert outcome.metrics["offload_rate"] == 1
    assert outcome.contexts() == {"connections": {}}


def test_a_program_without_tables_or_stages_runs(random_programs: ModuleType) -> None:
    vectors = random_programs.vectors_of_flows([1, 2, 3])
    for stages in ([], [{"name": "all", "default": {"actions": [{"output": 1}]}}]):
        program = load_program({"program": "p", "stages": stages})
        outcome = simulate(Setup(program, random_programs.MemorySource(vectors), 4))
        nothing(outcome.metrics | {"flows": 0})
        assert outcome.metrics["packets_forwarded"] == 3 * len(stages)
        assert outcome.metrics["flows"] == 3


@pytest.mark.parametrize(
    ("wrong", "fragment"),
    [
        ({"contexts": -1}, "contexts: got -1"),
        ({"warmup": 1.0}, "warmup: got 1.0"),
        ({"warmup": -0.1}, "warmup: got -0.1"),
        ({"protocol": "instan"}, "did you mean 'instant'"),
        ({"profile": "ideall"}, "did you mean 'ideal'"),
    ],
)
def test_a_setup_that_makes_no_sense_is_an_input_error(
    random_programs: ModuleType, wrong: dict[str, Any], fragment: str
) -> None:
    source = random_programs.MemorySource(random_programs.vectors_of_flows([1]))
    with pytest.raises(InputError) as caught:
        simulate(Setup(load_program("nf:stateful-firewall"), source, **wrong))
    assert fragment in str(caught.value)


SHARED = {
    "program": "shared",
    "tables": {"hosts": {"registers": ["n"]}},
    "stages": [
        {
            "name": name,
            "table": "hosts",
            "key": ["ip.src"],
            "default": {"updates": [{"set": "R.n", "op": "add", "args": ["R.n", 1]}]},
        }
        for name in ("first", "second")
    ],
}


def test_a_table_that_two_stages_share_counts_each_packet_of_a_flow_once(random_programs: ModuleType) -> None:
    source = random_programs.MemorySource(random_programs.vectors_of_flows([1] * 10))
    outcome = simulate(Setup(load_program(SHARED), source, 4, admission={"packet": 3}, poison=True))
    assert outcome.contexts()["hosts"][(4, 0x0A000001),][1] == (20,)
    # The third packet brings its context to the NIC in the first stage, and bounces there in the second.
    assert outcome.metrics["promotions"] == outcome.metrics["bounces"] == 1
    assert outcome.metrics["context_hits"] == 15
    assert outcome.metrics["hits"] == 7
    assert outcome.metrics["packets_covered"] == 0.7
    assert outcome.metrics["flows_inserted"] == 1


def test_flows_are_counted_as_they_entered(random_programs: ModuleType) -> None:
    """A program that rewrites ports does not merge connections."""
    vectors = random_programs.vectors_of_flows([1, 1, 1])
    vectors[:, W_L4_DPORT] = [80, 81, 82]
    rewriting = {
        "program": "p",
        "stages": [{"name": "all", "default": {"actions": [{"set": {"l4.dport": 80}}]}}],
    }
    outcome = simulate(Setup(load_program(rewriting), random_programs.MemorySource(vectors), 4))
    assert outcome.metrics["flows"] == 3


DELETING = {
    "program": "deleting",
    "tables": {"hosts": {}},
    "stages": [
        {"name": "count", "table": "hosts", "key": ["ip.src"]},
        {
            "name": "forget",
            "entries": [
                {
                    "match": {"l4.dport": 7},
                    "writes": [{"table": "hosts", "key": ["ip.dst"], "next_state": "delete"}],
                }
            ],
        },
    ],
}


def test_a_context_that_a_stateless_stage_deletes_frees_its_slot(random_programs: ModuleType) -> None:
    """Three hosts take the NIC's two slots in turn; each is forgotten before the next, so none is evicted."""
    vectors = random_programs.vectors_of_flows([1, 2, 3, 4])
    vectors[1:, W_IP_DST + 1] = vectors[:-1, W_IP_SRC + 1]  # the source before
    vectors[1:, W_L4_DPORT] = 7
    for eviction in ("lru", "fifo", "sieve", "belady"):
        source = random_programs.MemorySource(vectors)
        outcome = simulate(Setup(load_program(DELETING), source, 2, eviction, poison=True))
        assert outcome.metrics["evictions"] == 0
        assert outcome.metrics["promotions"] == 4
        assert list(outcome.contexts()["hosts"]) == [((4, 0x0A000004),)]


EXPIRING = {
    "program": "expiring",
    "tables": {"servers": {}, "hosts": {}},
    "stages": [
        {"name": "servers", "table": "servers", "key": ["ip.dst"]},
        {
            "name": "hosts",
            "table": "hosts",
            "key": ["ip.src"],
            "create": "on-write",
            "entries": [
                {"match": {"l4.dport": 80}, "next_state": 1, "idle": "3ns"},
                {
                    "match": {"l4.dport": 2},
                    "writes": [{"table": "servers", "key": ["ip.dst"], "next_state": "delete"}],
                },
            ],
        },
    ],
}


@pytest.mark.parametrize("port", [2, 3])
def test_a_context_that_expires_at_its_lookup_frees_its_slot(random_programs: ModuleType, port: int) -> None:
    """Whether or not the same entry deletes another context on the NIC."""
    vectors = random_programs.vectors_of_flows([1, 1, 2, 3], 1_000)
    vectors[1, W_L4_DPORT] = port
    source = random_programs.MemorySource(vectors)
    run = simulation.ContextRun(Setup(load_program(EXPIRING), source, 2, "lru", poison=True))
    outcome = run.run(None, None)
    random_programs.check_slots(run)
    assert sorted(outcome.contexts()["hosts"]) == [((4, 0x0A000002),), ((4, 0x0A000003),)]
    assert outcome.metrics["evictions"] == 0

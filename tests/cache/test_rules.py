"""Rule caching: what the NIC says with some of the entries is what all of them say, and greedy choices are good."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oppcache._jit import kernel
from oppcache.cache.rules import (
    ALGORITHMS,
    TO_CPU,
    Dependencies,
    NicSide,
    RuleCache,
    Selection,
    dependencies_of,
    nic_side,
    select,
)
from oppcache.opp import Machine, load_program
from oppcache.opp import arrays as A
from oppcache.opp import rows as rows_module
from oppcache.opp.contexts import location, make_store
from oppcache.opp.errors import InputError
from oppcache.opp.fields import (
    W_FAMILY,
    W_HEADERS,
    W_IP_DST,
    W_IP_PROTO,
    W_IP_SRC,
    W_L4_DPORT,
    W_L4_SPORT,
    W_NOW,
    Header,
)
from oppcache.opp.lower import Lowered, lower
from oppcache.opp.step import begin, carry_out, choose, find_context

PORTS = ("0-65535", "1024-65535", "0-1023", 80, "5-9", "1000-1007", "0x50/0xfff0", [80, 443, "8000-8100"])
PREFIXES = ("0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "2001:db8::/32")


def make_match(rng: random.Random, stateful: bool) -> dict[str, Any]:
    match: dict[str, Any] = {}
    for name, values in (
        ("ip.src", PREFIXES),
        ("ip.dst", PREFIXES),
        ("l4.sport", PORTS),
        ("l4.dport", PORTS),
        ("ip.proto", (6, 17, "0x06/0x0f", [6, 17])),
        ("metadata.m", (0, 1, "1-2")),
        ("valid.tcp", (True, False)),
        ("tcp.flags", ("0x02/0x12", "0x10/0x10")),
        ("C.late", (True, False)),
        *((("state", ("none", "idle", "busy", ["idle", "busy"])), ("direction", (0, 1))) if stateful else ()),
    ):
        if rng.random() < (0.5 if name.startswith(("ip.", "l4.", "state")) else 0.12):
            match[name] = rng.choice(values)  # type: ignore[arg-type]
    return match


def make_program(rng: random.Random, count: int) -> Lowered:
    """One stage of overlapping entries, each of which can be told by its port; half of them stateful."""
    stateful = rng.random() < 0.5
    entries = []
    for i in range(count):
        match = make_match(rng, stateful)
        entry: dict[str, Any] = {
            "name": f"e{i}",
            "priority": i,
            "match": match,
            "actions": [{"output": i + 1}],
        }
        if stateful and match.get("state") != "none" and rng.random() < 0.3:
            entry["next_state"] = rng.choice(("idle", "busy"))
        entries.append(entry)
    rng.shuffle(entries)
    stage: dict[str, Any] = {
        "name": "many",
        "conditions": {"late": ["now", "gt", 50]},
        "entries": entries,
    }
    if rng.random() < 0.7:
        stage["default"] = {"actions": [{"output": 1000}]}
    if stateful:
        stage |= {"table": "t", "key": {"fields": ["ip.src", "ip.dst"], "symmetric": True}}
    document = {
        "program": "rules",
        "metadata": ["m"],
        "tables": {"t": {"states": ["idle", "busy"]}} if stateful else {},
        "stages": [stage],
    }
    return lower(load_program(document))


def make_packets(rng: random.Random, lowered: Lowered, count: int) -> np.ndarray:
    rows = np.zeros((count, lowered.layout.words), np.uint64)
    for i, row in enumerate(rows):
        row[2], row[W_NOW] = i, 3 * i
        row[lowered.layout.metadata_word] = rng.randrange(4)
        if rng.random() < 0.05:
            row[W_HEADERS] = 1 << Header.ETH
            continue
        proto = rng.choice((6, 6, 17, 1))
        headers = 1 << Header.ETH | 1 << Header.IP | (1 << Header.TCP if proto == 6 else 0)
        if rng.random() < 0.1:
            row[W_FAMILY], headers = 6, headers | 1 << Header.IPV6
            row[W_IP_SRC] = row[W_IP_DST] = 0x20010DB8_00000000
        else:
            row[W_FAMILY], headers = 4, headers | 1 << Header.IPV4
            for word in (W_IP_SRC, W_IP_DST):
                row[word + 1] = 0xFFFF << 32 | rng.choice((0x0A010203, 0x0A010204, 0x0A01FF01, 0x0AFFFF01, 1))
        row[W_HEADERS], row[W_IP_PROTO] = headers, proto
        if "tcp.flags" in lowered.layout.word_of and proto == 6:
            row[lowered.layout.word_of["tcp.flags"]] = rng.choice((0x02, 0x12, 0x10))
        row[W_L4_SPORT], row[W_L4_DPORT] = (rng.choice((0, 7, 80, 443, 1003, 8050, 65535)) for _ in "sd")
    return rows


@kernel
def _hybrid(whole, part, entries, store, variables, vectors, scratch, out):  # type: ignore[no-untyped-def]
    """Each packet through stage 0: on the NIC's list, and on the whole where that says so."""
    stage = np.int64(0)
    for i in range(vectors.shape[0]):
        vector = vectors[i]
        begin(scratch, vector, np.uint64(0))
        record = find_context(whole, store, stage, vector, scratch)
        base = np.int64(-1)
        if record >= 0:
            base = location(whole, store, whole.stages["table"][stage], record)
        entry = entries[choose(part, store, variables, stage, record, base, vector, scratch)]
        out[i, 2] = entry
        full = choose(whole, store, variables, stage, record, base, vector, scratch)
        if entry == TO_CPU:
            entry = full
        out[i, 3] = full
        carry_out(whole, store, variables, stage, entry, record, base, vector, scratch)
        out[i, 0] = np.int64(scratch[A.S_VERDICT])
        out[i, 1] = np.int64(scratch[A.S_PORT])


def run_hybrid(lowered: Lowered, selection: Selection | None, vectors: np.ndarray) -> np.ndarray:
    """``int64[packets, 4]``: verdict, port, what the NIC's list said, what the whole list says.

    Without a selection the CPU has all packets.
    """
    if selection is None:
        side = NicSide(lowered, np.full(len(lowered.arrays.entries) + 1, TO_CPU, np.int64))
    else:
        side = nic_side(lowered, {"many": selection})
    out = np.zeros((len(vectors), 4), np.int64)
    store = make_store(lowered.arrays, capacity=256)
    with np.errstate(all="ignore"):
        _hybrid(
            lowered.arrays,
            side.lowered.arrays,
            side.entries,
            store,
            lowered.arrays.globals.copy(),
            vectors.copy(),
            np.zeros(A.S_WORDS, np.uint64),
            out,
        )
    return out


def draw_selection(rng: random.Random, dependencies: Dependencies) -> Selection:
    """Any cached entries with the covers that they need, and perhaps further ones."""
    count = len(dependencies)
    share = rng.choice((0.1, 0.3, 0.6, 1.0))
    cached = np.array([rng.random() < share for _ in range(count)])
    covers = np.array([rng.random() < 0.1 for _ in range(count)])
    for entry in np.flatnonzero(cached):
        covers[dependencies.above[entry]] = True
    covers[-1] = False
    return Selection(cached, covers & ~cached, ())


def check_equal(rng: random.Random, count: int, packets: int, *, without: bool = False) -> int:
    """A random rule set and cached subset: same verdicts. Returns how many would differ ``without`` the covers."""
    lowered = make_program(rng, count)
    vectors = make_packets(rng, lowered, packets)
    stage = lowered.program.stages[0]
    dependencies = dependencies_of(lowered.program, stage, lowered.layout)
    selection = draw_selection(rng, dependencies)
    expected = run_hybrid(lowered, None, vectors)
    got = run_hybrid(lowered, selection, vectors)
    assert (got[:, :2] == expected[:, :2]).all()
    # A packet stays on the NIC exactly if the entry that it takes is cached.
    default = len(stage.entries) if stage.default is not None else -1
    where = np.where((got[:, 3] == default) | (got[:, 3] < 0), len(dependencies) - 1, got[:, 3])
    assert ((got[:, 2] != TO_CPU) == selection.cached[where]).all()
    if not without:
        return 0
    machine = Machine(lowered.program).process(vectors.copy())
    assert expected[:, 0].tolist() == machine.verdict.tolist()
    assert expected[:, 1].tolist() == machine.port.tolist()
    bare = run_hybrid(lowered, Selection(selection.cached, np.zeros_like(selection.covers), ()), vectors)
    return int((bare[:, :2] != got[:, :2]).any(axis=1).sum())


@contextmanager
def rows_tried_in_turn() -> Iterator[None]:
    """No classifiers, which take long to build for a few packets."""
    before = rows_module.LINEAR_ROWS
    rows_module.LINEAR_ROWS = 10**9
    try:
        yield
    finally:
        rows_module.LINEAR_ROWS = before


def test_any_cached_subset_says_what_the_whole_table_says(full: bool) -> None:
    @settings(max_examples=1_000 if full else 200, derandomize=True, deadline=None)
    @given(seed=st.integers(0, 2**40), count=st.integers(1, 12))
    def check(seed: int, count: int) -> None:
        check_equal(random.Random(seed), count, 30)

    with rows_tried_in_turn():
        check()


def test_it_would_not_without_the_covers() -> None:
    """The packets and rules of the test above do put covers to work."""
    wrong = sum(check_equal(random.Random(seed), 10, 40, without=True) > 0 for seed in range(30))
    assert wrong > 5


def test_it_does_so_with_many_rules(full: bool) -> None:
    for seed in range(200 if full else 6):
        check_equal(random.Random(f"many {seed}"), 120, 200)
    with rows_tried_in_turn():
        for seed in range(100 if full else 3):
            check_equal(random.Random(f"rows {seed}"), 40, 200)


def rules(*matches: dict[str, Any], default: bool = True) -> tuple[Lowered, Dependencies]:
    """Entries in order of priority, the highest first."""
    entries = [
        {"name": f"e{i}", "priority": len(matches) - i, "match": match, "actions": [{"output": i + 1}]}
        for i, match in enumerate(matches)
    ]
    stage: dict[str, Any] = {"name": "many", "entries": entries}
    if default:
        stage["default"] = {"actions": ["drop"]}
    lowered = lower(load_program({"program": "rules", "stages": [stage]}))
    return lowered, dependencies_of(lowered.program, lowered.program.stages[0], lowered.layout)


CHAIN = [
    {"ip.dst": "10.1.2.3/32"},
    {"ip.dst": "10.1.2.0/24"},
    {"ip.dst": "10.1.0.0/16"},
    {"ip.dst": "10.0.0.0/8"},
]


def test_a_chain_of_prefixes_depends_link_by_link() -> None:
    _, dependencies = rules(*CHAIN)
    assert [a.tolist() for a in dependencies.above] == [[], [0], [1], [2], [3]]
    assert [b.tolist() for b in dependencies.below] == [[1], [2], [3], [4], []]
    assert dependencies.closure(3, 10) == [0, 1, 2, 3]
    assert dependencies.closure(3, 3) is None


@pytest.mark.parametrize(
    ("between", "hides"),
    [
        ({"l4.dport": "0-1023"}, True),
        ({"l4.dport": "1000-2000"}, False),
        ({"l4.dport": "0x0040/0xffc0"}, True),
        ({}, True),
        ({"ip.src": "10.0.0.0/8"}, False),
        ({"l4.dport": [79, 80]}, True),
        ({"valid.tcp": True}, False),
    ],
)
def test_what_covers_an_overlap_hides_it(between: dict[str, Any], hides: bool) -> None:
    _, dependencies = rules({"l4.dport": 80}, between, {"ip.proto": 6}, default=False)
    assert (0 not in dependencies.above[2].tolist()) == hides


def test_cover_sets_take_fewer_rows_than_dependent_sets() -> None:
    """The packets all go to the wide end of a chain: a dependent set needs the chain, a cover set one cover."""
    _, dependencies = rules(*CHAIN, {"ip.dst": "11.0.0.0/8"})
    weights = np.array([0, 0, 0, 100, 10, 0])
    covering = select(dependencies, weights, 3, "cover-sets")
    assert (covering.order, np.flatnonzero(covering.covers).tolist()) == ((3, 4), [2])
    whole = select(dependencies, weights, 3, "dependent-sets")
    assert (whole.order, whole.covers.any()) == ((4,), False)
    whole = select(dependencies, weights, 4, "dependent-sets")
    assert sorted(whole.order) == [0, 1, 2, 3]
    assert select(dependencies, weights, 3, "mixed-sets").cached.sum() == 2
    with pytest.raises(InputError, match=r"got 'cover-set', expected dependent-sets.*'cover-sets'"):
        select(dependencies, weights, 3, "cover-set")


def best_by_trying(dependencies: Dependencies, weights: np.ndarray, room: int) -> float:
    """Most packets that any list of cached entries and covers could keep on the NIC."""
    count, best = len(dependencies), 0.0
    for choice in range(1 << count):
        cached = np.array([choice >> i & 1 for i in range(count)], bool)
        present = cached.copy()
        for entry in np.flatnonzero(cached):
            present[dependencies.above[entry]] = True
        if dependencies.rows[present].sum() <= room:
            best = max(best, float(weights[cached].sum()))
    return best


@settings(max_examples=60, derandomize=True, deadline=None)
@given(seed=st.integers(0, 2**40))
def test_a_choice_is_safe_fits_and_is_seldom_far_from_the_best(seed: int) -> None:
    rng = random.Random(seed)
    lowered = make_program(rng, 7)
    dependencies = dependencies_of(lowered.program, lowered.program.stages[0], lowered.layout)
    weights = np.array([rng.choice((0, 1, 5, 50)) for _ in range(len(dependencies))], np.float64)
    room = rng.randrange(0, 40)
    best = best_by_trying(dependencies, weights, room)
    for algorithm in ALGORITHMS:
        chosen = select(dependencies, weights, room, algorithm)
        assert dependencies.rows[chosen.present].sum() <= room
        for entry in np.flatnonzero(chosen.cached):
            assert chosen.present[dependencies.above[entry]].all()
        if algorithm == "dependent-sets":
            assert not chosen.covers.any()
        got = weights[chosen.cached].sum()
        assert got <= best
        if algorithm == "mixed-sets" and room >= dependencies.rows.sum():
            assert got == best


@settings(max_examples=60, derandomize=True, deadline=None)
@given(seed=st.integers(0, 2**40))
def test_every_change_on_the_way_is_safe(seed: int) -> None:
    rng = random.Random(seed)
    lowered = make_program(rng, 12)
    dependencies = dependencies_of(lowered.program, lowered.program.stages[0], lowered.layout)
    algorithm = rng.choice(ALGORITHMS)
    rule_cache = RuleCache(dependencies, rng.randrange(0, 40), algorithm, memory=rng.choice((0.0, 0.5)))
    seen = np.zeros(len(dependencies), bool)
    for _ in range(12):
        packets = np.array([rng.choice((0, 0, 1, 20)) for _ in range(len(dependencies))])
        for change in rule_cache.update(packets, rng.choice((0, 1, 1, 3))):
            seen[change.entry] = True
        assert rule_cache.safe
    # Without a limit it gets to what the traffic asks for, and then it rests.
    rule_cache.memory = 1.0
    rule_cache.update(packets, 10_000)
    assert rule_cache.safe
    wanted = select(dependencies, rule_cache.weights, rule_cache.room, algorithm)
    assert (rule_cache.cached & wanted.cached == wanted.cached).all()
    assert rule_cache.update(np.zeros(len(dependencies), np.int64), 10_000) == []


def test_changes_tell_what_they_write() -> None:
    _, dependencies = rules(*CHAIN)
    rule_cache = RuleCache(dependencies, 2)
    made = rule_cache.update(np.array([0, 0, 0, 9, 0]), 10)
    assert [(c.kind, c.entry, c.rows, c.new) for c in made] == [("cover", 2, 1, True), ("cache", 3, 1, True)]
    assert rule_cache.update(np.array([0, 0, 0, 9, 0]), 10) == []
    made = rule_cache.update(np.array([1000, 0, 0, 9, 0]), 10)
    kinds = [(c.kind, c.entry) for c in made]
    assert ("cache", 0) in kinds
    assert rule_cache.safe

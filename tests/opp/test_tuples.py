"""The classifier against the scan and the plain reference, on rules at random and on sets like those in use.

If these break, a large table gives another entry than the one of highest priority that matches, or a rule that
was added, replaced or deleted at run time is met too early, too late or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oppcache.bench.rules_generator import KINDS, RuleSet, make_rules, make_trace
from oppcache.opp import Machine, Program, load_program
from oppcache.opp import rows as rows_module
from oppcache.opp import tuples as tuples_module
from oppcache.opp.fields import (
    FIELD_BY_NAME,
    W_FAMILY,
    W_HEADERS,
    W_ID,
    W_IP_DST,
    W_IP_PROTO,
    W_IP_SRC,
    W_L4_DPORT,
    W_L4_SPORT,
    Header,
    Layout,
)
from oppcache.opp.reference import Packet, Reference

FIELDS = ("l4.sport", "l4.dport", "ip.proto", "in_port", "tcp.seq", "packet_length")
ADDRESSES = (
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.1.2.3",
    "0.0.0.0/0",
    "::/0",
    "fe80::/10",
    "fe80::1",
)
VALUES = (0, 1, 2, 5, 6, 7, 80, 255, 256, 1023, 1024, 40_000, 65_535)


def make_match(rng: Random) -> dict[str, Any]:
    """Terms over a few fields whose values come from a small pool: exact, any mask at all, ranges, lists."""
    out: dict[str, Any] = {}
    for name in rng.sample(FIELDS, rng.randrange(4)):
        patterns = [_pattern(rng, FIELD_BY_NAME[name].bits) for _ in range(rng.choice((1, 1, 1, 3)))]
        out[name] = patterns if len(patterns) > 1 else patterns[0]
    for name in ("ip.src", "ip.dst"):
        if rng.randrange(2):
            out[name] = rng.choice(ADDRESSES)
    if not rng.randrange(6):
        out[f"valid.{rng.choice(('tcp', 'udp', 'ipv6'))}"] = rng.choice((True, False))
    if not rng.randrange(6):
        out["metadata.mark"] = _pattern(rng, 32)
    return out


def _pattern(rng: Random, bits: int) -> Any:
    full = (1 << bits) - 1
    low, high = sorted(rng.choice(VALUES) & full for _ in range(2))
    form = rng.randrange(3)
    if form == 0:
        return low
    return f"{low}-{high}" if form == 1 else f"{low}/{rng.getrandbits(bits) | 1 << rng.randrange(bits)}"


def make_packets(rng: Random, layout: Layout, count: int) -> np.ndarray:
    """Header vectors over the same pool."""
    rows = np.zeros((count, layout.words), np.uint64)
    for number, row in enumerate(rows):
        family = rng.choice((4, 6))
        present = {Header.ETH, Header.IP, Header.IPV4 if family == 4 else Header.IPV6}
        present.add(rng.choice((Header.TCP, Header.UDP)))
        row[W_HEADERS], row[W_FAMILY], row[W_ID] = sum(1 << h for h in present), family, number
        for name in FIELDS:
            header = FIELD_BY_NAME[name].header
            if header is None or header in present:
                bits = FIELD_BY_NAME[name].bits
                row[layout.word_of[name]] = (rng.choice(VALUES) ^ (not rng.randrange(4))) & ((1 << bits) - 1)
        for word in (W_IP_SRC, W_IP_DST):
            if family == 4:
                row[word + 1] = 0xFFFF << 32 | rng.choice((0x0A010203, 0x0A010204, 0x0A01FF01, 0x0AFFFF01, 1))
            else:
                row[word], row[word + 1] = rng.choice((0xFE80 << 48, 0)), rng.choice((1, 2))
        row[layout.metadata_word] = rng.choice(VALUES)
    return rows


def entry_of(number: int, priority: int, rng: Random) -> dict[str, Any]:
    """An entry that tells its number by the port."""
    actions = [{"output": number}]
    return {"name": f"e{number}", "priority": priority, "match": make_match(rng), "actions": actions}


def program_of(entries: list[dict[str, Any]]) -> Program:
    """One stateless stage of these entries, which drops what none of them matches."""
    stage = {"name": "filter", "entries": entries, "default": {"actions": ["drop"]}}
    return load_program({"program": "rules", "metadata": ["mark"], "stages": [stage]})


def verdicts_of(machine: Machine, vectors: np.ndarray) -> list[tuple[int, int]]:
    """(verdict, port) of each packet."""
    got = machine.process(vectors.copy())
    return list(zip(got.verdict.tolist(), got.port.tolist(), strict=True))


def expected_of(program: Program, layout: Layout, vectors: np.ndarray) -> list[tuple[int, int]]:
    """The same from the plain reference."""
    reference = Reference(program)
    results = [reference.process(Packet.from_vector(row, layout)) for row in vectors]
    return [(int(r.verdict), r.port) for r in results]


@contextmanager
def rows_tried_in_turn(most: int, rebuild_after: int = 1024) -> Iterator[None]:
    """Set how many rows a stage may have without a classifier, and how many changes one stands."""
    before = rows_module.LINEAR_ROWS, tuples_module._REBUILD_AFTER
    rows_module.LINEAR_ROWS, tuples_module._REBUILD_AFTER = most, rebuild_after
    try:
        yield
    finally:
        rows_module.LINEAR_ROWS, tuples_module._REBUILD_AFTER = before


def draw_change(rng: Random, names: list[str], number: int, priority: int) -> tuple[str, tuple[Any, ...]]:
    """A method of the machine and its arguments; keeps the names of the entries up to date."""
    kind = rng.choice(("add_entry", "delete_entry", "modify_entry") if names else ("add_entry",))
    entry = entry_of(number, priority, rng)
    old = rng.choice(names) if names else ""
    if kind == "add_entry":
        names.append(entry["name"])
        return kind, ("filter", entry)
    if kind == "delete_entry":
        names.remove(old)
        return kind, ("filter", old)
    if rng.randrange(2):
        entry["name"] = old
    names[names.index(old)] = entry["name"]
    return kind, ("filter", old, entry)


def check_changes(rng: Random, most: int, changes: int, referred: int = 3) -> None:
    """Random rules, then random changes: classifier and scan say the same at every point, the reference at a few."""
    count = rng.randrange(most)
    priorities = rng.sample(range(1_000_000), count + changes)
    entries = [entry_of(i, priorities[i], rng) for i in range(count)]
    names = [e["name"] for e in entries]
    scanning, classifying = (10**9, 1024), (-1, rng.choice((4, 1024)))
    with rows_tried_in_turn(*scanning):
        scan = Machine(program_of(entries), fields=FIELDS)
    with rows_tried_in_turn(*classifying):
        classifier = Machine(program_of(entries), fields=FIELDS)
    vectors = make_packets(rng, scan.layout, 30)
    look = set(rng.sample(range(changes + 1), referred))
    for step in range(changes + 1):
        found = verdicts_of(classifier, vectors)
        assert found == verdicts_of(scan, vectors)
        assert classifier.version == scan.version == step
        if step in look:
            assert classifier.program == scan.program
            assert found == expected_of(classifier.program, classifier.layout, vectors)
        if step < changes:
            method, arguments = draw_change(rng, names, count + step, priorities[count + step])
            for machine, settings_ in ((scan, scanning), (classifier, classifying)):
                with rows_tried_in_turn(*settings_):
                    getattr(machine, method)(*arguments)


@settings(max_examples=40, derandomize=True, deadline=None)
@given(rng=st.randoms(use_true_random=False))
def test_the_classifier_finds_what_the_scan_and_the_reference_find(rng: Random) -> None:
    check_changes(rng, most=40, changes=8)


def test_it_does_so_with_hundreds_of_rules_and_changes(full: bool) -> None:
    for seed in range(400 if full else 3):
        check_changes(Random(seed), most=400, changes=30 if full else 10, referred=1)


def test_a_stage_gets_its_classifier_when_it_grows() -> None:
    rng = Random(1)
    machine = Machine(program_of([]), fields=FIELDS)
    vectors = make_packets(rng, machine.layout, 50)
    for number in range(120):
        machine.add_entry("filter", entry_of(number, number, rng))
    assert len(machine.lowered.spaces) == 1
    assert len(machine.lowered.arrays.rows) < 4 * 64
    assert verdicts_of(machine, vectors) == expected_of(machine.program, machine.layout, vectors)
    for number in range(120):
        machine.delete_entry("filter", f"e{number}")
    assert set(verdicts_of(machine, vectors)) == {(2, 0)}


def test_rules_that_share_no_bit_to_hash_are_found_all_the_same() -> None:
    """Every rule looks at another bit, so none can be told by a hash from the others."""
    entries = [
        {"name": f"{bit} {on}", "priority": 2 * bit + on, "match": {"tcp.seq": f"{on << bit}/{1 << bit}"}}
        for bit in range(32)
        for on in (0, 1)
        if bit or on
    ]
    for number, entry in enumerate(entries):
        entry["actions"] = [{"output": number}]
    with rows_tried_in_turn(-1):
        machine = Machine(program_of(entries), fields=FIELDS)
    vectors = make_packets(Random(3), machine.layout, 60)
    assert verdicts_of(machine, vectors) == expected_of(machine.program, machine.layout, vectors)


def matches(rules: RuleSet, vectors: np.ndarray) -> np.ndarray:
    """Number of the first rule that each packet matches, by comparing all of them; every packet matches one."""
    columns = (W_IP_SRC + 1, W_IP_DST + 1, W_L4_SPORT, W_L4_DPORT, W_IP_PROTO)
    src, dst, sport, dport, proto = (vectors[:, w].astype(np.int64) & 0xFFFF_FFFF for w in columns)
    out = np.zeros(len(vectors), np.int64)
    for i in range(len(vectors)):
        fits = (rules.proto < 0) | (rules.proto == proto[i])
        for span, value in ((rules.src, src), (rules.dst, dst), (rules.sport, sport), (rules.dport, dport)):
            fits &= (span[:, 0] <= value[i]) & (value[i] <= span[:, 1])
        assert fits.any()
        out[i] = fits.argmax()
    return out


@pytest.mark.parametrize(("kind", "count"), [*((kind, 500) for kind in KINDS), ("fw", 10_000)])
def test_large_tables_give_the_first_rule_that_matches(kind: str, count: int) -> None:
    rules = make_rules(kind, count)
    machine = Machine(load_program(rules.document()))
    assert len(machine.lowered.spaces) == 1
    vectors = make_trace(rules, 2_000, machine.layout)
    found = machine.process(vectors.copy())
    assert (found.verdict == 1).all()
    assert found.port.tolist() == matches(rules, vectors).tolist()
    # A hundred rules of highest priority go and come back.
    for number in range(100):
        machine.delete_entry("filter", f"rule {number}")
    without = machine.process(vectors.copy())
    assert (without.port[without.verdict == 1] >= 100).all()
    for number in range(100):
        machine.add_entry("filter", rules.entry(number))
    assert machine.process(vectors.copy()).port.tolist() == found.port.tolist()


SCRIPT = """
import importlib.util, sys
from random import Random
spec = importlib.util.spec_from_file_location("test_classifier", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
for seed in range(6):
    module.check_changes(Random(seed), most=40, changes=5)
"""


@pytest.mark.parametrize("setting", ["NUMBA_DISABLE_JIT", "NUMBA_BOUNDSCHECK"])
def test_it_does_so_under_every_numba_setting(setting: str, run_script: Callable[..., str]) -> None:
    """Plain Python finds types that only Numba forgives; bounds checks find what reads past an array's end."""
    run_script(SCRIPT, Path(__file__).resolve(), **{setting: "1"})

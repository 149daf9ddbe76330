"""Entries that come and go while a machine runs: what packets meet, what is refused, what stays.

If these break, a controller that changes rules gets another machine than one loaded with the changed program.
"""

from __future__ import annotations

from random import Random
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oppcache.opp import InputError, Machine, Problem, Problems, Program, load_program
from oppcache.opp import rows as rows_module
from oppcache.opp.lower import lower
from oppcache.opp.overlaps import Overlaps, overlap
from oppcache.opp.program import Entry
from oppcache.opp.reference import Packet, Reference
from oppcache.opp.validate import validate

COUNTING = {
    "program": "counting",
    "tables": {"flow": {"registers": ["n"], "states": ["new", "seen"]}, "other": {"registers": ["n"]}},
    "stages": [
        {
            "name": "count",
            "table": "flow",
            "key": ["l4.sport"],
            "entries": [
                {
                    "name": "all",
                    "priority": 5,
                    "updates": [{"set": "R.n", "op": "add", "args": ["R.n", 1]}],
                    "actions": [{"output": "R.n"}],
                }
            ],
        }
    ],
}


def counting() -> Machine:
    """Counts packets by source port and outputs to the count."""
    return Machine(load_program(COUNTING))


def ports(machine: Machine, packets: int = 1) -> list[int]:
    from oppcache.opp.fields import W_HEADERS, Header

    vectors = np.zeros((packets, machine.layout.words), np.uint64)
    vectors[:, W_HEADERS] = 1 << Header.IP
    found: list[int] = machine.process(vectors).port.tolist()
    return found


def check_random_changes(module: ModuleType, rng: Random) -> bool:
    """A random program gets and loses its entries one by one; the reference is given the program of the moment."""
    document = module.make_document(rng)
    held: dict[str, list[Any]] = {}
    for stage in document["stages"]:
        for i, entry in enumerate(stage["entries"]):
            entry["priority"] = 3 * i + rng.randrange(3)
    try:
        layout = lower(load_program(document)).layout
        for stage in document["stages"]:
            held[stage["name"]] = [e for e in stage["entries"] if rng.randrange(2)]
            stage["entries"] = [e for e in stage["entries"] if e not in held[stage["name"]]]
        program = load_program(document)
    except InputError:
        return False
    machine = Machine(program, seed=7, fields=[f.name for f in layout.extra_fields])
    assert machine.layout == layout
    reference = Reference(program, seed=7)
    vectors = module.make_vectors(rng, layout, 24)
    for first in range(0, len(vectors), 4):
        chunk = vectors[first : first + 4]
        expected = []
        for row in chunk:
            result = reference.process(Packet.from_vector(row, layout))
            expected.append((int(result.verdict), result.port))
        got = machine.process(chunk)
        assert list(zip(got.verdict.tolist(), got.port.tolist(), strict=True)) == expected
        assert machine.contexts() == reference.canonical_contexts()
        assert machine.global_values() == reference.globals
        _change(machine, held, rng)
        assert problems_of(machine.program) == []
        reference.program, reference.pipeline = machine.program, machine.program.pipeline()
    return True


def problems_of(program: Program) -> list[Problem]:
    """What loading the changed program would say against it."""
    problems = Problems()
    validate(program, problems)
    return problems.items


def _change(machine: Machine, held: dict[str, list[Any]], rng: Random) -> None:
    stage = rng.choice(machine.program.stages)
    names = [e.name for e in stage.entries]
    new = rng.choice(held[stage.name]) if held[stage.name] else None
    version = machine.version
    refused = ""
    try:
        if new is not None and new["name"] not in names:
            if names and rng.randrange(2):
                machine.modify_entry(stage.name, rng.choice(names), new)
            else:
                machine.add_entry(stage.name, new)
        elif names:
            machine.delete_entry(stage.name, rng.choice(names))
        else:
            return
    except InputError as error:
        refused = str(error)
    # A table that only this entry names has no key yet; a key that comes first may not suit a table's expiry.
    assert not refused or "has a key for table" in refused or "another key of a table comes first" in refused
    assert machine.version == version + (not refused)


@pytest.mark.parametrize("threshold", [-1, 32])
def test_a_changed_machine_is_the_machine_of_the_changed_program(
    random_programs: ModuleType, full: bool, threshold: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "LINEAR_ROWS", threshold)
    valid = 0
    for seed in range(10_000 if full else 150):
        try:
            valid += check_random_changes(random_programs, Random(seed))
        except AssertionError as error:
            pytest.fail(f"seed {seed}: {error}")
    assert valid > 100


def test_contexts_outlive_their_entries() -> None:
    machine = counting()
    assert ports(machine, 3) == [0, 1, 2]
    machine.modify_entry("count", "all", {"name": "all", "priority": 5, "actions": [{"output": "R.n"}]})
    assert ports(machine, 2) == [3, 3]
    machine.delete_entry("count", "all")
    assert ports(machine) == [0]
    machine.add_entry("count", COUNTING["stages"][0]["entries"][0])  # type: ignore[index]
    assert ports(machine, 2) == [3, 4]
    assert machine.version == 3
    assert [e.name for e in machine.program.stages[0].entries] == ["all"]


def test_changes_do_not_make_arrays_grow_for_ever() -> None:
    machine = counting()
    entry = {"name": "x", "priority": 9, "match": {"l4.dport": [1, 2]}, "actions": [{"output": 1}, "dec_ttl"]}
    entry["updates"] = [{"set": "R.n", "op": "add", "args": ["R.n", 1]}]
    entry["actions"] = [{"output": 1}]
    machine.add_entry("count", entry)
    machine.delete_entry("count", "x")
    sizes = [len(a) for a in machine.lowered.arrays]
    for _ in range(200):
        machine.add_entry("count", entry)
        machine.modify_entry("count", "x", entry)
        machine.delete_entry("count", "x")
    assert [len(a) for a in machine.lowered.arrays] == sizes


def test_entries_that_stay_keep_their_counters() -> None:
    machine = counting()
    ports(machine, 3)
    new = {"name": "none", "priority": 9, "match": {"l4.dport": 81}, "actions": ["drop"]}
    for _ in range(40):  # so many that the arrays grow and a classifier takes over
        machine.add_entry("count", {**new, "name": f"x{machine.version}", "priority": 9 + machine.version})
    ports(machine, 2)
    counts = machine.entry_counts()["count"]
    assert counts["all"].packets == 5
    assert [counts[f"x{i}"].packets for i in range(40)] == [0] * 40
    machine.delete_entry("count", "x7")
    machine.modify_entry("count", "all", COUNTING["stages"][0]["entries"][0])  # type: ignore[index]
    ports(machine)
    counts = machine.entry_counts()["count"]
    assert (counts["all"].packets, len(counts)) == (1, 40)  # a new entry under the old name


def test_an_entry_given_as_one_is_as_good_as_a_mapping() -> None:
    machine = counting()
    machine.add_entry("count", Entry("nothing", priority=6))
    assert ports(machine) == [0]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": "x"}, "an entry for a running program needs a priority"),
        ({"priority": 1}, "an entry for a running program needs a name"),
        ({"name": "all", "priority": 1}, "stage 'count' has an entry 'all' already"),
        (
            {"name": "x", "priority": 5, "match": {"l4.dport": 80}},
            "'x' and 'all' have priority 5 and overlap",
        ),
        ({"name": "x", "priority": 2**63}, "expected at most"),
        ({"name": "x", "priority": 1, "actions": ["dorp"]}, "got action 'dorp'"),
        ({"name": "x", "priority": 1, "actions": [{"output": "R.m"}]}, "table 'flow' has no register 'm'"),
        ({"name": "x", "priority": 1, "goto": "nowhere"}, "goto an unknown stage 'nowhere'"),
        (
            {"name": "x", "priority": 1, "match": {"tcp.seq": 1}},
            "tcp.seq is not in this machine's header vectors",
        ),
        (
            {"name": "x", "priority": 1, "writes": [{"table": "other", "key": ["l4.dport"]}]},
            "no stage or entry has a key for table 'other' yet",
        ),
    ],
)
def test_what_loading_refuses_is_refused_and_changes_nothing(entry: dict[str, Any], message: str) -> None:
    machine = counting()
    with pytest.raises(InputError) as caught:
        machine.add_entry("count", entry)
    assert message in str(caught.value)
    assert machine.version == 0
    assert ports(machine, 2) == [0, 1]
    assert len(machine.program.stages[0].entries) == 1


def test_names_that_are_not_there_are_said_with_those_that_are() -> None:
    machine = counting()
    with pytest.raises(InputError, match="no stage 'cuont' did you mean 'count'"):
        machine.delete_entry("cuont", "all")
    with pytest.raises(InputError, match="no entry 'al' did you mean 'all'"):
        machine.delete_entry("count", "al")
    with pytest.raises(InputError, match="no entry 'b'"):
        machine.modify_entry("count", "b", {"name": "b", "priority": 1})


def test_an_entry_may_take_the_place_of_one_that_it_overlaps() -> None:
    machine = counting()
    machine.modify_entry("count", "all", {"name": "other", "priority": 5, "actions": ["drop"]})
    assert [e.name for e in machine.program.stages[0].entries] == ["other"]
    with pytest.raises(InputError, match="'x' and 'other' have priority 5 and overlap"):
        machine.add_entry("count", {"name": "x", "priority": 5})


def test_fields_may_be_kept_ready_for_entries_to_come() -> None:
    machine = Machine(load_program(COUNTING), fields=["tcp.seq"])
    machine.add_entry("count", {"name": "x", "priority": 7, "match": {"tcp.seq": 1}, "actions": ["drop"]})
    assert machine.layout.word_of["tcp.seq"] < machine.layout.words


# --- Equal priorities


def _entries(rng: Random, module: ModuleType, count: int) -> list[Entry]:
    maker = module.ProgramMaker(rng)
    maker.metadata = ["m0"]
    state = {"table": "t", "conditions": ["c0", "c1"]}
    bodies = [
        {"name": f"e{i}", "priority": rng.randrange(2), "match": maker.match(state)} for i in range(count)
    ]
    found = []
    for body in bodies:
        stage = {"name": "s", "table": "t", "key": ["in_port"], "entries": [body]}
        stage["conditions"] = {c: ["now", "lt", 5] for c in ("c0", "c1")}
        table = {"registers": [], "states": list(module.STATES)}
        document = {"program": "p", "metadata": ["m0"], "tables": {"t": table}, "stages": [stage]}
        found.append(load_program(document).stages[0].entries[0])
    return found


@settings(max_examples=25, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rng=st.randoms(use_true_random=False))
def test_overlaps_are_found_as_by_trying_all_pairs(random_programs: ModuleType, rng: Random) -> None:
    entries = _entries(rng, random_programs, 60)
    overlaps, kept = Overlaps(), []
    for entry in entries:
        got = [other.name for other in overlaps.among(entry)]
        assert got == [o.name for o in kept if o.priority == entry.priority and overlap(entry, o)]
        overlaps.add(entry)
        kept.append(entry)
        if not rng.randrange(3):
            overlaps.remove(kept.pop(rng.randrange(len(kept))))


def test_ten_thousand_entries_of_one_priority_load() -> None:
    entries = [
        {"name": f"e{i}", "priority": 1, "match": {"ip.dst": f"10.0.{i >> 8}.{i & 255}", "l4.dport": "1-99"}}
        for i in range(10_000)
    ]
    document = {"program": "p", "stages": [{"name": "s", "entries": entries}]}
    machine = Machine(load_program(document))
    with pytest.raises(InputError, match="'x' and 'e300' have priority 1 and overlap"):
        machine.add_entry("s", {"name": "x", "priority": 1, "match": {"ip.dst": "10.0.1.44", "l4.dport": 80}})
    entries.append({"name": "x", "priority": 1, "match": {"ip.dst": "10.0.1.44", "l4.dport": "90-200"}})
    with pytest.raises(InputError, match="'x' and 'e300' have priority 1 and overlap"):
        load_program(document)

"""Contexts, globals and whole programs changed while a machine runs, against the reference given the same changes.

If these break, what a controller reads is not what packets meet, or a new program begins with the wrong state.
"""

from __future__ import annotations

import dataclasses
from random import Random
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oppcache.opp import Carried, Context, InputError, Machine, Program, load_program
from oppcache.opp.fields import (
    IPV4_MAPPED,
    W_FAMILY,
    W_HEADERS,
    W_IP_DST,
    W_IP_SRC,
    W_L4_SPORT,
    W_NOW,
    Header,
)
from oppcache.opp.program import Key, Table
from oppcache.opp.reference import ContextState, Packet, Reference

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]

FLOWS = {
    "program": "flows",
    "tables": {"flow": {"registers": [{"name": "n", "initial": 5}, "m"], "states": ["new", "seen"]}},
    "globals": {"all": [{"name": "sum", "bits": 32}, {"name": "wide", "bits": 64, "initial": 7}]},
    "stages": [
        {
            "name": "count",
            "table": "flow",
            "key": {"fields": ["ip.src", "ip.dst", "l4.sport", "l4.dport"], "symmetric": True},
            "entries": [
                {
                    "name": "new",
                    "match": {"state": "new"},
                    "next_state": "seen",
                    "updates": [{"set": "R.n", "op": "add", "args": ["R.n", 1]}],
                    "actions": [{"output": "R.n"}],
                },
                {"name": "seen", "match": {"state": "seen"}, "actions": [{"output": "G.all.sum"}]},
            ],
        }
    ],
}
KEY = {"ip.src": "10.0.0.1", "ip.dst": "10.0.0.2", "l4.sport": 1, "l4.dport": 2}


def packet(machine: Machine, now: int = 0, sport: int = 1, dport: int = 2, *, back: bool = False) -> int:
    """The output port of a packet from 10.0.0.1 to 10.0.0.2, or back."""
    row = np.zeros((1, machine.layout.words), np.uint64)
    row[0, W_HEADERS], row[0, W_NOW], row[0, W_FAMILY] = 1 << Header.IP, now, 4
    ends = [(IPV4_MAPPED | 0x0A000001, sport), (IPV4_MAPPED | 0x0A000002, dport)]
    for i, (address, port) in enumerate(reversed(ends) if back else ends):
        row[0, (W_IP_SRC, W_IP_DST)[i] + 1] = address
        row[0, W_L4_SPORT + i] = port
    return int(machine.process(row).port[0])


# By hand


def test_a_context_is_read_by_the_fields_of_its_packets_in_both_directions() -> None:
    machine = Machine(load_program(FLOWS))
    assert machine.read_context("flow", KEY) is None
    assert packet(machine, now=77, back=True) == 5
    back = {"ip.src": "10.0.0.2", "ip.dst": "10.0.0.1", "l4.sport": 2, "l4.dport": 1}
    expected = Context("seen", {"n": 6, "m": 0}, last_used_ns=77)
    assert machine.read_context("flow", KEY) == machine.read_context("flow", back) == expected
    assert list(machine.list_contexts("flow")) == [(KEY, expected)]
    key = next(iter(machine.contexts()["flow"]))
    assert machine.read_context("flow", key) == expected
    # A key in order is taken as it stands.
    assert machine.read_context("flow", [key[1], key[0], key[3], key[2]]) is None
    assert machine.version == 0


def test_packets_meet_what_was_written() -> None:
    machine = Machine(load_program(FLOWS))
    machine.write_context("flow", KEY, {"registers": {"n": 40}})
    assert machine.read_context("flow", KEY) == Context("new", {"n": 40, "m": 0}, last_used_ns=0)
    assert packet(machine) == 40
    machine.write_global("all.sum", 9)
    assert packet(machine) == 9
    assert machine.read_global("all.sum") == 9
    assert machine.read_global("all.wide") == 7
    machine.write_context("flow", KEY, Context())
    assert packet(machine) == 5
    assert machine.version == 3


def test_a_deleted_context_begins_anew() -> None:
    machine = Machine(load_program(FLOWS))
    assert [packet(machine), packet(machine)] == [5, 0]
    assert machine.delete_context("flow", KEY)
    assert machine.read_context("flow", KEY) is None
    assert list(machine.list_contexts("flow")) == []
    assert not machine.delete_context("flow", KEY)
    assert not machine.delete_context("flow", {**KEY, "l4.sport": 9})
    assert machine.version == 1
    assert packet(machine) == 5


def test_written_timers_pass_and_time_goes_on_from_the_last_packet() -> None:
    machine = Machine(load_program(FLOWS))
    packet(machine, now=1000, sport=7)
    machine.write_context("flow", KEY, {"state": "new", "idle_ns": 50, "idle_to": "seen"})
    assert machine.read_context("flow", KEY).last_used_ns == 1000
    assert packet(machine, now=1050) == 5
    machine.write_context("flow", KEY, {"state": "new", "idle_ns": 50, "idle_to": "seen"})
    assert packet(machine, now=1101) == 0
    machine.write_context("flow", KEY, {"state": "seen", "hard_ns": 2000})
    assert machine.read_context("flow", KEY).hard_to is None
    assert packet(machine, now=2000) == 0
    assert packet(machine, now=2001) == 5


def test_more_contexts_are_written_than_there_was_room_for() -> None:
    machine = Machine(load_program(FLOWS))
    room = int(machine.store.tables["capacity"][0])
    for i in range(room + 5):
        machine.write_context("flow", {**KEY, "l4.sport": i}, {"registers": {"n": i}})
    assert packet(machine, sport=room + 3) == room + 3
    assert len(list(machine.list_contexts("flow"))) == room + 5


@pytest.mark.parametrize(
    ("table", "key", "context", "message"),
    [
        ("flwo", KEY, {}, "no table 'flwo' did you mean 'flow'"),
        ("flow", {"ip.src": "10.0.0.1"}, {}, "ip.dst is missing"),
        ("flow", {**KEY, "ip.sorc": 1}, {}, "no part 'ip.sorc', did you mean 'ip.src'"),
        ("flow", [1, 2], {}, "expected ip.src, ip.dst, l4.sport, l4.dport"),
        ("flow", "abcd", {}, "expected ip.src"),
        ("flow", {**KEY, "ip.src": "fe80::1"}, {}, "addresses of IPv4 and IPv6 in one key"),
        ("flow", {**KEY, "ip.src": 7}, {}, "got 7, expected an address"),
        ("flow", {**KEY, "ip.src": "10.0.0.300"}, {}, "10.0.0.300"),
        ("flow", {**KEY, "l4.sport": 65536}, {}, "expected at most 65535"),
        ("flow", {**KEY, "l4.sport": "1-3"}, {}, "expected one value"),
        ("flow", {**KEY, "l4.sport": -1}, {}, "not negative"),
        ("flow", KEY, {"state": "sene"}, "unknown state 'sene', known: new, seen did you mean 'seen'"),
        ("flow", KEY, {"state": 2**32}, "unknown state"),
        ("flow", KEY, {"registers": {"k": 1}}, "table 'flow' has no register 'k', known: n, m"),
        ("flow", KEY, {"registers": {"n": 2**32}}, "register n: got 4294967296"),
        ("flow", KEY, {"registers": {"n": -1}}, "register n: got -1"),
        ("flow", KEY, {"idle_ns": 2**63}, "idle_ns: got"),
        ("flow", KEY, {"hard_to": "new"}, "hard_to without a timer"),
        ("flow", KEY, {"idle_ns": 5, "idle_to": "old"}, "unknown state 'old'"),
        ("flow", KEY, {"last_used_ns": 2**64}, "last_used_ns: got"),
        ("flow", KEY, {"stat": "new"}, "a context has no 'stat', did you mean 'state'"),
    ],
)
def test_what_a_table_cannot_hold_is_refused(table: str, key: Any, context: Any, message: str) -> None:
    machine = Machine(load_program(FLOWS))
    with pytest.raises(InputError) as caught:
        machine.write_context(table, key, context)
    assert message in str(caught.value)
    assert machine.version == 0
    assert machine.contexts() == {"flow": {}}


def test_globals_that_are_not_there_or_too_narrow_are_refused() -> None:
    machine = Machine(load_program(FLOWS))
    with pytest.raises(InputError, match=r"no global 'all.smu' did you mean 'all.sum'"):
        machine.read_global("all.smu")
    with pytest.raises(InputError, match=r"global all.sum: got 4294967296"):
        machine.write_global("all.sum", 2**32)
    machine.write_global("all.wide", 2**64 - 1)
    assert machine.global_values() == {"all.sum": 0, "all.wide": 2**64 - 1}


def test_parts_of_keys_that_are_constants_or_stand_twice_have_names() -> None:
    document = {
        "program": "odd",
        "tables": {"t": {}},
        "stages": [{"name": "s", "table": "t", "key": ["l4.sport", 5, "l4.sport", "ipv4.src"]}],
    }
    machine = Machine(load_program(document))
    machine.write_context("t", [1, 6, 2, "10.0.0.1"], {"state": 3})
    machine.write_context("t", {"l4.sport": 1, "l4.sport#2": 2, "ipv4.src": 7}, {"state": 4})
    assert [(key, c.state) for key, c in machine.list_contexts("t")] == [
        ({"l4.sport": 1, "const#1": 6, "l4.sport#2": 2, "ipv4.src": "10.0.0.1"}, 3),
        ({"l4.sport": 1, "const#1": 5, "l4.sport#2": 2, "ipv4.src": "0.0.0.7"}, 4),
    ]


def test_vectors_of_another_layout_are_refused() -> None:
    machine = Machine(load_program(FLOWS))
    with pytest.raises(ValueError, match="expected"):
        machine.process(np.zeros((1, machine.layout.words + 1), np.uint64))


# Swapping programs


def changed(**more: Any) -> dict[str, Any]:
    """The program above, otherwise."""
    document: dict[str, Any] = {**FLOWS, **more}
    return document


def swapped(**more: Any) -> tuple[Machine, Carried]:
    machine = Machine(load_program(FLOWS))
    packet(machine, now=9)
    machine.write_global("all.sum", 3)
    machine.write_global("all.wide", 4)
    return machine, machine.replace_program(load_program(changed(**more)))


def test_contexts_and_globals_stay_where_both_programs_have_them() -> None:
    registers = ["m", {"name": "n", "initial": 50}]
    machine, kept = swapped(
        program="other",
        tables={"flow": {"registers": registers, "states": ["new", "seen", "gone"]}, "more": {}},
        globals={"all": [{"name": "wide", "bits": 64, "initial": 70}, {"name": "sum", "bits": 64}, "next"]},
    )
    assert kept == Carried(("flow",), ("all.wide",))
    assert machine.read_context("flow", KEY) == Context("seen", {"m": 0, "n": 6}, last_used_ns=9)
    assert machine.global_values() == {"all.wide": 4, "all.sum": 0, "all.next": 0}
    assert packet(machine) == 0
    assert packet(machine, sport=8) == 50
    assert machine.version == 3
    assert machine.program.name == "other"


@pytest.mark.parametrize(
    "flow",
    [
        {"registers": ["n", "m", "k"], "states": ["new", "seen"]},
        {"registers": ["n"], "states": ["new", "seen"]},
        {"registers": ["n", {"name": "m", "bits": 64}], "states": ["new", "seen"]},
        {"registers": ["n", "m"], "states": ["seen", "new"]},
        {"registers": ["n", "m"], "states": ["new", "old", "seen"]},
    ],
)
def test_contexts_go_where_registers_or_labels_differ(flow: Any) -> None:
    machine, kept = swapped(tables={"flow": flow})
    assert kept == Carried((), ("all.sum", "all.wide"))
    assert machine.contexts() == {"flow": {}}


@pytest.mark.parametrize(
    "key",
    [
        ["ip.src", "ip.dst", "l4.sport", "l4.dport"],
        {"fields": ["ip.dst", "ip.src", "l4.sport", "l4.dport"], "symmetric": True},
        {"fields": ["ip.src", "ip.dst", "tcp.sport", "tcp.dport"], "symmetric": True},
        {"fields": ["ip.src", "ip.dst"], "symmetric": True},
    ],
)
def test_contexts_go_where_the_key_differs(key: Any) -> None:
    machine, kept = swapped(stages=[{**FLOWS["stages"][0], "key": key}])  # type: ignore[index]
    assert kept.tables == ()
    assert machine.contexts() == {"flow": {}}


def test_a_swapped_machine_can_be_edited_and_asks_for_its_own_layout() -> None:
    machine, _ = swapped(metadata=["x"])
    stages = [{**FLOWS["stages"][0], "entries": [{"name": "a", "priority": 1, "match": {"tcp.seq": 1}}]}]  # type: ignore[index]
    before = machine.layout
    kept = machine.replace_program(load_program(changed(stages=stages)))
    assert kept.tables == ("flow",)
    assert machine.layout != before
    machine.add_entry("count", {"name": "b", "priority": 2, "actions": [{"output": 33}]})
    assert packet(machine) == 33
    assert machine.version == 5


# At random, against the reference


def stays(old: Program, new: Program, name: str) -> bool:
    """The rule of the documentation, once more, on programs."""

    def about(program: Program) -> Any:
        table = program.table(name)
        key = first_key(program, name)
        if key is None:
            return None
        widths = {r.name: max(r.bits, program.word_bits) for r in table.registers}
        parts = [(p, program.word_bits if p.kind in ("const", "metadata") else 0) for p in key.parts]
        return widths, parts, key.symmetric

    if name not in [t.name for t in old.tables]:
        return False
    labels = old.table(name).states
    return (
        about(old) is not None
        and about(old) == about(new)
        and new.table(name).states[: len(labels)] == labels
    )


def first_key(program: Program, name: str) -> Key | None:
    for stage in program.pipeline():
        if stage.table == name:
            return stage.lookup
        for entry in (*stage.entries, *((stage.default,) if stage.default else ())):
            for write in entry.writes:
                if write.table == name and isinstance(write.key, Key):
                    return write.key
    return None


def swap_reference(old: Reference, program: Program, seed: int) -> Reference:
    new = Reference(program, seed)
    for table in program.tables:
        if stays(old.program, program, table.name):
            for key, context in old.contexts[table.name].items():
                registers = {r.name: context.registers[r.name] for r in table.registers}
                new.contexts[table.name][key] = dataclasses.replace(context, registers=registers)
    widths = _global_widths(old.program)
    for name, bits in _global_widths(program).items():
        if widths.get(name) == bits:
            new.globals[name] = old.globals[name]
    return new


def _global_widths(program: Program) -> dict[str, int]:
    return {
        f"{g.name}.{v.name}": max(v.bits, program.word_bits) for g in program.globals for v in g.variables
    }


class Pair:
    """A machine and a reference that get the same packets and the same changes."""

    def __init__(self, module: ModuleType, rng: Random, document: dict[str, Any]) -> None:
        self.module, self.rng, self.document = module, rng, document
        program = load_program(document)
        self.machine, self.reference = Machine(program, seed=3), Reference(program, seed=3)
        self.now = 0
        self.kept = self.before = 0  # contexts that stayed in swaps, and that were there before them

    def packets(self, count: int) -> None:
        layout = self.machine.layout
        rows = self.module.make_vectors(self.rng, layout, count)
        rows[:, W_NOW] += np.uint64(self.now)
        self.now = int(rows[-1, W_NOW]) % 2**60
        expected = []
        for row in rows:
            result = self.reference.process(Packet.from_vector(row, layout))
            expected.append((int(result.verdict), result.port))
        got = self.machine.process(rows)
        assert list(zip(got.verdict.tolist(), got.port.tolist(), strict=True)) == expected
        self.agree()

    def agree(self) -> None:
        assert self.machine.contexts() == self.reference.canonical_contexts()
        assert self.machine.global_values() == self.reference.globals

    def change(self) -> None:
        version = self.machine.version
        done = self.rng.choice(
            (self.write, self.write, self.write_back, self.delete, self.set_global, self.swap)
        )()
        assert self.machine.version == version + done
        self.agree()

    def _key(self) -> tuple[Table, Any] | None:
        """A table and a key of it: one that a packet made, or a copy with a part of another."""
        found = [(t, k) for t in self.machine.program.tables for k in self.reference.contexts[t.name]]
        if not found:
            return None
        table, key = self.rng.choice(found)
        others = [k for t, k in found if t == table]
        families = {p[0] for k in others for p in k if isinstance(p, tuple)}
        if len(families) < 2:  # addresses of both versions do not go into one key
            key = tuple(self.rng.choice(others)[i] for i in range(len(key)))
        return table, key

    def write(self) -> bool:
        found = self._key()
        if found is None:
            return False
        (table, key), rng = found, self.rng
        state = rng.randrange(3)
        bits = {r.name: max(r.bits, self.machine.program.word_bits) for r in table.registers}
        registers = {name: rng.choice((0, 1, 7, 2**32 - 1)) % 2**b for name, b in bits.items()}
        idle, hard = rng.choice((0, 3, 10**6)), rng.choice((0, self.now + rng.randrange(10)))
        idle_to = rng.choice((None, 0, 2)) if idle else None
        hard_to = rng.choice((None, 1)) if hard else None
        last = rng.choice((self.now, self.now + 5, 0))
        context = Context(state, registers, idle, idle_to, hard, hard_to, last)
        self.machine.write_context(table.name, key, context)
        self.reference.contexts[table.name][key] = ContextState(
            state, dict(registers), idle, idle_to, hard or None, hard_to, last
        )
        return True

    def write_back(self) -> bool:
        """What is read is what the reference has, and changes nothing where it is written again."""
        found = self._key()
        if found is None:
            return False
        table, key = found
        read, there = self.machine.read_context(table.name, key), self.reference.contexts[table.name].get(key)
        assert (read is None) == (there is None)
        if read is None or there is None:
            return False
        assert read.registers == there.registers
        assert read.state == (table.states[there.state] if there.state < len(table.states) else there.state)
        assert (read.idle_ns, read.hard_ns) == (there.idle_timeout_ns, there.hard_deadline_ns or 0)
        self.machine.write_context(table.name, key, read)
        return True

    def delete(self) -> bool:
        found = self._key()
        if found is None:
            return False
        table, key = found
        there = self.reference.contexts[table.name].pop(key, None) is not None
        assert self.machine.delete_context(table.name, key) == there
        return there

    def set_global(self) -> bool:
        widths = _global_widths(self.machine.program)
        if not widths:
            return False
        name = self.rng.choice(list(widths))
        value = self.rng.getrandbits(widths[name])
        self.machine.write_global(name, value)
        self.reference.globals[name] = value
        return True

    def swap(self) -> bool:
        """Another program: the same tables or nearly, stages as they are or all anew."""
        rng = self.rng
        try:
            other = self.module.make_document(Random(rng.getrandbits(32)))
            document = {
                **other,
                "word_bits": self.document["word_bits"],
                "tables": dict(self.document["tables"]),
                "globals": rng.choice((self.document, other))["globals"],
                "metadata": self.document["metadata"],
                "stages": [dict(s) for s in self.document["stages"]],
            }
            for name, table in document["tables"].items():
                more = rng.randrange(4)
                if more == 1:
                    table = {**table, "states": [*table["states"], "late"]}
                elif more == 2:
                    table = {**table, "registers": [*table["registers"], "late"]}
                elif more == 3:
                    table = {**table, "registers": table["registers"][::-1]}
                document["tables"][name] = table
            for stage in document["stages"]:
                stage["entries"] = [e for e in stage["entries"] if rng.randrange(4)]
            if not rng.randrange(3):
                document = other
            program = load_program(document)
        except InputError:
            return False
        self.document = document
        old = self.machine.program
        kept = self.machine.replace_program(program)
        assert kept.tables == tuple(t.name for t in program.tables if stays(old, program, t.name))
        before = self.reference
        self.reference = swap_reference(before, program, 3)
        self.kept += sum(len(contexts) for contexts in self.reference.contexts.values())
        self.before += sum(len(contexts) for contexts in before.contexts.values())
        return True


def check_sequence(module: ModuleType, rng: Random) -> Pair | None:
    try:
        pair = Pair(module, rng, module.make_document(rng))
    except InputError:
        return None
    for _ in range(5):
        pair.packets(6)
        pair.change()
    pair.packets(6)
    return pair


@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=QUIET)
@given(rng=st.randoms(use_true_random=False))
def test_changes_at_run_time_mean_what_they_mean_to_the_reference(
    random_programs: ModuleType, rng: Random
) -> None:
    check_sequence(random_programs, rng)


def test_changes_at_run_time_on_many_seeds(random_programs: ModuleType, full: bool) -> None:
    count, pairs = 20_000 if full else 250, []
    for seed in range(count):
        try:
            pairs.append(check_sequence(random_programs, Random(seed)))
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise
    valid = [pair for pair in pairs if pair is not None]
    assert len(valid) > 0.8 * count
    kept, before = sum(pair.kept for pair in valid), sum(pair.before for pair in valid)
    assert 0.2 * before < kept < 0.9 * before, "swaps mostly keep or mostly lose contexts"

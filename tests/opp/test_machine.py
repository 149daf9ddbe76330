"""The software machine beyond what random programs reach: many keys, growth, hash collisions, batches."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from oppcache.opp import Machine, load_program
from oppcache.opp import contexts as store_of
from oppcache.opp.contexts import grow, hash_key
from oppcache.opp.fields import W_HEADERS, W_IN_PORT, W_IP_DST, W_IP_SRC, W_LENGTH, W_NOW, Header

COUNTER: dict[str, Any] = {
    "program": "counter",
    "tables": {"keys": {"registers": ["n"]}, "ports": {"registers": ["n"]}},
    "globals": {"all": [{"name": "n", "bits": 64, "initial": 2**64 - 5}]},
    "stages": [
        {
            "name": table,
            "table": table,
            "key": key,
            "default": {
                "updates": [
                    {"set": "R.n", "op": "add", "args": ["R.n", 1]},
                    {"set": "G.all.n", "op": "add", "args": ["G.all.n", 1]},
                ]
            },
        }
        for table, key in (("keys", ["packet_length"]), ("ports", ["in_port"]))
    ],
}

_ONE_MORE = {"set": "W.n", "op": "add", "args": ["W.n", 1]}


def vectors_of(machine: Machine, lengths: np.ndarray) -> np.ndarray:
    rows = np.zeros((len(lengths), machine.layout.words), np.uint64)
    rows[:, W_LENGTH], rows[:, W_IN_PORT] = lengths, lengths % 3
    return rows


def test_no_context_is_lost_while_the_store_grows() -> None:
    machine = Machine(load_program(COUNTER))
    lengths = np.random.Generator(np.random.PCG64(1)).integers(0, 20_000, 60_000)
    capacity = int(machine.store.tables["capacity"][0])
    for part in np.array_split(lengths, 7):
        machine.process(vectors_of(machine, part))
    assert machine.store.tables["capacity"][0] > 4 * capacity
    keys, counts = np.unique(lengths, return_counts=True)
    contexts = machine.contexts()
    assert {k[0]: v[1][0] for k, v in contexts["keys"].items()} == dict(
        zip(keys.tolist(), counts.tolist(), strict=True)
    )
    assert sum(v[1][0] for v in contexts["ports"].values()) == len(lengths)
    assert len(contexts["ports"]) == 3
    assert machine.global_values() == {"all.n": (2 * len(lengths) - 5) % 2**64}


def test_batches_do_not_matter() -> None:
    lengths = np.arange(50) % 7
    whole, parts = Machine(load_program(COUNTER)), Machine(load_program(COUNTER))
    whole.process(vectors_of(whole, lengths))
    for length in lengths:
        parts.process(vectors_of(parts, np.array([length])))
    parts.process(vectors_of(parts, lengths[:0]))
    assert whole.contexts() == parts.contexts()
    assert whole.global_values() == parts.global_values()


def test_a_flow_whose_packets_come_to_other_contexts_finds_each() -> None:
    """Where a flow's packet before went is a hint only: here each has a number of its own in its key."""
    count = {"updates": [{"set": "R.n", "op": "add", "args": ["R.n", 1]}]}
    numbered = {
        "actions": [{"set": {"metadata.number": "G.g.next"}}],
        "updates": [{"set": "G.g.next", "op": "add", "args": ["G.g.next", 1]}],
    }
    tables = {name: {"registers": ["n"]} for name in ("flows", "packets")}
    machine = Machine(
        load_program(
            {
                "program": "p",
                "metadata": ["number"],
                "globals": {"g": [{"name": "next"}]},
                "tables": tables,
                "stages": [
                    {"name": "first", "table": "flows", "key": ["ip.src"], "default": numbered},
                    {
                        "name": "then",
                        "table": "packets",
                        "key": ["ip.src", "metadata.number"],
                        "default": count,
                    },
                ],
            }
        )
    )
    rows = np.zeros((300, machine.layout.words), np.uint64)
    rows[:, W_HEADERS] = 1 << Header.IP
    rows[:, W_IP_SRC + 1] = np.arange(300) % 2
    for turn in (1, 2):  # at the second the hints are those of the first's last packets
        machine.write_global("g.next", 0)
        machine.process(rows.copy())
        found = machine.contexts()["packets"]
        assert len(found) == 300
        assert {(registers[0]) for _, registers, *_ in found.values()} == {turn}
        assert sorted(key[1] for key in found) == list(range(300))


@pytest.mark.parametrize("halves", [["ip.src.high", "tcp.seq"], ["tcp.seq", "ip.src.low"]])
def test_an_address_is_set_from_both_halves_or_not_at_all(halves: list[str]) -> None:
    """A packet that is not TCP has no number to put into the other half: its address stays."""
    stages = [{"name": "s", "default": {"actions": [{"set": {"ip.dst": halves}}]}}]
    machine = Machine(load_program({"program": "p", "stages": stages}))
    rows = np.zeros((2, machine.layout.words), np.uint64)
    rows[:, W_HEADERS] = 1 << Header.IP | 1 << Header.IPV6
    rows[1, W_HEADERS] |= np.uint64(1 << Header.TCP)
    rows[:, W_IP_SRC], rows[:, W_IP_SRC + 1], rows[:, machine.layout.word_of["tcp.seq"]] = 11, 22, 33
    rows[:, W_IP_DST], rows[:, W_IP_DST + 1] = 44, 55
    machine.process(rows)
    assert rows[0, W_IP_DST : W_IP_DST + 2].tolist() == [44, 55]
    values = {"ip.src.high": 11, "ip.src.low": 22, "tcp.seq": 33}
    assert rows[1, W_IP_DST : W_IP_DST + 2].tolist() == [values[half] for half in halves]


def test_keys_whose_hashes_collide_stay_apart() -> None:
    """Without compilation the hash can be replaced by a constant: then every key probes past all others."""
    import subprocess
    import sys

    script = """
import os; os.environ["NUMBA_DISABLE_JIT"] = "1"
import numpy as np
from oppcache.opp import Machine, ahead, contexts, load_program, step
worst = lambda words, first, count: np.uint64(0xFFFFFFFF0000000F)
contexts.hash_key = step.hash_key = ahead.hash_key = worst
machine = Machine(load_program({
    "program": "p", "tables": {"t": {"registers": ["n"]}},
    "stages": [{"name": "s", "table": "t", "key": ["packet_length"], "default":
                {"updates": [{"set": "R.n", "op": "add", "args": ["R.n", 1]}]}}]}))
machine.store = contexts.make_store(machine.lowered.arrays, capacity=1)
rows = np.zeros((60, machine.layout.words), np.uint64)
rows[:, 3] = np.arange(60) % 20
machine.process(rows[:30])
machine.process(rows[30:])
found = machine.contexts()["t"]
assert found == {(n,): found[n,] for n in range(20)}, found
assert {v[1] for v in found.values()} == {(3,)}
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_key_of_two_temporaries_needs_both() -> None:
    """One of an absent field is absent, and the key with it, whatever the other is."""
    port = {"op": "mov", "args": ["udp.dport"]}
    program = {
        "program": "p",
        "tables": {"seen": {"registers": ["n"]}},
        "stages": [
            {
                "name": "s",
                "temporaries": [
                    {"name": "length", "op": "mov", "args": ["packet_length"]},
                    {"name": "port", **port},
                ],
                "default": {
                    "writes": [{"table": "seen", "key": ["T.length", "T.port"], "updates": [_ONE_MORE]}]
                },
            }
        ],
    }
    machine = Machine(load_program(program))
    rows = vectors_of(machine, np.array([70, 70, 71]))
    rows[1:, W_HEADERS] = 1 << Header.UDP
    rows[1:, machine.layout.word_of["udp.dport"]] = 53
    machine.process(rows)
    assert sorted(machine.contexts()["seen"]) == [(70, 53), (71, 53)]


def test_a_timer_that_has_rolled_a_context_back_is_over() -> None:
    """With either timer: what packets do to the context afterwards stays."""
    for timer in ("hard", "idle"):
        program = {
            "program": "p",
            "tables": {"flow": {"states": ["new", "timed", "late", "kept"]}},
            "stages": [
                {
                    "name": "s",
                    "table": "flow",
                    "key": ["in_port"],
                    "entries": [
                        {
                            "name": "start",
                            "match": {"state": "new"},
                            "next_state": "timed",
                            timer: {"after": "10ns", "to": "late"},
                        },
                        {"name": "keep", "match": {"state": "late"}, "next_state": "kept"},
                    ],
                }
            ],
        }
        machine = Machine(load_program(program))
        rows = vectors_of(machine, np.zeros(3, np.int64))
        rows[:, W_NOW] = (1, 100, 200)
        machine.process(rows)
        assert machine.contexts() == {"flow": {(0,): (3, (), (0, 0, -1, -1, 200))}}


def test_the_hash_scatters_neighbours() -> None:
    """Keys that differ in little fill an index evenly, or probing would slow down on real traffic."""
    words = np.zeros(2, np.uint64)
    cells = np.zeros(1024, np.int64)
    with np.errstate(over="ignore"):
        for i in range(8192):
            words[:] = (i, 7)
            cells[int(hash_key(words, 0, 2)) & 1023] += 1
    assert cells.max() < 28  # mean 8; a Poisson cell of 28 has a chance of 10^-8


def test_a_table_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(load_program(COUNTER))
    machine.process(vectors_of(machine, np.arange(9)))
    monkeypatch.setattr(store_of, "MAX_RECORDS", 100)
    with pytest.raises(MemoryError, match="more than 100 contexts in one table"):
        grow(machine.lowered.arrays, machine.store, 1 << 20)


def test_keys_that_have_no_context_any_more_take_no_room() -> None:
    """A scan of ports, say, must not make the store of a machine grow for ever."""
    passing = {
        "program": "p",
        "tables": {"flow": {"states": ["new", "kept"], "registers": ["n"]}},
        "stages": [
            {
                "name": "s",
                "table": "flow",
                "key": ["packet_length"],
                "entries": [
                    {"name": "kept", "match": {"packet_length": 0}, "next_state": "kept"},
                    {"name": "gone", "match": {"packet_length": "1-4294967295"}, "next_state": "delete"},
                ],
            }
        ],
    }
    passing["stages"][0]["entries"][0]["updates"] = [{"set": "R.n", "op": "add", "args": ["R.n", 1]}]  # type: ignore[index]
    machine = Machine(load_program(passing))
    before = machine.store.memory.size
    for start in range(0, 40_000, 4_000):
        rows = np.zeros((4_000, machine.layout.words), np.uint64)
        rows[:, W_LENGTH] = np.arange(start, start + 4_000)
        rows[0, W_LENGTH] = 0
        machine.process(rows)
    assert machine.store.memory.size == before
    assert machine.store.tables["used"][0] < 4_000
    assert machine.contexts() == {"flow": {(0,): (1, (10,), (0, 0, -1, -1, 0))}}


def test_random_is_keyed_by_the_seed(random_programs: ModuleType) -> None:
    drawing = {
        "program": "p",
        "metadata": ["m"],
        "stages": [{"name": "s", "default": {"actions": [{"set": {"metadata.m": "random"}}]}}],
    }
    drawn = []
    for seed in (0, 0, 1, 2**64 - 1):
        machine = Machine(load_program(drawing), seed)
        rows = np.zeros((20, machine.layout.words), np.uint64)
        rows[:, :16] = random_programs.vectors_of_flows(range(20))
        machine.process(rows)
        drawn.append(rows[:, 16].tolist())
    assert drawn[0] == drawn[1]
    assert len({n for part in drawn for n in part}) == 60

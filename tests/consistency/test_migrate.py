"""Moving a context: all of it arrives, and only one place owns it."""

from __future__ import annotations

import numpy as np
import pytest

from oppcache.consistency.migrate import demote, promote
from oppcache.opp import Machine, load_program
from oppcache.opp.arrays import C_HEADER_WORDS, C_PLACE
from oppcache.opp.contexts import grow, location, make_store
from oppcache.opp.snapshot import snapshot

POISON = 0xDEADDEADDEADDEAD
PROGRAM = {
    "program": "p",
    "tables": {"other": {"registers": ["x"]}, "flows": {"registers": ["a", {"name": "b", "bits": 64}]}},
    "stages": [
        {"name": "other", "table": "other", "key": ["in_port"]},
        {
            "name": "s",
            "table": "flows",
            "key": ["packet_length", "in_port"],
            "default": {
                "next_state": 3,
                "idle": {"after": "5s", "to": 1},
                "hard": "7s",
                "updates": [
                    {"set": "R.a", "op": "add", "args": ["R.a", 9]},
                    {"set": "R.b", "op": "sub", "args": ["R.b", 1]},
                ],
            },
        },
    ],
}
TABLE, SLOTS = 1, 4


@pytest.fixture
def machine() -> Machine:
    """A machine with NIC slots and five contexts in its second table."""
    machine = Machine(load_program(PROGRAM))
    machine.store = make_store(machine.lowered.arrays, SLOTS, capacity=2000)
    vectors = np.zeros((5, machine.layout.words), np.uint64)
    vectors[:, 2] = np.arange(5) + 1000  # now
    vectors[:, 3] = np.arange(5)  # packet_length
    machine.process(vectors)
    return machine


def words_at(machine: Machine, base: int) -> list[int]:
    stride = int(machine.lowered.arrays.tables["stride"][TABLE])
    return [int(w) for w in machine.store.memory[base : base + stride]]


@pytest.mark.parametrize("poison", [False, True])
def test_a_context_is_whole_wherever_it_is(machine: Machine, poison: bool) -> None:
    program, store = machine.lowered.arrays, machine.store
    before = machine.contexts()
    assert len(before["flows"]) == 5
    home = [int(location(program, store, TABLE, record)) for record in range(5)]
    for record, slot in ((3, 0), (1, 2)):
        promote(program, store, TABLE, record, slot, poison)
        there = int(location(program, store, TABLE, record))
        stride = int(program.tables["stride"][TABLE])
        assert there == int(store.tables["nic_base"][TABLE]) + slot * stride
        assert (words_at(machine, there)[C_PLACE], words_at(machine, home[record])[C_PLACE]) == (
            record + 1,
            slot + 1,
        )
        assert machine.contexts() == before
    assert demote(program, store, TABLE, 3, poison) == 0
    assert int(location(program, store, TABLE, 3)) == home[3]
    assert words_at(machine, home[3])[C_PLACE] == 0
    assert machine.contexts() == before


def test_what_stays_behind_is_spoilt_but_for_its_key(machine: Machine) -> None:
    program, store = machine.lowered.arrays, machine.store
    home = int(location(program, store, TABLE, 2))
    whole = words_at(machine, home)
    key = slice(C_HEADER_WORDS, C_HEADER_WORDS + int(program.tables["key_words"][TABLE]))
    promote(program, store, TABLE, 2, 1, True)
    left = words_at(machine, home)
    assert left[key] == whole[key]
    assert set(left[:C_PLACE] + left[key.stop :]) == {POISON}
    there = int(location(program, store, TABLE, 2))
    demote(program, store, TABLE, 2, True)
    assert words_at(machine, home) == whole
    left = words_at(machine, there)
    assert set(left[:C_PLACE] + left[key.stop :]) == {POISON}


def test_a_store_grows_with_contexts_on_the_nic(machine: Machine) -> None:
    program = machine.lowered.arrays
    before = machine.contexts()
    promote(program, machine.store, TABLE, 4, 3, True)
    promote(program, machine.store, TABLE, 0, 0, True)
    machine.store = grow(program, machine.store, 5000)
    assert machine.contexts() == before == snapshot(machine.lowered, machine.store)
    assert demote(program, machine.store, TABLE, 4, True) == 3
    assert machine.contexts() == before

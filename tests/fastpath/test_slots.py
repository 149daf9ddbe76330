"""The NIC's slots: each is given out once, and what was emptied is given out again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oppcache.fastpath.slots import free_slot, make_slots, occupant, occupied, occupy, take_slot


@settings(max_examples=200, derandomize=True, deadline=None)
@given(
    tables=st.integers(1, 3),
    capacity=st.integers(0, 5),
    steps=st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(0, 9)), max_size=60),
)
def test_slots_are_a_set_of_free_places(
    tables: int, capacity: int, steps: list[tuple[int, bool, int]]
) -> None:
    slots = make_slots(tables, capacity)
    held: list[dict[int, int]] = [{} for _ in range(tables)]
    for number, (table, take, which) in enumerate(steps):
        table %= tables
        mine = held[table]
        if take:
            slot = int(take_slot(slots, table))
            assert (slot == -1) == (len(mine) == capacity)
            if slot >= 0:
                assert 0 <= slot < capacity
                assert slot not in mine
                occupy(slots, table, slot, number)
                mine[slot] = number
        elif mine:
            slot = sorted(mine)[which % len(mine)]
            free_slot(slots, table, slot)
            del mine[slot]
        for t in range(tables):
            assert {s: occupant(slots, t, s) for s in range(capacity) if occupant(slots, t, s) >= 0} == held[
                t
            ]
            assert occupied(slots, t) == len(held[t])


@pytest.mark.parametrize("slot", [-1, 3, 2**40, -(2**62)])
def test_what_is_no_slot_has_no_occupant(slot: int) -> None:
    slots = make_slots(2, 3)
    for number in range(3):
        occupy(slots, 1, int(take_slot(slots, 1)), number)
    assert occupant(slots, 1, slot) == -1

"""The slots of the NIC's context tables: which record is in which slot, and which slots are free."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from oppcache._jit import kernel
from oppcache._memory import full, zeros

# One row a table.
SLOT_TABLE_DTYPE = np.dtype(
    [
        ("first", np.int64),  # of the table's slots in the arrays below
        ("capacity", np.int64),
        ("fresh", np.int64),  # slots from here on were never used
        ("freed", np.int64),  # number of slots on the free stack
    ],
    align=True,
)


class Slots(NamedTuple):
    """Occupancy of all context tables of a NIC that is fully associative."""

    tables: np.ndarray  # SLOT_TABLE_DTYPE
    record: np.ndarray  # int64, per slot: the record that is in it, −1 if none
    free: np.ndarray  # int64, per table a stack of slots that were emptied


def make_slots(tables: int, capacity: int) -> Slots:
    """Return empty slots: ``tables`` context tables of ``capacity`` contexts each."""
    rows = np.zeros(tables, SLOT_TABLE_DTYPE)
    rows["first"] = np.arange(tables) * capacity
    rows["capacity"] = capacity
    return Slots(
        rows, full(max(tables * capacity, 1), -1, np.int64), zeros(max(tables * capacity, 1), np.int64)
    )


@kernel
def take_slot(slots, table):
    """Return a free slot of a table, or −1 when it is full."""
    freed = slots.tables["freed"][table]
    if freed > 0:
        slots.tables["freed"][table] = freed - 1
        return slots.free[slots.tables["first"][table] + freed - 1]
    fresh = slots.tables["fresh"][table]
    if fresh < slots.tables["capacity"][table]:
        slots.tables["fresh"][table] = fresh + 1
        return fresh
    return np.int64(-1)


@kernel
def occupy(slots, table, slot, record):
    """Note that a record's context is in a slot."""
    slots.record[slots.tables["first"][table] + slot] = record


@kernel
def occupant(slots, table, slot):
    """Return the record in a slot, −1 where there is none or no such slot."""
    if slot < 0 or slot >= slots.tables["capacity"][table]:
        return np.int64(-1)
    return slots.record[slots.tables["first"][table] + slot]


@kernel
def free_slot(slots, table, slot):
    """Note that a slot was emptied."""
    first = slots.tables["first"][table]
    slots.record[first + slot] = -1
    freed = slots.tables["freed"][table]
    slots.free[first + freed] = slot
    slots.tables["freed"][table] = freed + 1


def occupied(slots: Slots, table: int) -> int:
    """Number of contexts in a table."""
    row = slots.tables[table]
    return int(row["fresh"] - row["freed"])

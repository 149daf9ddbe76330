"""The ternary table: the first match is the best, moves are what they are counted as, and few on prefixes."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oppcache.fastpath.tcam import ORDERS, Row, Tcam, rows_of_stage
from oppcache.opp import load_program
from oppcache.opp.errors import InputError
from oppcache.opp.lower import lower


def matches(row: Row, words: tuple[int, ...]) -> bool:
    return all(w & m == v for w, m, v in zip(words, row.mask, row.value, strict=True))


def best(held: dict[int, list[Row]], words: tuple[int, ...]) -> int:
    """The plain way: of all entries that match, the one of highest priority."""
    found = [row for rows in held.values() for row in rows if matches(row, words)]
    return max(found, key=lambda r: r.priority).owner if found else -1


def places(table: Tcam) -> dict[tuple[object, ...], int]:
    """Address of each entry."""
    columns = zip(*(array.tolist() for array in table._columns()), strict=True)
    return {
        (owner, priority, tuple(mask), tuple(value)): address
        for address, (owner, priority, mask, value) in enumerate(columns)
        if owner >= 0
    }


@settings(max_examples=150, derandomize=True, deadline=None)
@given(seed=st.integers(0, 2**40), size=st.integers(1, 12), order=st.sampled_from(ORDERS))
def test_the_first_match_is_the_one_of_highest_priority(seed: int, size: int, order: str) -> None:
    rng = random.Random(seed)
    table = Tcam(size, 2, order)
    held: dict[int, list[Row]] = {}
    width = rng.choice((2, 4))
    for owner in range(40):
        before, writes, shifts = places(table), table.writes, table.shifts
        if held and rng.random() < 0.3:
            gone = rng.choice(sorted(held))
            assert table.remove(gone) == len(held.pop(gone))
            written = 0
        else:
            mask = tuple(rng.getrandbits(width) for _ in range(2))
            value = tuple(rng.getrandbits(width) & m for m in mask)
            row = Row(owner, rng.randrange(1000) * 100 + owner, mask, value)
            moved = table.insert(row)
            assert (moved == -1) == (sum(map(len, held.values())) == size)
            if moved >= 0:
                held[owner] = [row]
            assert table.shifts - shifts == max(moved, 0)
            written = int(moved >= 0)
        after = places(table)
        assert len(after) == table.used == sum(map(len, held.values()))
        changed = sum(after[row] != address for row, address in before.items() if row in after)
        assert table.shifts - shifts >= changed
        assert table.shifts - shifts == changed or order == "chain"
        assert table.writes - writes == table.shifts - shifts + written
        for _ in range(12):
            words = tuple(rng.getrandbits(width) for _ in range(2))
            assert table.look_up(words) == best(held, words)


def prefix(rng: random.Random, owner: int) -> Row:
    length = rng.choice((8, 12, 16, 20, 24, 28, 32))
    mask = (0xFFFF_FFFF << (32 - length)) & 0xFFFF_FFFF
    address = 10 << 24 | rng.choice((0x010000, 0x010203, 0x020304)) ^ rng.getrandbits(8) << rng.choice((0, 8))
    return Row(owner, length, (mask,), (address & mask,))


def test_prefixes_move_at_most_half_a_chain() -> None:
    """Shah and Gupta: with the free addresses between, D/2 moves, D being the longest chain of nested prefixes."""
    rng = random.Random(1)
    table, naive = Tcam(600, 1), Tcam(600, 1, "priority")
    seen: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()
    worst = 0
    for owner in range(580):
        row = prefix(rng, owner)
        if (row.mask, row.value) in seen:
            continue
        seen.add((row.mask, row.value))
        worst = max(worst, table.insert(row))
        naive.insert(row)
    assert table.used > 200
    assert worst <= 7, "lengths of 7 kinds can nest"
    assert naive.shifts > 50 * max(table.shifts, 1)


def test_strict_order_moves_half_the_table() -> None:
    """n entries in random order into strict order: each moves half of those before it, n²/4 in all."""
    table, count = Tcam(400, 1, "priority"), 400
    priorities = list(range(count))
    random.Random(3).shuffle(priorities)
    for owner, priority in enumerate(priorities):
        table.insert(Row(owner, priority, (0,), (0,)))
    expected = count * (count - 1) / 4
    spread = np.sqrt(count**3 / 36)  # of the number of inversions of a permutation
    assert abs(table.shifts - expected) < 4 * spread
    assert table.writes == table.shifts + count


def test_a_full_table_says_so() -> None:
    table = Tcam(2, 1)
    assert [table.insert(Row(i, i, (0,), (0,))) for i in range(3)] == [0, 1, -1]
    assert (table.used, table.addresses(1), table.look_up([7])) == (2, [0], 1)
    with pytest.raises(InputError, match=r"got order 'chains', expected chain, priority .*'chain'"):
        Tcam(2, 1, "chains")


def test_entries_of_a_program_lie_there_as_rows() -> None:
    entries = [
        {"match": {"l4.dport": [80, "1024-2047"], "state": "none"}, "actions": [{"output": 1}]},
        {"match": {"ip.src": "10.0.0.0/8", "state": 1}, "actions": [{"output": 2}]},
        {"match": {"l4.dport": "1-6"}, "actions": ["drop"]},
    ]
    stage = {"name": "s", "table": "t", "key": ["ip.src"], "entries": entries}
    lowered = lower(load_program({"program": "p", "tables": {"t": {}}, "stages": [stage]}))
    rows, subjects = rows_of_stage(lowered.program, lowered.program.stages[0], lowered.layout)
    assert [len(r) for r in rows] == [2, 1, 4]
    assert all(len(row.mask) == subjects for found in rows for row in found)
    table = Tcam(7, subjects)
    assert all(table.insert(row) >= 0 for found in rows for row in found)
    assert len(table.addresses(2)) == 4

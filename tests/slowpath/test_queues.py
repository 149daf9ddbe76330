"""Queues in virtual time against lists: who is inside when, and Little's law as an identity."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from oppcache.slowpath.queues import due, grown, join, little, make_queues, send, serve, take, waiting

STEPS = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 60), st.booleans()), max_size=120)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(steps=STEPS, limit=st.integers(1, 5), grow_at=st.integers(0, 120))
def test_a_delay_line_holds_what_has_not_left_yet(
    steps: list[tuple[int, int, bool]], limit: int, grow_at: int
) -> None:
    queues = make_queues([3, limit, 2])
    inside: list[tuple[int, int]] = []  # (ready, item) of what was let in
    now = last_ready = dropped = area = waits = taken = 0
    for number, (gap, delay, look) in enumerate(steps):
        if number == grow_at:
            queues = grown(queues, 1)
        before, now = now, now + gap
        area += sum(max(0, min(ready, now) - before) for ready, _ in inside)
        ready = max(now + delay, last_ready)
        here = sum(leaves > now for leaves, _ in inside)
        got = send(queues, 1, now, ready, number)
        assert got == (here < limit)
        if got:
            inside.append((ready, number))
            last_ready = ready
            waits += ready - now
        else:
            dropped += 1
        if look:
            spent = waits - sum(max(0, leaves - now) for leaves, _ in inside)
            assert little(queues, 1, now, waits=False) == (area, spent)
            assert area == spent, "Little's law, item by item and moment by moment"
            while taken < len(inside) and inside[taken][0] <= now:
                assert (due(queues, 1), take(queues, 1)) == inside[taken]
                taken += 1
    row = queues.rows[1]
    assert (row["entered"], row["dropped"]) == (len(inside), dropped)
    for ready, item in inside[taken:]:
        assert due(queues, 1) == ready
        assert take(queues, 1) == item
    assert little(queues, 1, last_ready + 1, waits=False) == (waits, waits)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(steps=STEPS, limit=st.integers(1, 5))
def test_a_waiting_line_is_first_in_first_out(steps: list[tuple[int, int, bool]], limit: int) -> None:
    queues = make_queues([1, limit])
    line: list[tuple[int, int]] = []
    now = area = waits = dropped = 0
    for number, (gap, _, leaves) in enumerate(steps):
        area += gap * len(line)
        now += gap
        if leaves and line:
            came, item = line.pop(0)
            waits += now - came
            assert serve(queues, 1, now) == item
        elif not leaves:
            got = join(queues, 1, now, number, False)
            assert got == (len(line) < limit)
            if got:
                line.append((now, number))
            else:
                dropped += 1
        assert waiting(queues, 1) == len(line)
    spent = waits + sum(now - came for came, _ in line)
    assert little(queues, 1, now, waits=True) == (area, spent)
    assert area == spent
    assert queues.rows["dropped"][1] == dropped


def test_a_line_that_empties_stays_in_its_first_places() -> None:
    queues = make_queues([4, 4])
    for number in range(1, 10_000):
        send(queues, 0, 2 * number, 2 * number + 1, number)
        assert take(queues, 0) == number
        join(queues, 1, 2 * number, number, False)
        assert serve(queues, 1, 2 * number + 1) == number
    assert len(set(queues.item) - {0}) <= 4  # the next may come before its ring knows that the last has left


def test_times_out_of_order_show() -> None:
    """The check must be able to fail: an item that leaves before the one ahead of it is such an error."""
    queues = make_queues([8, 8, 8])
    send(queues, 0, 0, 100, 1)
    send(queues, 0, 10, 50, 2)
    send(queues, 1, 20, 30, 1)
    send(queues, 1, 10, 40, 2)
    join(queues, 2, 20, 1, False)
    serve(queues, 2, 10)
    assert queues.rows["disorder"].tolist() == [1, 1, 1]

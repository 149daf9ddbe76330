"""Allocation: the first free value, how failure shows, what counts as free, and recorded choices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from oppcache.opp import Machine, ProgramBuilder
from oppcache.opp import arrays as A
from oppcache.opp.fields import W_FAMILY, W_HEADERS, W_ID, W_IP_SRC, W_L4_SPORT, W_NOW, Header
from oppcache.opp.reference import Packet, Reference
from oppcache.opp.reference_alloc import ChoiceError

TCP = sum(1 << h for h in (Header.IP, Header.IPV4, Header.TCP, Header.L4_PORTS))
NO_PORTS = 1 << Header.IP | 1 << Header.IPV4


def ports(more: dict[str, Any] | None = None, timer: dict[str, Any] | None = None) -> Any:
    """Gives every packet of a source a port from 10 to 13 that no packet to its destination has."""
    builder = ProgramBuilder("ports", metadata=["ok", "first"])
    builder.table("taken", states=["free", "used"], registers=["by"])
    search = {"set": "l4.sport", "table": "taken", "key": ["ip.dst", "l4.sport"], "range": [10, 13]}
    write = {
        "table": "taken",
        "key": ["ip.dst", "l4.sport"],
        "next_state": "used",
        "updates": [{"set": "R.by", "op": "mov", "args": ["ip.src.low"]}],
        **(timer or {}),
    }
    stage = builder.stage("alloc")
    alloc = {"alloc": {**search, "found": "metadata.ok", **(more or {})}}
    stage.entry(name="all", actions=[{"output": 1}, alloc])
    book = builder.stage("book")
    book.entry(name="ok", match={"metadata.ok": 1}, writes=[write])
    return builder.build()


def packets(machine: Machine, count: int, now: list[int] | None = None, headers: int = TCP) -> np.ndarray:
    rows = np.zeros((count, machine.layout.words), np.uint64)
    rows[:, W_HEADERS], rows[:, W_FAMILY], rows[:, W_ID] = headers, 4, np.arange(count)
    rows[:, W_IP_SRC + 1] = 0xFFFF_0A000001
    rows[:, W_IP_SRC + 3] = 0xFFFF_C0000201
    rows[:, W_L4_SPORT] = 5000 if headers == TCP else 0
    rows[:, W_NOW] = range(count) if now is None else now
    return rows


def run(program: Any, rows: Any = None, **more: Any) -> tuple[list[Any], Machine]:
    """Ports, found flags and verdicts on the machine, after the reference agreed."""
    machine = Machine(program)
    vectors = packets(machine, 6) if rows is None else rows(machine)
    reference, expected = Reference(program, **more), []
    for row in vectors:
        packet = Packet.from_vector(row, machine.layout)
        result = reference.process(packet)
        expected.append((packet.fields["l4.sport"], packet.metadata[0], int(result.verdict)))
    got = machine.process(vectors)
    ok = vectors[:, machine.layout.metadata_word].tolist()
    assert list(zip(vectors[:, W_L4_SPORT].tolist(), ok, got.verdict.tolist(), strict=True)) == expected
    assert machine.contexts() == reference.canonical_contexts()
    return expected, machine


def test_the_first_free_values_in_order_and_then_none() -> None:
    seen, _ = run(ports())
    assert [port for port, _, _ in seen] == [10, 11, 12, 13, 5000, 5000]
    assert [ok for _, ok, _ in seen] == [1, 1, 1, 1, 0, 0]
    assert [verdict for _, _, verdict in seen] == [1] * 6


def test_failure_can_drop() -> None:
    seen, machine = run(ports({"else": "drop"}))
    assert [verdict for _, _, verdict in seen] == [1] * 4 + [2] * 2
    assert len(machine.contexts()["taken"]) == 4


@pytest.mark.parametrize(
    ("start", "expected"),
    [(12, [12, 13, 10, 11]), (10, [10, 11, 12, 13]), (15, [13, 10, 11, 12]), (3, [13, 10, 11, 12])],
)
def test_the_search_starts_where_it_is_told_and_wraps_around(start: int, expected: list[int]) -> None:
    seen, _ = run(ports({"start": start}))
    assert [port for port, ok, _ in seen if ok] == expected


def test_tries_bound_the_search() -> None:
    seen, _ = run(ports({"tries": 2}))
    assert [port for port, _, _ in seen] == [10, 11, 5000, 5000, 5000, 5000]


def test_a_packet_without_ports_or_without_a_bound_gets_none() -> None:
    seen, _ = run(ports(), lambda machine: packets(machine, 2, headers=NO_PORTS))
    assert seen == [(0, 0, 1)] * 2
    seen, _ = run(ports({"range": ["arp.op", 13]}))
    assert {ok for _, ok, _ in seen} == {0}


@pytest.mark.parametrize("timer", ["idle", "hard"])
def test_a_context_that_will_be_deleted_at_its_next_use_is_free(timer: str) -> None:
    now = [0, 0, 0, 0, 1000, 1001]
    seen, _ = run(ports(timer={timer: "1us"}), lambda machine: packets(machine, 6, now))
    # At 1000 ns the deadline has not passed; at 1001 all four are over.
    assert [(port, ok) for port, ok, _ in seen][4:] == [(5000, 0), (10, 1)]
    seen, _ = run(
        ports(timer={timer: {"after": "1us", "to": "free"}}), lambda machine: packets(machine, 6, now)
    )
    assert [(port, ok) for port, ok, _ in seen][4:] == [(5000, 0)] * 2  # rolled back, it exists


def test_the_machine_notes_its_choices() -> None:
    _, machine = run(ports())
    scratch = machine._scratch
    assert scratch[A.S_CHOICES] == 1
    assert scratch[A.S_CHOICE_LIST : A.S_CHOICE_LIST + 2].tolist() == [0, 0]  # the last packet found none


def test_the_reference_takes_over_what_was_free_and_in_range() -> None:
    program = ports()
    reference = Reference(program)
    machine = Machine(program)
    rows = packets(machine, 6)
    chosen = [13, 10, 12, 11, None, None]
    for row, choice in zip(rows, chosen, strict=True):
        packet = Packet.from_vector(row, machine.layout)
        assert reference.process(packet, choices=[choice]).choices == [choice]
        assert packet.fields["l4.sport"] == (choice or 5000)
    assert sorted(key[1] for key in reference.contexts["taken"]) == [10, 11, 12, 13]


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ([14], "recorded choice 14, expected one from 10 to 13"),
        ([10, 10], "recorded choice 10, which was not free"),
        ([None], "recorded no choice, but 10 was free"),
        ([10, 11, None], "recorded no choice, but 12 was free"),
    ],
)
def test_the_reference_refuses_what_no_machine_can_have_chosen(choices: list[Any], message: str) -> None:
    program = ports()
    reference, machine = Reference(program), Machine(program)
    rows = [Packet.from_vector(row, machine.layout) for row in packets(machine, len(choices))]
    for packet, choice in zip(rows[:-1], choices[:-1], strict=True):
        reference.process(packet, choices=[choice])
    with pytest.raises(ChoiceError, match=message):
        reference.process(rows[-1], choices=[choices[-1]])

"""The history checker on histories made by hand, and against a slow search for a serial order."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oppcache.consistency.history import Arrival, Departure, History, Step, Verdict, check, serialise
from oppcache.consistency.history.objects import Fall, follow
from oppcache.consistency.history.records import CPU, GLOBAL, LOST, NIC, Key
from oppcache.consistency.history.replay import Outcome
from oppcache.opp import load_program
from oppcache.opp.reference import Packet, Reference
from oppcache.opp.reference_values import splitmix64
from oppcache.opp.yaml_source import parse_yaml

A, B = (0, 0), (0, 1)


class Maker:
    """Writes a history down as an engine that does everything right would, unless it is told otherwise."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.copies: dict[tuple[Key, int], tuple[int, int]] = {}
        self.arrivals: dict[int, Arrival] = {}
        self.departures: dict[int, Departure] = {}
        self.newest: dict[Key, int] = {}
        self.checkpoints: dict[Key, tuple[int, int]] = {}

    def packet(self, number: int, enters: int, leaves: int | None, flow: int = -1, verdict: int = 1) -> Maker:
        self.arrivals[number] = Arrival(enters, flow)
        if leaves is not None:
            self.departures[number] = Departure(leaves, verdict)
        return self

    def apply(self, packet: int, key: Key = A, side: int = CPU, stage: int = 0, kind: str = "apply") -> Maker:
        version, witness = self.copies.get((key, side), (0, 0))
        self.steps.append(Step(kind, side, key, packet, stage, version, witness))
        self.copies[key, side] = version + 1, splitmix64(witness ^ packet)
        self.newest[key] = side
        return self

    def write(self, packet: int, key: Key) -> Maker:
        """A packet writes a context of another key than it has looked up."""
        return self.apply(packet, key, kind="write")

    def meet(self, packet: int, number: int = 0) -> Maker:
        """A packet reads or writes a global."""
        return self.apply(packet, (GLOBAL, number), kind="global")

    def take(self, side: int, key: Key = A) -> Maker:
        """A side takes the other's copy as it is now."""
        copy = self.copies.get((key, 1 - side), (0, 0))
        return self.give(side, copy, key)

    def give(self, side: int, copy: tuple[int, int], key: Key = A) -> Maker:
        self.steps.append(Step("take", side, key, version=copy[0], witness=copy[1]))
        self.copies[key, side] = copy
        self.newest[key] = side
        return self

    def checkpoint(self) -> Maker:
        self.steps.append(Step("checkpoint", CPU))
        self.checkpoints = {key: copy for (key, side), copy in self.copies.items() if side == CPU}
        return self

    def crash(self, side: int) -> Maker:
        self.steps.append(Step("crash", side))
        for key, which in list(self.copies):
            if which == side:
                self.copies[key, side] = self.checkpoints.get(key, (0, 0)) if side == CPU else (0, 0)
                self.newest[key] = CPU
        return self

    def history(self) -> History:
        final = {key: self.copies[key, side] for key, side in self.newest.items()}
        ordered = dict(sorted(self.departures.items(), key=lambda item: item[1].time))
        return History(self.arrivals, ordered, self.steps, final)

    def check(self) -> Verdict:
        return check(self.history())


def through(*packets: int) -> Maker:
    """Packets that are in the system all at the same time."""
    made = Maker()
    for number in packets:
        made.packet(number, 0, 100)
    return made


def test_a_machine_that_takes_packets_one_at_a_time() -> None:
    made = Maker().packet(0, 0, 1).apply(0).packet(1, 2, 3).apply(1).packet(2, 4, 5).apply(2)
    verdict = made.check()
    assert verdict.holds
    assert verdict.order.order == [0, 1, 2]


def test_a_context_that_moves() -> None:
    made = through(0, 1, 2).apply(0).take(NIC).apply(1, side=NIC).take(CPU).apply(2)
    assert made.check().holds


def test_two_shared_objects_in_opposite_orders_have_no_serial_history() -> None:
    """X passes A before Y, Y passes B before X: neither can have come first."""
    made = through(0, 1).apply(0, A).apply(1, A).apply(1, B).apply(0, B)
    verdict = made.check()
    assert verdict.counts() == {"serial_cycles": 1}
    assert verdict.order.cycle == [(0, f"at context {A}"), (1, f"at context {B}")]


def test_a_context_and_a_global_in_opposite_orders() -> None:
    """Without the order at the global nothing would show: each has its own order, and both are right."""
    made = through(0, 1).apply(0, A).apply(1, A).meet(1).meet(0)
    verdict = made.check()
    assert verdict.counts() == {"serial_cycles": 1}
    assert {why for _, why in verdict.order.cycle} == {f"at context {A}", "at global 0"}
    assert through(0, 1).apply(0, A).apply(1, A).meet(0).meet(1).check().holds


def test_a_write_to_another_key_counts_as_a_packet_at_that_context() -> None:
    """X looks up A and writes B; Y looks up B and writes A: each before it has seen the other's write."""
    made = through(0, 1).apply(0, A).apply(1, B).write(0, B).write(1, A)
    assert made.check().counts() == {"serial_cycles": 1}
    assert through(0, 1).apply(0, A).write(0, B).apply(1, B).write(1, A).check().holds
    turned = Maker().packet(0, 0, 100, flow=3).packet(1, 1, 101, flow=3).apply(0, A).write(1, B).write(0, B)
    assert "reorders" in turned.check().counts()


def test_several_writes_of_one_packet_to_a_context_are_no_duplicates() -> None:
    assert through(0).apply(0, A).write(0, B).write(0, B).check().holds
    assert through(0).meet(0).meet(0).check().counts() == {"duplicate_updates": 1}


def test_a_write_that_a_copy_lacks_is_a_lost_update() -> None:
    made = through(0, 1, 2).apply(0, A)
    old = made.copies[A, CPU]
    verdict = made.write(1, A).give(NIC, old).apply(2, A, side=NIC).check()
    assert verdict.counts() == {"lost_updates": 1}
    assert "without the updates of packets 1" in verdict.findings[0].text


def test_write_skew() -> None:
    """One packet reads L and writes U, the other reads U and writes L, each before it has seen the other's write."""
    left, upper = A, B
    made = through(0, 1)
    made.take(NIC, left).apply(0, left, NIC, stage=0).apply(1, upper, CPU, stage=0)  # the reads
    made.take(CPU, left).apply(1, left, CPU, stage=1)
    made.take(NIC, upper).apply(0, upper, NIC, stage=1)
    verdict = made.check()
    assert verdict.counts() == {"serial_cycles": 1}
    assert {step for step, _ in verdict.order.cycle} == {0, 1}


def test_what_left_before_another_entered_comes_first() -> None:
    made = Maker().packet(0, 0, 10).packet(1, 20, 30).apply(1).apply(0)
    verdict = made.check()
    assert verdict.counts() == {"serial_cycles": 1}
    assert {why for _, why in verdict.order.cycle} == {f"at context {A}", "left before"}


def test_a_packet_that_was_inside_all_the_time_may_come_anywhere() -> None:
    made = Maker().packet(0, 0, 100).packet(1, 10, 20).packet(2, 30, 40).apply(1).apply(0).apply(2)
    assert made.check().order.order == [1, 0, 2]


def test_a_flow_keeps_its_order_at_contexts_and_at_egress() -> None:
    turned = Maker().packet(0, 0, 100, flow=3).packet(1, 1, 101, flow=3).apply(1).apply(0)
    assert "reorders" in turned.check().counts()
    late = Maker().packet(0, 0, 102, flow=3).packet(1, 1, 101, flow=3).apply(0).apply(1)
    assert late.check().counts() == {"reorders": 1}
    others = Maker().packet(0, 0, 102, flow=3).packet(1, 1, 101, flow=4).apply(1).apply(0)
    assert others.check().holds
    lost = Maker().packet(0, 0, 102, flow=3, verdict=LOST).packet(1, 1, 101, flow=3).apply(0).apply(1)
    assert lost.check().holds, "what is lost leaves in no order"


def test_a_lost_update() -> None:
    made = through(0, 1, 2).apply(0)
    old = made.copies[A, CPU]
    made.apply(1).give(NIC, old).apply(2, side=NIC)
    verdict = made.check()
    assert verdict.counts() == {"lost_updates": 1}
    assert "without the updates of packets 1" in verdict.findings[0].text


def test_two_owners() -> None:
    made = through(0, 1, 2).take(NIC).apply(0, side=NIC).apply(1, side=CPU)
    assert "lost_updates" in made.check().counts()


def test_an_application_twice() -> None:
    verdict = through(0).apply(0).apply(0).check()
    assert verdict.counts() == {"duplicate_updates": 1}
    assert through(0).apply(0, stage=0).apply(0, stage=1).check().holds, "two stages on one table"


def test_a_copy_of_an_abandoned_history() -> None:
    """The version is right, but these are not the updates that the context has had."""
    made = through(0, 1, 2, 3).apply(0)
    first = made.copies[A, CPU]
    made.checkpoint().apply(1)
    dead = made.copies[A, CPU]
    made.crash(CPU).apply(2)
    assert made.copies[A, CPU] == (2, splitmix64(first[1] ^ 2))
    verdict = made.give(CPU, dead).apply(3).check()
    assert verdict.counts() == {"stale_reads": 1}
    assert "which is no state of its history" in verdict.findings[0].text


def test_a_copy_that_nobody_gave() -> None:
    made = through(0, 1).apply(0)
    made.copies[A, NIC] = made.copies[A, CPU]
    assert made.apply(1, side=NIC).check().counts() == {"copies": 1}


def test_who_never_leaves_is_stuck() -> None:
    assert Maker().packet(0, 0, None).apply(0).check().counts() == {"packets_stuck": 1}


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_cpu_crash_goes_back_to_the_checkpoint(kept: int) -> None:
    made = through(0, 1, 2, 3)
    for packet in range(3):
        if packet == kept:
            made.checkpoint()
        made.apply(packet)
    verdict = made.crash(CPU).apply(3).check()
    assert verdict.holds
    assert verdict.lost_updates == 3 - kept
    assert Fall(A, 3, kept) in verdict.order.order


def test_a_nic_reset_goes_back_to_the_last_write_back() -> None:
    made = through(0, 1, 2, 3).apply(0).take(NIC).apply(1, side=NIC).take(CPU)
    made.apply(2, side=NIC).crash(NIC).apply(3)
    verdict = made.check()
    assert verdict.holds
    assert verdict.lost_updates == 1
    assert verdict.order.order == [0, 1, 2, Fall(A, 3, 2), 3]


def test_no_crash_goes_back_further() -> None:
    made = through(0, 1, 2, 3).apply(0)
    older = made.copies[A, CPU]
    made.apply(1).checkpoint().apply(2).crash(CPU)
    assert made.give(CPU, older).apply(3).check().counts() == {"roll-back": 1}


def test_a_reset_of_the_side_that_does_not_own_takes_nothing() -> None:
    made = through(0, 1, 2).apply(0).take(NIC)
    shadow = made.copies[A, CPU]
    made.apply(1, side=NIC).crash(CPU)
    assert made.give(CPU, shadow).apply(2).check().counts() == {"lost_updates": 1}
    kept = through(0, 1, 2).apply(0).take(NIC).apply(1, side=NIC).crash(CPU).take(CPU).apply(2)
    assert kept.check().holds


def test_a_crash_is_an_excuse_once() -> None:
    made = through(0, 1, 2, 3, 4).apply(0).checkpoint().apply(1).crash(CPU).apply(2)
    older = 1, splitmix64(0)
    made.apply(3)
    assert made.give(CPU, older).apply(4).check().counts() == {"lost_updates": 1}


def test_what_a_crash_took_shows_at_the_end_too() -> None:
    verdict = through(0, 1).apply(0).checkpoint().apply(1).crash(CPU).check()
    assert verdict.holds
    assert verdict.lost_updates == 1


# A slow search for a serial order, from the definition: try all of them.

KEYS = [(0, 0), (0, 1), (GLOBAL, 0)]


@st.composite
def small_histories(draw: st.DrawFn) -> History:
    """A few packets in any times, flows and orders at any contexts."""
    count = draw(st.integers(1, 5))
    made = Maker()
    times = sorted(draw(st.lists(st.integers(0, 12), min_size=count, max_size=count)))
    for number, enters in enumerate(times):
        made.packet(number, enters, enters + draw(st.integers(1, 8)), draw(st.integers(0, 2)))
    for key in KEYS:
        for packet in draw(st.permutations(range(count))):
            if draw(st.booleans()):
                kind = "global" if key[0] == GLOBAL else draw(st.sampled_from(["apply", "write"]))
                made.apply(packet, key, kind=kind)
    return made.history()


def has_serial_order(history: History) -> bool:
    orders = []
    for key in KEYS:
        applied = [step.packet for step in history.steps if step.key == key]
        orders += [(x, y) for at, x in enumerate(applied) for y in applied[at + 1 :]]
    for x, left in history.departures.items():
        for y, came in history.arrivals.items():
            if left.time < came.time:
                orders.append((x, y))
            same = history.arrivals[x].connection == came.connection
            if x < y and same:
                orders.append((x, y))
    for order in permutations(history.arrivals):
        place = {packet: at for at, packet in enumerate(order)}
        if all(place[x] < place[y] for x, y in orders):
            return True
    return False


@settings(max_examples=300, deadline=None)
@given(small_histories())
def test_a_serial_order_is_found_exactly_where_there_is_one(history: History) -> None:
    found = serialise(history, follow(history))
    assert bool(found.cycle) != has_serial_order(history)
    if found.order:
        assert sorted(packet for packet in found.order if isinstance(packet, int)) == sorted(history.arrivals)
    else:
        assert len(found.cycle) >= 2


PARTLY = """
program: partly
tables: {first: {registers: [packets]}, other: {states: [new, written]}, last: {registers: [packets]}}
stages:
  - name: first
    table: first
    key: [ipv4.src]
    default: {updates: [{set: R.packets, op: add, args: [R.packets, 1]}]}
  - name: between
    entries:
      - {name: written, match: {ipv4.ttl: 2}, writes: [{table: other, key: [ipv4.src], next_state: written}]}
  - name: last
    table: last
    key: [ipv4.src]
    default: {updates: [{set: R.packets, op: add, args: [R.packets, 1]}]}
"""
TOUCHED = {"first": ("apply", 0), "other": ("write", 1), "last": ("apply", 2)}


@pytest.mark.parametrize(
    ("ttl", "came"),
    [(2, ["first"]), (2, ["first", "other"]), (2, [*TOUCHED]), (3, ["first"]), (3, ["first", "last"])],
)
def test_the_reference_runs_a_lost_packet_as_far_as_it_came(ttl: int, came: list[str]) -> None:
    """Packet 0 is whole, packet 1 is lost; the stage between has no table, and writes for some packets only."""
    program = load_program(parse_yaml(PARTLY, "partly.yaml"))

    def packet(number: int) -> Packet:
        fields = {"ipv4.src": 5 + number, "ipv4.ttl": (2, ttl)[number]}
        return Packet.from_fields(fields, ["ipv4"], number, number)

    names: dict[Key, tuple[str, Any]] = {}
    made, reference = (
        Maker().packet(0, 0, 10, verdict=0).packet(1, 11, 20, verdict=LOST),
        Reference(program, 0),
    )
    for number, touched in enumerate(([*TOUCHED], came)):
        reference.process(packet(number))
        key = list(reference.contexts["first"])[number]
        for table, name in enumerate(TOUCHED):
            names[table, number] = name, key
            kind, stage = TOUCHED[name]
            if name in touched:
                made.apply(number, (table, number), CPU, stage, kind)
            else:
                reference.contexts[name].pop(key, None)
    outcome = Outcome(names, packet, packet, reference.canonical_contexts(), {})
    assert check(made.history(), program, outcome).findings == []
    reference.process(packet(1))
    outcome = Outcome(names, packet, packet, reference.canonical_contexts(), {})
    assert check(made.history(), program, outcome).counts().keys() == {"contexts"}

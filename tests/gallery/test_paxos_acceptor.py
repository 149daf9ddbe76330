"""Paxos acceptor: what it promises and votes, and that acceptors together never choose two values."""

from __future__ import annotations

from collections import Counter, defaultdict
from random import Random
from typing import Any

import numpy as np

from oppcache.opp import Machine, load_program

NAME = "paxos-acceptor"
PORT = 34952
FIELDS = ("type", "instance", "round", "vround", "acceptor", "value")


def message(gallery: Any, *values: int) -> Any:
    fields = {f"paxos.{name}": value for name, value in zip(FIELDS, values, strict=True)}
    return gallery.udp("198.51.100.9", "192.0.2.1", 5000, PORT, fields=fields)


def said(fields: dict[str, Any]) -> tuple[int, ...]:
    return tuple(fields[f"paxos.{name}"] for name in FIELDS)


class Acceptor:
    """One acceptor, as the algorithm is written down (Lamport, Paxos Made Simple)."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.promised: dict[int, int] = defaultdict(int)
        self.accepted: dict[int, tuple[int, int]] = defaultdict(lambda: (0, 0))

    def take(self, kind: int, instance: int, ballot: int, vround: int, acceptor: int, value: int) -> Any:
        """(port, answer), or None."""
        if kind not in (1, 3) or ballot < self.promised[instance]:
            return None
        self.promised[instance] = ballot
        if kind == 1:
            return 1, (
                2,
                instance,
                ballot,
                self.accepted[instance][0],
                self.number,
                self.accepted[instance][1],
            )
        self.accepted[instance] = ballot, value
        return 20, (4, instance, ballot, ballot, self.number, value)


def test_as_an_acceptor_in_plain_python(gallery: Any) -> None:
    rng, acceptor = Random(2), Acceptor(5)
    packets, expected = [], []
    for _ in range(2000):
        values = (rng.randrange(5), rng.randrange(4), rng.randrange(1, 9), 0, 0, rng.getrandbits(64))
        packets.append(message(gallery, *values))
        expected.append(acceptor.take(*values))
    run = gallery.run(NAME, packets, acceptor=5)
    for i, answer in enumerate(expected):
        got = None if run.outcomes[i] == "drop" else (run.outcomes[i], said(run.after[i]))
        assert got == answer, i


def test_every_entry_by_hand(gallery: Any) -> None:
    packets = [
        message(gallery, 1, 9, 2, 0, 0, 0),
        message(gallery, 3, 9, 2, 0, 0, 77),
        message(gallery, 3, 9, 1, 0, 0, 66),
        message(gallery, 1, 9, 1, 0, 0, 0),
        message(gallery, 1, 9, 3, 0, 0, 0),
        message(gallery, 4, 9, 3, 0, 0, 0),
        gallery.udp("198.51.100.9", "192.0.2.1", 5000, 53),
    ]
    run = gallery.run(NAME, packets)
    assert run.outcomes == [1, 20, "drop", "drop", 1, "drop", "drop"]
    assert [said(run.after[i]) for i in (0, 1, 4)] == [
        (2, 9, 2, 0, 1, 0),
        (4, 9, 2, 2, 1, 77),
        (2, 9, 3, 2, 1, 77),
    ]
    assert run.contexts("instances") == {9: ("0", {"round": 3, "vround": 2, "value": 77})}
    assert not run.untaken()


def test_three_acceptors_choose_one_value_however_proposers_race(gallery: Any) -> None:
    """Two proposers, messages lost and reordered: no instance has two values with a majority of votes."""
    chosen: dict[int, set[int]] = defaultdict(set)
    for seed in range(60):
        race = Race(gallery, Random(seed))
        for _ in range(150):
            race.step()
        for instance, values in race.chosen.items():
            assert len(values) == 1, (seed, instance, values)
            chosen[1000 * seed + instance] |= values
    assert len(chosen) > 60
    assert len({v for values in chosen.values() for v in values}) > 20


class Race:
    """Proposers whose phase 1 decides what they propose in phase 2, against acceptors that are the program."""

    def __init__(self, gallery: Any, rng: Random) -> None:
        self.gallery, self.rng = gallery, rng
        self.machines = [Machine(load_program(f"nf:{NAME}", {"acceptor": i})) for i in range(3)]
        self.on_the_way: list[tuple[int, tuple[int, ...]]] = []
        self.promises: dict[tuple[int, int], dict[int, tuple[int, int]]] = defaultdict(dict)
        self.proposed: set[tuple[int, int]] = set()
        self.votes: Counter[tuple[int, int, int]] = Counter()
        self.voted: set[tuple[int, ...]] = set()
        self.chosen: dict[int, set[int]] = defaultdict(set)

    def step(self) -> None:
        rng = self.rng
        if not self.on_the_way or rng.randrange(4) == 0:
            prepare = (1, rng.randrange(2), rng.randrange(1, 7), 0, 0, 0)
            self.on_the_way += [(i, prepare) for i in range(3)]
        to, sent = self.on_the_way.pop(rng.randrange(len(self.on_the_way)))
        if rng.randrange(6) == 0:
            return  # lost
        machine = self.machines[to]
        row = message(self.gallery, *sent).row(machine.layout, 0)
        got = machine.process(row[None])
        if got.verdict[0] != 1:
            return
        answer = said(self.fields(machine, row))
        kind, instance, ballot, vround, acceptor, value = answer
        if kind == 2:
            self.promised(instance, ballot, acceptor, (vround, value))
        elif answer not in self.voted:
            self.voted.add(answer)
            self.votes[instance, ballot, value] += 1
            if self.votes[instance, ballot, value] == 2:
                self.chosen[instance].add(value)

    def promised(self, instance: int, ballot: int, acceptor: int, vote: tuple[int, int]) -> None:
        promises = self.promises[instance, ballot]
        promises[acceptor] = vote
        if len(promises) >= 2 and (instance, ballot) not in self.proposed:
            self.proposed.add((instance, ballot))
            vround, value = max(promises.values())
            value = value if vround else self.rng.getrandbits(64)
            self.on_the_way += [(i, (3, instance, ballot, 0, 0, value)) for i in range(3)]

    @staticmethod
    def fields(machine: Machine, row: np.ndarray) -> dict[str, int]:
        return {name.partition("@")[0]: int(row[word]) for name, word in machine.layout.word_of.items()}

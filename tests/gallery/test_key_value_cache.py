"""Key-value cache: answers from the cache, and never an older value than the last write that was answered."""

from __future__ import annotations

from collections import defaultdict, deque
from random import Random
from typing import Any

NAME = "key-value-cache"
CLIENTS, SERVER = 1, 2
PORT = 11111
GET, PUT, GOT, STORED = 1, 2, 3, 4
CLIENT_IP, SERVER_IP = "198.51.100.9", "192.0.2.1"


def message(
    gallery: Any, kind: int, key: int, value: int = 0, at: int = 0, in_port: int | None = None
) -> Any:
    fields = {"kv.type": kind, "kv.key": key, "kv.value": value, "eth.src": 0xA, "eth.dst": 0xB}
    if kind in (GET, PUT):
        return gallery.udp(CLIENT_IP, SERVER_IP, 5000, PORT, fields=fields, at=at, in_port=in_port or CLIENTS)
    return gallery.udp(SERVER_IP, CLIENT_IP, PORT, 5000, fields=fields, at=at, in_port=in_port or SERVER)


def test_by_hand_through_every_entry(gallery: Any) -> None:
    key = 0xFFFF_0000_0000_0001
    packets = [
        message(gallery, GET, key),
        message(gallery, GOT, key, 5),
        message(gallery, GET, key),
        message(gallery, PUT, key, 6),
        message(gallery, PUT, key, 7),
        message(gallery, GET, key),
        message(gallery, STORED, key, 6),
        message(gallery, GOT, key, 5),  # asked before the writes, late
        message(gallery, STORED, key, 7),
        message(gallery, GET, key),
        message(gallery, STORED, key, 7),  # sent twice
        message(gallery, GET, key, in_port=SERVER),
        gallery.udp(CLIENT_IP, SERVER_IP, 5000, 53),
        gallery.frame(1, 2, 1),
    ]
    run = gallery.run(NAME, packets)
    assert run.outcomes == [2, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, "drop", "drop", None]
    hits = [run.after[i] for i in (2, 9)]
    assert [(f["kv.type"], f["kv.value"]) for f in hits] == [(GOT, 5), (GOT, 7)]
    for hit in hits:
        assert (hit["l4.sport"], hit["l4.dport"]) == (PORT, 5000)
        assert (hit["ip.src"], hit["ip.dst"]) == ((4, 0xC0000201), (4, 0xC6336409))
        assert (hit["eth.src"], hit["eth.dst"]) == (0xB, 0xA)
    assert run.contexts("items") == {key: ("cached", {"value": 7, "pending": 0})}
    assert not run.untaken()


def test_values_that_nobody_asks_for_are_forgotten_and_lost_writes_too(gallery: Any) -> None:
    packets = [
        message(gallery, GOT, 1, 5),
        message(gallery, GET, 1, at=60 * gallery.S),
        message(gallery, GET, 1, at=120 * gallery.S + 1),
        message(gallery, PUT, 2, 5, at=121 * gallery.S),
        message(gallery, GOT, 2, 4, at=122 * gallery.S),
        message(gallery, GOT, 2, 4, at=122 * gallery.S + 1),
        message(gallery, GET, 2, at=123 * gallery.S),
    ]
    run = gallery.run(NAME, packets)
    assert run.outcomes == [1, 1, 2, 2, 1, 1, 1]
    assert run.taken["cache", "answer"] == run.taken["cache", "fill"] - 1 == 1


class Cache:
    """The cache as an application: values, and writes whose answer is still to come."""

    def __init__(self) -> None:
        self.values: dict[int, int] = {}
        self.pending: dict[int, int] = defaultdict(int)

    def take(self, kind: int, key: int, value: int) -> tuple[int, int | None]:
        """(port, the value that a get was answered with)."""
        if kind == GET:
            return (CLIENTS, self.values[key]) if key in self.values else (SERVER, None)
        if kind == PUT:
            self.values.pop(key, None)
            self.pending[key] += 1
            return SERVER, None
        if kind == STORED and self.pending[key]:
            self.pending[key] -= 1
            if not self.pending[key]:
                self.values[key] = value
        elif kind == GOT and not self.pending[key]:
            self.values.setdefault(key, value)
        return CLIENTS, None


def test_as_an_application_and_no_answer_is_older_than_an_answered_write(gallery: Any) -> None:
    """Clients, cache and a server behind it; links keep order, everything takes its time."""
    rng, cache = Random(4), Cache()
    stored: dict[int, int] = defaultdict(int)  # the server's
    asked: deque[tuple[int, int, int, int]] = deque()
    answered: deque[tuple[int, int, int, int]] = deque()
    oldest: dict[int, int] = defaultdict(int)  # the last write of a key that its client saw answered
    packets, expected, version, hits = [], [], 0, 0
    for step in range(4000):
        at, turn = step * 1000, rng.randrange(3)
        if turn == 0 and asked:
            kind, key, value, floor = asked.popleft()
            if kind == PUT:
                stored[key] = value
            answered.append((kind + 2, key, stored[key], floor))
            continue
        if turn == 1 and answered:
            kind, key, value, floor = answered.popleft()
            if kind == STORED:
                oldest[key] = max(oldest[key], value)
            else:
                assert value >= floor
        else:
            kind, key, value = rng.choice((GET, GET, GET, PUT)), rng.randrange(6), 0
            if kind == PUT:
                version = value = version + 1
            floor = oldest[key]
        port, answer = cache.take(kind, key, value)
        packets.append(message(gallery, kind, key, value, at))
        expected.append((port, answer))
        if answer is not None:
            assert answer >= floor, "a value older than a write that had been answered"
            hits += 1
        elif port == SERVER:
            asked.append((kind, key, value, floor))
    run = gallery.run(NAME, packets)
    got = [
        (run.outcomes[i], run.after[i]["kv.value"] if answer is not None else None)
        for i, (_, answer) in enumerate(expected)
    ]
    assert got == expected
    assert hits > 500

"""Port knocking: the right ports in the right order and in time, and nothing else, open the service."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

NAME = "port-knocking"
KNOCKS = (5123, 6234, 7345, 8456)
HOST, OTHER, SERVER = "198.51.100.9", "198.51.100.10", "10.0.0.5"


def packets_to(
    gallery: Any, ports: list[int], gap_ns: int = 10**6, src: str = HOST, start: int = 0
) -> list[Any]:
    return [
        gallery.tcp(src, SERVER, dport=port, flags="S", at=start + i * gap_ns) for i, port in enumerate(ports)
    ]


def test_the_sequence_opens_port_22_to_the_one_who_knocked(gallery: Any) -> None:
    ms = gallery.MS
    packets = packets_to(gallery, [22, *KNOCKS, 22, 80, 22], ms)
    packets += packets_to(gallery, [22], src=OTHER, start=9 * ms)
    packets += [
        gallery.udp(HOST, SERVER, dport=22, at=10 * ms),  # the service is TCP
        gallery.tcp(SERVER, HOST, in_port=2, at=11 * ms),
        gallery.frame(1, 2, 1, at=12 * ms),
    ]
    packets += packets_to(gallery, [KNOCKS[0], 99], ms, src=OTHER, start=13 * ms)
    run = gallery.run(NAME, packets)
    assert run.outcomes[:8] == ["drop"] * 5 + [2, "drop", 2]  # a wrong port does not close an open door
    assert run.outcomes[8:] == ["drop", "drop", 1, "drop", "drop", "drop"]
    assert not run.untaken()
    assert run.contexts("hosts") == {HOST: ("open", {})}


@pytest.mark.parametrize(("gap_s", "opens"), [(1, True), (1 + 1e-9, False)])
def test_each_knock_must_follow_within_a_second(gallery: Any, gap_s: float, opens: bool) -> None:
    run = gallery.run(NAME, packets_to(gallery, [*KNOCKS, 22], round(gap_s * gallery.S)))
    assert run.outcomes[-1] == (2 if opens else "drop")


@pytest.mark.parametrize(("after_s", "opens"), [(60, True), (60 + 1e-9, False)])
def test_the_door_closes_after_a_minute_used_or_not(gallery: Any, after_s: float, opens: bool) -> None:
    packets = packets_to(gallery, [*KNOCKS], 0)
    packets += packets_to(gallery, [22] * 5, 10 * gallery.S, start=gallery.S)
    packets += packets_to(gallery, [22], start=round(after_s * gallery.S))
    outcomes = gallery.run(NAME, packets).outcomes
    assert outcomes[4:9] == [2] * 5
    assert outcomes[9] == (2 if opens else "drop")


@pytest.mark.parametrize(
    "ports",
    [
        [*KNOCKS[:2], 1, *KNOCKS[2:]],  # a knock at a wrong port
        [KNOCKS[0], *KNOCKS],  # a repeated knock is a wrong one: the first does not begin anew
        [KNOCKS[0], KNOCKS[2], KNOCKS[1], KNOCKS[3]],
        [*KNOCKS[:2], 22, *KNOCKS[2:]],
        list(KNOCKS[1:]),
    ],
)
def test_anything_else_begins_anew(gallery: Any, ports: list[int]) -> None:
    outcomes = gallery.run(NAME, packets_to(gallery, [*ports, 22])).outcomes
    assert set(outcomes) == {"drop"}


def test_a_scan_leaves_no_context(gallery: Any) -> None:
    run = gallery.run(NAME, packets_to(gallery, list(range(1, 200))))
    assert set(run.outcomes) == {"drop"}
    assert run.contexts("hosts") == {}


def test_as_a_door_in_plain_python(gallery: Any) -> None:
    """Who has knocked how often in a row, and until when that counts."""
    rng = Random(3)
    progress: dict[str, tuple[int, int]] = {}
    packets, expected = [], []
    now = 0
    for _ in range(3000):
        now += rng.choice((0, 1, 300, 700)) * gallery.MS
        src = rng.choice((HOST, OTHER))
        done, until = progress.get(src, (0, now))
        done = done if now <= until else 0
        wanted = KNOCKS[done] if done < 4 else 22
        dport = wanted if rng.random() < 0.8 else rng.choice((*KNOCKS, 22, 99))
        packets.append(gallery.tcp(src, SERVER, dport=dport, at=now))
        expected.append(2 if done == 4 and dport == 22 else "drop")
        if done < 4:
            done = done + 1 if dport == KNOCKS[done] else 0
            progress[src] = done, now + (60 if done == 4 else 1) * gallery.S
    assert gallery.run(NAME, packets).outcomes == expected
    assert expected.count(2) > 100

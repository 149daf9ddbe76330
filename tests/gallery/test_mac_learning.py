"""MAC learning: what is looked up is the destination, what is learned is the source."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

NAME = "mac-learning"
FLOOD = 255
ALL = 0xFFFFFFFFFFFF
A, B, C = 0x02_00_00_00_00_0A, 0x02_00_00_00_00_0B, 0x02_00_00_00_00_0C


def test_frames_find_their_station(gallery: Any) -> None:
    frames = [
        (A, B, 1),  # nobody knows B
        (B, A, 2),  # A was learned
        (A, B, 1),
        (C, A, 1),  # on A's own port
        (A, ALL, 1),
        (B, A, 3),  # B has moved
        (A, B, 1),
        (ALL, A, 2),  # a group address cannot send
        (A, ALL, 2),  # a broadcast teaches as well
        (B, A, 3),
    ]
    run = gallery.run(NAME, [gallery.frame(*frame, at=i) for i, frame in enumerate(frames)])
    assert run.outcomes == [FLOOD, 1, 2, "drop", FLOOD, 1, 3, "drop", FLOOD, 2]
    assert not run.untaken()
    assert run.contexts("stations") == {
        A: ("known", {"port": 2}),
        B: ("known", {"port": 3}),
        C: ("known", {"port": 1}),
    }


@pytest.mark.parametrize(("after_s", "outcome"), [(300, 1), (300 + 1e-8, FLOOD)])
def test_being_spoken_to_does_not_keep_a_station_alive(gallery: Any, after_s: float, outcome: int) -> None:
    frames = [gallery.frame(A, B, 1)]
    frames += [gallery.frame(B, A, 2, at=i * 50 * gallery.S) for i in range(1, 6)]
    frames += [gallery.frame(B, A, 2, at=round(after_s * gallery.S))]
    assert gallery.run(NAME, frames).outcomes[1:] == [1] * 5 + [outcome]


def test_as_a_switch_in_plain_python(gallery: Any) -> None:
    rng = Random(10)
    stations = [0x02_00_00_00_00_00 + i for i in range(6)]
    learned: dict[int, tuple[int, int]] = {}
    frames, expected = [], []
    now = 0
    for _ in range(3000):
        now += rng.choice((0, 1, 40 * gallery.S, 100 * gallery.S))
        src = rng.choice(stations)
        dst = rng.choice((*stations, ALL, 0x01_00_5E_00_00_01))
        in_port = src % 4 if rng.random() < 0.95 else rng.randrange(4)
        port, when = learned.get(dst, (FLOOD, now))
        port = port if now - when <= 300 * gallery.S else FLOOD
        expected.append("drop" if port == in_port else port)
        learned[src] = in_port, now
        frames.append(gallery.frame(src, dst, in_port, at=now))
    assert gallery.run(NAME, frames).outcomes == expected
    assert {FLOOD, "drop", 0, 1, 2, 3} == set(expected)

"""Super-spreader detection: distinct destinations count, packets do not."""

from __future__ import annotations

from random import Random
from typing import Any

NAME = "super-spreader-detection"
SRC = "198.51.100.9"


def to(gallery: Any, host: int, at: int = 0, src: str = SRC) -> Any:
    return gallery.udp(src, f"10.0.0.{host}", at=at)


def test_only_new_destinations_count_and_old_ones_stay_open(gallery: Any) -> None:
    packets = [to(gallery, host) for host in (1, 2, 1, 1, 3, 4, 2, 5, 3)]
    packets += [to(gallery, 4, src="198.51.100.10"), gallery.frame(1, 2, 1)]
    run = gallery.run(NAME, packets, threshold=3)
    assert run.outcomes == [1, 1, 1, 1, 1, "drop", 1, "drop", 1, 1, 1]
    assert not run.untaken()
    assert run.contexts("sources")[SRC][1]["destinations"] == 3
    assert (SRC, "10.0.0.4") not in run.contexts("pairs")


def test_the_hundredth_destination_passes_and_the_next_does_not(gallery: Any) -> None:
    run = gallery.run(NAME, [to(gallery, host) for host in range(102)])
    assert run.outcomes == [1] * 100 + ["drop"] * 2


def test_a_new_window_counts_from_nothing(gallery: Any) -> None:
    """A destination of the old window is a new one then, although its own context is still there."""
    s = gallery.S
    times_hosts = [(0, 1), (50 * s, 2), (60 * s, 3), (60 * s + 1, 2), (60 * s + 1, 3), (60 * s + 1, 4)]
    run = gallery.run(NAME, [to(gallery, host, at) for at, host in times_hosts], threshold=2)
    assert run.outcomes == [1, 1, "drop", 1, 1, "drop"]


def test_as_sets_in_plain_python(gallery: Any) -> None:
    rng = Random(6)
    windows: dict[str, tuple[int, set[int]]] = {}
    packets, expected = [], []
    now = 0
    for _ in range(3000):
        now += rng.choice((0, 0, 3, 900)) * gallery.MS
        src, host = f"192.0.2.{rng.randrange(4)}", rng.randrange(40)
        packets.append(to(gallery, host, now, src))
        began, reached = windows.get(src, (now, set()))
        if now > began + 60 * gallery.S:
            began, reached = now, set()
        windows[src] = began, reached
        allowed = host in reached or len(reached) < 25
        if allowed:
            reached.add(host)
        expected.append(1 if allowed else "drop")
    assert gallery.run(NAME, packets, threshold=25).outcomes == expected
    assert {1, "drop"} == set(expected)

"""Traffic classifier: the decision tree on real means and variances, as statistics gives them."""

from __future__ import annotations

from fractions import Fraction
from random import Random
from statistics import mean, pvariance
from typing import Any

import pytest

NAME = "traffic-classifier"
SRC, DST = "10.0.0.1", "192.0.2.1"


def packets_of(gallery: Any, lengths: list[int], src: str = SRC, start: int = 0) -> list[Any]:
    """Training within ten seconds, and one packet at its very end."""
    end = gallery.udp(src, DST, length=9999, at=start + 10 * gallery.S)
    return [*(gallery.udp(src, DST, length=n, at=start + i) for i, n in enumerate(lengths)), end]


def tree(lengths: list[int]) -> int:
    """The published one; its variance is that of the packets, not of a sample."""
    numbers = [Fraction(n) for n in lengths]
    if pvariance(numbers) > 1575:
        return 2 if mean(numbers) <= 306 else 1
    return 2 if sum(numbers) > 203 else 1


@pytest.mark.parametrize(
    ("lengths", "entry"),
    [
        ([100, 400, 100], "varied-short"),
        ([100, 1500, 1500], "varied-long"),
        ([60, 60], "steady-little"),
        ([203], "steady-little"),
        ([204], "steady-much"),
        ([1500] * 3000, "steady-much"),
        ([306 - 40, 306 + 40], "varied-short"),  # a mean of exactly 306, a variance of 1600
        ([307 - 40, 307 + 40], "varied-long"),
        ([306 - 39, 306 + 39], "steady-much"),  # 1521
        ([300 - 60, 300 + 60, 300 - 33, 300 + 33, 300 - 6, 300 + 6], "steady-much"),  # exactly 1575
    ],
)
def test_the_leaves_and_their_borders(gallery: Any, lengths: list[int], entry: str) -> None:
    run = gallery.run(NAME, packets_of(gallery, lengths))
    assert run.taken["classifier", entry] == 1
    assert run.after[-1]["ipv4.dscp"] == {1: 10, 2: 0}[tree(lengths)]
    assert run.contexts("sources")[SRC][0] == f"type-{tree(lengths)}"


def test_training_ends_with_its_last_nanosecond(gallery: Any) -> None:
    times = [5, 10 * gallery.S - 1, 10 * gallery.S]
    run = gallery.run(NAME, [gallery.udp(SRC, DST, length=100, at=at) for at in times])
    assert run.contexts("sources")[SRC] == (
        "type-1",
        {"packets": 2, "sum": 200, "squares": 20000, "until_ms": 10000},
    )


def test_as_statistics_in_plain_python(gallery: Any) -> None:
    rng = Random(18)
    packets: list[Any] = []
    types = {}
    for number in range(200):
        src, width = f"10.0.{number}.1", rng.choice((0, 50, 68, 70, 200))
        centre = rng.choice((100, 300, 306, 1200))
        lengths = [max(60, centre + rng.randint(-width, width)) for _ in range(rng.randrange(1, 12))]
        types[src] = tree(lengths)
        packets += [*packets_of(gallery, lengths, src), gallery.udp(src, DST, at=11 * gallery.S)]
    packets.append(gallery.frame(1, 2, 1, at=11 * gallery.S))
    run = gallery.run(NAME, sorted(packets, key=lambda p: p.at))
    assert {src: int(label[-1]) for src, (label, _) in run.contexts("sources").items()} == types
    assert not run.untaken()
    assert set(run.outcomes) == {1}

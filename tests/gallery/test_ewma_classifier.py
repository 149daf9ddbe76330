"""EWMA classifier: the average that the machine keeps is the real one, to a fraction of a byte."""

from __future__ import annotations

from fractions import Fraction
from random import Random
from typing import Any

import pytest

NAME = "ewma-classifier"
FLOW = ("10.0.0.1", "192.0.2.1")


def flow(gallery: Any, lengths: list[int], sport: int = 1, at: int = 0) -> list[Any]:
    return [gallery.udp(*FLOW, sport=sport, length=n, at=at) for n in lengths]


def test_bulk_and_interactive(gallery: Any) -> None:
    packets = flow(gallery, [1500] * 10) + flow(gallery, [60] * 10, sport=2) + [gallery.frame(1, 2, 1)]
    run = gallery.run(NAME, packets)
    assert run.outcomes == [1] * 8 + [2] * 2 + [1] * 11
    assert not run.untaken()


@pytest.mark.parametrize(("lengths", "port"), [([500] * 8, 1), ([508] + [500] * 7, 2)])
def test_the_border_is_sharp(gallery: Any, lengths: list[int], port: int) -> None:
    """508 first leaves 8 * (7/8)^7 = 3.1 bytes above 500 after seven more; whole bytes would round it all away."""
    assert gallery.run(NAME, flow(gallery, [*lengths, 60])).outcomes[-1] == port


def test_a_class_stays_until_the_flow_pauses(gallery: Any) -> None:
    s = gallery.S
    packets = flow(gallery, [1500] * 9) + flow(gallery, [60] * 20) + flow(gallery, [60], at=60 * s)
    packets += flow(gallery, [60], at=120 * s + 1)
    assert gallery.run(NAME, packets).outcomes == [1] * 8 + [2] * 22 + [1]


def test_a_busy_flow_is_never_forgotten(gallery: Any) -> None:
    packets = flow(gallery, [1500] * 9)
    packets += [p for i in range(1, 5) for p in flow(gallery, [60], at=i * 50 * gallery.S)]
    assert gallery.run(NAME, packets).outcomes[8:] == [2] * 5


@pytest.mark.parametrize("weight", [1, 3, 8])
def test_as_an_average_in_plain_python(gallery: Any, weight: int) -> None:
    """With alpha = weight/8 in exact fractions; rounding down may cost 1/256 byte a step, weighed as the rest is."""
    rng = Random(17)
    alpha = Fraction(weight, 8)
    packets, averages = [], []
    for sport in range(60):
        lengths = [rng.choice((60, 400, 520, 1500)) for _ in range(8)]
        average = Fraction(lengths[0])
        for length in lengths[1:]:
            average = (1 - alpha) * average + alpha * length
        averages.append(average)
        packets += flow(gallery, [*lengths, 60], sport)
    run = gallery.run(NAME, packets, weight=weight)
    kept = [Fraction(registers["average"], 256) for _, registers in run.contexts("flows").values()]
    for got, exact, outcome in zip(kept, averages, run.outcomes[8::9], strict=True):
        assert 0 <= exact - got < Fraction(1, 256) / alpha
        if abs(exact - 500) > 1:
            assert outcome == (2 if exact > 500 else 1)
    assert {1, 2} == set(run.outcomes[8::9])

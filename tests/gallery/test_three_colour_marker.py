"""Three colour marker: against RFC 2697 with its two buckets, in exact arithmetic."""

from __future__ import annotations

from fractions import Fraction
from random import Random
from typing import Any

NAME = "three-colour-marker"
SRC, DST = "10.0.0.1", "192.0.2.1"
GREEN, YELLOW = 10, 12


def colours(run: Any) -> list[Any]:
    return [
        "red" if outcome == "drop" else after.get("ipv4.dscp")
        for outcome, after in zip(run.outcomes, run.after, strict=True)
    ]


def test_a_burst_goes_through_all_colours(gallery: Any) -> None:
    run = gallery.run(NAME, [gallery.udp(SRC, DST, length=1500)] * 31 + [gallery.frame(1, 2, 1)])
    assert colours(run) == [GREEN] * 10 + [YELLOW] * 20 + ["red"] + [None]
    assert not run.untaken()


def test_tokens_fill_the_committed_bucket_first(gallery: Any) -> None:
    """125,000 bytes/s: 1500 bytes take 12 ms, and only what is left over goes to the excess bucket."""
    burst = [gallery.udp(SRC, DST, length=1500)] * 30
    later = [gallery.udp(SRC, DST, length=1500, at=12 * gallery.MS)] * 2
    refilled = [gallery.udp(SRC, DST, length=1500, at=(12 + 120 + 12) * gallery.MS)] * 12
    run = gallery.run(NAME, [*burst, *later, *refilled])
    assert colours(run)[30:] == [GREEN, "red"] + [GREEN] * 10 + [YELLOW, "red"]


def test_a_packet_larger_than_a_bucket_is_never_of_its_colour(gallery: Any) -> None:
    sizes = [1001, 1000, 2001, 2000, 1]
    run = gallery.run(NAME, [gallery.udp(SRC, DST, length=n) for n in sizes], cbs=1000, ebs=2000)
    assert colours(run) == [YELLOW, GREEN, "red", "red", YELLOW]


def test_as_two_buckets_in_plain_python(gallery: Any) -> None:
    rng = Random(9)
    cir, cbs, ebs = 90_000, 4_000, 9_000
    buckets: dict[str, list[Any]] = {}
    packets, expected = [], []
    now = 0
    for _ in range(4000):
        now += rng.choice((0, 7, 900, 9_000)) if rng.random() < 0.98 else 150_000
        src, size = rng.choice((SRC, "2001:db8::1")), rng.choice((60, 576, 1500))
        dst = DST if src == SRC else "2001:db8::2"
        committed, excess, last = buckets.get(src, [Fraction(cbs), Fraction(ebs), now])
        new = committed + Fraction(cir * (now - last), 10**6)
        committed, overflow = min(new, Fraction(cbs)), max(new - cbs, Fraction(0))
        excess = min(excess + overflow, Fraction(ebs))
        if committed >= size:
            colour, committed = "green", committed - size
        elif excess >= size:
            colour, excess = "yellow", excess - size
        else:
            colour = "red"
        buckets[src] = [committed, excess, now]
        expected.append(colour)
        packets.append(gallery.udp(src, dst, length=size, at=now * gallery.US))
    run = gallery.run(NAME, packets, cir=cir, cbs=cbs, ebs=ebs)
    assert run.outcomes == ["drop" if colour == "red" else 1 for colour in expected]
    marks = {"green": GREEN, "yellow": YELLOW}
    for colour, after in zip(expected, run.after, strict=True):
        if after["ip.family"] == 4 and colour != "red":
            assert after["ipv4.dscp"] == marks[colour]
    assert min(map(expected.count, ("green", "yellow", "red"))) > 300

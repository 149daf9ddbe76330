"""Traffic policer: a window that slides with the tokens, against a bucket that counts them."""

from __future__ import annotations

from fractions import Fraction
from random import Random
from typing import Any

NAME = "traffic-policer"
SRC, OTHER, DST = "10.0.0.1", "10.0.0.2", "192.0.2.1"


def at_us(gallery: Any, *times_us: int, src: str = SRC) -> list[Any]:
    return [gallery.udp(src, DST, at=t * gallery.US) for t in times_us]


def test_a_burst_of_ten_passes_even_at_the_beginning_of_time(gallery: Any) -> None:
    """Where the window begins before time 0, subtraction wraps: unsigned comparison would drop all but one."""
    run = gallery.run(
        NAME, at_us(gallery, *[0] * 12) + at_us(gallery, 0, src=OTHER) + [gallery.frame(1, 2, 1)]
    )
    assert run.outcomes == [1] * 10 + ["drop"] * 2 + [1, 1]


def test_every_row_and_the_borders_between_them(gallery: Any) -> None:
    # Tmin 80000, Tmax 180000 after the first packet at 170000 with Q 10000 and B 10.
    times = [170_000, 180_000, 190_001, 190_001]
    run = gallery.run(NAME, at_us(gallery, *times, *[190_001] * 9, 200_000, 200_001, 200_002))
    assert run.outcomes == [1] * 12 + ["drop", 1, "drop", 1]
    assert {e for _, e in run.taken} == {"first", "conforms", "full", "exceeds"}


def test_a_busy_source_is_never_forgiven(gallery: Any) -> None:
    """A timer that did not restart would give it a full bucket after a minute."""
    s = gallery.S // gallery.US
    packets = at_us(gallery, 0, 59 * s, *[60 * s] * 10, *[60 * s + 1] * 5)
    assert gallery.run(NAME, packets).outcomes == [1] * 13 + ["drop"] * 4


def test_as_a_bucket_in_plain_python(gallery: Any) -> None:
    """Tokens come continuously; the window lends one: a packet passes as long as any part of a token is left."""
    rng = Random(7)
    buckets: dict[str, tuple[Fraction, int]] = {}
    packets, expected = [], []
    now = 0
    for _ in range(4000):
        now += rng.choice((0, 1, 500, 2_000, 10_000)) if rng.random() < 0.99 else 150_000
        src = rng.choice((SRC, OTHER))
        tokens, last = buckets.get(src, (Fraction(10), now))
        tokens = min(Fraction(10), tokens + Fraction(now - last, 10_000))
        buckets[src] = tokens - (tokens > 0), now
        expected.append(1 if tokens > 0 else "drop")
        packets += at_us(gallery, now, src=src)
    packets.append(gallery.frame(1, 2, 1, at=now * gallery.US))
    run = gallery.run(NAME, packets)
    assert run.outcomes == [*expected, 1]
    assert 500 < expected.count("drop") < 3500
    assert not run.untaken()

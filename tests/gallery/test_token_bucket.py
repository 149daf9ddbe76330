"""Token bucket: one for everybody, filled by time alone."""

from __future__ import annotations

from fractions import Fraction
from random import Random
from typing import Any

import pytest

NAME = "token-bucket"


def test_the_burst_is_shared_by_all(gallery: Any) -> None:
    packets = [gallery.udp(f"10.0.0.{i % 7}", "192.0.2.1") for i in range(48)] + [gallery.frame(1, 2, 1)] * 4
    run = gallery.run(NAME, packets)
    assert run.outcomes == [1] * 50 + ["drop"] * 2
    assert not run.untaken()


@pytest.mark.parametrize(("wait_us", "outcome"), [(999, "drop"), (1000, 1)])
def test_a_token_takes_a_millisecond(gallery: Any, wait_us: int, outcome: Any) -> None:
    packets = [gallery.frame(1, 2, 1)] * 50 + [gallery.frame(1, 2, 1, at=wait_us * gallery.US)]
    assert gallery.run(NAME, packets).outcomes[-1] == outcome


def test_a_year_of_silence_fills_the_bucket_and_no_more(gallery: Any) -> None:
    packets = [gallery.frame(1, 2, 1)] * 60 + [gallery.frame(1, 2, 1, at=366 * 86_400 * gallery.S)] * 60
    assert gallery.run(NAME, packets).outcomes == ([1] * 50 + ["drop"] * 10) * 2


def test_as_a_bucket_in_plain_python(gallery: Any) -> None:
    rng = Random(8)
    tokens, last = Fraction(20), 0
    packets, expected = [], []
    now = 0
    for _ in range(4000):
        now += rng.choice((0, 1, 333, 999, 2_000)) if rng.random() < 0.99 else 60_000
        tokens = min(Fraction(20), tokens + Fraction(700 * (now - last), 10**6))
        last = now
        expected.append(1 if tokens >= 1 else "drop")
        tokens -= tokens >= 1
        packets.append(gallery.udp(f"10.0.0.{rng.randrange(9)}", "192.0.2.1", at=now * gallery.US))
    run = gallery.run(NAME, packets, rate=700, burst=20)
    assert run.outcomes == expected
    assert 500 < expected.count("drop") < 3500
    spent = run.globals["bucket.spent"] - 700 * (now - run.globals["bucket.last_us"])
    assert 20 - Fraction(max(spent, 0), 10**6) == tokens

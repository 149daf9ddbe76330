"""DDoS meter: what was there before the attack goes on, new connections are metered, refused ones stay refused."""

from __future__ import annotations

from fractions import Fraction
from random import Random
from typing import Any

NAME = "ddos-meter"
VICTIM, OTHER = "10.0.0.2", "10.0.0.3"


def to(gallery: Any, sport: int, at: int = 0, dst: str = VICTIM) -> Any:
    return gallery.tcp("198.51.100.9", dst, sport=sport, at=at)


def test_old_connections_survive_and_new_ones_are_refused(gallery: Any) -> None:
    s = gallery.S
    packets = [to(gallery, port) for port in range(12)]  # ten new connections, and two more
    packets += [to(gallery, port, 1) for port in (0, 9, 10, 11)]
    packets += [to(gallery, 500, 1, OTHER), gallery.frame(1, 2, 1, at=1)]
    packets += [to(gallery, 10, at=30 * s), to(gallery, 10, at=60 * s)]  # it keeps trying
    packets += [to(gallery, 11, at=60 * s)]  # it has waited
    run = gallery.run(NAME, packets)
    assert run.outcomes[:12] == [2] * 10 + ["drop"] * 2
    assert run.outcomes[12:16] == [2, 2, "drop", "drop"]
    assert run.outcomes[16:] == [1, 1, "drop", "drop", 2]
    assert not run.untaken()


def test_other_traffic_leaves_no_context(gallery: Any) -> None:
    run = gallery.run(NAME, [to(gallery, port, dst=OTHER) for port in range(100)])
    assert run.contexts("connections") == {}
    assert set(run.outcomes) == {1}


def test_as_a_meter_in_plain_python(gallery: Any) -> None:
    rng = Random(13)
    tokens, last = Fraction(10), 0
    known: dict[int, tuple[bool, int]] = {}
    packets, expected = [], []
    now = 0
    for _ in range(3000):
        now += rng.choice((0, 1, 20, 90)) * gallery.MS if rng.random() < 0.97 else 3 * gallery.S
        sport = rng.randrange(400)
        admitted, heard = known.get(sport, (False, -31 * gallery.S))
        if now - heard > 30 * gallery.S:
            tokens = min(Fraction(10), tokens + Fraction(10 * (now - last), gallery.S))
            last = now
            admitted = tokens >= 1
            tokens -= admitted
        known[sport] = admitted, now
        packets.append(to(gallery, sport, now))
        expected.append(2 if admitted else "drop")
    assert gallery.run(NAME, packets).outcomes == expected
    assert min(expected.count(2), expected.count("drop")) > 300

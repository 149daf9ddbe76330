"""UDP stateful firewall: who asked whom, and how long ago, decides what comes in."""

from __future__ import annotations

from random import Random
from typing import Any

NAME = "udp-stateful-firewall"
OUT, IN = 1, 2
HOST, SERVER, OTHER = "10.0.0.5", "198.51.100.9", "203.0.113.7"


def test_answers_come_in_and_nothing_else(gallery: Any) -> None:
    s = gallery.S
    ask = {"src": HOST, "dst": SERVER, "sport": 4000, "dport": 53, "in_port": IN}
    answer = {"src": SERVER, "dst": HOST, "sport": 53, "dport": 4000, "in_port": OUT}
    run = gallery.run(
        NAME,
        [
            gallery.udp(**answer),  # before the question
            gallery.udp(**ask),
            gallery.udp(**ask, at=1),
            gallery.udp(**answer, at=2),
            gallery.udp(**answer, at=20 * s + 2),  # 20 s later: the timer has not passed
            gallery.udp(**ask, at=40 * s + 2),
            gallery.udp(**{**answer, "sport": 54}, at=40 * s + 2),  # another port is another exchange
            gallery.udp(**{**answer, "src": OTHER}, at=40 * s + 2),
            gallery.udp(**answer, at=60 * s + 3),  # one nanosecond too late
            gallery.tcp(HOST, SERVER, in_port=IN, at=61 * s),  # not UDP
            gallery.frame(1, 2, IN, at=61 * s),
            gallery.udp(**ask, at=62 * s),
            gallery.udp(**answer, at=83 * s),
        ],
    )
    assert run.outcomes == [
        "drop",
        OUT,
        OUT,
        IN,
        IN,
        OUT,
        "drop",
        "drop",
        "drop",
        "drop",
        "drop",
        OUT,
        "drop",
    ]
    assert not run.untaken()


def test_packets_from_outside_alone_leave_no_context(gallery: Any) -> None:
    scan = [gallery.udp(OTHER, HOST, dport=port, in_port=OUT) for port in range(50)]
    run = gallery.run(NAME, scan)
    assert set(run.outcomes) == {"drop"}
    assert run.contexts("exchanges") == {}


def test_as_a_firewall_in_plain_python(gallery: Any) -> None:
    """Remember when each exchange, begun inside, was last heard of."""
    rng = Random(2)
    heard: dict[frozenset[tuple[str, int]], int] = {}
    packets, expected = [], []
    now = 0
    for _ in range(1500):
        now += rng.choice((0, gallery.S, 7 * gallery.S, 20 * gallery.S))
        inner, outer = (
            (f"10.0.0.{rng.randrange(2)}", 5000),
            (f"192.0.2.{rng.randrange(2)}", rng.choice((53, 123))),
        )
        inbound = rng.random() < 0.6
        exchange = frozenset((inner, outer))
        alive = exchange in heard and now - heard[exchange] <= 20 * gallery.S
        if not inbound or alive:
            heard[exchange] = now
        expected.append("drop" if inbound and not alive else IN if inbound else OUT)
        (src, sport), (dst, dport) = (outer, inner) if inbound else (inner, outer)
        packets.append(gallery.udp(src, dst, sport, dport, in_port=OUT if inbound else IN, at=now))
    run = gallery.run(NAME, packets)
    assert run.outcomes == expected
    assert {OUT, IN, "drop"} == set(expected)

"""Big-flow detector: "more than 100 packets" means that the 101st is the first one marked."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

NAME = "big-flow-detector"
SMALL, BULK = 1, 2
FLOW = ("10.0.0.1", "192.0.2.1")


def test_a_hundred_packets_pass_unmarked_and_the_next_is_marked(gallery: Any) -> None:
    fields = {"ipv4.dscp": 46}
    packets = [gallery.tcp(*FLOW, fields=fields) for _ in range(103)] + [gallery.frame(1, 2, 1)]
    run = gallery.run(NAME, packets)
    assert run.outcomes == [SMALL] * 100 + [BULK] * 3 + [SMALL]
    assert [after.get("ipv4.dscp") for after in run.after] == [46] * 100 + [8] * 3 + [None]
    assert not run.untaken()


def test_a_flow_of_exactly_the_threshold_is_not_big(gallery: Any) -> None:
    run = gallery.run(NAME, [gallery.udp(*FLOW)] * 100)
    assert BULK not in run.outcomes
    ((label, registers),) = run.contexts("flows").values()
    assert (label, registers["packets"]) == ("small", 100)


@pytest.mark.parametrize("threshold", [0, 1, 150])
def test_the_threshold_is_a_parameter(gallery: Any, threshold: int) -> None:
    outcomes = gallery.run(NAME, [gallery.udp(*FLOW)] * (threshold + 2), threshold=threshold).outcomes
    assert outcomes == [SMALL] * threshold + [BULK] * 2


@pytest.mark.parametrize(("pause_s", "port"), [(10, BULK), (10 + 1e-9, SMALL)])
def test_a_pause_of_more_than_ten_seconds_ends_the_flow(gallery: Any, pause_s: float, port: int) -> None:
    packets = [gallery.udp(*FLOW)] * 101 + [gallery.udp(*FLOW, at=round(pause_s * gallery.S))]
    assert gallery.run(NAME, packets).outcomes[-1] == port


def test_a_big_flow_stays_big_as_long_as_it_lasts(gallery: Any) -> None:
    packets = [gallery.udp(*FLOW)] * 101 + [gallery.udp(*FLOW, at=i * 9 * gallery.S) for i in range(1, 5)]
    run = gallery.run(NAME, packets)
    assert run.outcomes[100:] == [BULK] * 5
    assert [registers["packets"] for _, registers in run.contexts("flows").values()] == [101]


def test_as_a_count_in_plain_python(gallery: Any) -> None:
    """Both families; a flow is the directed 5-tuple."""
    rng = Random(4)
    ends = [("10.0.0.1", "10.0.0.2"), ("10.0.0.2", "10.0.0.1"), ("2001:db8::1", "2001:db8::2")]
    sent: dict[Any, int] = {}
    packets, expected = [], []
    for at in range(2000):
        src, dst = rng.choice(ends)
        proto, sport, dport = rng.choice((6, 17)), rng.choice((1, 2)), rng.choice((1, 2))
        flow = (src, dst, proto, sport, dport)
        sent[flow] = sent.get(flow, 0) + 1
        expected.append(BULK if sent[flow] > 60 else SMALL)
        packets.append(gallery.packet(src, dst, proto, sport, dport, at=at))
    assert gallery.run(NAME, packets, threshold=60).outcomes == expected
    assert {SMALL, BULK} == set(expected)

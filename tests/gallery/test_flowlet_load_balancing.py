"""Flowlet load balancing: a path is chosen at the beginning of a flowlet, by what the probes have told."""

from __future__ import annotations

from random import Random
from typing import Any

from oppcache.opp import Header

NAME = "flowlet-load-balancing"
HOST, AT_2, AT_3, ELSEWHERE = "10.1.0.1", "10.2.0.1", "10.3.0.1", "10.4.0.1"


def probe(gallery: Any, in_port: int, leaf: int, used: int, at: int = 0) -> Any:
    """Utilisation of the path to a leaf by an uplink, on a packet that came that way."""
    fields = {"mpls.tc": leaf, "mpls.label": used}
    return gallery.udp(AT_2, HOST, in_port=in_port, fields=fields, headers=(Header.MPLS,), at=at)


def data(gallery: Any, dst: str, at: int = 0, sport: int = 1000, in_port: int = 3) -> Any:
    return gallery.udp(HOST, dst, sport=sport, in_port=in_port, at=at)


def test_flowlets_take_the_less_used_path(gallery: Any) -> None:
    us = gallery.US
    packets = [
        data(gallery, AT_2),  # no probe yet: both 0, the first uplink
        probe(gallery, 1, 2, 50),
        probe(gallery, 2, 2, 40),
        data(gallery, AT_2, at=500 * us),  # the flowlet goes on where it is
        data(gallery, AT_2, at=500 * us, sport=1001),
        data(gallery, AT_2, at=1000 * us + 1),  # a new flowlet of the first flow
        probe(gallery, 1, 3, 7, at=1001 * us),
        data(gallery, AT_3, at=1001 * us),
        probe(gallery, 2, 3, 8, at=1002 * us),
        data(gallery, AT_3, at=1002 * us, sport=1001),
        data(gallery, AT_3, at=1003 * us),
        data(gallery, ELSEWHERE, at=1003 * us),
        data(gallery, HOST, at=1003 * us, in_port=1),
        data(gallery, HOST, at=1003 * us, in_port=2),
    ]
    run = gallery.run(NAME, packets)
    assert run.outcomes == [1, "drop", "drop", 1, 2, 2, "drop", 2, "drop", 1, 2, "drop", 3, 3]
    assert not run.untaken()
    assert set(run.contexts("uplinks")) == {1, 2}
    assert run.globals == {
        "used.leaf2_by_1": 50,
        "used.leaf2_by_2": 40,
        "used.leaf3_by_1": 7,
        "used.leaf3_by_2": 8,
        "load.port_1": 12,  # (7 * 0 + 100) / 8
        "load.port_2": 12,
    }


def test_a_busy_flow_is_not_torn_apart(gallery: Any) -> None:
    """However long it lasts and whatever the probes say: its packets would be reordered."""
    us = gallery.US
    packets = [data(gallery, dst, at=0) for dst in (AT_2, AT_3)]
    packets += [probe(gallery, 1, leaf, 99, 1) for leaf in (2, 3)]
    packets += [data(gallery, dst, at=i * 400 * us) for i in range(1, 9) for dst in (AT_2, AT_3)]
    packets += [data(gallery, dst, at=5000 * us) for dst in (AT_2, AT_3)]
    packets += [probe(gallery, 2, leaf, 100, 5000 * us) for leaf in (2, 3)]
    packets += [data(gallery, dst, at=(5000 + i * 400) * us) for i in range(1, 9) for dst in (AT_2, AT_3)]
    outcomes = [outcome for outcome in gallery.run(NAME, packets).outcomes if outcome != "drop"]
    assert outcomes == [1] * 18 + [2] * 18


def test_as_a_leaf_in_plain_python(gallery: Any) -> None:
    rng = Random(12)
    used = {(leaf, port): 0 for leaf in (2, 3) for port in (1, 2)}
    flowlets: dict[Any, tuple[int, int]] = {}
    packets, expected = [], []
    now = 0
    for _ in range(3000):
        now += rng.choice((0, 5, 20, 60, 100)) * gallery.US
        if rng.random() < 0.1:
            leaf, port, load = rng.choice((2, 3)), rng.choice((1, 2)), rng.randrange(16)
            used[leaf, port] = load
            packets.append(probe(gallery, port, leaf, load, now))
            expected.append("drop")
            continue
        leaf, sport = rng.choice((2, 3)), rng.randrange(4)
        port, heard = flowlets.get((leaf, sport), (0, now))
        if not port or now - heard > 500 * gallery.US:
            port = min((1, 2), key=lambda p: used[leaf, p])
        flowlets[leaf, sport] = port, now
        packets.append(data(gallery, AT_2 if leaf == 2 else AT_3, now, sport))
        expected.append(port)
    assert gallery.run(NAME, packets).outcomes == expected
    assert min(expected.count(1), expected.count(2)) > 500

"""Server load balancer: in turn for new connections, always the same server for old ones."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

NAME = "server-load-balancer"
VIP = "192.0.2.1"


def test_connections_go_round_and_stay(gallery: Any) -> None:
    packets = [gallery.tcp("198.51.100.9", VIP, sport=port) for port in (1, 2, 1, 3, 4, 2, 5, 3, 6, 7)]
    packets += [
        gallery.tcp(VIP, "198.51.100.9", sport=80, dport=1, in_port=4),
        gallery.tcp("198.51.100.9", VIP, dport=81),
        gallery.udp("198.51.100.9", VIP, dport=80),
        gallery.frame(1, 2, 1),
        gallery.tcp("198.51.100.8", VIP, sport=1),  # another client with a port that is known
    ]
    run = gallery.run(NAME, packets)
    assert run.outcomes == [2, 3, 2, 4, 2, 3, 3, 4, 4, 2, 1, "drop", "drop", "drop", 3]
    assert run.untaken() == {("balance", "no-ports")}
    assert run.globals == {"servers.next": 4}


def test_a_fragment_without_ports_is_dropped(gallery: Any) -> None:
    later = gallery.tcp("198.51.100.9", VIP)
    later.headers = {h for h in later.headers if h.name != "TCP"}
    run = gallery.run(NAME, [later])
    assert (run.outcomes, set(run.taken)) == (["drop"], {("side", "to-service"), ("balance", "no-ports")})


@pytest.mark.parametrize(("pause_s", "server"), [(20, 2), (20 + 1e-8, 3)])
def test_a_silent_connection_is_forgotten(gallery: Any, pause_s: float, server: int) -> None:
    packets = [gallery.tcp("198.51.100.9", VIP, at=round(at * gallery.S)) for at in (0, pause_s)]
    assert gallery.run(NAME, packets).outcomes == [2, server]


def test_as_a_balancer_in_plain_python(gallery: Any) -> None:
    rng = Random(11)
    bound: dict[Any, tuple[int, int]] = {}
    connections = 0
    packets, expected = [], []
    now = 0
    for _ in range(3000):
        now += rng.choice((0, 1, 300, 2000)) * gallery.MS
        client = f"198.51.100.{rng.randrange(3)}", rng.randrange(8)
        server, heard = bound.get(client, (-1, now))
        if server < 0 or now - heard > 20 * gallery.S:
            server = connections % 5
            connections += 1
        bound[client] = server, now
        expected.append(2 + server)
        packets.append(gallery.tcp(client[0], VIP, sport=client[1], at=now))
    run = gallery.run(NAME, packets, last_server=6)
    assert run.outcomes == expected
    assert connections > 50

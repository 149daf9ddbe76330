"""The paper's load balancer: in turn for new connections, the same server for old ones, addresses both ways."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

NAME = "load-balancer"
SERVICE = "203.0.113.80"
CLIENT = "198.51.100.9"


def v4(number: int) -> str:
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


def ends(run: Any, i: int) -> tuple[str, str]:
    """Source and destination of a packet as it left."""
    fields = run.after[i]
    assert fields["ip.src"] == (4, fields["ip.src"][1])
    return v4(fields["ip.src"][1]), v4(fields["ip.dst"][1])


def test_connections_go_round_stay_and_are_answered_by_the_service(gallery: Any) -> None:
    packets = [gallery.tcp(CLIENT, SERVICE, sport=port) for port in (1, 2, 3, 1, 4, 3)]
    packets += [
        gallery.tcp("192.0.2.1", CLIENT, sport=80, dport=1, in_port=2),
        gallery.tcp("192.0.2.3", CLIENT, sport=80, dport=3, in_port=2),
    ]
    run = gallery.run(NAME, packets)
    assert run.outcomes == [2] * 6 + [1, 1]
    servers = [1, 2, 3, 1, 1, 3]
    assert [ends(run, i) for i in range(6)] == [(CLIENT, f"192.0.2.{n}") for n in servers]
    assert ends(run, 6) == ends(run, 7) == (SERVICE, CLIENT)
    assert run.globals == {"servers.next": 0xC0000202}
    assert run.contexts("bindings")[CLIENT, SERVICE, 6, 3, 80] == ("bound", {"server": 0xC0000203})


def test_what_is_not_for_the_service_is_dropped_and_leaves_nothing(gallery: Any) -> None:
    later = gallery.tcp(CLIENT, SERVICE)
    later.fields |= {"l4.sport": 0, "l4.dport": 0}
    packets = [
        gallery.tcp(CLIENT, SERVICE, dport=81),
        gallery.udp(CLIENT, SERVICE, dport=80),
        gallery.tcp(CLIENT, "192.0.2.1"),
        gallery.tcp("192.0.2.1", CLIENT, sport=22, in_port=2),
        gallery.tcp(SERVICE, SERVICE, in_port=2),
        gallery.tcp("2001:db8::1", "2001:db8::2"),
        later,
        gallery.frame(1, 2, 1),
    ]
    run = gallery.run(NAME, packets)
    assert run.outcomes == ["drop"] * 7 + [None]
    assert run.contexts("bindings") == {}


@pytest.mark.parametrize(("pause_s", "server"), [(300, 1), (300 + 1e-8, 2)])
def test_a_silent_connection_is_forgotten(gallery: Any, pause_s: float, server: int) -> None:
    packets = [gallery.tcp(CLIENT, SERVICE, at=round(at * gallery.S)) for at in (0, pause_s)]
    run = gallery.run(NAME, packets)
    assert ends(run, 1) == (CLIENT, f"192.0.2.{server}")


def test_as_a_balancer_in_plain_python(gallery: Any) -> None:
    rng = Random(5)
    bound: dict[Any, tuple[int, int]] = {}
    count = now = 0
    packets, expected = [], []
    for _ in range(3000):
        now += rng.choice((0, 1, 20, 200)) * gallery.S
        client = f"198.51.100.{rng.randrange(3)}", rng.randrange(8)
        if rng.randrange(3):
            server, heard = bound.get(client, (-1, now))
            if server < 0 or now - heard > 300 * gallery.S:
                server, count = count % 5, count + 1
            bound[client] = server, now
            packets.append(gallery.tcp(client[0], SERVICE, sport=client[1], at=now))
            expected.append((2, client[0], f"192.0.2.{1 + server}"))
        else:
            server = rng.randrange(5)
            source = f"192.0.2.{1 + server}"
            packets.append(gallery.tcp(source, client[0], sport=80, dport=client[1], in_port=2, at=now))
            expected.append((1, SERVICE, client[0]))
    run = gallery.run(NAME, packets, last_server="192.0.2.5")
    assert [(run.outcomes[i], *ends(run, i)) for i in range(len(packets))] == expected
    assert count > 50
    assert run.untaken() == {("balance", "other")}

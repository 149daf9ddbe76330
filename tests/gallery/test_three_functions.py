"""The paper's gateway of three functions, against one written as an application: connections, mappings, zones."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest

NAME = "three-functions"
LAN, DMZ, INTERNET = 1, 2, 3
SERVICE, PUBLIC = "203.0.113.80", "203.0.113.1"
HOST, REMOTE, SERVER = "10.0.0.5", "198.51.100.9", "192.0.2.1"


def v4(address: Any) -> str:
    return ".".join(str(address[1] >> shift & 255) for shift in (24, 16, 8, 0))


def left(run: Any, i: int) -> tuple[Any, ...]:
    """Outcome of a packet; and, if it was forwarded, its addresses and ports as it left."""
    fields = run.after[i]
    if not isinstance(run.outcomes[i], int):
        return (run.outcomes[i],)
    return run.outcomes[i], v4(fields["ip.src"]), fields["l4.sport"], v4(fields["ip.dst"]), fields["l4.dport"]


def test_it_has_the_papers_size(gallery: Any) -> None:
    stages = gallery.run(NAME, [gallery.frame(1, 2, 1)]).program.stages
    assert [s.table is not None for s in stages] == [True] * 4 + [False]
    conntrack = next(s for s in stages if s.name == "conntrack")
    assert len(conntrack.entries) == 7
    assert conntrack.default is None


def test_the_lan_reaches_the_internet_behind_one_address(gallery: Any) -> None:
    packets = [
        gallery.udp(HOST, REMOTE, 4000, 53, in_port=LAN),
        gallery.udp(REMOTE, PUBLIC, 53, 1024, in_port=INTERNET),
        gallery.udp(HOST, "198.51.100.10", 4000, 53, in_port=LAN),  # one port for one socket
        gallery.udp(HOST, REMOTE, 4001, 53, in_port=LAN),
        gallery.udp("198.51.100.77", PUBLIC, 53, 1024, in_port=INTERNET),  # nobody asked this host
        gallery.udp(REMOTE, PUBLIC, 53, 2000, in_port=INTERNET),  # nobody has this port
        gallery.packet(HOST, REMOTE, 1, in_port=LAN),  # no ports, so no way back
        gallery.udp(REMOTE, HOST, 53, 4000, in_port=INTERNET),  # answered, but not to the address that asked
        gallery.udp("10.0.0.6", HOST, in_port=LAN),
    ]
    run = gallery.run(NAME, packets)
    assert [left(run, i) for i in range(6)] == [
        (INTERNET, PUBLIC, 1024, REMOTE, 53),
        (LAN, REMOTE, 53, HOST, 4000),
        (INTERNET, PUBLIC, 1024, "198.51.100.10", 53),
        (INTERNET, PUBLIC, 1025, REMOTE, 53),
        ("drop",),
        ("drop",),
    ]
    assert run.outcomes[6] == run.outcomes[8] == "drop"
    assert run.contexts("sockets") == {
        (0x0A000005, 17, 4000): ("mapped", {"port": 1024}),
        (0x0A000005, 17, 4001): ("mapped", {"port": 1025}),
    }
    assert run.contexts("ports")[17, 1025] == ("taken", {"host": 0x0A000005, "port": 4001})


def test_the_dmz_is_reached_and_reaches_nobody(gallery: Any) -> None:
    packets = [
        gallery.tcp(REMOTE, SERVER, 5000, 25, in_port=INTERNET),
        gallery.tcp(SERVER, REMOTE, 25, 5000, in_port=DMZ),
        gallery.tcp(HOST, SERVER, 5000, 25, in_port=LAN),
        gallery.tcp(SERVER, HOST, 25, 5000, in_port=DMZ),
        gallery.tcp(SERVER, REMOTE, 6000, 443, in_port=DMZ),
        gallery.tcp(SERVER, HOST, 6000, 443, in_port=DMZ),
        gallery.tcp(SERVER, SERVICE, 6000, 80, in_port=DMZ),
    ]
    run = gallery.run(NAME, packets)
    assert [left(run, i) for i in range(4)] == [
        (DMZ, REMOTE, 5000, SERVER, 25),
        (INTERNET, SERVER, 25, REMOTE, 5000),
        (DMZ, HOST, 5000, SERVER, 25),
        (LAN, SERVER, 25, HOST, 5000),
    ]
    assert run.outcomes[4:] == ["drop"] * 3
    assert run.contexts("sockets") == run.contexts("bindings") == {}


def test_the_service_answers_for_its_servers(gallery: Any) -> None:
    packets = [
        gallery.tcp(REMOTE, SERVICE, 5000, 80, in_port=INTERNET),
        gallery.tcp(HOST, SERVICE, 5000, 80, in_port=LAN),
        gallery.tcp(SERVER, REMOTE, 80, 5000, in_port=DMZ),
        gallery.tcp("192.0.2.2", HOST, 80, 5000, in_port=DMZ),
        gallery.tcp(REMOTE, SERVICE, 5000, 80, in_port=INTERNET),
        gallery.tcp(REMOTE, SERVER, 5001, 80, in_port=INTERNET),  # the server itself, not the service
        gallery.tcp(SERVER, REMOTE, 80, 5001, in_port=DMZ),
        gallery.tcp(REMOTE, SERVICE, 5000, 81, in_port=INTERNET),
        gallery.udp(REMOTE, SERVICE, 5000, 80, in_port=INTERNET),
    ]
    run = gallery.run(NAME, packets)
    assert [left(run, i) for i in range(9)] == [
        (DMZ, REMOTE, 5000, SERVER, 80),
        (DMZ, HOST, 5000, "192.0.2.2", 80),
        (INTERNET, SERVICE, 80, REMOTE, 5000),
        (LAN, SERVICE, 80, HOST, 5000),
        (DMZ, REMOTE, 5000, SERVER, 80),
        (DMZ, REMOTE, 5001, SERVER, 80),
        (INTERNET, SERVER, 80, REMOTE, 5001),
        ("drop",),
        ("drop",),
    ]


def test_a_mapping_ends_unless_its_host_sends(gallery: Any) -> None:
    def ask(at: float) -> Any:
        return gallery.udp(HOST, REMOTE, 4000, 53, in_port=LAN, at=round(at * gallery.S))

    def answer(at: float) -> Any:
        return gallery.udp(REMOTE, PUBLIC, 53, 1024, in_port=INTERNET, at=round(at * gallery.S))

    run = gallery.run(NAME, [ask(0), answer(200), answer(300), answer(300 + 1e-8)])
    assert run.outcomes == [INTERNET, LAN, LAN, "drop"]
    run = gallery.run(NAME, [ask(0), ask(200), answer(500), ask(501)])
    assert run.outcomes == [INTERNET, INTERNET, LAN, INTERNET]
    assert left(run, 3)[2] == 1025


def test_a_port_in_use_is_not_given_twice(gallery: Any) -> None:
    ports = {"first_public_port": 5, "last_public_port": 6}
    packets = [gallery.udp(HOST, REMOTE, 4000 + i, 53, in_port=LAN, at=i) for i in range(4)]
    packets.append(gallery.udp(HOST, REMOTE, 4000, 53, in_port=LAN, at=200 * gallery.S))
    packets += [gallery.udp(HOST, REMOTE, 4009, 53, in_port=LAN, at=301 * gallery.S + i) for i in range(2)]
    run = gallery.run(NAME, packets, **ports)
    assert [left(run, i)[2:3] for i in range(7)] == [(5,), (6,), (), (), (5,), (), (6,)]


# As an application


class Gateway:
    """What the gateway is to do, as one would write it: connections, sockets, servers."""

    IDLE = 300 * 10**9

    def __init__(self, servers: int, ports: range) -> None:
        self.servers, self.ports = servers, ports
        self.turn = self.offer = 0
        self.bound: dict[Any, list[int]] = {}  # connection to the service -> [server, last packet]
        self.mapping: dict[Any, tuple[int, int]] = {}  # (protocol, (host, port)) -> (public port, until)
        self.owner: dict[Any, tuple[Any, int]] = {}  # (protocol, public port) -> ((host, port), until)
        self.seen: dict[Any, tuple[Any, bool]] = {}  # the two ends -> (who began, via the service)
        self.answered: set[Any] = set()

    def packet(self, now: int, zone: int, proto: int, src: Any, dst: Any) -> tuple[Any, ...]:
        """What becomes of a packet between two (address, port) ends."""
        via = False
        if zone != DMZ and dst[0] == SERVICE:
            if proto != 6 or dst[1] != 80:
                return ("drop",)
            dst, via = self.server(now, proto, src), True
        public = None
        if dst[0].startswith(("192.0.2.", "10.")):
            pass
        elif zone == LAN:
            public = self.map(now, proto, src)
            if public is None:
                return ("drop",)
        elif zone == INTERNET and dst[0] == PUBLIC:
            host, until = self.owner.get((proto, dst[1]), (None, -1))
            if until < now:
                return ("drop",)
            dst = host
        established, via = self.track(proto, src, dst, via)
        if public is not None:
            return INTERNET, PUBLIC, public, *dst
        if established and via and zone == DMZ:
            return LAN if dst[0].startswith("10.") else INTERNET, SERVICE, src[1], *dst
        if dst[0].startswith("192.0.2."):
            return DMZ, *src, *dst
        if established and (dst[0].startswith("10.") or zone == DMZ):
            return LAN if dst[0].startswith("10.") else INTERNET, *src, *dst
        return ("drop",)

    def server(self, now: int, proto: int, src: Any) -> tuple[str, int]:
        found = self.bound.get((proto, src))
        if found is None or now > found[1] + self.IDLE:
            found = self.bound[proto, src] = [self.turn % self.servers, now]
            self.turn += 1
        found[1] = now
        return f"192.0.2.{1 + found[0]}", 80

    def map(self, now: int, proto: int, src: Any) -> int | None:
        port, until = self.mapping.get((proto, src), (0, -1))
        if until < now:
            port = self.ports[self.offer % len(self.ports)]
            self.offer += 1
            if self.owner.get((proto, port), (None, -1))[1] >= now:
                return None
        self.mapping[proto, src] = port, now + self.IDLE
        self.owner[proto, port] = src, now + self.IDLE
        return port

    def track(self, proto: int, src: Any, dst: Any, via: bool) -> tuple[bool, bool]:
        ends = (proto, frozenset((src, dst)))
        began, through = self.seen.setdefault(ends, (src, via))
        if src != began:
            self.answered.add(ends)
        return (True, through) if ends in self.answered else (False, via)


def traffic(rng: Random, gallery: Any, count: int) -> list[tuple[Any, Any]]:
    """Packets and what the application's gateway says of them: new ones, and answers to those that left."""
    gateway = Gateway(3, range(1024, 1027))
    out, answers, now = [], [], 0
    for _ in range(count):
        now += rng.choice((0, 1, 1, 2, 40)) * gallery.S
        if answers and rng.randrange(2):
            zone, proto, src, dst = rng.choice(answers)
        else:
            zone, proto = rng.choice((LAN, LAN, DMZ, INTERNET, INTERNET)), rng.choice((6, 17))
            host = {LAN: "10.0.0.", DMZ: "192.0.2.", INTERNET: "198.51.100."}[zone] + str(rng.randrange(1, 4))
            src = (host, rng.randrange(4000, 4003))
            to = rng.choice((SERVICE, SERVICE, SERVER, "192.0.2.9", REMOTE, PUBLIC, HOST))
            dst = (to, rng.choice((80, 80, 53, 1024, 1025)))
        if src[0] == dst[0]:
            continue
        make = gallery.tcp if proto == 6 else gallery.udp
        expected = gateway.packet(now, zone, proto, src, dst)
        out.append((make(src[0], dst[0], src[1], dst[1], in_port=zone, at=now), expected))
        if expected[0] != "drop":
            port, *ends = expected
            answers = [*answers[-30:], (port, proto, (ends[2], ends[3]), (ends[0], ends[1]))]
    return out


@pytest.mark.parametrize("seed", range(4))
def test_as_a_gateway_in_plain_python(gallery: Any, seed: int) -> None:
    packets, expected = map(list, zip(*traffic(Random(seed), gallery, 1500), strict=True))
    run = gallery.run(NAME, packets, last_public_port=1026)
    assert [left(run, i) for i in range(len(packets))] == expected
    assert run.untaken() == {("nat-sockets", "untranslatable")}
    kinds = {e[0] for e in expected}
    assert kinds == {LAN, DMZ, INTERNET, "drop"}
    assert np.mean([e[0] == "drop" for e in expected]) < 0.6

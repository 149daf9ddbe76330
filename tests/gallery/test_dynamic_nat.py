"""Dynamic NAT: one address for many hosts, ports that nobody else has, both directions of every socket."""

from __future__ import annotations

from random import Random
from typing import Any

NAME = "dynamic-nat"
INSIDE, OUTSIDE = 1, 2
PUBLIC, HOST, REMOTE = "203.0.113.1", "10.0.0.5", "198.51.100.9"


def left(run: Any, i: int) -> tuple[Any, ...]:
    """Outcome of a packet; and, if it was forwarded, its addresses and ports as it left."""
    fields = run.after[i]
    if not isinstance(run.outcomes[i], int):
        return (run.outcomes[i],)
    source, destination = (
        ".".join(str(fields[name][1] >> s & 255) for s in (24, 16, 8, 0)) for name in ("ip.src", "ip.dst")
    )
    return run.outcomes[i], source, fields["l4.sport"], destination, fields["l4.dport"]


def test_a_socket_has_one_port_to_everybody_and_is_found_by_it(gallery: Any) -> None:
    packets = [
        gallery.udp(HOST, REMOTE, 4000, 53, in_port=INSIDE),
        gallery.udp(HOST, "198.51.100.10", 4000, 123, in_port=INSIDE),
        gallery.udp(REMOTE, PUBLIC, 53, 7, in_port=OUTSIDE),
    ]
    run = gallery.run(NAME, packets, first_public_port=7, last_public_port=7)
    assert [left(run, i) for i in range(3)] == [
        (OUTSIDE, PUBLIC, 7, REMOTE, 53),
        (OUTSIDE, PUBLIC, 7, "198.51.100.10", 123),
        (INSIDE, REMOTE, 53, HOST, 4000),
    ]
    assert run.contexts("ports") == {(17, 7): ("taken", {"host": 0x0A000005, "port": 4000})}
    assert run.contexts("sockets") == {(HOST, 17, 4000): ("mapped", {"port": 7})}


def test_what_cannot_be_translated_is_dropped_and_leaves_nothing(gallery: Any) -> None:
    later = gallery.udp(HOST, REMOTE, 0, 0, in_port=INSIDE)
    later.headers = {h for h in later.headers if h.name != "L4_PORTS"}
    packets = [
        gallery.packet(HOST, REMOTE, 1, in_port=INSIDE),
        gallery.udp("192.168.0.1", REMOTE, in_port=INSIDE),
        gallery.udp("fd00::1", "2001:db8::1", in_port=INSIDE),
        gallery.udp(REMOTE, PUBLIC, 53, 7, in_port=OUTSIDE),
        gallery.udp(REMOTE, HOST, 53, 7, in_port=OUTSIDE),
        later,
        gallery.frame(1, 2, INSIDE),
    ]
    run = gallery.run(NAME, packets)
    assert run.outcomes == ["drop"] * 6 + [None]
    assert run.contexts("ports") == run.contexts("sockets") == {}


def test_a_port_goes_back_when_its_host_has_been_silent(gallery: Any) -> None:
    def at(seconds: float, sport: int) -> Any:
        return gallery.udp(HOST, REMOTE, sport, 53, in_port=INSIDE, at=round(seconds * gallery.S))

    answer = gallery.udp(REMOTE, PUBLIC, 53, 7, in_port=OUTSIDE, at=250 * gallery.S)
    packets = [at(0, 1), answer, at(300, 2), at(300 + 1e-8, 2), at(301, 1)]
    run = gallery.run(NAME, packets, first_public_port=7, last_public_port=7)
    assert run.outcomes == [OUTSIDE, INSIDE, "drop", OUTSIDE, "drop"]


def test_as_a_nat_in_plain_python(gallery: Any) -> None:
    rng, ports, hold = Random(3), range(1024, 1036), 300 * 10**9
    packets, wanted, now = [], [], 0
    for _ in range(4000):
        now += rng.choice((0, 1, 3, 30)) * gallery.S
        proto = rng.choice((6, 17))
        make = gallery.tcp if proto == 6 else gallery.udp
        if rng.randrange(3):
            host = f"10.0.0.{rng.randrange(1, 4)}", rng.randrange(4000, 4006)
            packets.append(make(host[0], REMOTE, host[1], 53, in_port=INSIDE, at=now))
            wanted.append((now, proto, host, None))
        else:
            port = rng.choice((*ports, 1023, 1036))
            packets.append(make(REMOTE, PUBLIC, 53, port, in_port=OUTSIDE, at=now))
            wanted.append((now, proto, None, port))
    run = gallery.run(NAME, packets, last_public_port=ports[-1])
    public: dict[Any, tuple[int, int]] = {}  # (protocol, socket) -> (port, last sent)
    owner: dict[Any, Any] = {}  # (protocol, port) -> socket
    given = refused = 0
    for i, (at, proto, host, port) in enumerate(wanted):
        taken = {
            p
            for (q, p), h in owner.items()
            if q == proto and at <= public[q, h][1] + hold and public[q, h][0] == p
        }
        got = left(run, i)
        if host is None:
            expected = (INSIDE, REMOTE, 53, *owner[proto, port]) if port in taken else ("drop",)
            assert got == expected
            continue
        known, sent = public.get((proto, host), (-1, -hold))
        if known < 0 or at > sent + hold:
            if len(taken) == len(ports):
                assert got == ("drop",)
                refused += 1
                continue
            known = got[2]  # any that is free will do
            assert known in ports
            assert known not in taken
            given += 1
        assert got == (OUTSIDE, PUBLIC, known, REMOTE, 53)
        public[proto, host], owner[proto, known] = (known, at), host
    assert given > 50
    assert refused > 20
    assert run.untaken() == {("nat-sockets", "untranslatable")}
    assert len({got[2] for got in (left(run, i) for i in range(50)) if got[0] == OUTSIDE}) > 3

"""Optimistic ACKs: nobody may acknowledge what the other side has not sent, wherever sequence numbers stand."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

NAME = "optimistic-ack-detection"
CLIENT, SERVER = ("198.51.100.9", 40000), ("192.0.2.1", 80)


class Side:
    """Sends segments of one connection with sequence numbers modulo 2^32."""

    def __init__(
        self, gallery: Any, client_isn: int, server_isn: int, client: Any = CLIENT, server: Any = SERVER
    ):
        self.gallery, self.ends = gallery, (client, server)
        self.isn = (client_isn, server_isn)

    def __call__(self, who: int, flags: str, seq: int, ack: int, size: int = 0, at: int = 0) -> Any:
        """Sequence and acknowledgement numbers relative to the initial ones."""
        (src, sport), (dst, dport) = self.ends[who], self.ends[1 - who]
        fields = {
            "tcp.seq": (self.isn[who] + seq) % 2**32,
            "tcp.ack": (self.isn[1 - who] + ack) % 2**32 if "A" in flags else 0,
            "l4.payload_length": size,
        }
        return self.gallery.tcp(src, dst, sport, dport, flags, fields=fields, at=at)


A, B = 0, 1
HANDSHAKE = [(A, "S", 0, 0), (B, "SA", 0, 1), (A, "A", 1, 1)]
INITIAL = [(1000, 5000), (2**32 - 2, 2**31 - 2), (2**31 - 700, 2**32 - 700)]


@pytest.mark.parametrize("isn", INITIAL)
@pytest.mark.parametrize("swapped", [False, True])
def test_an_honest_connection_passes(gallery: Any, isn: tuple[int, int], swapped: bool) -> None:
    """Either end may open it; numbers wrap; FINs count as a byte; what is late or sent again passes."""
    send = Side(gallery, *isn, *((SERVER, CLIENT) if swapped else (CLIENT, SERVER)))
    segments = [
        *HANDSHAKE,
        (A, "PA", 1, 1, 500),
        (B, "A", 1, 501, 1460),
        (B, "A", 1461, 501, 1460),
        (A, "A", 501, 2921),
        (A, "A", 501, 1461),  # late
        (B, "A", 1, 501, 1460),  # again
        (A, "R", 501, 0),  # without an acknowledgement
        (B, "FA", 2921, 501),
        (A, "FA", 501, 2922),
        (B, "A", 2922, 502),
    ]
    run = gallery.run(NAME, [send(*segment) for segment in segments])
    assert set(run.outcomes) == {1}
    assert not {"a-cheats", "b-cheats"} & {entry for _, entry in run.taken}


@pytest.mark.parametrize("isn", INITIAL)
@pytest.mark.parametrize("cheat", [A, B])
def test_one_byte_too_many_ends_the_connection_for_both(
    gallery: Any, isn: tuple[int, int], cheat: int
) -> None:
    send = Side(gallery, *isn)
    segments = [*HANDSHAKE, (A, "PA", 1, 1, 100), (B, "A", 1, 101, 1000)]
    beyond = (A, "A", 101, 1002) if cheat == A else (B, "A", 1001, 102)
    honest = (A, "A", 101, 1001), (B, "A", 1001, 101)
    run = gallery.run(NAME, [send(*segment) for segment in [*segments, *honest, beyond, *honest]])
    assert run.outcomes == [1] * 7 + ["drop"] * 3
    assert run.taken["watch", "a-cheats" if cheat == A else "b-cheats"] == 1


def test_every_entry(gallery: Any) -> None:
    send, other = Side(gallery, 7, 9), Side(gallery, 7, 9, CLIENT, ("192.0.2.1", 443))
    first = [*HANDSHAKE, (A, "PA", 1, 1, 100), (B, "A", 1, 101, 50), (B, "A", 1, 101, 50), (A, "R", 101, 0)]
    again = [
        (A, "S", 5000, 0),
        (B, "SA", 9000, 5001),
        (A, "A", 5001, 9001),
        (A, "A", 5001, 9002),
        (B, "A", 9001, 0),
    ]
    packets = [send(*segment) for segment in first + again]
    packets += [other(*segment) for segment in [*HANDSHAKE, (B, "A", 1, 2)]]
    packets += [gallery.udp("192.0.2.1", "192.0.2.2")]
    run = gallery.run(NAME, packets)
    assert run.outcomes == [1] * 10 + ["drop"] * 2 + [1, 1, 1, "drop", 1]
    assert not run.untaken()


def test_a_long_connection_stays_watched(gallery: Any) -> None:
    send = Side(gallery, 1, 1)
    packets = [send(*segment) for segment in HANDSHAKE]
    packets += [send(A, "A", 1, 1, at=i * 200 * gallery.S) for i in range(1, 4)]
    packets += [send(A, "A", 1, 2, at=800 * gallery.S)]
    assert gallery.run(NAME, packets).outcomes == [1] * 6 + ["drop"]


def test_only_a_handshake_makes_a_context(gallery: Any) -> None:
    send = Side(gallery, 1, 1)
    run = gallery.run(NAME, [send(A, "S", 0, 0), send(A, "A", 1, 1), send(B, "RA", 1, 1)])
    assert run.contexts("connections") == {}


def test_as_a_referee_in_plain_python(gallery: Any) -> None:
    """Unbounded numbers, counted from the initial ones: nothing wraps here."""
    rng = Random(15)
    packets, expected = [], []
    for connection in range(150):
        isn = rng.choice((0, 2**31, 2**32 - 1)), rng.randrange(2**32)
        send = Side(
            gallery, *isn, ("198.51.100.9", 10000 + connection), rng.choice((SERVER, ("198.51.100.10", 80)))
        )
        sent = [1, 1]  # one past the last byte of each
        cheated = False
        segments: list[Any] = list(HANDSHAKE)
        for _ in range(rng.randrange(1, 25)):
            who, size = rng.choice((A, B)), rng.choice((0, 0, 1, 1460, 60000))
            seq = sent[who] if rng.random() < 0.8 else max(1, sent[who] - 1460)
            ack = max(1, sent[1 - who] + rng.choice((0, 0, 0, 0, -1, -1460, -1460))) + (rng.random() < 0.05)
            segments.append((who, "A", seq, ack, size))
        for who, flags, seq, ack, *size in segments:
            packets.append(send(who, flags, seq, ack, *size))
            cheated |= flags == "A" and ack > sent[1 - who]
            expected.append("drop" if cheated else 1)
            if not cheated and flags == "A":
                sent[who] = max(sent[who], seq + sum(size))
    assert gallery.run(NAME, packets).outcomes == expected
    assert min(expected.count(1), expected.count("drop")) > 200

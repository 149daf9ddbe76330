"""TCP super-spreader: open connections of a source, counted once each, whoever closes them."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

NAME = "tcp-super-spreader"
SRC, DST = "10.0.0.1", "192.0.2.1"


def out(gallery: Any, sport: int, flags: str, src: str = SRC) -> Any:
    return gallery.tcp(src, DST, sport=sport, flags=flags)


def back(gallery: Any, sport: int, flags: str, src: str = SRC) -> Any:
    return gallery.tcp(DST, src, sport=80, dport=sport, flags=flags)


def test_a_close_makes_room_for_one_more(gallery: Any) -> None:
    packets = [out(gallery, 1, "S"), out(gallery, 2, "S"), out(gallery, 1, "S"), back(gallery, 1, "SA")]
    packets += [out(gallery, 3, "S"), out(gallery, 3, "A")]  # too many; what follows it is not judged
    packets += [
        back(gallery, 1, "FA"),
        out(gallery, 1, "FA"),
        out(gallery, 1, "A"),
    ]  # two FINs, one connection
    packets += [out(gallery, 3, "S"), out(gallery, 4, "S"), out(gallery, 2, "R"), out(gallery, 4, "S")]
    packets += [gallery.udp(SRC, DST)]
    run = gallery.run(NAME, packets, threshold=2)
    assert run.outcomes == [1, 1, 1, 1, "drop", 1, 1, 1, 1, 1, "drop", 1, 1, 1]
    assert run.contexts("sources")[SRC] == ("0", {"open": 2})
    assert not run.untaken()


@pytest.mark.parametrize("closer", [out, back])
@pytest.mark.parametrize("flags", ["FA", "R", "RA"])
def test_a_closed_connection_leaves_nothing_behind(gallery: Any, closer: Any, flags: str) -> None:
    packets = [
        packet for port in range(300) for packet in (out(gallery, port, "S"), closer(gallery, port, flags))
    ]
    run = gallery.run(NAME, packets, threshold=1)
    assert set(run.outcomes) == {1}
    assert run.contexts("sources")[SRC] == ("0", {"open": 0})
    assert run.contexts("connections") == {}


def test_dropped_syns_do_not_count(gallery: Any) -> None:
    """In the published table they do, and no FIN ever takes them back: the ban would not end."""
    packets = [out(gallery, port, "S") for port in range(50)] + [out(gallery, 0, "FA"), out(gallery, 99, "S")]
    assert gallery.run(NAME, packets, threshold=3).outcomes == [1] * 3 + ["drop"] * 47 + [1, 1]


def test_only_an_admitted_syn_makes_a_context(gallery: Any) -> None:
    packets = [out(gallery, port, flags) for port in range(20) for flags in ("A", "FA", "R")]
    run = gallery.run(NAME, packets)
    assert (run.contexts("sources"), run.contexts("connections")) == ({}, {})


def test_as_a_set_of_connections_in_plain_python(gallery: Any) -> None:
    rng = Random(16)
    opened: dict[str, set[int]] = {}
    packets, expected = [], []
    for _ in range(4000):
        src, sport = f"10.0.0.{rng.randrange(3)}", rng.randrange(12)
        mine = opened.setdefault(src, set())
        way = rng.choice((out, back))
        flags = rng.choice(("S", "S", "A", "FA", "R")) if way is out else rng.choice(("SA", "A", "FA", "RA"))
        refused = flags == "S" and sport not in mine and len(mine) >= 5
        if flags == "S" and not refused:
            mine.add(sport)
        elif set(flags) & {"F", "R"}:
            mine.discard(sport)
        packets.append(way(gallery, sport, flags, src))
        expected.append("drop" if refused else 1)
    run = gallery.run(NAME, packets, threshold=5)
    assert run.outcomes == expected
    assert expected.count("drop") > 50
    counts = {src: registers["open"] for src, (_, registers) in run.contexts("sources").items()}
    assert {src: counts[src] for src in opened} == {src: len(mine) for src, mine in opened.items()}

"""SYN-flood detection: the threshold within a second, the ban for a minute, a new start after it."""

from __future__ import annotations

from random import Random
from typing import Any

NAME = "syn-flood-detection"
ATTACKER, HOST, SERVER = "198.51.100.9", "198.51.100.10", "10.0.0.5"


def syn(gallery: Any, at: int, src: str = ATTACKER, flags: str = "S") -> Any:
    return gallery.tcp(src, SERVER, sport=1024 + at % 50000, flags=flags, at=at)


def test_the_threshold_passes_and_the_next_syn_bans(gallery: Any) -> None:
    s = gallery.S
    packets = [syn(gallery, i) for i in range(5)]
    packets += [syn(gallery, 5, flags="A"), syn(gallery, 5, HOST), syn(gallery, 5, flags="SA")]
    packets += [syn(gallery, 5, HOST, flags="A")]
    packets += [gallery.frame(1, 2, 1, at=5)]
    packets += [syn(gallery, 60 * s + 4)]  # banned for 60 s from the fifth SYN on
    packets += [syn(gallery, 60 * s + 5 + i) for i in range(5)]
    run = gallery.run(NAME, packets, threshold=4)
    assert run.outcomes[:5] == [1, 1, 1, 1, "drop"]
    assert run.outcomes[5:10] == ["drop", 1, "drop", 1, 1]  # the ban takes everything that the source sends
    assert run.outcomes[10:] == ["drop", 1, 1, 1, 1, "drop"]  # and its old count is forgotten with it
    assert not run.untaken()


def test_a_second_begins_with_the_first_syn(gallery: Any) -> None:
    """Four at its end and four in the next one: eight within 2 ns, none of them too many."""
    s = gallery.S
    times = [0, s, s, s, s + 1, s + 1, s + 1, s + 1]
    run = gallery.run(NAME, [syn(gallery, at) for at in times], threshold=4)
    assert set(run.outcomes) == {1}


def test_who_opens_no_connection_leaves_no_context(gallery: Any) -> None:
    run = gallery.run(NAME, [syn(gallery, at, flags="A") for at in range(300)])
    assert set(run.outcomes) == {1}
    assert run.contexts("sources") == {}


def test_as_counts_in_plain_python(gallery: Any) -> None:
    rng = Random(5)
    window: dict[str, tuple[int, int]] = {}  # began, SYNs
    banned: dict[str, int] = {}  # until
    packets, expected = [], []
    now = 0
    for _ in range(3000):
        now += rng.choice((0, 1, 100, 400, 9000)) * gallery.MS if rng.random() < 0.1 else 0
        src, flags = f"192.0.2.{rng.randrange(3)}", rng.choice(("S", "S", "A", "SA", "R"))
        packets.append(syn(gallery, now, src, flags))
        if now <= banned.get(src, -1):
            expected.append("drop")
            continue
        began, count = window.get(src, (now, 0))
        if now > began + gallery.S:
            began, count = now, 0
        ban = flags == "S" and count == 5
        if ban:
            banned[src] = now + 60 * gallery.S
            window.pop(src)
        elif flags == "S":
            window[src] = (began if count else now), count + 1
        expected.append("drop" if ban else 1)
    assert gallery.run(NAME, packets, threshold=5).outcomes == expected
    assert {1, "drop"} == set(expected)

"""vEPC quota: a subscriber's bytes in both directions, to the last byte and no further."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from oppcache.opp import Machine, load_program

NAME = "vepc-quota"
USER, NETWORK = 1, 2
SUBSCRIBER, SERVER = "10.0.0.1", "192.0.2.1"


def up(gallery: Any, length: int, at: int = 0, user: str = SUBSCRIBER) -> Any:
    return gallery.udp(user, SERVER, length=length, in_port=USER, at=at)


def down(gallery: Any, length: int, at: int = 0, user: str = SUBSCRIBER) -> Any:
    return gallery.udp(SERVER, user, length=length, in_port=NETWORK, at=at)


def test_both_directions_count_and_the_last_byte_may_be_used(gallery: Any) -> None:
    packets = [up(gallery, 400), down(gallery, 400), up(gallery, 100), down(gallery, 100), up(gallery, 60)]
    packets += [
        down(gallery, 60, user="10.0.0.2"),
        gallery.frame(1, 2, USER),
        gallery.udp("2001:db8::1", "2001:db8::2"),
    ]
    run = gallery.run(NAME, packets, quota=1000, alert=200)
    assert run.outcomes == [NETWORK, USER, NETWORK, USER, "drop", USER, "drop", "drop"]
    assert run.taken["quota", "exhaust"] == 1
    users = run.contexts("users")
    assert users[0x0A000001] == ("exhausted", {"credit": 0})
    assert users[0x0A000002] == ("fine", {"credit": 940})


@pytest.mark.parametrize(("first", "label"), [(799, "fine"), (800, "alerted")])
def test_the_alert_comes_with_the_packet_that_leaves_no_more_than_its_threshold(
    gallery: Any, first: int, label: str
) -> None:
    run = gallery.run(NAME, [up(gallery, first)], quota=1000, alert=200)
    assert run.contexts("users")[0x0A000001] == (label, {"credit": 1000 - first})


def test_after_a_packet_that_was_too_large_a_small_one_does_not_pass(gallery: Any) -> None:
    run = gallery.run(NAME, [up(gallery, 900), up(gallery, 101), up(gallery, 60)], quota=1000)
    assert run.outcomes == [NETWORK, "drop", "drop"]
    assert run.contexts("users")[0x0A000001] == ("exhausted", {"credit": 100})


@pytest.mark.parametrize(("at_h", "outcome"), [(24, "drop"), (24 + 1e-12, NETWORK)])
def test_a_new_period_brings_a_new_quota(gallery: Any, at_h: float, outcome: Any) -> None:
    packets = [
        up(gallery, 900),
        up(gallery, 900, at=gallery.S),
        up(gallery, 900, at=round(at_h * 3600 * gallery.S)),
    ]
    run = gallery.run(NAME, packets, quota=1000)
    assert run.outcomes == [NETWORK, "drop", outcome]


def test_as_accounts_in_plain_python(gallery: Any) -> None:
    rng = Random(14)
    accounts: dict[str, tuple[int, int]] = {}  # period began, bytes left (-1: closed)
    packets, expected = [], []
    now = 0
    for _ in range(3000):
        now += rng.choice((0, 1, 60, 900)) * gallery.S
        user, length = f"10.0.0.{rng.randrange(4)}", rng.choice((60, 576, 1500))
        began, left = accounts.get(user, (now, 50_000))
        if now - began > 24 * 3600 * gallery.S:
            began, left = now, 50_000
        uplink = rng.random() < 0.5
        packets.append((up if uplink else down)(gallery, length, now, user))
        expected.append("drop" if left < length else NETWORK if uplink else USER)
        accounts[user] = began, left - length if left >= length else -1
    packets.append(gallery.frame(1, 2, USER, at=now))
    run = gallery.run(NAME, packets, quota=50_000, alert=5_000)
    assert run.outcomes == [*expected, "drop"]
    assert min(map(expected.count, (USER, NETWORK, "drop"))) > 300
    assert not run.untaken()


def test_credit_added_while_it_runs_lets_a_subscriber_go_on_until_the_period_ends(gallery: Any) -> None:
    machine = Machine(load_program(f"nf:{NAME}", {"quota": 1000, "alert": 100}))
    key = {"metadata.user": 0x0A000001}

    def send(length: int, at_h: float = 0) -> int:
        at = round(at_h * 3600 * gallery.S)
        row = up(gallery, length, at).row(machine.layout, 0)
        return int(machine.process(row[None]).port[0])

    assert [send(900), send(900), send(60)] == [NETWORK, 0, 0]
    context = machine.read_context("users", key)
    assert context is not None
    assert (context.state, context.registers) == ("exhausted", {"credit": 100})
    machine.write_context("users", key, replace(context, state="fine", registers={"credit": 600}))
    assert [send(450), send(450), send(900, 24 + 1e-9)] == [NETWORK, 0, NETWORK]

"""Paxos coordinator: requests become proposals, numbered without gaps."""

from __future__ import annotations

from typing import Any

NAME = "paxos-coordinator"
PORT = 34952


def message(gallery: Any, kind: int, value: int, dport: int = PORT, **fields: int) -> Any:
    parts = {"type": kind, "instance": 0, "round": 0, "vround": 0, "acceptor": 0, "value": value} | fields
    more = {f"paxos.{name}": number for name, number in parts.items()}
    return gallery.udp("198.51.100.9", "192.0.2.1", 5000, dport, fields=more)


def test_requests_are_numbered_in_order_and_nothing_else_passes(gallery: Any) -> None:
    packets = [message(gallery, 0, 70 + i) for i in range(5)]
    packets[3:3] = [
        message(gallery, 1, 1),
        message(gallery, 4, 1),
        gallery.udp("198.51.100.9", "192.0.2.1", 5000, PORT),  # too short for the header
        message(gallery, 0, 9, dport=5001),  # from the port, not to it
        gallery.frame(1, 2, 1),
    ]
    run = gallery.run(NAME, packets, round=7)
    assert run.outcomes == [10, 10, 10, "drop", "drop", "drop", "drop", None, 10, 10]
    sent = [run.after[i] for i in (0, 1, 2, 8, 9)]
    assert [f["paxos.instance"] for f in sent] == [0, 1, 2, 3, 4]
    assert {(f["paxos.type"], f["paxos.round"]) for f in sent} == {(3, 7)}
    assert run.contexts("sequences") == {PORT: ("0", {"next": 5})}
    assert not run.untaken()

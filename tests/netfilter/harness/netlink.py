"""Netlink by hand: a base chain at the very end of INPUT that reports each packet and drops it, and its reader.

The chain is registered before connection tracking's own last hook, of the same priority, so that the kernel puts it
after that one: a packet is reported when everything of netfilter is done, confirmation included, and the router's
stack never sees it, so it never answers by itself.
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

NETLINK_NETFILTER = 12
REQUEST, ACK, CREATE = 1, 4, 0x400
NESTED = 0x8000
BATCH_BEGIN, BATCH_END = 0x10, 0x11
NFTABLES, ULOG = 10, 4
NEW_TABLE, NEW_CHAIN, NEW_RULE = 0, 3, 6
LOCAL_IN = 1
LAST = 0x7FFFFFFF
GROUP = 51966
TABLE, CHAIN = "oppcache", "delivered"


class Delivered(NamedTuple):
    """A packet that passed INPUT: its bytes from the IPv4 header on, and its mark."""

    packet: bytes
    mark: int


def attribute(kind: int, value: bytes | str | int | list[bytes]) -> bytes:
    """A netlink attribute; integers are 32 bits big-endian, a list is nested."""
    if isinstance(value, list):
        kind, value = kind | NESTED, b"".join(value)
    elif isinstance(value, str):
        value = value.encode() + b"\0"
    elif isinstance(value, int):
        value = struct.pack("!I", value)
    return struct.pack("=HH", len(value) + 4, kind) + value + b"\0" * (-len(value) % 4)


def message(kind: int, flags: int, sequence: int, family: int, resource: int, *attributes: bytes) -> bytes:
    """One nfnetlink message."""
    body = struct.pack("!BBH", family, 0, resource) + b"".join(attributes)
    return struct.pack("=IHHII", len(body) + 16, kind, flags, sequence, 0) + body


def drop_what_is_delivered() -> None:
    """Put the reporting chain into the namespace of this thread. Must come before any use of conntrack in it."""
    kind = NFTABLES << 8
    hook = attribute(4, [attribute(1, LOCAL_IN), attribute(2, LAST)])
    log = attribute(1, [attribute(1, "log"), attribute(2, [attribute(1, struct.pack("!H", GROUP))])])
    flags = REQUEST | ACK | CREATE
    batch = [
        message(BATCH_BEGIN, REQUEST, 1, 0, NFTABLES),
        message(kind | NEW_TABLE, flags, 2, socket.AF_INET, 0, attribute(1, TABLE)),
        message(
            kind | NEW_CHAIN,
            flags,
            3,
            socket.AF_INET,
            0,
            attribute(1, TABLE),
            attribute(3, CHAIN),
            hook,
            attribute(5, 0),
            attribute(7, "filter"),
        ),
        message(
            kind | NEW_RULE,
            flags | 0x800,
            4,
            socket.AF_INET,
            0,
            attribute(1, TABLE),
            attribute(2, CHAIN),
            attribute(4, [log]),
        ),
        message(BATCH_END, REQUEST, 5, 0, NFTABLES),
    ]
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as nl:
        nl.settimeout(5)
        nl.send(b"".join(batch))
        _acknowledged(nl, 3)


def _acknowledged(nl: socket.socket, count: int) -> None:
    while count:
        data = nl.recv(65536)
        while len(data) >= 16:
            length, kind, _, sequence, _ = struct.unpack("=IHHII", data[:16])
            if kind == 2:
                error = struct.unpack("=i", data[16:20])[0]
                if error:
                    raise OSError(-error, f"netfilter refused message {sequence}")
                count -= 1
            data = data[(length + 3) & ~3 :]


def report_socket() -> socket.socket:
    """A socket, of the namespace of this thread, that receives what the chain reports."""
    nl = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    nl.settimeout(5)
    nl.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    configure = (ULOG << 8) | 1
    for sequence, attributes in enumerate(
        (
            (attribute(1, b"\x01"),),  # bind
            (attribute(2, struct.pack("!IBB", 0xFFFF, 2, 0)),),  # whole packets
            (attribute(5, 1),),  # each at once
        )
    ):
        nl.send(message(configure, REQUEST | ACK, sequence + 1, socket.AF_INET, GROUP, *attributes))
        _acknowledged(nl, 1)
    nl.setblocking(False)
    return nl


def reported(nl: socket.socket) -> list[Delivered]:
    """What has been reported since the last call."""
    found = []
    while True:
        try:
            data = nl.recv(1 << 17)
        except BlockingIOError:
            return found
        while len(data) >= 16:
            length, kind = struct.unpack("=IH", data[:6])
            if kind == ULOG << 8:
                found.append(_delivered(data[20:length]))
            data = data[(length + 3) & ~3 :]


def _delivered(data: bytes) -> Delivered:
    packet, mark = b"", 0
    while len(data) >= 4:
        length, kind = struct.unpack("=HH", data[:4])
        value = data[4:length]
        if kind & 0x7FFF == 9:
            packet = value
        elif kind & 0x7FFF == 2:
            mark = struct.unpack("!I", value)[0]
        data = data[(length + 3) & ~3 :]
    return Delivered(packet, mark)

"""Ask the kernel what it does with a case's packets, one at a time."""

from __future__ import annotations

import errno
import os
import re
import select
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from . import netlink, tracked, wire
from .case import Case, Packet
from .counters import counters
from .namespaces import Namespaces, inside

OUTGOING = 4
SO_RCVMARK = 75
ETH_ALL, ETH_IPV4, ETH_ARP, ETH_SENTINEL = 0x0003, 0x0800, 0x0806, 0x88B5
ROUNDS = 3
TABLE_LINE = re.compile(r"^\*(\w+)", re.MULTILINE)
UNREACHABLE = {
    0: "net-unreachable",
    1: "host-unreachable",
    2: "proto-unreachable",
    3: "port-unreachable",
    4: "frag-needed",
    9: "net-prohibited",
    10: "host-prohibited",
    13: "admin-prohibited",
}


class Left(NamedTuple):
    """A frame that left the router, and its mark."""

    iface: str
    frame: bytes
    mark: int


class Seen(NamedTuple):
    """What one packet caused."""

    left: list[Left]
    delivered: list[netlink.Delivered]


def ask(case: Case, clock: Callable[[], float] = time.monotonic) -> list[dict[str, Any]]:
    """What the kernel does with each packet of a case: one record a packet."""
    known = case.rules + " ".join(" ".join(_addresses(p.frame)) for p in case.packets)
    before = os.sched_getaffinity(0)
    # One processor: the kernel's per-processor queues then keep the order of what is sent.
    os.sched_setaffinity(0, {min(before)})
    try:
        with Namespaces(case.topology, known) as wires, Router(case, wires) as router:
            start, records = clock(), []
            for i, packet in enumerate(case.packets):
                if case.topology.get("realtime"):
                    time.sleep(max(0.0, packet.t - (clock() - start)))
                records.append(router.answer(i, packet))
            return records
    finally:
        os.sched_setaffinity(0, before)


class Router:
    """The sockets around one router, and the packets' way through it."""

    def __init__(self, case: Case, wires: Namespaces) -> None:
        self.case, self.wires = case, wires
        self.names = [i["name"] for i in case.topology["interfaces"]]
        self.macs = {i["name"]: bytes.fromhex(i["mac"].replace(":", "")) for i in case.topology["interfaces"]}
        self.tables = TABLE_LINE.findall(case.rules)
        self.firsts: dict[int, dict[str, Any]] = {}
        self.sentinels = 0
        self.sockets: list[socket.socket] = []

    def __enter__(self) -> Router:
        try:
            with inside(self.wires.router):
                netlink.drop_what_is_delivered()
                self.reports = self._kept(netlink.report_socket())
                self.control = self._kept(socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW))
                self.control.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                self.egress = [self._packet_socket(name, receives=True) for name in self.names]
            with inside(self.wires.hosts):
                self.ingress = [self._packet_socket(f"h{k}", receives=False) for k in range(len(self.names))]
            self.wires.load(self.case.rules)
            self.before = counters(self.control, self.tables)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for one in self.sockets:
            one.close()

    def _kept(self, one: socket.socket) -> socket.socket:
        self.sockets.append(one)
        return one

    def _packet_socket(self, name: str, receives: bool) -> socket.socket:
        one = self._kept(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
        if receives:
            one.setsockopt(socket.SOL_SOCKET, SO_RCVMARK, 1)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        one.bind((name, ETH_ALL if receives else 0))
        one.setblocking(False)
        return one

    def answer(self, i: int, packet: Packet) -> dict[str, Any]:
        """Send one packet, and the record of what came of it."""
        frame = packet.frame
        if packet.patch:
            frame = frame[:14] + wire.patched(frame[14:], packet.patch, self.firsts)
        iface = packet.iface
        if packet.reply_to is not None:
            iface = self.firsts.get(packet.reply_to, {}).get("iface", iface)
            if iface != packet.iface:  # it came out elsewhere than the case foresaw
                frame = self.macs[iface] + frame[6:]
        held_before = self._fragment_memory()
        error, seen = self._send(frame, iface)
        record: dict[str, Any] = {"i": i, "in": iface, "t": packet.t, "pkt": wire.summary(packet.frame[14:])}
        record |= verdict(frame[14:], seen, self._fragment_memory() > held_before)
        if error:
            record["send_errno"] = errno.errorcode[error]
        first = (record.get("out") or record.get("local") or [None])[0]
        if first:
            self.firsts[i] = first
        with inside(self.wires.router):
            entries = tracked.table()
        record["ct"] = tracked.entry_of(frame[14:], entries)
        record["ct_n"] = len(entries)
        after = counters(self.control, self.tables)
        record["hits"] = [rule for rule, count in after.items() if count != self.before[rule]]
        self.before = after
        return record

    def _fragment_memory(self) -> int:
        with inside(self.wires.router):
            text = Path("/proc/thread-self/net/sockstat").read_text()
        found = re.search(r"^FRAG: inuse \d+ memory (\d+)", text, re.MULTILINE)
        return int(found[1]) if found else 0

    def _send(self, frame: bytes, iface: str) -> tuple[int, Seen]:
        error = 0
        if iface == "@local":
            try:
                self.control.sendto(frame[14:], (wire.address_text(frame[30:34]), 0))
            except OSError as problem:
                error = problem.errno or 0
        else:
            try:
                self.ingress[self.names.index(iface)].send(frame)
            except OSError as problem:  # longer than the wire takes: it is lost
                if problem.errno != errno.ENOBUFS:
                    raise
        seen = Seen([], [])
        rounds = ROUNDS
        while rounds:
            if self._wait(seen):  # a neighbour was asked for, and answered
                rounds = ROUNDS
            rounds -= 1
        return error, seen

    def _wait(self, seen: Seen) -> bool:
        """Let the router finish: a frame of ours queues behind its work. True if it asked for a neighbour."""
        self.sentinels += 1
        mark = struct.pack("!I", self.sentinels)
        mac = bytes.fromhex(self.case.topology["interfaces"][0]["mac"].replace(":", ""))
        self.ingress[0].send(
            mac + b"\x02\0\0\0\0\1" + struct.pack("!H", ETH_SENTINEL) + mark.ljust(46, b"\0")
        )
        asked = passed = False
        deadline = time.monotonic() + 5
        while not passed:
            assert time.monotonic() < deadline, "the router did not take a frame within 5 s"
            select.select([self.egress[0]], [], [], 1.0)
            for k, one in enumerate(self.egress):
                for frame, kind, skb_mark in _received(one):
                    ethertype = struct.unpack("!H", frame[12:14])[0]
                    if ethertype == ETH_SENTINEL and frame[14:18] == mark:
                        passed = True
                    elif kind == OUTGOING and ethertype == ETH_IPV4:
                        seen.left.append(Left(self.names[k], frame, skb_mark))
                    elif kind == OUTGOING and ethertype == ETH_ARP and frame[20:22] == b"\0\1":
                        self.ingress[k].send(_arp_answer(frame))
                        asked = True
        seen.delivered.extend(netlink.reported(self.reports))
        return asked


def _received(one: socket.socket) -> list[tuple[bytes, int, int]]:
    found = []
    while True:
        try:
            frame, ancillary, _, address = one.recvmsg(1 << 17, 64)
        except BlockingIOError:
            return found
        mark = 0
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SO_MARK:
                mark = struct.unpack("=I", data[:4])[0]
        found.append((frame, address[2], mark))


def _arp_answer(request: bytes) -> bytes:
    asker_mac, asker_ip, wanted = request[22:28], request[28:32], request[38:42]
    mac = b"\x02\x00" + wanted
    return asker_mac + mac + b"\x08\x06" + b"\0\1\x08\0\6\4\0\2" + mac + wanted + asker_mac + asker_ip


def _addresses(frame: bytes) -> list[str]:
    return [wire.address_text(frame[at : at + 4]) for at in (26, 30)] if len(frame) >= 34 else []


def verdict(packet: bytes, seen: Seen, held: bool) -> dict[str, Any]:
    """What became of a packet, given everything that left or was delivered."""
    sent = wire.fields(packet)
    parts: dict[str, list[dict[str, Any]]] = {"out": [], "local": [], "emitted": []}
    for iface, frame, mark in seen.left:
        found = {"iface": iface} | wire.fields(frame[14:]) | {"mark": mark}
        found["dmac"] = ":".join(f"{b:02x}" for b in frame[:6])
        kind = generated(sent, found)
        parts["emitted" if kind else "out"].append({"kind": kind} | found if kind else found)
    for delivered, mark in seen.delivered:
        found = wire.fields(delivered) | {"mark": mark}
        kind = generated(sent, found)
        parts["emitted" if kind else "local"].append({"kind": kind, "iface": "lo"} | found if kind else found)
    name = "dropped"
    for key, word in (("out", "forwarded"), ("local", "local"), ("emitted", "rejected")):
        if parts[key]:
            name = word
            break
    if name == "dropped" and held and "frag" in sent:
        name = "held"
    return {"verdict": name} | {k: v for k, v in parts.items() if v}


def generated(sent: dict[str, Any], found: dict[str, Any]) -> str | None:
    """The kind of an answer that the router made up, None for the packet itself.

    The router answers neither a RST with a RST nor an ICMP error with one, so that what is one where the packet
    was not, is its answer.
    """
    if "R" in found.get("flags", "") and "R" not in sent.get("flags", ""):
        return "tcp-reset"
    if (
        found.get("icmp_type") in wire.ERRORS
        and sent.get("icmp_type") not in wire.ERRORS
        and "inner" in found
    ):
        if found["icmp_type"] == 11:
            return "icmp-time-exceeded"
        if found["icmp_type"] == 3:
            return "icmp-" + UNREACHABLE.get(found["icmp_code"], f"3/{found['icmp_code']}")
        return f"icmp-{found['icmp_type']}/{found['icmp_code']}"
    return None

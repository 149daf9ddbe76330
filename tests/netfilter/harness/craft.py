"""Packets from short lines, such as ``tcp 10.0.1.2:1025>198.51.100.10:80 S mss=1460``.

A line of a case's packet list is one of::

    IFACE PROTOCOL SOURCE[:PORT]>TARGET[:PORT] [FLAGS | TYPE/CODE] [key=value …] [\\[ a quoted packet \\]]
    [IFACE] answer N [FLAGS | TYPE/CODE] [key=value …]      what a host answers to the output of packet N
    [IFACE] error N TYPE/CODE [key=value …]                 an ICMP error that quotes the output of packet N
    IFACE again N [key=value …]                             the frame of packet N once more
    IFACE open SOURCE:PORT>TARGET:PORT [key=value …]        three packets: SYN, its answer, ACK
    wait SECONDS

PROTOCOL is tcp, udp, icmp, sctp, udplite, dccp, gre, esp, ah or protoN; FLAGS are letters of ``FSRPAUEC``, or ``-``
for none. Keys: ``seq ack win mss wscale sack opts urg doff data ttl tos id df frag ipopt len sum mac dmac seqno from to
relax note``. Sequence numbers follow each connection by themselves unless they are given.
"""

from __future__ import annotations

import ipaddress
import json
import re
import struct
from dataclasses import dataclass, field
from typing import Any

from . import wire
from .case import Packet

PROTOCOLS = {
    "icmp": 1,
    "igmp": 2,
    "ipip": 4,
    "tcp": 6,
    "udp": 17,
    "dccp": 33,
    "ipv6": 41,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "sctp": 132,
    "udplite": 136,
}
PORTS = ("tcp", "udp", "sctp", "udplite", "dccp")
FLAG_LETTERS = re.compile(r"-|[FSRPAUEC]{1,8}")
TYPE_CODE = re.compile(r"(\d+)/(\d+)")
TUPLE = re.compile(r"([\d.]+)(?::(\d+))?>([\d.]+)(?::(\d+))?")
FIRST_ID = 4096
STEP_S = 0.001
FIRST_SEQ = (1000, 500000)
ANSWER_TYPES = {8: 0, 13: 14, 15: 16, 17: 18}


@dataclass
class Spec:
    """A packet before it is bytes."""

    protocol: str
    source: str
    target: str
    sport: int = 0
    dport: int = 0
    what: str = ""  # flags, or type/code
    keys: dict[str, str] = field(default_factory=dict)
    quoted: Spec | None = None


@dataclass
class Stream:
    """The next sequence number of each side of a connection."""

    following: list[int] = field(default_factory=lambda: list(FIRST_SEQ))


class Writer:
    """Turns the lines of a case into packets."""

    def __init__(self, topology: dict[str, Any]) -> None:
        """Args:
        topology: of the router.
        """
        self.macs = {i["name"]: i["mac"] for i in topology["interfaces"]}
        self.networks = [
            (ipaddress.ip_network(a, strict=False), i["name"])
            for i in topology["interfaces"]
            for a in i["addr"]
        ]
        self.networks += [
            (ipaddress.ip_network(r["dst"]), r["dev"])
            for r in topology["routes"]
            if r.get("dev") and not r.get("table")
        ]
        self.packets: list[Packet] = []
        self.specs: list[tuple[Spec, Stream | None, int, str]] = []
        self.streams: dict[tuple[Any, ...], tuple[Stream, int]] = {}
        self.now = 0.0

    def line(self, text: str) -> None:
        """Take one line."""
        words = _words(text)
        if words[0] == "wait":
            self.now += float(words[1])
            return
        if words[0] in ("answer", "error"):
            words = ["", *words]
        iface, verb, rest = words[0], words[1], words[2:]
        if verb == "open":
            self._open(iface, rest)
        elif verb == "again":
            spec, stream, side, _ = self.specs[int(rest[0])]
            keys = _keys(rest[1:])
            frame = self.packets[int(rest[0])].frame
            self._add(frame, iface, spec, stream, side, keys)
        elif verb == "answer":
            self._answer(iface, rest)
        elif verb == "error":
            self._error(iface, rest)
        else:
            spec = _spec(verb, rest)
            self._send(iface, spec, {}, None)

    def towards(self, address: str) -> str:
        """The interface behind which an address is."""
        target = ipaddress.ip_address(address)
        return max((n.prefixlen, name) for n, name in self.networks if target in n)[1]

    def _open(self, iface: str, rest: list[str]) -> None:
        first = len(self.packets)
        keys = rest[1:]
        self._send(iface, _spec("tcp", [rest[0], "S", *keys]), {}, None)
        self._answer("", [str(first), "SA"])
        self._send(
            iface,
            _spec("tcp", [rest[0], "A", *[k for k in keys if not k.startswith(("mss", "wscale", "sack"))]]),
            {},
            None,
        )

    def _answer(self, iface: str, rest: list[str]) -> None:
        number = int(rest[0])
        old, stream, side, _ = self.specs[number]
        what = next((w for w in rest[1:] if "=" not in w), "")
        keys = _keys([w for w in rest[1:] if "=" in w])
        spec = Spec(old.protocol, old.target, old.source, old.dport, old.sport, what, keys)
        patch = {"src": f"{number}.dst", "dst": f"{number}.src"}
        if old.protocol in PORTS:
            patch |= {"sport": f"{number}.dport", "dport": f"{number}.sport"}
        if old.protocol == "icmp":
            kind, code = _type_code(old.what)
            spec.what = what or f"{ANSWER_TYPES.get(kind, 0)}/{code}"
            spec.keys = {k: v for k, v in old.keys.items() if k in ("id_", "seqno")} | keys
            patch["icmp_id"] = f"{number}.icmp_id"
        self._send(iface or self.towards(old.target), spec, patch, number, stream, 1 - side)

    def _error(self, iface: str, rest: list[str]) -> None:
        number = int(rest[0])
        old, _, _, _ = self.specs[number]
        keys = _keys(rest[2:])
        quoted = Spec(old.protocol, old.source, old.target, old.sport, old.dport, old.what, dict(old.keys))
        spec = Spec("icmp", keys.pop("from", old.target), old.source, what=rest[1], keys=keys, quoted=quoted)
        patch = {"inner.src": f"{number}.src", "inner.dst": f"{number}.dst", "dst": f"{number}.src"}
        if "from" not in "".join(rest):
            patch["src"] = f"{number}.dst"
        if old.protocol in PORTS:
            patch |= {"inner.sport": f"{number}.sport", "inner.dport": f"{number}.dport"}
        elif old.protocol == "icmp":
            patch["inner.icmp_id"] = f"{number}.icmp_id"
        self._send(iface or self.towards(old.target), spec, patch, number)

    def _send(
        self,
        iface: str,
        spec: Spec,
        patch: dict[str, str],
        reply_to: int | None,
        stream: Stream | None = None,
        side: int = 0,
    ) -> None:
        if spec.protocol == "tcp" and stream is None:
            stream, side = self._stream(spec)
        packet = build(spec, FIRST_ID + len(self.packets), stream, side)
        if iface.startswith("@") or iface not in self.macs:
            ethernet = bytes(12) + b"\x08\x00"
        else:
            ethernet = self._ethernet(iface, spec)
        self._add(ethernet + packet, iface, spec, stream, side, spec.keys, patch, reply_to)

    def _ethernet(self, iface: str, spec: Spec) -> bytes:
        source = spec.keys.get("mac")
        source_mac = bytes.fromhex(source.replace(":", "")) if source else wire.mac_bytes(spec.source)
        target = spec.keys.get("dmac", "")
        named = {"broadcast": "ffffffffffff", "multicast": "01005e000001", "other": "020000abcdef"}
        text = named.get(target, target) or self.macs[iface]
        return bytes.fromhex(text.replace(":", "")) + source_mac + b"\x08\x00"

    def _stream(self, spec: Spec) -> tuple[Stream, int]:
        one = (spec.source, spec.sport, spec.target, spec.dport)
        other = (spec.target, spec.dport, spec.source, spec.sport)
        if one not in self.streams:
            stream = Stream()
            self.streams[one], self.streams[other] = (stream, 0), (stream, 1)
        return self.streams[one]

    def _add(
        self,
        frame: bytes,
        iface: str,
        spec: Spec,
        stream: Stream | None,
        side: int,
        keys: dict[str, str],
        patch: dict[str, str] | None = None,
        reply_to: int | None = None,
    ) -> None:
        relax = json.loads(keys["relax"]) if "relax" in keys else {}
        note = keys.get("note", "")
        t = round(self.now + STEP_S * len(self.packets), 6)
        self.packets.append(Packet(frame, iface, t, patch or {}, reply_to, relax, note))
        self.specs.append((spec, stream, side, iface))


def _words(text: str) -> list[str]:
    """Words of a line; a value of ``relax`` may hold blanks, a quoted packet stays one word."""
    relax = re.search(r" relax=(\{.*\})", text)
    if relax:
        text = text.replace(relax[0], " relax=" + relax[1].replace(" ", ""))
    quoted = re.search(r"\[.*\]", text) if not relax else None
    if quoted:
        return [*text.replace(quoted[0], "").split(), quoted[0]]
    return text.split()


def _keys(words: list[str]) -> dict[str, str]:
    return dict(w.split("=", 1) if "=" in w else (w, "1") for w in words)


def _spec(protocol: str, words: list[str]) -> Spec:
    found = TUPLE.fullmatch(words[0])
    assert found is not None, f"not SOURCE>TARGET: {words[0]}"
    spec = Spec(protocol, found[1], found[3], int(found[2] or 0), int(found[4] or 0))
    for word in words[1:]:
        if word.startswith("["):
            inner = _words(word[1:-1])
            spec.quoted = _spec(inner[0], inner[1:])
        elif FLAG_LETTERS.fullmatch(word) or TYPE_CODE.fullmatch(word):
            spec.what = word
        else:
            spec.keys |= _keys([word])
    return spec


def _type_code(what: str) -> tuple[int, int]:
    found = TYPE_CODE.fullmatch(what or "8/0")
    assert found is not None, f"not TYPE/CODE: {what}"
    return int(found[1]), int(found[2])


def build(spec: Spec, ident: int, stream: Stream | None = None, side: int = 0) -> bytes:
    """A packet's bytes, from the IPv4 header on."""
    k = spec.keys
    number = PROTOCOLS.get(spec.protocol)
    if number is None:
        number = int(spec.protocol.removeprefix("proto"))
    body = _body(spec, number, stream, side)
    offset, more = 0, 0
    if "frag" in k:
        offset, more = int(k["frag"].rstrip("+")), int(k["frag"].endswith("+"))
    options = bytes.fromhex(k.get("ipopt", ""))
    whole = "whole" in k  # a fragment cut out of the packet that these keys describe
    if whole:
        start, size = offset, int(k["whole"])
        body_all = _with_sum(spec, number, body)
        body = body_all[start : start + size]
    flags = (0x4000 if "df" in k else 0) | (0x2000 if more else 0) | offset // 8
    ihl = 20 + len(options)
    head = struct.pack(
        "!BBHHHBBH",
        0x40 | ihl // 4,
        int(k.get("tos", "0"), 0),
        int(k.get("len", ihl + len(body))),
        int(k.get("id", ident)),
        flags,
        int(k.get("ttl", 64)),
        number,
        0,
    )
    packet = head + wire.address_bytes(spec.source) + wire.address_bytes(spec.target) + options + body
    packet = wire.checksummed(packet)
    for bad in k.get("sum", "").split(","):
        if bad == "ip":
            packet = packet[:10] + bytes([packet[10] ^ 0x55]) + packet[11:]
        elif bad == "l4":
            at = ihl + {6: 16, 17: 6, 1: 2, 132: 8, 136: 6, 33: 6}[number]
            packet = packet[:at] + bytes([packet[at] ^ 0x55]) + packet[at + 1 :]
        elif bad == "none":
            packet = packet[: ihl + 6] + b"\0\0" + packet[ihl + 8 :]
    return packet


def _with_sum(spec: Spec, number: int, body: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, number, 0)
    packet = head + wire.address_bytes(spec.source) + wire.address_bytes(spec.target) + body
    return wire.checksummed(packet)[20:]


def pattern(size: int) -> bytes:
    """Bytes that differ from their neighbours."""
    return bytes((7 * i + 1) % 251 for i in range(size))


def _body(spec: Spec, number: int, stream: Stream | None, side: int) -> bytes:
    k = spec.keys
    data = pattern(int(k.get("data", 0)))
    if spec.protocol == "tcp":
        return _tcp(spec, data, stream, side)
    if spec.protocol == "udp":
        size = int(k.get("ulen", 8 + len(data)))
        return struct.pack("!HHHH", spec.sport, spec.dport, size, 0) + data
    if spec.protocol == "udplite":
        return struct.pack("!HHHH", spec.sport, spec.dport, 0, 0) + data
    if spec.protocol == "sctp":
        chunk = int(k.get("chunk", 1))
        parts = {1: struct.pack("!IIHHI", 1, 1500, 1, 1, 1), 2: struct.pack("!IIHHI", 1, 1500, 1, 1, 1)}
        content = parts.get(chunk, b"")
        chunks = struct.pack("!BBH", chunk, int(k.get("cflags", 0)), 4 + len(content)) + content
        return struct.pack("!HHII", spec.sport, spec.dport, int(k.get("vtag", "0"), 0), 0) + chunks
    if spec.protocol == "dccp":
        return struct.pack("!HHBBHI", spec.sport, spec.dport, 4, 0, 0, 0x01000000) + struct.pack("!II", 1, 0)
    if spec.protocol == "icmp":
        return _icmp(spec, data)
    if spec.protocol == "gre":
        return struct.pack("!HH", 0, 0x0800) + data
    if spec.protocol == "esp":
        return struct.pack("!II", int(k.get("spi", "256"), 0), 1) + data
    if spec.protocol == "ah":
        return struct.pack("!BBHII", 59, 4, 0, int(k.get("spi", "256"), 0), 1) + bytes(12) + data
    return data


def _tcp(spec: Spec, data: bytes, stream: Stream | None, side: int) -> bytes:
    k = spec.keys
    flags = sum(1 << wire.FLAGS.index(c) for c in spec.what if c != "-")
    following = stream.following if stream is not None else list(FIRST_SEQ)
    seq = int(k["seq"], 0) if "seq" in k else following[side]
    ack = int(k["ack"], 0) if "ack" in k else (following[1 - side] if flags & 16 else 0)
    options = b""
    if "mss" in k:
        options += struct.pack("!BBH", 2, 4, int(k["mss"]))
    if "wscale" in k:
        options += struct.pack("!BBBB", 3, 3, int(k["wscale"]), 1)
    if "sack" in k:
        options += b"\x04\x02\x01\x01"
    options += bytes.fromhex(k.get("opts", ""))
    options += b"\0" * (-len(options) % 4)
    offset = int(k.get("doff", 5 + len(options) // 4))
    if stream is not None and "seq" not in k:
        used = len(data) + bool(flags & 1) + bool(flags & 2)
        stream.following[side] = max(stream.following[side], seq + used)
    elif stream is not None and flags & 2:
        stream.following[side] = seq + 1 + len(data)
    head = struct.pack(
        "!HHIIBBHHH",
        spec.sport,
        spec.dport,
        seq & 0xFFFFFFFF,
        ack & 0xFFFFFFFF,
        offset << 4,
        flags,
        int(k.get("win", 64240)),
        0,
        int(k.get("urg", 0)),
    )
    return head + options + data


def _icmp(spec: Spec, data: bytes) -> bytes:
    k = spec.keys
    kind, code = _type_code(spec.what)
    if kind in wire.ERRORS:
        rest = struct.pack("!HH", 0, int(k.get("mtu", 0)))
        if kind == 5:
            rest = wire.address_bytes(k.get("gw", "10.0.1.254"))
        quote = b""
        if spec.quoted is not None:
            quote = build(spec.quoted, int(k.get("qid", 7)))
            quote = quote[: (quote[0] & 15) * 4 + int(k.get("quote", 8))]
        return struct.pack("!BBH", kind, code, 0) + rest + quote
    return struct.pack("!BBHHH", kind, code, 0, int(k.get("icmp", "1"), 0), int(k.get("seqno", 1))) + data

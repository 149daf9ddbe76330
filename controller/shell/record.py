"""Packets as the fields of an answer: the record format of ``oppcache replay``."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from oppcache.traffic.checksums import crc32c

from .packets import DCCP, ICMP, MF, OFFSET, SCTP, TCP, UDP, UDPLITE, checksum, header, pseudo_header

ERROR_TYPES = frozenset((3, 4, 5, 11, 12))
QUERY_TYPES = frozenset((0, 8, 13, 14, 15, 16, 17, 18))
_FLAGS = "FSRPAUEC"
_PORTS = (UDP, UDPLITE, SCTP, DCCP)
_NAMES = {ICMP: "icmp", TCP: "tcp", UDP: "udp"}


def dotted(address: bytes) -> str:
    """Four bytes as an address."""
    return ".".join(map(str, address))


def fields(packet: bytes, quoted: bool = False) -> dict[str, Any]:
    """The fields of a packet from its IPv4 header on; of a quoted one only those that a quote is sure to hold."""
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return {"bad": "not ipv4"}
    h = header(packet)
    out: dict[str, Any] = {
        "src": dotted(h.source),
        "dst": dotted(h.destination),
        "proto": h.protocol,
        "ttl": h.ttl,
        "tos": h.tos,
        "id": h.id,
        "len": h.length,
    }
    if h.fragment & 0x4000:
        out["df"] = 1
    if h.is_fragment:
        out["frag"] = [h.offset, 1 if h.fragment & MF else 0]
    if h.ihl > 20:
        out["ipopt"] = packet[20 : h.ihl].hex()
    body = packet[h.ihl : h.length]
    if not h.fragment & OFFSET:
        _transport(h.protocol, body, out, quoted)
    if not quoted:
        wrong = ["ip"] if checksum(packet[: h.ihl]) else []
        if not h.is_fragment and not transport_sum_ok(packet, body):
            wrong.append("l4")
        out["csum"] = "+".join(wrong) or "ok"
    return out


def _payload(out: dict[str, Any], data: bytes) -> None:
    out["plen"] = len(data)
    out["pcrc"] = f"{zlib.crc32(data):08x}"


def _transport(protocol: int, body: bytes, out: dict[str, Any], quoted: bool) -> None:
    if protocol == TCP and len(body) >= 4:
        _tcp(body, out, quoted)
    elif protocol in _PORTS and len(body) >= 4:
        out["sport"], out["dport"] = struct.unpack("!HH", body[:4])
        if not quoted:
            _payload(out, body[8 if protocol in (UDP, UDPLITE) else 12 :])
    elif protocol == ICMP and len(body) >= 4:
        _icmp(body, out, quoted)
    elif not quoted and (protocol not in (TCP, ICMP, *_PORTS)):
        _payload(out, body)


def _tcp(body: bytes, out: dict[str, Any], quoted: bool) -> None:
    out["sport"], out["dport"] = struct.unpack("!HH", body[:4])
    if len(body) >= 8:
        out["seq"] = struct.unpack("!I", body[4:8])[0]
    if quoted or len(body) < 20:
        return
    out["ack"] = struct.unpack("!I", body[8:12])[0]
    out["flags"] = flags_text(body[13])
    out["win"] = struct.unpack("!H", body[14:16])[0]
    offset = (body[12] >> 4) * 4
    if 20 < offset <= len(body):
        out["opts"] = body[20:offset].hex()
    _payload(out, body[offset:])


def _icmp(body: bytes, out: dict[str, Any], quoted: bool) -> None:
    kind, code = body[0], body[1]
    out["icmp_type"], out["icmp_code"] = kind, code
    if kind in QUERY_TYPES and len(body) >= 8:
        out["icmp_id"], out["icmp_seq"] = struct.unpack("!HH", body[4:8])
    if quoted:
        return
    if kind not in ERROR_TYPES:
        _payload(out, body[8:])
        return
    if (kind, code) == (3, 4) and len(body) >= 8:
        out["mtu"] = struct.unpack("!H", body[6:8])[0]
    if kind == 5 and len(body) >= 8:
        out["gw"] = dotted(body[4:8])
    if len(body) >= 28:
        out["inner"] = fields(body[8:], quoted=True)


def transport_sum_ok(packet: bytes, body: bytes) -> bool:
    """Whether the transport checksum is right, absent, or of a protocol without one."""
    protocol, length = packet[9], len(body)
    if protocol == ICMP:
        return length >= 8 and checksum(body) == 0
    if protocol == SCTP and length >= 12:
        return sctp_crc(body) == body[8:12]
    if protocol not in (TCP, UDP, UDPLITE, DCCP):
        return True
    if protocol in (UDP, UDPLITE) and length >= 8 and body[6:8] == b"\0\0":
        return True
    if protocol == UDP and length >= 8:
        length = struct.unpack("!H", body[4:6])[0]
        if not 8 <= length <= len(body):
            return False
    return checksum(pseudo_header(packet, length) + body[:length]) == 0


def sctp_crc(body: bytes) -> bytes:
    """SCTP's CRC-32C as it stands in the packet."""
    data = np.frombuffer(body, np.uint8)
    return struct.pack("!I", int(crc32c(data, np.uint64(0), np.uint64(len(data)))))


def flags_text(flags: int) -> str:
    """TCP flags as letters, FIN first."""
    return "".join(letter for bit, letter in enumerate(_FLAGS) if flags >> bit & 1)


def summary(found: Mapping[str, Any]) -> str:
    """The fields of a packet as a line for people: ``tcp 10.0.1.2:1025>198.51.100.10:80 S``."""
    if "bad" in found:
        return str(found["bad"])
    source, target = found["src"], found["dst"]
    if "sport" in found:
        source, target = f"{source}:{found['sport']}", f"{target}:{found['dport']}"
    text = f"{_NAMES.get(found['proto'], 'proto' + str(found['proto']))} {source}>{target}"
    if "flags" in found:
        text += " " + (found["flags"] or "-")
    if "icmp_type" in found:
        text += f" {found['icmp_type']}/{found['icmp_code']}"
    if "frag" in found:
        text += f" frag {found['frag'][0]}{'+' if found['frag'][1] else ''}"
    return text + (f" [{summary(found['inner'])}]" if "inner" in found else "")

"""Packets as bytes and as the record format's fields: written for the tests, from the format's page and the RFCs."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any

ICMP, TCP, UDP, SCTP, UDPLITE, DCCP = 1, 6, 17, 132, 136, 33
ERRORS = (3, 4, 5, 11, 12)
QUERIES = (0, 8, 13, 14, 15, 16, 17, 18)
FLAGS = "FSRPAUEC"
CHECKSUM_AT = {TCP: 16, UDP: 6, UDPLITE: 6, ICMP: 2, DCCP: 6}
NAMES = {ICMP: "icmp", TCP: "tcp", UDP: "udp"}


def address_bytes(text: str) -> bytes:
    """An IPv4 address's four bytes."""
    return bytes(int(x) for x in text.split("."))


def address_text(raw: bytes) -> str:
    """Four bytes as an IPv4 address."""
    return ".".join(str(b) for b in raw)


def mac_bytes(address: str) -> bytes:
    """The MAC address of a host: 02:00 and its IPv4 address."""
    return b"\x02\x00" + address_bytes(address)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def crc32c(data: bytes) -> int:
    """CRC-32C, SCTP's checksum (RFC 3309)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 * (crc & 1))
    return crc ^ 0xFFFFFFFF


def pseudo_header(packet: bytes, length: int) -> bytes:
    """What TCP's and UDP's checksums cover besides the segment."""
    return packet[12:20] + struct.pack("!BBH", 0, packet[9], length)


def checksummed(packet: bytes) -> bytes:
    """The packet with its IPv4 checksum and, if it is no fragment, its transport checksum recomputed."""
    ihl, total = (packet[0] & 15) * 4, struct.unpack("!H", packet[2:4])[0]
    head = packet[:10] + b"\0\0" + packet[12:ihl]
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    body, rest = packet[ihl:total], packet[max(total, ihl) :]
    fragment = struct.unpack("!H", packet[6:8])[0] & 0x3FFF
    protocol = packet[9]
    if not fragment and protocol in CHECKSUM_AT and len(body) >= CHECKSUM_AT[protocol] + 2:
        at = CHECKSUM_AT[protocol]
        body = body[:at] + b"\0\0" + body[at + 2 :]
        value = checksum((b"" if protocol == ICMP else pseudo_header(packet, len(body))) + body)
        if value == 0 and protocol == UDP:
            value = 0xFFFF
        body = body[:at] + struct.pack("!H", value) + body[at + 2 :]
    elif not fragment and protocol == SCTP and len(body) >= 12:
        body = body[:8] + struct.pack("<I", crc32c(body[:8] + bytes(4) + body[12:])) + body[12:]
    return head + body + rest


def fields(packet: bytes, quoted: bool = False) -> dict[str, Any]:
    """A packet (from its IPv4 header on) as the fields of a record."""
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return {"bad": "not ipv4"}
    ihl = (packet[0] & 15) * 4
    total, ident, offset = struct.unpack("!HHH", packet[2:8])
    found: dict[str, Any] = {
        "src": address_text(packet[12:16]),
        "dst": address_text(packet[16:20]),
        "proto": packet[9],
        "ttl": packet[8],
        "tos": packet[1],
        "id": ident,
        "len": total,
    }
    if offset & 0x4000:
        found["df"] = 1
    if offset & 0x3FFF:
        found["frag"] = [(offset & 0x1FFF) * 8, offset >> 13 & 1]
    if ihl > 20:
        found["ipopt"] = packet[20:ihl].hex()
    body = packet[ihl:total]
    if not offset & 0x1FFF:
        _transport(packet[9], body, found, quoted)
    if not quoted:
        wrong = ["ip"] if checksum(packet[:ihl]) else []
        if not offset & 0x3FFF and not _transport_ok(packet, body):
            wrong.append("l4")
        found["csum"] = "+".join(wrong) or "ok"
    return found


def _transport(protocol: int, body: bytes, found: dict[str, Any], quoted: bool) -> None:
    data: bytes | None = None
    if protocol == TCP and len(body) >= 4:
        data = _tcp(body, found, quoted)
    elif protocol in (UDP, UDPLITE, SCTP, DCCP) and len(body) >= 4:
        found["sport"], found["dport"] = struct.unpack("!HH", body[:4])
        data = body[8 if protocol in (UDP, UDPLITE) else 12 :]
    elif protocol == ICMP and len(body) >= 4:
        data = _icmp(body, found, quoted)
    elif protocol not in (TCP, UDP, UDPLITE, SCTP, DCCP, ICMP) or len(body) < 4:
        data = body
    if data is not None and not quoted:
        found["plen"], found["pcrc"] = len(data), f"{zlib.crc32(data):08x}"


def _tcp(body: bytes, found: dict[str, Any], quoted: bool) -> bytes | None:
    found["sport"], found["dport"] = struct.unpack("!HH", body[:4])
    if len(body) >= 8:
        found["seq"] = struct.unpack("!I", body[4:8])[0]
    if quoted or len(body) < 20:
        return None
    found["ack"] = struct.unpack("!I", body[8:12])[0]
    found["flags"] = flags_text(body[13])
    found["win"] = struct.unpack("!H", body[14:16])[0]
    offset = (body[12] >> 4) * 4
    if 20 < offset <= len(body):
        found["opts"] = body[20:offset].hex()
    return body[offset:]


def _icmp(body: bytes, found: dict[str, Any], quoted: bool) -> bytes | None:
    kind = body[0]
    found["icmp_type"], found["icmp_code"] = kind, body[1]
    if kind in QUERIES and len(body) >= 8:
        found["icmp_id"], found["icmp_seq"] = struct.unpack("!HH", body[4:8])
    if kind not in ERRORS or quoted:
        return body[8:]
    if kind == 3 and body[1] == 4 and len(body) >= 8:
        found["mtu"] = struct.unpack("!H", body[6:8])[0]
    if kind == 5 and len(body) >= 8:
        found["gw"] = address_text(body[4:8])
    if len(body) >= 28:
        found["inner"] = fields(body[8:], quoted=True)
    return None


def _transport_ok(packet: bytes, body: bytes) -> bool:
    protocol, length = packet[9], len(body)
    if protocol == ICMP:
        return length >= 8 and checksum(body) == 0
    if protocol == SCTP and length >= 12:
        return struct.pack("<I", crc32c(body[:8] + bytes(4) + body[12:])) == body[8:12]
    if protocol not in (TCP, UDP, UDPLITE, DCCP):
        return True
    if protocol in (UDP, UDPLITE) and length >= 8 and body[6:8] == b"\0\0":
        return True
    if protocol == UDP and length >= 8:
        length = struct.unpack("!H", body[4:6])[0]
        if not 8 <= length <= len(body):
            return False
    return checksum(pseudo_header(packet, length) + body[:length]) == 0


def flags_text(flags: int) -> str:
    """TCP flags as letters, FIN first."""
    return "".join(c for k, c in enumerate(FLAGS) if flags >> k & 1)


def summary(packet: bytes) -> str:
    """The packet in a line, for people: ``tcp 10.0.1.2:1025>198.51.100.10:80 S``."""
    return _summary(fields(packet))


def _summary(f: Mapping[str, Any]) -> str:
    if "bad" in f:
        return str(f["bad"])
    source, target = f["src"], f["dst"]
    if "sport" in f:
        source, target = f"{source}:{f['sport']}", f"{target}:{f['dport']}"
    text = f"{NAMES.get(f['proto'], 'proto' + str(f['proto']))} {source}>{target}"
    if "flags" in f:
        text += " " + (f["flags"] or "-")
    if "icmp_type" in f:
        text += f" {f['icmp_type']}/{f['icmp_code']}"
    if "frag" in f:
        text += f" frag {f['frag'][0]}{'+' if f['frag'][1] else ''}"
    return text + (f" [{_summary(f['inner'])}]" if "inner" in f else "")


def patched(packet: bytes, patch: Mapping[str, str], firsts: Mapping[int, Mapping[str, Any]]) -> bytes:
    """The packet with fields set from earlier answers, and its checksums recomputed.

    Args:
        packet: from the IPv4 header on.
        patch: field (``src dst sport dport icmp_id``, or ``inner.`` and one) → ``"3.sport"``.
        firsts: number of a packet → fields of its first output.
    """
    for field, reference in patch.items():
        number, name = reference.split(".")
        given = firsts.get(int(number))
        if not given or name not in given:
            continue
        if field.startswith("inner."):
            at = (packet[0] & 15) * 4 + 8
            inner = _set(packet[at:], field[6:], given[name])
            ihl = (inner[0] & 15) * 4
            head = inner[:10] + b"\0\0" + inner[12:ihl]
            inner = head[:10] + struct.pack("!H", checksum(head)) + head[12:] + inner[ihl:]
            packet = packet[:at] + inner
        else:
            packet = _set(packet, field, given[name])
    return checksummed(packet)


def _set(packet: bytes, field: str, value: Any) -> bytes:
    ihl = (packet[0] & 15) * 4
    at = {"src": 12, "dst": 16, "sport": ihl, "dport": ihl + 2, "icmp_id": ihl + 4}[field]
    raw = address_bytes(value) if field in ("src", "dst") else struct.pack("!H", int(value))
    return packet[:at] + raw + packet[at + len(raw) :]


def dumps(record: Mapping[str, Any]) -> str:
    """A record as one line of JSON."""
    return json.dumps(record, separators=(",", ":"))

"""Packets and capture files written by hand, byte by byte, for tests; shares no code with the project."""

from __future__ import annotations

import ipaddress
import random
import struct

MAC_A, MAC_B = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")


def checksum(data: bytes) -> int:
    """Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def ether(ethertype: int, payload: bytes) -> bytes:
    return MAC_B + MAC_A + struct.pack(">H", ethertype) + payload


def vlan(number: int, ethertype: int, payload: bytes, pcp: int = 0) -> bytes:
    return struct.pack(">HH", pcp << 13 | number, ethertype) + payload


def mpls(labels: list[int], payload: bytes) -> bytes:
    out = b""
    for i, label in enumerate(labels):
        out += struct.pack(">I", label << 12 | (1 << 8 if i == len(labels) - 1 else 0) | 64)
    return out + payload


def pppoe(protocol: int, payload: bytes) -> bytes:
    return struct.pack(">BBHHH", 0x11, 0, 7, len(payload) + 2, protocol) + payload


def arp() -> bytes:
    return (
        struct.pack(">HHBBH", 1, 0x0800, 6, 4, 2)
        + MAC_A
        + bytes([10, 0, 0, 1])
        + MAC_B
        + bytes([10, 0, 0, 2])
    )


def ipv4(
    src, dst, proto, payload, *, options=b"", fragment=0, more=False, length=None, ihl=None, version=4, ttl=64
):
    words = 5 + len(options) // 4 if ihl is None else ihl
    total = 20 + len(options) + len(payload) if length is None else length
    head = struct.pack(
        ">BBHHHBBH4s4s", version << 4 | words, 0xB8, total, 0x1234, (0x2000 if more else 0) | fragment, ttl, proto, 0,
        ipaddress.IPv4Address(src).packed, ipaddress.IPv4Address(dst).packed,
    )  # fmt: skip
    head += options
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + payload


def ipv6(src, dst, proto, payload, *, length=None, hops=63):
    size = len(payload) if length is None else length
    addresses = ipaddress.IPv6Address(src).packed + ipaddress.IPv6Address(dst).packed
    return struct.pack(">IHBB", 6 << 28 | 0x12 << 20 | 0xABCDE, size, proto, hops) + addresses + payload


def extension(following: int, payload: bytes, words: int = 0) -> bytes:
    """A hop-by-hop, routing or destination header of 8 * (words + 1) bytes, zeros within."""
    return bytes([following, words]) + bytes(6 + 8 * words) + payload


def fragment6(following: int, offset: int, more: bool, payload: bytes) -> bytes:
    return struct.pack(">BBHI", following, 0, offset << 3 | more, 77) + payload


def pseudo(src: str, dst: str, proto: int, size: int) -> bytes:
    a, b = ipaddress.ip_address(src).packed, ipaddress.ip_address(dst).packed
    return (
        a
        + b
        + (struct.pack(">BBH", 0, proto, size) if len(a) == 4 else struct.pack(">IHBB", size, 0, 0, proto))
    )


def tcp(src, dst, sport, dport, payload=b"", *, flags=0x18, seq=1, ack=2, options=b"", window=1000):
    words = 5 + len(options) // 4
    head = struct.pack(">HHIIHHHH", sport, dport, seq, ack, words << 12 | flags, window, 0, 0) + options
    total = checksum(pseudo(src, dst, 6, len(head) + len(payload)) + head + payload)
    return head[:16] + struct.pack(">H", total) + head[18:] + payload


def udp(src, dst, sport, dport, payload=b"", *, proto=17, length=None):
    size = 8 + len(payload) if length is None else length
    head = struct.pack(">HHHH", sport, dport, size, 0)
    total = checksum(pseudo(src, dst, proto, 8 + len(payload)) + head + payload) or 0xFFFF
    return head[:6] + struct.pack(">H", total) + payload


def icmp(kind: int, code: int, rest: bytes, payload: bytes = b"") -> bytes:
    body = struct.pack(">BBH", kind, code, 0) + rest + payload
    return body[:2] + struct.pack(">H", checksum(body)) + body[4:]


def icmpv6(src, dst, kind: int, code: int, rest: bytes, payload: bytes = b"") -> bytes:
    body = struct.pack(">BBH", kind, code, 0) + rest + payload
    return body[:2] + struct.pack(">H", checksum(pseudo(src, dst, 58, len(body)) + body)) + body[4:]


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def sctp(sport: int, dport: int, payload: bytes = b"") -> bytes:
    body = struct.pack(">HHII", sport, dport, 99, 0) + payload
    return body[:8] + struct.pack("<I", crc32c(body)) + body[12:]


A4, B4, A6, B6 = "10.1.2.3", "130.4.5.6", "2001:db8::1", "2001:db8:1::2"


def corpus() -> list[bytes]:
    """Ethernet frames that between them reach every part of the parser."""
    t4, u4 = tcp(A4, B4, 1000, 80, b"x" * 30), udp(A4, B4, 1001, 53, b"y" * 21)
    t6 = tcp(
        A6, B6, 1002, 443, b"z" * 9, options=bytes([2, 4, 5, 180, 1, 3, 3, 7, 4, 2, 8, 10]) + bytes(range(8))
    )
    quoted = ipv4(A4, B4, 17, u4)
    return [
        ether(0x0800, ipv4(A4, B4, 6, t4)),
        ether(0x0800, ipv4(A4, B4, 17, u4, options=bytes([1] * 12))),
        ether(0x0800, ipv4(A4, B4, 136, udp(A4, B4, 5, 6, b"lite", proto=136))),
        ether(0x0800, ipv4(A4, B4, 132, sctp(7, 8, b"chunk123"))),
        ether(0x0800, ipv4(A4, B4, 47, b"gre" * 5)),
        ether(0x0800, ipv4(A4, B4, 17, u4, more=True)),
        ether(0x0800, ipv4(A4, B4, 17, u4, fragment=100)),
        ether(0x0800, ipv4(A4, B4, 1, icmp(8, 0, b"\x12\x34\x00\x01", b"ping"))),
        ether(0x0800, ipv4(B4, A4, 1, icmp(3, 3, bytes(4), quoted[:28]))),
        ether(
            0x0800, ipv4(B4, A4, 1, icmp(11, 0, bytes(4), ipv4(A4, B4, 1, icmp(8, 0, b"\x43\x21\x00\x01"))))
        ),
        ether(0x86DD, ipv6(A6, B6, 6, t6)),
        ether(0x86DD, ipv6(A6, B6, 0, extension(43, extension(60, extension(6, t6), 2)))),
        ether(0x86DD, ipv6(A6, B6, 44, fragment6(17, 0, True, udp(A6, B6, 9, 10, b"first")))),
        ether(0x86DD, ipv6(A6, B6, 44, fragment6(17, 50, False, b"later part"))),
        ether(0x86DD, ipv6(B6, A6, 58, icmpv6(B6, A6, 1, 4, bytes(4), ipv6(A6, B6, 60, extension(6, t6))))),
        ether(0x86DD, ipv6(A6, B6, 58, icmpv6(A6, B6, 128, 0, b"\x77\x88\x00\x01", b"ping"))),
        ether(0x8100, vlan(100, 0x0800, ipv4(A4, B4, 6, t4), pcp=5)),
        ether(0x88A8, vlan(200, 0x8100, vlan(300, 0x86DD, ipv6(A6, B6, 6, t6)))),
        ether(0x8847, mpls([16, 17, 18], ipv4(A4, B4, 17, u4))),
        ether(0x8864, pppoe(0x0021, ipv4(A4, B4, 6, t4))),
        ether(0x8100, vlan(1, 0x8864, pppoe(0x0057, ipv6(A6, B6, 6, t6)))),
        ether(0x0806, arp()),
        ether(0x88CC, b"lldp" * 10),
        ether(40, b"\xaa\xaa\x03\x00\x00\x00\x08\x00" + ipv4(A4, B4, 6, t4)),
    ]


def pcap(
    frames: list[bytes], *, order="<", nano=False, linktype=1, start=1_000_000_000, snaplen=65535
) -> bytes:
    """A pcap file; frame i is stamped ``start`` seconds + i µs."""
    out = [struct.pack(order + "IHHiIII", 0xA1B23C4D if nano else 0xA1B2C3D4, 2, 4, 0, 0, snaplen, linktype)]
    for i, frame in enumerate(frames):
        kept = frame[:snaplen]
        out.append(struct.pack(order + "IIII", start, i * 1000 if nano else i, len(kept), len(frame)) + kept)
    return b"".join(out)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(order="<", linktype=1, snaplen=0, resolution=None, offset=None, fcs=None) -> bytes:
    body = struct.pack(order + "HHI", linktype, 0, snaplen)
    if resolution is not None:
        body += struct.pack(order + "HHB3x", 9, 1, resolution)
    if fcs is not None:
        body += struct.pack(order + "HHB3x", 13, 1, fcs)
    if offset is not None:
        body += struct.pack(order + "HHq", 14, 8, offset)
    return block(1, body + bytes(4), order)


def enhanced(frame: bytes, ticks: int, number=0, order="<", wire=None) -> bytes:
    size = len(frame) if wire is None else wire
    head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), size)
    return block(6, head + frame, order)


def old_packet(frame: bytes, ticks: int, number=0, order="<") -> bytes:
    head = struct.pack(order + "HHIIII", number, 0, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame))
    return block(2, head + frame, order)


def simple(frame: bytes, order="<") -> bytes:
    return block(3, struct.pack(order + "I", len(frame)) + frame, order)


def pcapng(frames: list[bytes], order: str = "<") -> bytes:
    """A pcapng file with every kind of packet block in turn, and blocks that carry no packets between them."""
    out = section(order) + interface(order)
    for i, frame in enumerate(frames):
        kind = i % 3
        out += (
            enhanced(frame, i, 0, order)
            if kind == 0
            else old_packet(frame, i, 0, order)
            if kind == 1
            else b""
        )
        out += simple(frame, order) if kind == 2 else block(5, bytes(12), order)
    return out


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, cut out, doubled or cut off."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        kind, at = rng.randrange(6), rng.randrange(len(out) + 1)
        if kind <= 2:
            for i in range(at, min(len(out), at + rng.choice((1, 1, 2, 4)))):
                out[i] = rng.choice((0, 255, 128, rng.randrange(256)))
        elif kind == 3:
            del out[at : at + rng.randint(1, 40)]
        elif kind == 4:
            out[at:at] = out[at : at + rng.randint(1, 40)]
        elif rng.random() < 0.2:
            del out[at:]
    return bytes(out)

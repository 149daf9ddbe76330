"""IPv4 packets as bytes: reading, building and patching headers (RFC 791, 792, 1071, 9293)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

ICMP, TCP, UDP, GRE, ESP, AH, DCCP, SCTP, UDPLITE = 1, 6, 17, 47, 50, 51, 33, 132, 136
ETHERNET_BYTES = 14
ETHERTYPE_IPV4 = b"\x08\x00"
DF, MF, OFFSET = 0x4000, 0x2000, 0x1FFF
FIN, SYN, RST, ACK = 1, 2, 4, 16
MINIMUM_HEADER = 20


@dataclass(frozen=True)
class Header:
    """The fixed part of an IPv4 header, and its options."""

    ihl: int  # bytes
    tos: int
    length: int
    id: int
    fragment: int  # flags and offset, as in the header
    ttl: int
    protocol: int
    source: bytes
    destination: bytes

    @property
    def offset(self) -> int:
        """Of a fragment, in bytes."""
        return (self.fragment & OFFSET) * 8

    @property
    def is_fragment(self) -> bool:
        return bool(self.fragment & (OFFSET | MF))


def header(packet: bytes) -> Header:
    """The header of a packet of at least 20 bytes."""
    first, tos, length, ident, fragment, ttl, protocol = struct.unpack("!BBHHHBB", packet[:10])
    return Header((first & 15) * 4, tos, length, ident, fragment, ttl, protocol, packet[12:16], packet[16:20])


def checksum(data: bytes) -> int:
    """The Internet checksum of some bytes."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def with_header_checksum(packet: bytes) -> bytes:
    """The packet with its header checksum recomputed."""
    ihl = (packet[0] & 15) * 4
    zeroed = packet[:10] + b"\0\0" + packet[12:ihl]
    return zeroed[:10] + struct.pack("!H", checksum(zeroed)) + packet[12:]


def pseudo_header(packet: bytes, length: int) -> bytes:
    """What the checksums of TCP and UDP cover besides the segment."""
    return packet[12:20] + struct.pack("!BBH", 0, packet[9], length)


def with_fragment(packet: bytes, fragment: int) -> bytes:
    """The packet with other flags and offset, and its header checksum recomputed."""
    return with_header_checksum(packet[:6] + struct.pack("!H", fragment) + packet[8:])


def build(
    protocol: int,
    source: bytes,
    destination: bytes,
    body: bytes,
    *,
    ttl: int = 64,
    tos: int = 0,
    ident: int = 0,
    fragment: int = 0,
    options: bytes = b"",
) -> bytes:
    """An IPv4 packet; options are padded to words already."""
    ihl = MINIMUM_HEADER + len(options)
    head = struct.pack(
        "!BBHHHBBH4s4s",
        0x40 | ihl // 4,
        tos,
        ihl + len(body),
        ident,
        fragment,
        ttl,
        protocol,
        0,
        source,
        destination,
    )
    return with_header_checksum(head + options + body)


def well_formed(packet: bytes) -> bytes | None:
    """The packet cut to its length, or None if ``ip_rcv`` drops it."""
    if len(packet) < MINIMUM_HEADER or packet[0] >> 4 != 4:
        return None
    ihl, length = (packet[0] & 15) * 4, struct.unpack("!H", packet[2:4])[0]
    if ihl < MINIMUM_HEADER or len(packet) < ihl or checksum(packet[:ihl]):
        return None
    if length < ihl or len(packet) < length:
        return None
    return packet[:length]


def mac_of_host(address: bytes) -> bytes:
    """The MAC address of a host in every topology: 02:00 and its IPv4 address."""
    return b"\x02\x00" + address


def is_multicast(address: bytes) -> bool:
    return address[0] >> 4 == 14


def multicast_mac(address: bytes) -> bytes:
    """The group's MAC address (RFC 1112, 6.4)."""
    return b"\x01\x00\x5e" + bytes([address[1] & 0x7F]) + address[2:]

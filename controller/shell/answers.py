"""The packets that a router answers with: REJECT's, and those about time to live, size and missing routes.

What is answered and how follows Linux: ``nf_reject_ipv4.c``, ``icmp.c`` (RFC 1812, 4.3.2).
"""

from __future__ import annotations

import struct

from .packets import (
    ACK,
    AH,
    DCCP,
    DF,
    ESP,
    FIN,
    GRE,
    ICMP,
    OFFSET,
    RST,
    SCTP,
    SYN,
    TCP,
    UDP,
    UDPLITE,
    build,
    checksum,
    header,
    pseudo_header,
)

# ICMP type and code of each kind.
ICMP_KINDS: dict[str, tuple[int, int]] = {
    "icmp-net-unreachable": (3, 0),
    "icmp-host-unreachable": (3, 1),
    "icmp-proto-unreachable": (3, 2),
    "icmp-port-unreachable": (3, 3),
    "icmp-frag-needed": (3, 4),
    "icmp-net-prohibited": (3, 9),
    "icmp-host-prohibited": (3, 10),
    "icmp-admin-prohibited": (3, 13),
    "icmp-time-exceeded": (11, 0),
}
TCP_RESET = "tcp-reset"
# The router's own kinds; REJECT's besides look at the transport checksum first.
OF_THE_ROUTER = frozenset(("icmp-frag-needed", "icmp-time-exceeded"))
QUOTE_ROOM = 576  # bytes of the whole answer, as RFC 1812 4.3.2.3 asks
MAX_ICMP_TYPE = 18
# ICMP types that are never answered by an error.
UNANSWERED_TYPES = frozenset((1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12))
# Protocols whose checksum REJECT does not look at.
_UNCHECKED = frozenset((GRE, AH, ESP, SCTP, UDPLITE, DCCP))
_PRECEDENCE_CONTROL, _TOS_MASK = 0xC0, 0x1E


def reset(packet: bytes, ttl: int) -> bytes | None:
    """The RST that answers a TCP segment, or None where there is none."""
    h = header(packet)
    body = packet[h.ihl :]
    if h.fragment & OFFSET or h.protocol != TCP or len(body) < 20:
        return None
    sport, dport, seq, ack, offset, flags = struct.unpack("!HHIIBB", body[:14])
    if flags & RST or checksum(pseudo_header(packet, len(body)) + body):
        return None
    if flags & ACK:
        out_seq, out_ack, out_flags = ack, 0, RST
    else:
        length = len(body) - (offset >> 4) * 4 + bool(flags & SYN) + bool(flags & FIN)
        out_seq, out_ack, out_flags = 0, (seq + length) & 0xFFFFFFFF, RST | ACK
    segment = struct.pack("!HHIIBBHHH", dport, sport, out_seq, out_ack, 5 << 4, out_flags, 0, 0, 0)
    pseudo = h.destination + h.source + struct.pack("!BBH", 0, TCP, len(segment))
    segment = segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]
    return build(TCP, h.destination, h.source, segment, ttl=ttl, fragment=DF)


def error_wanted(kind: str, packet: bytes) -> bool:
    """Whether a packet may be answered with an ICMP error of this kind."""
    h = header(packet)
    if h.fragment & OFFSET:
        return False
    body = packet[h.ihl :]
    if h.protocol == ICMP:
        if not body or body[0] > MAX_ICMP_TYPE or body[0] in UNANSWERED_TYPES:
            return False
    return kind in OF_THE_ROUTER or _sum_ok(packet, body)


def _sum_ok(packet: bytes, body: bytes) -> bool:
    protocol = packet[9]
    if protocol in _UNCHECKED:
        return True
    if protocol == UDP and len(body) >= 8 and body[6:8] == b"\0\0":
        return True
    # Linux takes any other protocol to sum to zero, which chance alone makes true.
    pseudo = pseudo_header(packet, len(body)) if protocol in (TCP, UDP) else b""
    return checksum(pseudo + body) == 0


def error(kind: str, packet: bytes, source: bytes, ttl: int, mtu: int = 0, ident: int = 1) -> bytes:
    """The ICMP error of a kind about a packet.

    Args:
        source: address that it comes from.
        mtu: what ``icmp-frag-needed`` says.
        ident: its identification, which Linux chooses freely.
    """
    h = header(packet)
    number, code = ICMP_KINDS[kind]
    quote = packet[: min(len(packet), QUOTE_ROOM - 28)]
    body = struct.pack("!BBHHH", number, code, 0, 0, mtu) + quote
    body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    tos = h.tos & _TOS_MASK | _PRECEDENCE_CONTROL
    return build(ICMP, source, h.source, body, ttl=ttl, tos=tos, ident=ident)

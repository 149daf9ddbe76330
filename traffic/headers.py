"""Kernels for one header each, from the link layer to the packet that an ICMP error quotes.

A packet is always delivered with what is valid of it; why parsing stopped early stands in the low bits of
``W_STATUS`` as a :class:`Reason`. The IP bit is set exactly when the fixed IP header (20 or 40 bytes) is
captured, its version fits the protocol that announced it, and in IPv4 the header length is at least 5 words
and not longer than the total length (0 aside: a segment that a NIC was still to cut). A total length beyond
the frame, or a truncation behind the fixed header, is a reason and does not unset it. Nothing beyond the
captured bytes or beyond the IP length is read as a layer-4 header.
"""

# Kernels are untyped: their argument types are in their docstrings.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from enum import IntEnum

import numpy as np

from oppcache._jit import kernel
from oppcache.opp.fields import (
    Base,
    Header,
)

from .bytesread import U, be16, be32


class Reason(IntEnum):
    """Why parsing of a packet stopped early, or what is wrong with it; the first cause counts."""

    OK = 0
    TRUNCATED_L2 = 1  # link-layer header, tag, label or PPPoE header not captured
    TRUNCATED_L3 = 2  # IP header, its options or an extension header, or ARP, not captured
    TRUNCATED_L4 = 3  # layer-4 header not captured
    TRUNCATED_INNER = 4  # packet quoted by an ICMP error not captured as far as its ports
    BAD_IP_VERSION = 5  # version differs from what the link layer announced
    BAD_IHL = 6  # IPv4 header length below 5 words
    BAD_IP_LENGTH = 7  # total length shorter than the header, or longer than the frame
    TOO_MANY_HEADERS = 8  # more than MAX_LINK_HEADERS or MAX_EXTENSIONS
    BAD_L4_LENGTH = 9  # layer-4 header does not fit into the IP length, or TCP data offset below 5
    BAD_INNER = 10  # packet quoted by an ICMP error is not IP
    BAD_ARP = 11  # ARP for other than Ethernet and IPv4


MAX_LINK_HEADERS = 16
MAX_EXTENSIONS = 16

# How a frame starts; the values of the ``kind`` column of records.
KIND_ETHERNET, KIND_RAW_IP, KIND_SLL, KIND_SLL2 = 0, 1, 2, 3
KIND_OF_LINKTYPE = {1: KIND_ETHERNET, 101: KIND_RAW_IP, 113: KIND_SLL, 276: KIND_SLL2}

# Words of the scratch array through which the parser hands places to extra fields: Base numbers, then these.
S_INNER_PROTO = 13
S_L4_LENGTH = 14  # bytes of layer 4 by the IP length
S_SOURCE_ROUTED = 15  # 1: an IPv6 routing header has segments left, so the last destination is elsewhere
S_CAPTURED_END = 16
SCRATCH_WORDS = 17

ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_ARP = U(0x0800), U(0x86DD), U(0x0806)


def bit(*headers: Header) -> np.uint64:
    word = 0
    for header in headers:
        word |= 1 << int(header)
    return U(word)


_H_ETH, _H_ARP, _H_MPLS, _H_PPPOE = bit(Header.ETH), bit(Header.ARP), bit(Header.MPLS), bit(Header.PPPOE)
_H_VLAN, _H_QINQ = bit(Header.VLAN), bit(Header.QINQ)
_H_IPV4, _H_IPV6 = bit(Header.IPV4, Header.IP), bit(Header.IPV6, Header.IP)
_H_TCP, _H_UDP, _H_UDPLITE = bit(Header.TCP), bit(Header.UDP), bit(Header.UDPLITE)
_H_SCTP, _H_ICMP, _H_ICMPV6 = bit(Header.SCTP), bit(Header.ICMP), bit(Header.ICMPV6)
_H_FRAGMENT, _H_LATER = bit(Header.FRAGMENT), bit(Header.LATER_FRAGMENT, Header.FRAGMENT)
_H_PORTS, _H_EXT = bit(Header.L4_PORTS), bit(Header.IPV6_EXT)
_H_INNER_IPV4, _H_INNER_IPV6 = (
    bit(Header.INNER_IPV4, Header.INNER_IP),
    bit(Header.INNER_IPV6, Header.INNER_IP),
)
_H_INNER_L4 = bit(Header.INNER_L4)
_H_INNER_PORTS, _H_INNER_QUERY = bit(Header.INNER_PORTS), bit(Header.INNER_QUERY)
_H_ICMP_QUERY = bit(Header.ICMP_QUERY)

_OK, BAD_L4_LENGTH = U(Reason.OK), U(Reason.BAD_L4_LENGTH)
_TRUNCATED_L2, TRUNCATED_L3 = U(Reason.TRUNCATED_L2), U(Reason.TRUNCATED_L3)
TRUNCATED_L4, _TRUNCATED_INNER = U(Reason.TRUNCATED_L4), U(Reason.TRUNCATED_INNER)
BAD_IP_VERSION, BAD_IHL, BAD_IP_LENGTH = U(Reason.BAD_IP_VERSION), U(Reason.BAD_IHL), U(Reason.BAD_IP_LENGTH)
_TOO_MANY, _BAD_INNER, BAD_ARP_TYPE = U(Reason.TOO_MANY_HEADERS), U(Reason.BAD_INNER), U(Reason.BAD_ARP)

_B_ETH, _B_VLAN, _B_QINQ, _B_MPLS = int(Base.ETH), int(Base.VLAN), int(Base.QINQ), int(Base.MPLS)
_B_ARP, _B_L3, _B_L4 = int(Base.ARP), int(Base.L3), int(Base.L4)
_B_INNER_L3, _B_INNER_L4 = int(Base.INNER_L3), int(Base.INNER_L4)


@kernel
def link_start(data, start, end, kind):
    """Return (EtherType, where it ends, header bits, reason) of a frame's first header; EtherType 0: none."""
    if kind == KIND_ETHERNET:
        if start + U(14) > end:
            return U(0), start, U(0), _TRUNCATED_L2
        return be16(data, start + U(12)), start + U(14), _H_ETH, _OK
    if kind == KIND_RAW_IP:
        if start >= end:
            return U(0), start, U(0), _TRUNCATED_L2
        version = U(data[start]) >> U(4)
        if version == U(4):
            return ETHERTYPE_IPV4, start, U(0), _OK
        if version == U(6):
            return ETHERTYPE_IPV6, start, U(0), _OK
        return U(0), start, U(0), BAD_IP_VERSION
    if kind == KIND_SLL:
        if start + U(16) > end:
            return U(0), start, U(0), _TRUNCATED_L2
        return be16(data, start + U(14)), start + U(16), U(0), _OK
    if start + U(20) > end:
        return U(0), start, U(0), _TRUNCATED_L2
    return be16(data, start), start + U(20), U(0), _OK


@kernel
def link_tags(data, at, end, ethertype, headers, scratch):
    """Walk VLAN tags, MPLS labels and PPPoE; return as :func:`link_start` does.

    An IEEE 802.3 length in place of an EtherType ends the walk: hosts take no IP from LLC or SNAP on Ethernet.
    """
    walked = 0
    while ethertype != ETHERTYPE_IPV4 and ethertype != ETHERTYPE_IPV6 and ethertype != ETHERTYPE_ARP:
        walked += 1
        if walked > MAX_LINK_HEADERS:
            return U(0), at, headers, _TOO_MANY
        if ethertype == U(0x8100) or ethertype == U(0x88A8) or ethertype == U(0x9100):
            if at + U(4) > end:
                return U(0), at, headers, _TRUNCATED_L2
            if headers & _H_VLAN == U(0):
                headers |= _H_VLAN
                scratch[_B_VLAN] = at
            elif headers & _H_QINQ == U(0):
                headers |= _H_QINQ
                scratch[_B_QINQ] = at
            ethertype = be16(data, at + U(2))
            at += U(4)
        elif ethertype == U(0x8847) or ethertype == U(0x8848):
            return _labels(data, at, end, headers, scratch)
        elif ethertype == U(0x8864):
            if at + U(8) > end:
                return U(0), at, headers, _TRUNCATED_L2
            headers |= _H_PPPOE
            protocol = be16(data, at + U(6))
            at += U(8)
            if protocol == U(0x0021):
                return ETHERTYPE_IPV4, at, headers, _OK
            if protocol == U(0x0057):
                return ETHERTYPE_IPV6, at, headers, _OK
            return U(0), at, headers, _OK
        else:
            return U(0), at, headers, _OK
    return ethertype, at, headers, _OK


@kernel
def _labels(data, at, end, headers, scratch):
    """Walk an MPLS label stack; behind its bottom the first nibble says which IP it is, if any."""
    for _ in range(MAX_LINK_HEADERS):
        if at + U(4) > end:
            return U(0), at, headers, _TRUNCATED_L2
        if headers & _H_MPLS == U(0):
            headers |= _H_MPLS
            scratch[_B_MPLS] = at
        bottom = U(data[at + U(2)]) & U(1)
        at += U(4)
        if bottom == U(1):
            if at >= end:
                return U(0), at, headers, TRUNCATED_L3
            nibble = U(data[at]) >> U(4)
            if nibble == U(4):
                return ETHERTYPE_IPV4, at, headers, _OK
            if nibble == U(6):
                return ETHERTYPE_IPV6, at, headers, _OK
            return U(0), at, headers, _OK
    return U(0), at, headers, _TOO_MANY


@kernel
def extensions(data, at, end, proto, scratch):
    """Walk IPv6 extension headers from ``at``.

    Returns (final protocol, where it starts, header bits, reason). AH and ESP are final protocols.
    """
    headers = U(0)
    for _ in range(MAX_EXTENSIONS + 1):
        walked = proto == U(0) or proto == U(43) or proto == U(44) or proto == U(60) or proto == U(135)
        if not walked:
            return proto, at, headers, _OK
        if at + U(8) > end:
            return proto, at, headers, TRUNCATED_L3
        following = U(data[at])
        headers |= _H_EXT
        if proto == U(44):
            offset_flags = be16(data, at + U(2))
            at += U(8)
            if offset_flags >> U(3) != U(0):
                return following, at, headers | _H_LATER, _OK
            if offset_flags & U(1) != U(0):  # an atomic fragment (RFC 6946) is a whole packet
                headers |= _H_FRAGMENT
        else:
            if proto == U(43) and U(data[at + U(3)]) != U(0):
                scratch[S_SOURCE_ROUTED] = U(1)
            at += (U(data[at + U(1)]) + U(1)) << U(3)
            if at > end:
                return following, at, headers, TRUNCATED_L3
        proto = following
    return proto, at, headers, _TOO_MANY


@kernel
def is_query(kind, ipv4):
    """Whether an ICMP type is a query or its answer, which carry an identifier."""
    if ipv4:
        return kind == U(8) or kind == U(0) or (kind >= U(13) and kind <= U(18))
    return kind == U(128) or kind == U(129)


@kernel
def _inner(data, at, end, scratch):
    """Parse the packet that an ICMP error quotes at ``at``; return (header bits, reason)."""
    if at >= end:
        return U(0), _TRUNCATED_INNER
    version = U(data[at]) >> U(4)
    scratch[_B_INNER_L3] = at
    headers = U(0)
    later = False
    if version == U(4):
        if at + U(20) > end:
            return U(0), _TRUNCATED_INNER
        words = U(data[at]) & U(15)
        if words < U(5):
            return U(0), _BAD_INNER
        headers = _H_INNER_IPV4
        proto = U(data[at + U(9)])
        later = be16(data, at + U(6)) & U(0x1FFF) != U(0)
        at += words << U(2)
    elif version == U(6):
        if at + U(40) > end:
            return U(0), _TRUNCATED_INNER
        headers = _H_INNER_IPV6
        routed = scratch[S_SOURCE_ROUTED]
        proto, at, found, reason = extensions(data, at + U(40), end, U(data[at + U(6)]), scratch)
        scratch[S_SOURCE_ROUTED] = routed
        later = found & _H_LATER == _H_LATER
        if reason != _OK:
            scratch[S_INNER_PROTO] = proto
            return headers, _TRUNCATED_INNER
    else:
        return U(0), _BAD_INNER
    scratch[S_INNER_PROTO] = proto
    scratch[_B_INNER_L4] = at
    need = U(0)
    if proto == U(6) or proto == U(17) or proto == U(136) or proto == U(132):
        need = U(4)
    elif (proto == U(1) and version == U(4)) or (proto == U(58) and version == U(6)):
        need = U(8)
    if need == U(0) or later:
        return headers, _OK
    if at + need > end:
        return headers, _TRUNCATED_INNER
    headers |= _H_INNER_L4
    if need == U(4):
        headers |= _H_INNER_PORTS
    elif is_query(U(data[at]), version == U(4)):
        headers |= _H_INNER_QUERY
    return headers, _OK


@kernel
def _icmp(data, l4, limit, family, scratch):
    """Return (header bits, reason) of an ICMP or ICMPv6 message whose first 8 bytes are there."""
    kind = U(data[l4])
    if family == U(4):
        headers = _H_ICMP
        error = kind == U(3) or kind == U(4) or kind == U(5) or kind == U(11) or kind == U(12)
    else:
        headers = _H_ICMPV6
        error = kind >= U(1) and kind <= U(4)
    if not error:
        return headers | (_H_ICMP_QUERY if is_query(kind, family == U(4)) else U(0)), _OK
    found, reason = _inner(data, l4 + U(8), limit, scratch)
    return headers | found, reason


@kernel
def layer4(data, l4, limit, proto, family, scratch):
    """Return (header bits, ports << 16 apart, TCP flags, payload position, 1 if cut short or reason << 1).

    ``limit`` is where both the captured bytes and the IP length reach.
    """
    headers, ports, flags, payload, reason = U(0), U(0), U(0), l4, U(0)
    if proto == U(6) or proto == U(17) or proto == U(132) or proto == U(136):
        if l4 + U(4) > limit:
            return headers, ports, flags, payload, U(1)
        ports = be32(data, l4)
        headers = _H_PORTS
        if proto == U(6):
            if l4 + U(20) > limit:
                return headers, ports, flags, payload, U(1)
            word = be16(data, l4 + U(12))
            headers |= _H_TCP
            flags = word & U(0x1FF)
            words = word >> U(12)
            payload = l4 + (words << U(2))
            if words < U(5):
                payload = l4 + U(20)
                reason = BAD_L4_LENGTH << U(1)
        else:
            size = U(12) if proto == U(132) else U(8)
            if l4 + size > limit:
                return headers, ports, flags, payload, U(1)
            payload = l4 + size
            if proto == U(17):
                headers |= _H_UDP
            elif proto == U(132):
                headers |= _H_SCTP
            else:
                headers |= _H_UDPLITE
    elif (proto == U(1) and family == U(4)) or (proto == U(58) and family == U(6)):
        if l4 + U(8) > limit:
            return headers, ports, flags, payload, U(1)
        headers, why = _icmp(data, l4, limit, family, scratch)
        reason = why << U(1)
        payload = l4 + U(8)
    return headers, ports, flags, payload, reason

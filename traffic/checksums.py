"""Whether the checksums of a parsed packet are right: Internet checksums and SCTP's CRC-32C."""

# Kernels are untyped: their argument types are in their docstrings.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.opp.fields import (
    CSUM_BAD,
    CSUM_OK,
    CSUM_UNKNOWN,
    W_FAMILY,
    W_HEADERS,
    W_IP_DST,
    W_IP_PROTO,
    W_IP_SRC,
    Base,
    Header,
)

from .bytesread import U, be16, be32, fold, ones_sum
from .headers import S_CAPTURED_END, S_L4_LENGTH, S_SOURCE_ROUTED, bit

_H_IPV4, _H_FRAGMENT = bit(Header.IPV4), bit(Header.FRAGMENT)
_H_L4 = bit(Header.TCP, Header.UDP, Header.UDPLITE, Header.SCTP, Header.ICMP, Header.ICMPV6)
_B_L3, _B_L4 = int(Base.L3), int(Base.L4)
_UNKNOWN, _OK, _BAD = U(CSUM_UNKNOWN), U(CSUM_OK), U(CSUM_BAD)


def _crc32c_table() -> np.ndarray:
    """Byte table of the reflected Castagnoli polynomial (RFC 9260, appendix A)."""
    table = np.zeros(256, np.uint64)
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        table[byte] = crc
    return table


_CRC32C = _crc32c_table()


@kernel
def layer3_checksum(data, out, row, scratch):
    """CSUM_* of the IPv4 header; IPv6 has none, which is right."""
    if out[row, W_HEADERS] & _H_IPV4 == U(0):
        return _OK
    l3 = scratch[_B_L3]
    l4 = l3 + ((U(data[l3]) & U(15)) << U(2))
    if l4 > scratch[S_CAPTURED_END]:
        return _UNKNOWN
    return _OK if fold(ones_sum(data, l3, l4, U(0))) == U(0xFFFF) else _BAD


@kernel
def _pseudo_header(out, row, length):
    """Running sum of the pseudo-header of TCP, UDP, UDP-Lite and ICMPv6."""
    total = out[row, W_IP_PROTO] + (length & U(0xFFFF)) + (length >> U(16))
    mapped = out[row, W_FAMILY] == U(4)
    for word in range(W_IP_SRC, W_IP_DST + 2):
        value = out[row, word]
        if mapped:
            value &= U(0xFFFFFFFF)
        total += (
            (value >> U(48))
            + ((value >> U(32)) & U(0xFFFF))
            + ((value >> U(16)) & U(0xFFFF))
            + (value & U(0xFFFF))
        )
    return total


@kernel
def crc32c(data, start, end):
    """SCTP's checksum of a packet (RFC 9260, appendix A), as the big-endian number that stands in it."""
    crc = U(0xFFFFFFFF)
    at = start
    while at < end:
        byte = U(data[at])
        if at >= start + U(8) and at < start + U(12):
            byte = U(0)  # the checksum's own place counts as zeros
        crc = _CRC32C[(crc ^ byte) & U(0xFF)] ^ (crc >> U(8))
        at += U(1)
    crc ^= U(0xFFFFFFFF)
    return (
        (crc >> U(24))
        | ((crc >> U(8)) & U(0xFF00))
        | ((crc << U(8)) & U(0xFF0000))
        | ((crc & U(0xFF)) << U(24))
    )


@kernel
def layer4_checksum(data, out, row, scratch):
    """CSUM_* of layer 4; unknown for fragments, cut-off packets, and protocols without a checksum known here."""
    headers = out[row, W_HEADERS]
    if headers & _H_L4 == U(0) or headers & _H_FRAGMENT != U(0):
        return _UNKNOWN
    l4, length = scratch[_B_L4], scratch[S_L4_LENGTH]
    proto = out[row, W_IP_PROTO]
    covered = length
    if proto == U(17):
        if be16(data, l4 + U(6)) == U(0) and out[row, W_FAMILY] == U(4):
            return _OK
        length = be16(data, l4 + U(4))
        covered = length
        if length < U(8) or length > scratch[S_L4_LENGTH]:
            return _BAD
    elif proto == U(136):
        covered = be16(data, l4 + U(4))
        if covered == U(0):
            covered = length
        if covered < U(8) or covered > length:
            return _BAD
    if l4 + covered > scratch[S_CAPTURED_END]:
        return _UNKNOWN
    if proto == U(132):
        return _OK if crc32c(data, l4, l4 + covered) == be32(data, l4 + U(8)) else _BAD
    total = U(0)
    if proto != U(1):
        if scratch[S_SOURCE_ROUTED] != U(0) and out[row, W_FAMILY] == U(6):
            return _UNKNOWN
        total = _pseudo_header(out, row, length)
    return _OK if fold(ones_sum(data, l4, l4 + covered, total)) == U(0xFFFF) else _BAD

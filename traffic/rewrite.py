"""Putting rewritten header fields back into frames, with checksums updated incrementally (RFC 1624).

A program changes words of the header vector; :func:`rewrite` compares them with the words as parsed and patches
the frame's bytes where they differ. An incremental update keeps a wrong checksum wrong by the same difference
and is right for truncated packets and fragments too, which recomputing is not. SCTP's CRC is computed anew where it
was right before and the packet was captured whole; elsewhere it stays.
"""

# Kernels are untyped: their argument types are in their docstrings.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.opp.fields import (
    FIELDS,
    NO_OFFSET,
    W_HEADERS,
    W_IP_DST,
    W_IP_SRC,
    W_OFFSETS,
    Base,
    Header,
    Layout,
)

from .bytesread import U, be16, be32
from .checksums import crc32c
from .headers import bit
from .source import Chunk

_ETHERNET_TAG = 14  # the outer tag's control word in an Ethernet frame
_TAG_BYTES = 4

# Where a patch counts in checksums.
_SUM_NONE, _SUM_IP, _SUM_PSEUDO, _SUM_L4 = range(4)

_PATCH = np.dtype(
    [
        ("word", np.int64),  # low word of the field in the vector
        ("header", np.int64),  # validity bit
        ("base", np.int64),  # _AT_*
        ("offset", np.int64),  # bits from the base
        ("bits", np.int64),
        ("sum", np.int64),  # _SUM_*
    ],
    align=True,
)
_AT_START, _AT_TAG, _AT_TAG2, _AT_L3, _AT_L4 = range(5)
_BASES = {Base.ETH: _AT_START, Base.VLAN: _AT_TAG, Base.QINQ: _AT_TAG2, Base.L3: _AT_L3, Base.L4: _AT_L4}

_H_TCP, _H_UDP, _H_SCTP = bit(Header.TCP), bit(Header.UDP, Header.UDPLITE), bit(Header.SCTP)
_H_ICMP, _H_ICMPV6, _H_IPV4 = bit(Header.ICMP), bit(Header.ICMPV6), bit(Header.IPV4)
_H_FRAGMENT = bit(Header.FRAGMENT)
_TCP_SUM, _UDP_SUM, _ICMP_SUM, _SCTP_SUM, _IPV4_SUM = U(16), U(6), U(2), U(8), U(10)
_FFFF = U(0xFFFF)


def _patches(layout: Layout) -> np.ndarray:
    """What can differ between a vector as parsed and as a program left it: one row a field."""
    rows = [
        # The joint fields, by IP version: low words of the addresses, then the ports.
        (W_IP_SRC + 1, Header.IPV4, _AT_L3, 96, 32, _SUM_PSEUDO),
        (W_IP_DST + 1, Header.IPV4, _AT_L3, 128, 32, _SUM_PSEUDO),
        (W_IP_SRC, Header.IPV6, _AT_L3, 64, 64, _SUM_PSEUDO),
        (W_IP_SRC + 1, Header.IPV6, _AT_L3, 128, 64, _SUM_PSEUDO),
        (W_IP_DST, Header.IPV6, _AT_L3, 192, 64, _SUM_PSEUDO),
        (W_IP_DST + 1, Header.IPV6, _AT_L3, 256, 64, _SUM_PSEUDO),
        (layout.word_of["l4.sport"], Header.L4_PORTS, _AT_L4, 0, 16, _SUM_L4),
        (layout.word_of["l4.dport"], Header.L4_PORTS, _AT_L4, 16, 16, _SUM_L4),
    ]
    for field in FIELDS:
        if not field.writable or field.base not in _BASES or field.name not in layout.word_of:
            continue
        assert field.header is not None
        kind = _SUM_NONE
        if field.base is Base.L4:
            kind = _SUM_L4
        elif field.base is Base.L3:
            kind = _SUM_PSEUDO if field.name.endswith((".src", ".dst")) else _SUM_IP
        word, offset = layout.word_of[field.name], field.offset
        for part in range(field.words):
            bits = 64 if field.words == 2 else field.bits
            rows.append((word + part, field.header, _BASES[field.base], offset + 64 * part, bits, kind))
    return np.array(rows, _PATCH)


@kernel
def _ones_add(total, value):
    """One's complement sum of 16-bit words."""
    total += value
    return (total & _FFFF) + (total >> U(16))


@kernel
def _patch_bits(data, start, offset, bits, value, parity):
    """Write a field; return what its 16-bit words (aligned at ``parity``) add to a one's complement sum."""
    delta = U(0)
    shift = U(bits)
    at = start + (U(offset) >> U(3))
    used = U(offset) & U(7)
    while shift > U(0):
        room = U(8) - used
        take = room if shift > room else shift
        low = room - take
        mask = ((U(1) << take) - U(1)) << low
        shift -= take
        old = U(data[at])
        new = (old & ~mask & U(0xFF)) | (((value >> shift) << low) & mask)
        data[at] = np.uint8(new)
        place = U(8) if (at & U(1)) == parity else U(0)
        # Subtracting is adding the complement (RFC 1624, equation 3).
        delta = _ones_add(delta, (old << place) ^ _FFFF)
        delta = _ones_add(delta, new << place)
        at += U(1)
        used = U(0)
    return delta


@kernel
def _mend(data, at, end, delta, udp):
    """Apply a difference of the summed words to the checksum at ``at``, if it was captured."""
    if at + U(2) > end:
        return
    old = (U(data[at]) << U(8)) | U(data[at + U(1)])
    if udp and old == U(0):
        return  # no checksum
    new = _ones_add(old ^ _FFFF, delta) ^ _FFFF
    if udp and new == U(0):
        new = _FFFF
    data[at] = np.uint8(new >> U(8))
    data[at + U(1)] = np.uint8(new & U(0xFF))


@kernel
def _mend_l4(data, headers, l4, end, pseudo, own):
    both = _ones_add(pseudo, own)
    if headers & _H_TCP:
        _mend(data, l4 + _TCP_SUM, end, both, False)
    elif headers & _H_UDP:
        _mend(data, l4 + _UDP_SUM, end, both, True)
    elif headers & _H_ICMPV6:
        _mend(data, l4 + _ICMP_SUM, end, both, False)
    elif headers & _H_ICMP:
        _mend(data, l4 + _ICMP_SUM, end, own, False)


@kernel
def _sctp_end(data, l3, l4, end, headers):
    """End of an SCTP packet that was captured whole and whose CRC is right, else 0."""
    if headers & _H_SCTP == U(0) or headers & _H_FRAGMENT != U(0):
        return U(0)
    if headers & _H_IPV4:
        stop = l3 + be16(data, l3 + U(2))
    else:
        stop = l3 + U(40) + be16(data, l3 + U(4))
    if stop > end or l4 + _SCTP_SUM + U(4) > stop or crc32c(data, l4, stop) != be32(data, l4 + _SCTP_SUM):
        return U(0)
    return stop


@kernel
def _mend_sctp(data, l4, stop):
    """A CRC cannot be updated from a difference: compute it anew."""
    crc = crc32c(data, l4, stop)
    for i in range(4):
        data[l4 + _SCTP_SUM + U(i)] = np.uint8((crc >> U(24 - 8 * i)) & U(0xFF))


@kernel
def rewrite_rows(data, offsets, captured, before, after, patches):
    """Patch every frame whose vector changed.

    Args:
        data: uint8 bytes, changed in place; offsets, captured: int64, int32 of each frame.
        before, after: uint64 header vectors as parsed, and as the program left them.
        patches: _PATCH rows.

    Returns:
        the number of frames that changed.
    """
    changed = 0
    for row in range(after.shape[0]):
        headers = before[row, W_HEADERS]
        start = U(offsets[row])
        end = start + U(captured[row])
        l3 = before[row, W_OFFSETS] & U(NO_OFFSET)
        l4 = (before[row, W_OFFSETS] >> U(16)) & U(NO_OFFSET)
        ip_delta = pseudo_delta = l4_delta = U(0)
        touched = False
        sctp_end = _sctp_end(data, start + l3, start + l4, end, headers)
        for p in range(patches.shape[0]):
            word = patches["word"][p]
            if before[row, word] == after[row, word]:
                continue
            if (headers >> U(patches["header"][p])) & U(1) == U(0):
                continue
            base = patches["base"][p]
            at = start
            if base == _AT_TAG:
                at = start + U(_ETHERNET_TAG)
            elif base == _AT_TAG2:
                at = start + U(_ETHERNET_TAG + _TAG_BYTES)
            elif base == _AT_L3:
                at = start + l3
            elif base == _AT_L4:
                if l4 == U(NO_OFFSET):
                    continue
                at = start + l4
            offset, bits = patches["offset"][p], patches["bits"][p]
            if at + ((U(offset) + U(bits) + U(7)) >> U(3)) > end:
                continue
            # Sums count from the header's first byte, wherever that is in the buffer.
            delta = _patch_bits(data, at, offset, bits, after[row, word], at & U(1))
            touched = True
            kind = patches["sum"][p]
            if kind == _SUM_IP:
                ip_delta = _ones_add(ip_delta, delta)
            elif kind == _SUM_PSEUDO:
                ip_delta = _ones_add(ip_delta, delta)
                pseudo_delta = _ones_add(pseudo_delta, delta)
            elif kind == _SUM_L4:
                l4_delta = _ones_add(l4_delta, delta)
        if touched:
            changed += 1
            if headers & _H_IPV4:
                _mend(data, start + l3 + _IPV4_SUM, end, ip_delta, False)
            if l4 != U(NO_OFFSET):
                _mend_l4(data, headers, start + l4, end, pseudo_delta, l4_delta)
                if sctp_end != U(0):
                    _mend_sctp(data, start + l4, sctp_end)
    return changed


def rewrite(chunk: Chunk, before: np.ndarray, layout: Layout) -> Chunk:
    """Return a chunk whose frames say what its vectors say.

    Args:
        chunk: packets with bytes; its vectors are as the program left them. Its bytes are not changed.
        before: ``uint64[n, layout.words]``, a copy of the vectors as they were parsed.
        layout: of both.

    Raises:
        ValueError: the chunk has no bytes.
    """
    if chunk.data is None or chunk.offsets is None or chunk.captured is None:
        raise ValueError("got packets without bytes, expected frames: see frames()")
    data = chunk.data.copy()
    rewrite_rows(data, chunk.offsets, chunk.captured, before, chunk.vectors, _patches(layout))
    return Chunk(chunk.vectors, data, chunk.offsets, chunk.captured)

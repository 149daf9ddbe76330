"""Putting rewritten header fields back into frames, with checksums updated incrementally (RFC 1624).

A program changes words of the header vector; :func:`rewrite` compares them with the words as parsed and patches
the frame's bytes where they differ. An incremental update keeps a wrong checksum wrong by the same difference
and is right for truncated packets and fragments too, which recomputing is not. SCTP's CRC is computed anew where it
was right before and the packet was captured whole; elsewhere it stays. What an ICMP error quotes has checksums of
its own, which follow as far as they are quoted, and the error's checksum covers all of that.
"""

# Kernels are untyped: their argument types are in their docstrings.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.opp.fields import (
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
from .headers import KIND_ETHERNET, SCRATCH_WORDS, bit, extensions
from .source import Chunk

# Where the outer tag's control word stands, by KIND_*; raw IP has none.
_TAG_AT = np.array([14, 0, 16, 20], np.uint64)
_TAG_BYTES = 4

# Where a patch counts in checksums; the last two are of a quoted packet.
_SUM_NONE, _SUM_IP, _SUM_PSEUDO, _SUM_L4, _SUM_QUOTED_ADDRESS, _SUM_QUOTED_L4 = range(6)
_SUMS = 6
# Where headers start.
_P_START, _P_L3, _P_L4, _P_END, _P_QUOTED_L3, _P_QUOTED_L4, _P_QUOTED_PROTO, _P_STOP, _P_TAG = range(9)
_PLACES = 9
_NOWHERE = U(2**62)

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
_AT_START, _AT_TAG, _AT_TAG2, _AT_L3, _AT_L4, _AT_MSS, _AT_QUOTED_L3, _AT_QUOTED_L4, _AT_PAYLOAD = range(9)
_BASES = {
    Base.ETH: _AT_START,
    Base.VLAN: _AT_TAG,
    Base.QINQ: _AT_TAG2,
    Base.L3: _AT_L3,
    Base.L4: _AT_L4,
    Base.INNER_L3: _AT_QUOTED_L3,
    Base.INNER_L4: _AT_QUOTED_L4,
    Base.PAYLOAD: _AT_PAYLOAD,
}

_H_TCP, _H_UDP, _H_SCTP = bit(Header.TCP), bit(Header.UDP, Header.UDPLITE), bit(Header.SCTP)
_H_ICMP, _H_ICMPV6, _H_IPV4 = bit(Header.ICMP), bit(Header.ICMPV6), bit(Header.IPV4)
_H_FRAGMENT = bit(Header.FRAGMENT)
_H_INNER_IP, _H_INNER_IPV4, _H_INNER_L4 = bit(Header.INNER_IP), bit(Header.INNER_IPV4), bit(Header.INNER_L4)
_TCP_SUM, _UDP_SUM, _ICMP_SUM, _SCTP_SUM, _IPV4_SUM = U(16), U(6), U(2), U(8), U(10)
_UDP_HEADER = U(8)
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
        (layout.word_of["tcp.flags"], Header.TCP, _AT_L4, 103, 9, _SUM_L4),
    ]
    if "tcp.mss" in layout.word_of:
        rows.append((layout.word_of["tcp.mss"], Header.TCP, _AT_MSS, 0, 16, _SUM_L4))
    for field in layout.extra_fields:
        if not field.writable or field.base not in _BASES:
            continue
        assert field.header is not None
        kind = _SUM_NONE
        if field.base in (Base.L4, Base.PAYLOAD):
            kind = _SUM_L4
        elif field.base is Base.INNER_L4:
            kind = _SUM_QUOTED_L4
        elif field.base is Base.INNER_L3:
            kind = _SUM_QUOTED_ADDRESS
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
    """Apply a difference of the summed words to the checksum at ``at``, if it was captured.

    Returns the difference that this makes in turn to a sum over the checksum.
    """
    if at + U(2) > end:
        return U(0)
    old = (U(data[at]) << U(8)) | U(data[at + U(1)])
    if udp and old == U(0):
        return U(0)  # no checksum
    new = _ones_add(old ^ _FFFF, delta) ^ _FFFF
    if udp and new == U(0):
        new = _FFFF
    data[at] = np.uint8(new >> U(8))
    data[at + U(1)] = np.uint8(new & U(0xFF))
    return _ones_add(old ^ _FFFF, new)


@kernel
def _quoted(data, headers, l3, stop, scratch):
    """(Protocol, position of layer 4) of the packet that an ICMP error quotes at ``l3``."""
    if headers & _H_INNER_IPV4:
        return U(data[l3 + U(9)]), l3 + ((U(data[l3]) & U(15)) << U(2))
    proto, at, _, _ = extensions(data, l3 + U(40), stop, U(data[l3 + U(6)]), scratch)
    return proto, at


@kernel
def _mend_quoted(data, headers, places, addresses, own):
    """Mend a quoted packet's checksums; return the difference that all of it makes to the error's own sum."""
    l3, l4, stop = places[_P_QUOTED_L3], places[_P_QUOTED_L4], places[_P_STOP]
    proto = places[_P_QUOTED_PROTO]
    delta = _ones_add(addresses, own)
    if headers & _H_INNER_IPV4:
        delta = _ones_add(delta, _mend(data, l3 + _IPV4_SUM, stop, addresses, False))
    if headers & _H_INNER_L4 == U(0):
        return delta
    both = _ones_add(addresses, own)
    if proto == U(6):
        return _ones_add(delta, _mend(data, l4 + _TCP_SUM, stop, both, False))
    if proto == U(17) or proto == U(136):
        return _ones_add(delta, _mend(data, l4 + _UDP_SUM, stop, both, True))
    if proto == U(58):
        return _ones_add(delta, _mend(data, l4 + _ICMP_SUM, stop, both, False))
    if proto == U(1):
        return _ones_add(delta, _mend(data, l4 + _ICMP_SUM, stop, own, False))
    return delta


@kernel
def _mss_at(data, l4, end):
    """Position of the value of a TCP header's MSS option, :data:`_NOWHERE` without one."""
    at = l4 + U(20)
    stop = min(l4 + ((U(data[l4 + U(12)]) >> U(4)) << U(2)), end)
    found = _NOWHERE
    while at < stop and data[at] != 0:
        if data[at] == 1:
            at += U(1)
            continue
        if at + U(2) > stop:
            break
        size = U(data[at + U(1)])
        if size < U(2) or at + size > stop:
            break
        if data[at] == 2 and size == U(4):
            found = at + U(2)  # the parser takes the last one
        at += size
    return found


@kernel
def _ip_end(data, l3, end, headers):
    """Where an IP packet ends, as far as it was captured."""
    if headers & _H_IPV4:
        length = be16(data, l3 + U(2))
    else:
        length = U(40) + be16(data, l3 + U(4))
    return end if length == U(0) else min(end, l3 + length)  # 0: segmentation was left to the NIC


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
def _find(data, start, captured, kind, vector, places, scratch):
    """Note where a frame's headers start and end, and where those of a quoted packet do."""
    headers, end = vector[W_HEADERS], start + captured
    l3 = start + (vector[W_OFFSETS] & U(NO_OFFSET))
    l4 = (vector[W_OFFSETS] >> U(16)) & U(NO_OFFSET)
    places[:] = _NOWHERE
    places[_P_START], places[_P_L3], places[_P_END] = start, l3, end
    places[_P_TAG] = start + _TAG_AT[kind]
    if l4 == U(NO_OFFSET):
        return
    places[_P_L4] = start + l4
    if headers & _H_INNER_IP != U(0):
        places[_P_STOP] = _ip_end(data, l3, end, headers)
        quoted = start + l4 + U(8)
        proto, at = _quoted(data, headers, quoted, places[_P_STOP], scratch)
        places[_P_QUOTED_L3], places[_P_QUOTED_L4], places[_P_QUOTED_PROTO] = quoted, at, proto


@kernel
def _place(data, base, places):
    """Position of a base, :data:`_NOWHERE` without one."""
    if base == _AT_START:
        return places[_P_START]
    if base == _AT_TAG:
        return places[_P_TAG]
    if base == _AT_TAG2:
        return places[_P_TAG] + U(_TAG_BYTES)
    if base == _AT_L3:
        return places[_P_L3]
    if base == _AT_L4:
        return places[_P_L4]
    if base == _AT_PAYLOAD:
        return places[_P_L4] + _UDP_HEADER
    if base == _AT_MSS:
        return _mss_at(data, places[_P_L4], places[_P_END])
    return places[_P_QUOTED_L3] if base == _AT_QUOTED_L3 else places[_P_QUOTED_L4]


@kernel
def _patch_row(data, before, after, patches, places, sums):
    """Write what differs between two vectors; what that adds to each kind of sum is in ``sums``."""
    headers = before[W_HEADERS]
    touched = False
    for p in range(patches.shape[0]):
        word = patches["word"][p]
        if before[word] == after[word] or (headers >> U(patches["header"][p])) & U(1) == U(0):
            continue
        base = patches["base"][p]
        at = _place(data, base, places)
        offset, bits = patches["offset"][p], patches["bits"][p]
        if at + ((U(offset) + U(bits) + U(7)) >> U(3)) > places[_P_END]:
            continue
        # Sums count from the header's first byte, wherever that is in the buffer.
        parity = places[_P_L4] & U(1) if base == _AT_MSS else at & U(1)
        delta = _patch_bits(data, at, offset, bits, after[word], parity)
        kind = patches["sum"][p]
        sums[kind] = _ones_add(sums[kind], delta)
        touched = True
    return touched


@kernel
def rewrite_rows(data, offsets, captured, kinds, before, after, patches, scratch, places, sums):
    """Patch every frame whose vector changed.

    Args:
        data: uint8 bytes, changed in place; offsets, captured, kinds: int64, int32, uint8 (KIND_*) of each frame.
        before, after: uint64 header vectors as parsed, and as the program left them.
        patches: _PATCH rows.
        scratch, places, sums: uint64 words to work in, SCRATCH_WORDS, _PLACES and _SUMS of them.

    Returns:
        the number of frames that changed.
    """
    changed = 0
    for row in range(after.shape[0]):
        headers = before[row, W_HEADERS]
        _find(data, U(offsets[row]), U(captured[row]), kinds[row], before[row], places, scratch)
        l3, l4, end = places[_P_L3], places[_P_L4], places[_P_END]
        sctp_end = _sctp_end(data, l3, l4, end, headers)
        sums[:] = U(0)
        if not _patch_row(data, before[row], after[row], patches, places, sums):
            continue
        changed += 1
        addresses, own = sums[_SUM_QUOTED_ADDRESS], sums[_SUM_QUOTED_L4]
        if addresses != U(0) or own != U(0):
            delta = _mend_quoted(data, headers, places, addresses, own)
            sums[_SUM_L4] = _ones_add(sums[_SUM_L4], delta)
        if headers & _H_IPV4:
            delta = _ones_add(sums[_SUM_IP], sums[_SUM_PSEUDO])
            _mend(data, l3 + _IPV4_SUM, end, delta, False)
        if l4 != _NOWHERE:
            _mend_l4(data, headers, l4, end, sums[_SUM_PSEUDO], sums[_SUM_L4])
            if sctp_end != U(0):
                _mend_sctp(data, l4, sctp_end)
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
    work = (np.zeros(size, np.uint64) for size in (SCRATCH_WORDS, _PLACES, _SUMS))
    kinds = np.full(len(chunk), KIND_ETHERNET, np.uint8) if chunk.kinds is None else chunk.kinds
    rewrite_rows(data, chunk.offsets, chunk.captured, kinds, before, chunk.vectors, _patches(layout), *work)
    return Chunk(chunk.vectors, data, chunk.offsets, chunk.captured, chunk.kinds)

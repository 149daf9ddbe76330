"""TCPMSS: the maximum segment size that a SYN says, lowered or added (``xt_TCPMSS.c``)."""

from __future__ import annotations

import struct

from .packets import OFFSET, TCP, checksum, header, pseudo_header, with_header_checksum

_KIND, _SIZE = 2, 4
_DEFAULT = 536  # RFC 1122, 4.2.2.6: what a peer may assume without the option
_MOST_HEADER = 60


def with_mss(packet: bytes, mss: int) -> bytes:
    """The packet with the option at most ``mss``; as it was where there is nothing to do."""
    h = header(packet)
    body = packet[h.ihl :]
    if h.protocol != TCP or h.fragment & OFFSET or len(body) < 20:
        return packet
    size = (body[12] >> 4) * 4
    if size < 20 or size > len(body):
        return packet
    at = _option(body[:size])
    if at is not None:
        old = struct.unpack("!H", body[at + 2 : at + 4])[0]
        if old <= mss:
            return packet
        changed = body[: at + 2] + struct.pack("!H", mss) + body[at + 4 :]
        return packet[: h.ihl] + _mended(packet, body, changed)
    if len(body) > size or size >= _MOST_HEADER:
        return packet
    option = struct.pack("!BBH", _KIND, _SIZE, min(mss, _DEFAULT))
    offset = bytes([(body[12] & 15) | (size + _SIZE) // 4 << 4])
    grown = body[:12] + offset + body[13:20] + option + body[20:]
    head = packet[:2] + struct.pack("!H", h.length + _SIZE) + packet[4 : h.ihl]
    whole = with_header_checksum(head + grown)
    return whole[: h.ihl] + _mended(packet, body, grown, whole)


def _option(segment: bytes) -> int | None:
    """Where the option stands."""
    at = 20
    while at < len(segment):
        kind = segment[at]
        if kind == _KIND and at + _SIZE <= len(segment) and segment[at + 1] == _SIZE:
            return at
        # As Linux walks: what has no length counts one byte.
        at += segment[at + 1] if kind >= 2 and at + 1 < len(segment) and segment[at + 1] else 1
    return None


def _mended(packet: bytes, before: bytes, after: bytes, packet_after: bytes | None = None) -> bytes:
    """The changed segment with its checksum as right or wrong as it was."""
    old = pseudo_header(packet, len(before)) + before
    new = pseudo_header(packet_after or packet, len(after)) + after
    # Both sums cover the checksum word itself: the difference goes into it (RFC 1624).
    difference = (checksum(new) - checksum(old)) % 0xFFFF
    word = (struct.unpack("!H", after[16:18])[0] + difference) % 0xFFFF
    return after[:16] + struct.pack("!H", word) + after[18:]

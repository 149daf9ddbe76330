"""Frames out of header vectors: real bytes with right checksums, for packets that have none."""

# Kernels are untyped: their argument types are in their docstrings.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.opp.fields import (
    W_HEADERS,
    W_IP_DST,
    W_IP_PROTO,
    W_IP_SRC,
    W_L4_DPORT,
    W_L4_SPORT,
    W_LENGTH,
    W_TCP_FLAGS,
    Header,
    Layout,
    layout_for,
)

from .bytesread import U, fold, ones_sum
from .headers import bit
from .source import Chunk

# What a frame is made from beyond the core words.
FRAME_FIELDS = (
    "eth.dst", "eth.src", "ipv4.tos", "ipv4.id", "ipv4.ttl", "tcp.seq", "tcp.ack", "tcp.window", "tcp.mss",
)  # fmt: skip
HEADER_BYTES = 58  # of the longest headers that are rendered: Ethernet, IPv4, TCP with an MSS option
_H_TCP, _H_UDP, _H_IPV4 = bit(Header.TCP), bit(Header.UDP), bit(Header.IPV4)
_TCP_FLAGS = U(0x1FF)


@kernel
def put(data, at, value, size):
    """Write ``value`` as ``size`` big-endian bytes."""
    for i in range(size):
        data[at + U(i)] = np.uint8((value >> U(8 * (size - 1 - i))) & U(0xFF))


@kernel
def put_ethernet(data, at, dst, src):
    """Write an Ethernet header of an IPv4 packet at ``at``."""
    put(data, at, dst, 6)
    put(data, at + U(6), src, 6)
    put(data, at + U(12), U(0x0800), 2)


@kernel
def put_ipv4(data, at, src, dst, proto, length, tos, ident, ttl):
    """Write an IPv4 header without options at ``at``; ``length`` is the total length. DF is set."""
    put(data, at, U(0x4500) | tos, 2)
    put(data, at + U(2), length, 2)
    put(data, at + U(4), ident, 2)
    put(data, at + U(6), U(0x4000), 2)
    put(data, at + U(8), (ttl << U(8)) | proto, 2)
    put(data, at + U(10), U(0), 2)
    put(data, at + U(12), src, 4)
    put(data, at + U(16), dst, 4)
    put(data, at + U(10), U(0xFFFF) ^ fold(ones_sum(data, at, at + U(20), U(0))), 2)


@kernel
def put_tcp(data, at, size, sport, dport, seq, ack, flags, window, mss, pseudo):
    """Write a TCP header, with an MSS option if ``mss`` is not 0; ``size`` bytes of layer 4, payload zeros."""
    words = U(6) if mss != U(0) else U(5)
    put(data, at, sport, 2)
    put(data, at + U(2), dport, 2)
    put(data, at + U(4), seq, 4)
    put(data, at + U(8), ack, 4)
    put(data, at + U(12), (words << U(12)) | (flags & _TCP_FLAGS), 2)
    put(data, at + U(14), window, 2)
    put(data, at + U(16), U(0), 4)
    if mss != U(0):
        put(data, at + U(20), U(0x02040000) | mss, 4)
    total = ones_sum(data, at, at + (words << U(2)), pseudo + U(6) + size)
    put(data, at + U(16), U(0xFFFF) ^ fold(total), 2)


@kernel
def put_udp(data, at, size, sport, dport, pseudo):
    """Write a UDP header of a datagram of ``size`` bytes whose payload is zeros."""
    put(data, at, sport, 2)
    put(data, at + U(2), dport, 2)
    put(data, at + U(4), size, 2)
    put(data, at + U(6), U(0), 2)
    checksum = U(0xFFFF) ^ fold(ones_sum(data, at, at + U(8), pseudo + U(17) + size))
    put(data, at + U(6), checksum if checksum != U(0) else U(0xFFFF), 2)


@kernel
def pseudo_sum(src, dst):
    """Running sum of two IPv4 addresses, the part of the pseudo-header that does not depend on layer 4."""
    return (src >> U(16)) + (src & U(0xFFFF)) + (dst >> U(16)) + (dst & U(0xFFFF))


@kernel
def _word(rows, row, words, i):
    return rows[row, words[i]] if words[i] >= 0 else U(0)


@kernel
def render_rows(rows, words, payloads, data, offsets, captured):
    """Render each row of IPv4 TCP or UDP as a frame into ``data`` (zeroed); other rows get 0 bytes.

    ``words``: int64[9], where FRAME_FIELDS stand, -1 for those that the layout lacks. ``payloads``: int64[n].
    """
    at = U(0)
    for row in range(rows.shape[0]):
        headers = rows[row, W_HEADERS]
        offsets[row] = np.int64(at)
        captured[row] = 0
        tcp, udp = headers & _H_TCP != U(0), headers & _H_UDP != U(0)
        if headers & _H_IPV4 == U(0) or not (tcp or udp):
            continue
        src, dst = rows[row, W_IP_SRC + 1] & U(0xFFFFFFFF), rows[row, W_IP_DST + 1] & U(0xFFFFFFFF)
        sport, dport = rows[row, W_L4_SPORT], rows[row, W_L4_DPORT]
        mss = _word(rows, row, words, 8)
        size = U(8) if udp else (U(24) if mss != U(0) else U(20))
        size += U(payloads[row])
        put_ethernet(data, at, _word(rows, row, words, 0), _word(rows, row, words, 1))
        put_ipv4(
            data, at + U(14), src, dst, rows[row, W_IP_PROTO], size + U(20),
            _word(rows, row, words, 2), _word(rows, row, words, 3), _word(rows, row, words, 4),
        )  # fmt: skip
        pseudo = pseudo_sum(src, dst)
        if tcp:
            put_tcp(
                data, at + U(34), size, sport, dport, _word(rows, row, words, 5), _word(rows, row, words, 6),
                rows[row, W_TCP_FLAGS], _word(rows, row, words, 7), mss, pseudo,
            )  # fmt: skip
        else:
            put_udp(data, at + U(34), size, sport, dport, pseudo)
        length = max(U(34) + size, rows[row, W_LENGTH])
        captured[row] = np.int32(length)
        at += length


def frame_layout() -> Layout:
    """The layout that a source must be asked for so that :func:`frames` can render what it yields."""
    return layout_for([*FRAME_FIELDS, "l4.payload_length"])


def frames(chunk: Chunk, layout: Layout) -> Chunk:
    """Return the chunk with bytes: its own if it has any, else rendered from the vectors.

    Only IPv4 TCP and UDP packets can be rendered; others get no bytes. Payload bytes are zeros.

    Args:
        layout: of the chunk's vectors; fields of :func:`frame_layout` that it lacks are rendered as 0.
    """
    if chunk.data is not None:
        return chunk
    rows = chunk.vectors
    words = np.array([layout.word_of.get(name, -1) for name in FRAME_FIELDS], np.int64)
    at = layout.word_of.get("l4.payload_length")
    payloads = np.zeros(len(rows), np.int64) if at is None else rows[:, at].astype(np.int64)
    # A row without headers takes nothing; 2 bytes let a checksum end on an odd byte.
    room = np.maximum(rows[:, W_LENGTH].astype(np.int64), payloads + HEADER_BYTES)
    data = np.zeros(int(room.sum()) + 2, np.uint8)
    offsets, captured = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int32)
    render_rows(rows, words, payloads, data, offsets, captured)
    return Chunk(rows, data, offsets, captured)

"""The header parser: frames in memory to header vectors, one row a packet.

A packet is always delivered with what is valid of it; why parsing stopped early stands in the low bits of
``W_STATUS`` as a :class:`Reason`. The rules are in :mod:`oppcache.traffic.headers`.
"""

# Kernels are untyped: their argument types are in their docstrings.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from oppcache._jit import kernel
from oppcache.opp.fields import (
    CORE_WORDS,
    IPV4_MAPPED,
    NO_OFFSET,
    W_FAMILY,
    W_HEADERS,
    W_ID,
    W_IN_PORT,
    W_IP_DST,
    W_IP_PROTO,
    W_IP_SRC,
    W_L4_DPORT,
    W_L4_SPORT,
    W_LENGTH,
    W_NOW,
    W_OFFSETS,
    W_STATUS,
    W_TCP_FLAGS,
    Base,
    Header,
    Layout,
)

from .bytesread import U, be16, be32, be64
from .extras import derived_wanted, fill_extras, find_declared
from .headers import (
    BAD_ARP_TYPE,
    BAD_IHL,
    BAD_IP_LENGTH,
    BAD_IP_VERSION,
    BAD_L4_LENGTH,
    ETHERTYPE_ARP,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    S_CAPTURED_END,
    S_L4_LENGTH,
    S_SOURCE_ROUTED,
    SCRATCH_WORDS,
    TRUNCATED_L3,
    TRUNCATED_L4,
    Reason,
    bit,
    extensions,
    layer4,
    link_start,
    link_tags,
)

__all__ = ["MAX_FRAME", "Parser", "Reason", "Records"]

MAX_FRAME = 256 * 1024  # longest believable frame, bytes: the limit of libpcap

_MAPPED, _NONE = U(IPV4_MAPPED), U(NO_OFFSET)
_H_IPV4, _H_IPV6 = bit(Header.IPV4, Header.IP), bit(Header.IPV6, Header.IP)
_H_ARP, _H_FRAGMENT = bit(Header.ARP), bit(Header.FRAGMENT)
_H_LATER = bit(Header.LATER_FRAGMENT, Header.FRAGMENT)
_B_ETH, _B_ARP, _B_L3, _B_L4 = int(Base.ETH), int(Base.ARP), int(Base.L3), int(Base.L4)
_NO_PLACES = _NONE | (_NONE << U(16)) | (_NONE << U(32))
_ONE = U(1)


@kernel
def _ipv4(data, l3, end, frame_end):
    """Return (header bits, protocol, layer 4, end by the IP length, reason); no bits: not IPv4.

    ``end`` is where the captured bytes end, ``frame_end`` where the frame ended on the wire.
    """
    if l3 + U(20) > end:
        return U(0), U(0), l3, l3, TRUNCATED_L3
    first = U(data[l3])
    if first >> U(4) != U(4):
        return U(0), U(0), l3, l3, BAD_IP_VERSION
    size = (first & U(15)) << U(2)
    if size < U(20):
        return U(0), U(0), l3, l3, BAD_IHL
    l4 = l3 + size
    length = be16(data, l3 + U(2))
    ip_end = l3 + length
    reason = U(0)
    if length == U(0):  # a segment that the sender's NIC was still to cut (TSO)
        ip_end = frame_end
    elif ip_end < l4:
        return U(0), U(0), l3, l3, BAD_IP_LENGTH
    elif ip_end > frame_end:
        reason = BAD_IP_LENGTH
        ip_end = frame_end
    headers = _H_IPV4
    fragment = be16(data, l3 + U(6)) & U(0x3FFF)
    if fragment != U(0):
        headers |= _H_LATER if fragment & U(0x1FFF) != U(0) else _H_FRAGMENT
    if l4 > end:
        reason = TRUNCATED_L3 if reason == U(0) else reason
    return headers, U(data[l3 + U(9)]), l4, ip_end, reason


@kernel
def _ipv6(data, l3, end, frame_end, scratch):
    """As :func:`_ipv4`, with extension headers walked."""
    if l3 + U(40) > end:
        return U(0), U(0), l3, l3, TRUNCATED_L3
    if U(data[l3]) >> U(4) != U(6):
        return U(0), U(0), l3, l3, BAD_IP_VERSION
    l4 = l3 + U(40)
    length = be16(data, l3 + U(4))
    ip_end = l4 + length
    proto = U(data[l3 + U(6)])
    reason = U(0)
    if ip_end > frame_end:
        reason = BAD_IP_LENGTH
        ip_end = frame_end
    elif length == U(0) and proto == U(0):  # jumbogram: the length stands in a hop-by-hop option
        ip_end = frame_end
    headers = _H_IPV6
    if proto == U(0) or proto == U(43) or proto == U(44) or proto == U(60) or proto == U(135):
        proto, l4, found, why = extensions(data, l4, min(end, ip_end), proto, scratch)
        headers |= found
        if why == TRUNCATED_L3 and end >= ip_end:
            why = BAD_IP_LENGTH
        if reason == U(0):
            reason = why
        if why != U(0):
            l4 = end + U(1)  # nothing behind it can be found
    return headers, proto, l4, ip_end, reason


@kernel
def _arp(data, at, end):
    """Return (header bits, reason) of an ARP message for Ethernet and IPv4."""
    if at + U(28) > end:
        return U(0), TRUNCATED_L3
    if be16(data, at + U(4)) != U(0x0604):
        return U(0), BAD_ARP_TYPE
    return _H_ARP, U(0)


@kernel
def _network(data, at, end, frame_end, ethertype, scratch):
    """Return (header bits, family, protocol, layer 4, end by the IP length, reason) of what follows the link layer."""
    if ethertype == ETHERTYPE_IPV4:
        found, proto, l4, ip_end, reason = _ipv4(data, at, end, frame_end)
        return found, U(4) if found != U(0) else U(0), proto, l4, ip_end, reason
    if ethertype == ETHERTYPE_IPV6:
        scratch[S_SOURCE_ROUTED] = U(0)
        found, proto, l4, ip_end, reason = _ipv6(data, at, end, frame_end, scratch)
        return found, U(6) if found != U(0) else U(0), proto, l4, ip_end, reason
    if ethertype == ETHERTYPE_ARP:
        scratch[_B_ARP] = at
        found, reason = _arp(data, at, end)
        return found, U(0), U(0), at, at, reason
    return U(0), U(0), U(0), at, at, U(0)


@kernel
def _addresses(data, at, family, out, row):
    """Write the joint addresses of the IP header at ``at``, or zeros."""
    if family == U(4):
        out[row, W_IP_SRC] = U(0)
        out[row, W_IP_SRC + 1] = _MAPPED | be32(data, at + U(12))
        out[row, W_IP_DST] = U(0)
        out[row, W_IP_DST + 1] = _MAPPED | be32(data, at + U(16))
    elif family == U(6):
        out[row, W_IP_SRC] = be64(data, at + U(8))
        out[row, W_IP_SRC + 1] = be64(data, at + U(16))
        out[row, W_IP_DST] = be64(data, at + U(24))
        out[row, W_IP_DST + 1] = be64(data, at + U(32))
    else:
        for word in range(W_IP_SRC, W_IP_DST + 2):
            out[row, word] = U(0)


@kernel
def _place(at, start):
    """Offset of ``at`` in its frame for W_OFFSETS; what does not fit is none."""
    offset = at - start
    return offset if offset < _NONE else _NONE


@kernel
def _transport(data, start, l3, l4, end, ip_end, headers, family, proto, reason, scratch):
    """Return (header bits, ports, TCP flags, W_OFFSETS, reason) of the IP packet at ``l3``; ports are 16 bits apart."""
    scratch[_B_L3] = l3
    scratch[_B_L4] = l4
    scratch[S_L4_LENGTH] = ip_end - l4 if ip_end > l4 else U(0)
    offsets = _place(l3, start)
    if l4 > end:
        return headers, U(0), U(0), offsets | (_NONE << U(16)) | (_NONE << U(32)), reason
    if headers & _H_LATER == _H_LATER:
        return headers, U(0), U(0), offsets | (_NONE << U(16)) | (_place(l4, start) << U(32)), reason
    found, ports, flags, behind, why = layer4(data, l4, min(end, ip_end), proto, family, scratch)
    payload = _place(behind, start) if behind <= end and why != U(1) else _NONE
    if reason == U(0) and why != U(0):
        reason = why >> U(1)
        if why == U(1):
            reason = TRUNCATED_L4 if end < ip_end else BAD_L4_LENGTH
    return headers | found, ports, flags, offsets | (_place(l4, start) << U(16)) | (payload << U(32)), reason


@kernel
def _parse(data, start, end, wire, kind, out, row, scratch):
    """Parse one frame into the core words that its bytes decide; return the reason."""
    ethertype, at, headers, reason = link_start(data, start, end, kind)
    if ethertype != ETHERTYPE_IPV4 and ethertype != ETHERTYPE_IPV6 and reason == U(0):
        ethertype, at, headers, reason = link_tags(data, at, end, ethertype, headers, scratch)
    found, family, proto, l4, ip_end, why = _network(data, at, end, start + wire, ethertype, scratch)
    headers |= found
    if reason == U(0):
        reason = why
    ports, flags, places = U(0), U(0), _NO_PLACES
    if family != U(0):
        headers, ports, flags, places, reason = _transport(
            data, start, at, l4, end, ip_end, headers, family, proto, reason, scratch
        )
    out[row, W_HEADERS] = headers
    out[row, W_STATUS] = reason
    out[row, W_LENGTH] = wire
    out[row, W_FAMILY] = family
    _addresses(data, at, family, out, row)
    out[row, W_IP_PROTO] = proto
    out[row, W_L4_SPORT] = ports >> U(16)
    out[row, W_L4_DPORT] = ports & U(0xFFFF)
    out[row, W_TCP_FLAGS] = flags
    out[row, W_OFFSETS] = places
    return reason


@kernel
def parse_records(
    data, offsets, captured, lengths, stamps, ports, kinds, first, count, extras, want, declared, out, clock, reasons, scratch
):  # fmt: skip
    """Parse ``count`` records from record ``first`` on into the rows of ``out``.

    Args:
        data: uint8[bytes].
        offsets, captured, lengths: int64, int32, uint32: where a frame starts, its captured and wire length.
        stamps, ports, kinds: uint64 ns, uint16, uint8 (KIND_*).
        extras: EXTRA_DTYPE rows of the layout; ``want``: what to derive, see ``derived_wanted``.
        declared: DECLARED_DTYPE rows of the layout.
        out: uint64[count or more, layout.words].
        clock: uint64[3]: next packet number, last stamp, stamps that went back.
        reasons: int64[256], counts by reason, added to.
        scratch: uint64[SCRATCH_WORDS].
    """
    for row in range(count):
        record = first + row
        start = U(offsets[record])
        end = start + U(captured[record])
        reason = _parse(data, start, end, U(lengths[record]), kinds[record], out, row, scratch)
        if reason != U(0):
            reasons[reason] += 1
        now = stamps[record]
        if now < clock[1]:
            now = clock[1]
            clock[2] += _ONE
        clock[1] = now
        out[row, W_NOW] = now
        out[row, W_IN_PORT] = U(ports[record])
        out[row, W_ID] = clock[0]
        clock[0] += _ONE
        for word in range(CORE_WORDS, out.shape[1]):
            out[row, word] = U(0)
        if extras.size or want or declared.size:
            scratch[_B_ETH] = start
            scratch[S_CAPTURED_END] = end
            if declared.size:
                find_declared(declared, out, row, scratch)
            fill_extras(data, extras, want, out, row, scratch)


@dataclass
class Records:
    """Frames in memory, before parsing: a column a property, all of length ``capacity``.

    Attributes:
        offsets: int64, where each frame starts in the bytes.
        captured: int32, captured bytes; ``offsets + captured`` stays within the bytes.
        lengths: uint32, length on the wire without FCS, at least ``captured``.
        stamps: uint64, nanoseconds.
        ports: uint16, number of the interface.
        kinds: uint8, KIND_* of :mod:`oppcache.traffic.headers`.
    """

    capacity: int
    offsets: np.ndarray = field(init=False)
    captured: np.ndarray = field(init=False)
    lengths: np.ndarray = field(init=False)
    stamps: np.ndarray = field(init=False)
    ports: np.ndarray = field(init=False)
    kinds: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.offsets = np.zeros(self.capacity, np.int64)
        self.captured = np.zeros(self.capacity, np.int32)
        self.lengths = np.zeros(self.capacity, np.uint32)
        self.stamps = np.zeros(self.capacity, np.uint64)
        self.ports = np.zeros(self.capacity, np.uint16)
        self.kinds = np.zeros(self.capacity, np.uint8)

    def columns(self) -> tuple[np.ndarray, ...]:
        """The columns in the order in which kernels take them."""
        return self.offsets, self.captured, self.lengths, self.stamps, self.ports, self.kinds


class Parser:
    """Parses records for one layout, with a running packet number, clock and counts."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._extras = layout.extras()
        self._want = derived_wanted(layout)
        self._declared = layout.declared()
        self._clock = np.zeros(3, np.uint64)
        self._reasons = np.zeros(256, np.int64)
        self._scratch = np.zeros(SCRATCH_WORDS, np.uint64)

    def parse(
        self, data: np.ndarray, records: Records, first: int, count: int, out: np.ndarray
    ) -> np.ndarray:
        """Parse ``count`` records from number ``first`` on and return them as a view of ``out``'s first rows.

        Args:
            data: uint8 bytes in which the records' frames stand.
            out: ``uint64[count or more, layout.words]``, C-contiguous.
        """
        if out.shape[0] < count or out.shape[1] != self.layout.words:
            raise ValueError(f"got rows {out.shape}, expected at least ({count}, {self.layout.words})")
        parse_records(
            data, *records.columns(), first, count, self._extras, self._want, self._declared, out,
            self._clock, self._reasons, self._scratch,
        )  # fmt: skip
        return out[:count]

    def counts(self) -> dict[str, int]:
        """``packets`` parsed so far, ``parse_*`` by reason, ``time_steps_back``; zeros left out."""
        found = {"packets": int(self._clock[0])}
        for reason in Reason:
            if reason and self._reasons[reason]:
                found[f"parse_{reason.name.lower()}"] = int(self._reasons[reason])
        if self._clock[2]:
            found["time_steps_back"] = int(self._clock[2])
        return found

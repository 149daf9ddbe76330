"""Walkers over the records of pcap and pcapng files that stand in a buffer.

Formats: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng (formerly draft-tuexen). A walker finds where the
frames are and does not look into them. It never reads beyond the bytes it was given.
"""

# Kernels are untyped: their argument types are in their docstrings.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oppcache._jit import kernel

from .bytesread import U, be32, le32
from .headers import KIND_OF_LINKTYPE
from .parser import MAX_FRAME, Records

FULL, MORE, CORRUPT, HEADER = (
    0,
    1,
    2,
    3,
)  # why a walk ended: records are full, bytes are used up, …, a block for Python
NO_KIND = 255  # a link type that is not read
STAMP_MAX = 1 << 62  # ns; pcap ends below it (2106), and later stamps are clamped

PCAP_HEADER_BYTES = 24
_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 2, 3, 6
_BYTE_ORDER = 0x1A2B3C4D
MAX_INTERFACES = 65536
# A packet block longer than this cannot be walked in one piece and is skipped.
MAX_BLOCK = MAX_FRAME + 64 * 1024

_MAX_FRAME, _STAMP_MAX = U(MAX_FRAME), U(STAMP_MAX)

# Interface columns, and counters of a walk.
I_KIND, I_DECIMAL, I_EXPONENT, I_OFFSET, I_SNAPLEN, I_FCS, I_SKIPPED = 0, 1, 2, 3, 4, 5, 6
INTERFACE_COLUMNS = 7
C_READ, C_CLAMPED, C_BAD_BLOCK, C_NO_INTERFACE, C_BAD_LENGTH, C_STAMP = 0, 1, 2, 3, 4, 5
COUNTERS = 6


@kernel
def _u32(data, at, big):
    return be32(data, at) if big else le32(data, at)


@kernel
def _emit(
    n, at, captured, wire, stamp, port, interfaces, counters, offsets, captures, lengths, stamps, ports, kinds
):
    """Note one frame as record ``n``, unless its link type is not read; return the next n."""
    counters[C_READ] += 1
    row = port if port < interfaces.shape[0] else 0
    kind = interfaces[row, I_KIND]
    if kind == NO_KIND:
        interfaces[row, I_SKIPPED] += 1
        return n
    if wire > _MAX_FRAME or wire < captured:
        wire = captured
        counters[C_BAD_LENGTH] += 1
    fcs = U(interfaces[row, I_FCS])
    if fcs != U(0) and wire > fcs:
        wire = wire - fcs
        captured = min(captured, wire)
    if stamp > _STAMP_MAX:
        stamp = _STAMP_MAX
        counters[C_CLAMPED] += 1
    counters[C_STAMP] = np.int64(stamp)
    offsets[n] = np.int64(at)
    captures[n] = np.int32(captured)
    lengths[n] = np.uint32(wire)
    stamps[n] = stamp
    ports[n] = np.uint16(port)
    kinds[n] = np.uint8(kind)
    return n + 1


@kernel
def walk_pcap(
    data, pos, fill, big, scale, interfaces, counters, offsets, captures, lengths, stamps, ports, kinds
):
    """Walk pcap records from ``pos`` up to ``fill``; return (records noted, new pos, why it ended).

    ``scale``: ns in a unit of the fraction, 1 or 1000. The other arrays are a :class:`Records`' columns.
    """
    n = np.int64(0)
    at, stop = U(pos), U(fill)
    while n < offsets.shape[0]:
        if at + U(16) > stop:
            return n, np.int64(at), MORE
        captured = _u32(data, at + U(8), big)
        if captured > _MAX_FRAME:
            return n, np.int64(at), CORRUPT
        if at + U(16) + captured > stop:
            return n, np.int64(at), MORE
        stamp = _u32(data, at, big) * U(1_000_000_000) + _u32(data, at + U(4), big) * U(scale)
        wire = _u32(data, at + U(12), big)
        n = _emit(
            n, at + U(16), captured, wire, stamp, 0, interfaces, counters,
            offsets, captures, lengths, stamps, ports, kinds,
        )  # fmt: skip
        at += U(16) + captured
    return n, np.int64(at), FULL


@kernel
def _nanoseconds(ticks, interfaces, port):
    """A pcapng time stamp in ns, saturated at one above STAMP_MAX."""
    exponent = U(interfaces[port, I_EXPONENT])
    if interfaces[port, I_DECIMAL] == 1:
        if exponent <= U(9):
            scale = U(1)
            for _ in range(9 - interfaces[port, I_EXPONENT]):
                scale *= U(10)
            stamp = _STAMP_MAX + U(1) if ticks > _STAMP_MAX // scale else ticks * scale
        else:
            stamp = ticks
            for _ in range(min(interfaces[port, I_EXPONENT] - 9, 20)):
                stamp = stamp // U(10)
    else:
        if exponent >= U(64):
            return U(0)
        seconds = ticks >> exponent
        fraction = ticks - (seconds << exponent)
        if exponent > U(34):  # keep fraction * 10^9 within 64 bits
            fraction = fraction >> (exponent - U(34))
            exponent = U(34)
        if seconds > U(4_600_000_000):
            return _STAMP_MAX + U(1)
        stamp = seconds * U(1_000_000_000) + ((fraction * U(1_000_000_000)) >> exponent)
    offset = interfaces[port, I_OFFSET]
    if offset >= 0:
        return min(stamp + U(offset), _STAMP_MAX + U(1))
    return stamp - U(-offset) if stamp > U(-offset) else U(0)


@kernel
def walk_pcapng(
    data, pos, fill, big, known, interfaces, counters, offsets, captures, lengths, stamps, ports, kinds
):
    """As :func:`walk_pcap` over pcapng blocks; ``known``: interfaces of this section so far.

    Ends with HEADER at a section or interface block, or one too long for any buffer, which the caller handles.
    """
    n = np.int64(0)
    at, stop = U(pos), U(fill)
    while n < offsets.shape[0]:
        if at + U(12) > stop:
            return n, np.int64(at), MORE
        kind = _u32(data, at, big)
        if kind == U(_SECTION) or kind == U(_INTERFACE):
            return n, np.int64(at), HEADER
        length = _u32(data, at + U(4), big)
        if length < U(12) or length & U(3) != U(0):
            return n, np.int64(at), CORRUPT
        packet = kind == U(_ENHANCED) or kind == U(_OLD_PACKET) or kind == U(_SIMPLE)
        if at + length > stop:
            return n, np.int64(at), MORE if packet and length <= U(MAX_BLOCK) else HEADER
        if packet:
            head = U(12) if kind == U(_SIMPLE) else U(28)
            if length < head + U(4):
                counters[C_READ] += 1
                counters[C_BAD_BLOCK] += 1
                at += length
                continue
            port = U(0)
            if kind == U(_ENHANCED):
                port = _u32(data, at + U(8), big)
            elif kind == U(_OLD_PACKET):
                word = _u32(data, at + U(8), big)
                port = word >> U(16) if big else word & U(0xFFFF)
            if port >= U(known):
                counters[C_READ] += 1
                counters[C_NO_INTERFACE] += 1
                at += length
                continue
            row = np.int64(port)
            if kind == U(_SIMPLE):
                wire = _u32(data, at + U(8), big)
                captured = min(wire, length - U(16))
                if interfaces[row, I_SNAPLEN] > 0:
                    captured = min(captured, U(interfaces[row, I_SNAPLEN]))
                stamp = U(counters[C_STAMP])
            else:
                captured, wire = _u32(data, at + U(20), big), _u32(data, at + U(24), big)
                ticks = (_u32(data, at + U(12), big) << U(32)) | _u32(data, at + U(16), big)
                stamp = _nanoseconds(ticks, interfaces, row)
            if head + captured + U(4) > length or captured > _MAX_FRAME:
                counters[C_READ] += 1
                counters[C_BAD_BLOCK] += 1
            else:
                n = _emit(
                    n, at + head, captured, wire, stamp, row, interfaces, counters,
                    offsets, captures, lengths, stamps, ports, kinds,
                )  # fmt: skip
        at += length
    return n, np.int64(at), FULL


def _counter_names() -> dict[int, str]:
    return {
        C_CLAMPED: "stamps_clamped",
        C_BAD_BLOCK: "skipped_bad_block",
        C_NO_INTERFACE: "skipped_no_interface",
        C_BAD_LENGTH: "lengths_corrected",
    }


@dataclass
class Walk:
    """Where a walk ended: records noted, position, and why (FULL, MORE, CORRUPT, HEADER)."""

    count: int
    pos: int
    why: int


class Walker:
    """Common to both formats: interface table, counters."""

    format = ""

    def __init__(self) -> None:
        self.big = False
        self.interfaces = np.zeros((1, INTERFACE_COLUMNS), np.int64)
        self.known = 0
        self._counters = np.zeros(COUNTERS, np.int64)
        self._linktypes: list[int] = []
        self._skipped: dict[int, int] = {}

    def walk(self, data: np.ndarray, pos: int, fill: int, records: Records) -> Walk:
        """Note frames of ``data[pos:fill]`` (uint8) in ``records``, from its first row on."""
        raise NotImplementedError

    def header(self, data: np.ndarray, pos: int, fill: int) -> tuple[int, int]:
        """Handle the block at ``pos`` at which the walk ended with HEADER.

        Returns:
            (bytes to go on by, which may lie beyond ``fill``; why: FULL to go on, MORE, CORRUPT).
        """
        raise NotImplementedError

    def add_interface(
        self, linktype: int, snaplen: int, fcs: int, decimal: bool, exponent: int, offset: int
    ) -> None:
        """Enter the next interface; ``offset`` in ns, ``exponent`` of 10 or 2 as ``decimal`` says."""
        if self.known == len(self.interfaces):
            self.interfaces = np.vstack([self.interfaces, np.zeros_like(self.interfaces)])
        kind = KIND_OF_LINKTYPE.get(linktype, NO_KIND)
        self.interfaces[self.known] = (kind, decimal, exponent, offset, snaplen, fcs, 0)
        self._linktypes.append(linktype)
        self.known += 1

    def forget_interfaces(self) -> None:
        """A new section begins: keep the counts, start the interfaces from 0."""
        self._note_skipped()
        self._linktypes.clear()
        self.known = 0

    def _note_skipped(self) -> None:
        for row, linktype in enumerate(self._linktypes):
            self._skipped[linktype] = self._skipped.get(linktype, 0) + int(self.interfaces[row, I_SKIPPED])
            self.interfaces[row, I_SKIPPED] = 0

    def counts(self) -> dict[str, int]:
        """``packets_read``, ``skipped_linktype_N`` and what else was met; zeros left out."""
        self._note_skipped()
        found = {"packets_read": int(self._counters[C_READ])}
        for linktype, count in sorted(self._skipped.items()):
            if count:
                found[f"skipped_linktype_{linktype}"] = count
        for number, name in _counter_names().items():
            if self._counters[number]:
                found[name] = int(self._counters[number])
        return found


class PcapWalker(Walker):
    """Walks the records of a pcap file.

    Args:
        header: the file's first 24 bytes, whose magic is one of :data:`PCAP_MAGICS`.
    """

    def __init__(self, header: bytes) -> None:
        super().__init__()
        order, self._scale = PCAP_MAGICS[header[:4]]
        self.big = order == "big"
        self.format = "pcap-ns" if self._scale == 1 else "pcap"
        network = int.from_bytes(header[20:24], order)  # type: ignore[arg-type]
        snaplen = int.from_bytes(header[16:20], order)  # type: ignore[arg-type]
        # Bit 26 says that the top four bits are the FCS length in 16-bit words.
        fcs = 2 * (network >> 28) if network & (1 << 26) else 0
        self.add_interface(network & 0xFFFF, snaplen, fcs, True, 9, 0)

    def walk(self, data: np.ndarray, pos: int, fill: int, records: Records) -> Walk:
        """See :meth:`Walker.walk`."""
        found = walk_pcap(
            data, pos, fill, self.big, self._scale, self.interfaces, self._counters, *records.columns()
        )  # fmt: skip
        return Walk(*found)


PCAP_MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("little", 1000),
    b"\xa1\xb2\xc3\xd4": ("big", 1000),
    b"\x4d\x3c\xb2\xa1": ("little", 1),
    b"\xa1\xb2\x3c\x4d": ("big", 1),
}
PCAPNG_MAGIC = b"\x0a\x0d\x0d\x0a"


class PcapngWalker(Walker):
    """Walks the blocks of a pcapng file, whose first block is still to come."""

    format = "pcapng"

    def walk(self, data: np.ndarray, pos: int, fill: int, records: Records) -> Walk:
        """See :meth:`Walker.walk`."""
        found = walk_pcapng(
            data, pos, fill, self.big, self.known, self.interfaces, self._counters, *records.columns()
        )  # fmt: skip
        return Walk(*found)

    def header(self, data: np.ndarray, pos: int, fill: int) -> tuple[int, int]:
        """See :meth:`Walker.header`."""
        view = data[pos:fill].tobytes() if fill - pos <= MAX_BLOCK else data[pos : pos + MAX_BLOCK].tobytes()
        if view[:4] == PCAPNG_MAGIC:
            if len(view) < 12:
                return 0, MORE
            order = {0x1A2B3C4D: "little", 0x4D3C2B1A: "big"}.get(int.from_bytes(view[8:12], "little"))
            if order is None:
                return 0, CORRUPT
            self.big = order == "big"
            self.forget_interfaces()
        order = "big" if self.big else "little"
        length = int.from_bytes(view[4:8], order)  # type: ignore[arg-type]
        if length < 12 or length % 4:
            return 0, CORRUPT
        if int.from_bytes(view[:4], order) == _INTERFACE:  # type: ignore[arg-type]
            if length > MAX_BLOCK:
                return 0, CORRUPT
            if len(view) < length:
                return 0, MORE
            if length < 20 or self.known >= MAX_INTERFACES:
                return 0, CORRUPT
            self._interface(view[8 : length - 4], order)
        elif int.from_bytes(view[:4], order) in (_OLD_PACKET, _SIMPLE, _ENHANCED):  # type: ignore[arg-type]
            self._counters[C_READ] += 1
            self._counters[C_BAD_BLOCK] += 1
        return length, FULL

    def _interface(self, body: bytes, order: str) -> None:
        def number(part: bytes, signed: bool = False) -> int:
            return int.from_bytes(part, order, signed=signed)  # type: ignore[arg-type]

        decimal, exponent, offset, fcs = True, 6, 0, 0
        at = 8
        while at + 4 <= len(body):
            code, size = number(body[at : at + 2]), number(body[at + 2 : at + 4])
            value = body[at + 4 : at + 4 + size]
            if code == 0 or len(value) < size:
                break
            if code == 9 and size == 1:  # if_tsresol
                decimal, exponent = value[0] < 128, value[0] & 127
            elif code == 13 and size == 1:  # if_fcslen
                fcs = value[0]
            elif code == 14 and size == 8:  # if_tsoffset, seconds
                offset = max(-STAMP_MAX, min(STAMP_MAX, number(value, signed=True) * 1_000_000_000))
            at += 4 + size + (-size % 4)
        self.add_interface(number(body[:2]), number(body[4:8]), fcs, decimal, exponent, offset)

"""Writing pcap files: packets of any source, or what a program made of them."""

# Kernels are untyped: their argument types are in their docstrings.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from oppcache._jit import kernel
from oppcache.opp.errors import InputError, Mark
from oppcache.opp.fields import W_LENGTH, W_NOW

from .bytesread import U
from .frames import frame_layout, frames
from .headers import KIND_ETHERNET, KIND_OF_LINKTYPE
from .source import Chunk, PacketSource

SNAPLEN = 262144
_LINKTYPE_OF_KIND = {kind: linktype for linktype, kind in KIND_OF_LINKTYPE.items()}
_RECORD = 16  # bytes of a record's header
_SECOND = U(1_000_000_000)
_BYTE = U(0xFF)


@kernel
def _put_word(out, at, value):
    """Write 32 bits, little endian."""
    for i in range(4):
        out[at + i] = np.uint8((value >> U(8 * i)) & _BYTE)


@kernel
def pack_records(data, offsets, sizes, rows, keep, out):
    """Write the records of the packets to keep to ``out``; return the bytes used.

    Args:
        data: uint8; offsets, sizes: int64, where each frame starts and how many bytes of it are written.
        rows: uint64 header vectors, for stamp and length.
        keep: bool, one a packet.
        out: uint8, with room for all of them.
    """
    at = np.int64(0)
    for row in range(rows.shape[0]):
        if not keep[row]:
            continue
        _put_word(out, at, rows[row, W_NOW] // _SECOND)
        _put_word(out, at + 4, rows[row, W_NOW] % _SECOND)
        _put_word(out, at + 8, U(sizes[row]))
        _put_word(out, at + 12, rows[row, W_LENGTH])
        at += _RECORD
        start = offsets[row]
        for i in range(sizes[row]):
            out[at + i] = data[start + i]
        at += sizes[row]
    return at


def _file_header(linktype: int, snaplen: int) -> bytes:
    return struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, snaplen, linktype)


def _records(chunk: Chunk, snaplen: int, keep: np.ndarray | None) -> np.ndarray:
    """A chunk's packets as the bytes of pcap records, ``uint8``."""
    if chunk.data is None or chunk.offsets is None or chunk.captured is None:
        raise ValueError("got packets without bytes, expected frames: see frames()")
    chosen = np.ones(len(chunk), bool) if keep is None else np.asarray(keep, bool)
    if chosen.shape != (len(chunk),):
        raise ValueError(f"got keep of shape {chosen.shape}, expected ({len(chunk)},)")
    sizes = np.minimum(chunk.captured.astype(np.int64), snaplen)
    out = np.zeros(int(sizes[chosen].sum()) + _RECORD * int(chosen.sum()), np.uint8)
    used = pack_records(chunk.data, chunk.offsets.astype(np.int64), sizes, chunk.vectors, chosen, out)
    return out[:used]


class PcapWriter:
    """A pcap file with nanosecond stamps, to which chunks of packets are written; use it with ``with``.

    The file has the link type of the first packet. Stamps are the packets' ingress times.

    Args:
        path: the file; it is replaced.
        snaplen: frames are cut to so many bytes.
    """

    def __init__(self, path: str | Path, snaplen: int = SNAPLEN) -> None:
        self.path = Path(path)
        self.snaplen = snaplen
        self._kind: int | None = None
        try:
            self._file = self.path.open("wb")
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", Mark(str(path))) from None

    def write(self, chunk: Chunk, keep: np.ndarray | None = None) -> int:
        """Write a chunk's packets as their bytes stand, :func:`~.rewrite.rewrite` puts headers there before.

        Args:
            chunk: packets with bytes.
            keep: ``bool[n]``, which ones to write; all unless given.

        Returns:
            how many were written.

        Raises:
            ValueError: the packets have no bytes.
            InputError: a packet has another link type than the first one: a pcap file has one.
        """
        records = _records(chunk, self.snaplen, keep)
        count = len(chunk) if keep is None else int(np.count_nonzero(keep))
        if count:
            self._begin(chunk, keep)
            records.tofile(self._file)
        return count

    def _begin(self, chunk: Chunk, keep: np.ndarray | None) -> None:
        kinds = np.full(len(chunk), KIND_ETHERNET) if chunk.kinds is None else chunk.kinds
        found = np.unique(kinds if keep is None else kinds[np.asarray(keep, bool)]).tolist()
        if self._kind is None:
            self._kind = found[0]
            self._file.write(_file_header(_LINKTYPE_OF_KIND[found[0]], self.snaplen))
            self._file.flush()
        for kind in found:
            if kind != self._kind:
                got, first = _LINKTYPE_OF_KIND[kind], _LINKTYPE_OF_KIND[self._kind]
                message = (
                    f"got a packet of link type {got} behind one of {first}: a pcap file has one link type"
                )
                raise InputError(message, Mark(str(self.path)))

    def close(self) -> None:
        """End the file; one without packets is an empty Ethernet capture."""
        if self._file.closed:
            return
        if self._kind is None:
            self._file.write(_file_header(1, self.snaplen))
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def pcap_bytes(source: PacketSource, snaplen: int = SNAPLEN) -> Iterator[bytes]:
    """Yield a source's packets as a pcap file with nanosecond stamps, in pieces; frames are cut to ``snaplen``.

    Link type Ethernet: for packets that are generated, or that were captured on Ethernet.
    """
    yield _file_header(1, snaplen)
    layout = frame_layout()
    for chunk in source.chunks(layout):
        yield _records(frames(chunk, layout), snaplen, None).tobytes()


def write_pcap(path: str | Path, source: PacketSource) -> None:
    """Write a source's packets to a pcap file with nanosecond stamps, as they are.

    Raises:
        InputError: the packets are of several link types, or the file cannot be written.
    """
    layout = frame_layout()
    with PcapWriter(path) as writer:
        for chunk in source.chunks(layout):
            writer.write(frames(chunk, layout))

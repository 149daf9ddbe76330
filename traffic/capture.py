"""Capture files as packet sources: pcap, pcapng and gzip of either, read in pieces with constant memory."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from oppcache._memory import zeros
from oppcache.opp.errors import InputError, Mark
from oppcache.opp.fields import Layout

from .bytestream import ByteStream
from .parser import Parser, Records
from .records import (
    CORRUPT,
    FULL,
    HEADER,
    MAX_BLOCK,
    MORE,
    PCAP_HEADER_BYTES,
    PCAP_MAGICS,
    PCAPNG_MAGIC,
    PcapngWalker,
    PcapWalker,
    Walker,
)
from .source import Chunk

log = logging.getLogger("oppcache")

CHUNK_PACKETS = 16384
BUFFER_BYTES = 1024 * 1024
_EXPECTED = "expected a capture file (pcap, pcapng, or gzip of either)"


def open_capture(path: str | Path) -> Capture:
    """Open a capture file as a packet source; its format is told by its magic, not by its name.

    Raises:
        InputError: missing, a directory, unreadable, not a capture, or a corrupt gzip. The last may also be
            raised while packets are read. A file that ends within a record is no error: it is counted.
    """
    return Capture(Path(path))


class Capture:
    """A capture file; see :class:`~oppcache.traffic.source.PacketSource`.

    Frames of link types other than Ethernet (1), raw IP (101), Linux cooked (113) and cooked v2 (276) are
    skipped and counted. ``in_port`` is the interface number within its pcapng section, 0 in a pcap file.

    Args:
        path: the file.
        chunk_packets: most packets in a chunk.
        buffer_bytes: bytes held of the (unpacked) file; at least two of the longest blocks.
    """

    def __init__(
        self, path: Path, chunk_packets: int = CHUNK_PACKETS, buffer_bytes: int = BUFFER_BYTES
    ) -> None:
        self.path = path
        self.chunk_packets = chunk_packets
        self.buffer_bytes = max(buffer_bytes, 2 * MAX_BLOCK)
        self._sha256 = ""
        self._counts: dict[str, int] = {"packets_read": 0, "packets": 0}
        with ByteStream(path) as stream:
            self.compressed = stream.compressed
            self.format = self._begin(stream)[0].format

    def _begin(self, stream: ByteStream) -> tuple[Walker, bytes]:
        """Read the magic; return a walker and the bytes that belong to what it walks."""
        head = bytearray(PCAP_HEADER_BYTES)
        view, done = memoryview(head), 0
        while done < len(head):
            count = stream.readinto(view[done:])
            if count == 0:
                break
            done += count
        magic = bytes(head[:4])
        mark = Mark(str(self.path))
        if done == 0:
            raise InputError(f"is empty, {_EXPECTED}", mark)
        if done < 12 or (magic in PCAP_MAGICS and done < PCAP_HEADER_BYTES):
            raise InputError(f"ends after {done} bytes, within the file header, {_EXPECTED}", mark)
        if magic in PCAP_MAGICS:
            return PcapWalker(bytes(head)), b""
        if magic == PCAPNG_MAGIC and bytes(head[8:12]) in (b"\x4d\x3c\x2b\x1a", b"\x1a\x2b\x3c\x4d"):
            return PcapngWalker(), bytes(head[:done])
        what = "gzip of something that begins with" if stream.compressed else "begins with"
        raise InputError(f"{what} {magic!r}, {_EXPECTED}", mark)

    def chunks(self, layout: Layout) -> Iterator[Chunk]:
        """Read the file from its beginning; see :meth:`~oppcache.traffic.source.PacketSource.chunks`."""
        with ByteStream(self.path) as stream:
            walker, first = self._begin(stream)
            parser = Parser(layout)
            yield from self._walk(stream, walker, parser, first)

    def _walk(self, stream: ByteStream, walker: Walker, parser: Parser, first: bytes) -> Iterator[Chunk]:
        buffer = zeros(self.buffer_bytes, np.uint8)
        view = memoryview(buffer)  # type: ignore[arg-type]
        records = Records(self.chunk_packets)
        rows = zeros((self.chunk_packets, parser.layout.words), np.uint64)
        buffer[: len(first)] = np.frombuffer(first, np.uint8)
        pos, fill, skip, ended = 0, len(first), 0, False
        why = MORE
        end: dict[str, int] = {}
        self._note(walker, parser, end)
        while True:
            if why == MORE:
                if ended:
                    break
                buffer[: fill - pos] = buffer[pos:fill]
                pos, fill = 0, fill - pos
                count = stream.readinto(view[fill:])
                ended = count == 0
                fill += count
            if skip:
                step = min(skip, fill - pos)
                pos, skip = pos + step, skip - step
                why = MORE if skip else FULL
                continue
            found = walker.walk(buffer, pos, fill, records)
            pos, why = found.pos, found.why
            if found.count:
                n = found.count
                vectors = parser.parse(buffer, records, 0, n, rows)
                self._note(walker, parser, end)
                yield Chunk(vectors, buffer, records.offsets[:n], records.captured[:n], records.kinds[:n])
            if why == HEADER:
                skip, why = walker.header(buffer, pos, fill)
            if why == CORRUPT:
                stream.verify()
                log.warning(
                    "%s: the rest of the file is unreadable: a record has an impossible length", self.path
                )
                end["corrupt_file"] = 1
                break
        if why != CORRUPT and (fill > pos or skip):
            end["truncated_file"] = 1
        if stream.trailing:
            end["ignored_trailing_bytes"] = stream.trailing
        self._note(walker, parser, end)

    def _note(self, walker: Walker, parser: Parser, end: dict[str, int]) -> None:
        read = walker.counts()
        self._counts = {"packets_read": read.pop("packets_read"), **parser.counts(), **read, **end}

    def counts(self) -> dict[str, int]:
        """Counts of the last pass; also ``truncated_file``, ``corrupt_file``, ``ignored_trailing_bytes``."""
        return dict(self._counts)

    def describe(self) -> dict[str, Any]:
        """File name, format, size and SHA-256."""
        return {
            "kind": "capture",
            "file": self.path.name,
            "format": self.format,
            "gzip": self.compressed,
            "bytes": self.path.stat().st_size,
            "sha256": self.sha256(),
        }

    def sha256(self) -> str:
        """Hexadecimal SHA-256 of the file as it lies on disk."""
        if not self._sha256:
            with open(self.path, "rb") as file:
                self._sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return self._sha256

    def inputs(self) -> list[Path]:
        """The file."""
        return [self.path]

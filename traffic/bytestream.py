"""Bytes of a capture file in order, unpacked where gzip's magic stands at the beginning."""

from __future__ import annotations

import os
import stat
import zlib
from pathlib import Path
from types import TracebackType

from oppcache.opp.errors import InputError, Mark

GZIP_MAGIC = b"\x1f\x8b"
READ_BYTES = 256 * 1024


class ByteStream:
    """Reads a file, plain or gzip (of one or more members), into buffers that the caller owns.

    Attributes:
        compressed: whether the file is gzip.
        trailing: bytes behind the last gzip member that are no further member; they are ignored.

    Raises:
        InputError: no such file, a directory, unreadable, or a gzip that is corrupt or lacks its end: what a
            damaged gzip unpacks to cannot be told from what was in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trailing = 0
        self._pending = b""
        self._offset = 0  # compressed bytes given to the decompressor so far
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                what = "a directory" if path.is_dir() else "not a regular file"
                raise InputError(
                    f"is {what}, expected a capture file (pcap, pcapng, or gzip of either)", self._mark()
                )
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise self._unreadable(error) from None
        self._pending = self._read()
        self.compressed = self._pending.startswith(GZIP_MAGIC)
        self._inflate = zlib.decompressobj(wbits=31) if self.compressed else None

    def _mark(self) -> Mark:
        return Mark(str(self.path))

    def _unreadable(self, error: OSError) -> InputError:
        if isinstance(error, FileNotFoundError):
            return InputError("no such file", self._mark())
        return InputError(f"cannot be read: {error.strerror or error}", self._mark())

    def _read(self) -> bytes:
        try:
            return self._file.read(READ_BYTES) or b""
        except OSError as error:
            raise self._unreadable(error) from None

    def readinto(self, view: memoryview) -> int:
        """Fill ``view`` with the next bytes; return how many, 0 at the end and only there."""
        if self._inflate is not None:
            return self._inflate_into(view)
        if self._pending:
            count = min(len(view), len(self._pending))
            view[:count] = self._pending[:count]
            self._pending = self._pending[count:]
            return count
        try:
            return self._file.readinto(view) or 0
        except OSError as error:
            raise self._unreadable(error) from None

    def _inflate_into(self, view: memoryview) -> int:
        done = 0
        while done < len(view):
            if not self._pending:
                self._pending = self._read()
            assert self._inflate is not None
            if not self._pending:
                if not self._inflate.eof:
                    raise InputError(f"corrupt gzip: it ends early, at byte {self._offset}", self._mark())
                break
            if self._inflate.eof and not self._next_member():
                break
            before = len(self._pending)
            try:
                data = self._inflate.decompress(self._pending, len(view) - done)
            except zlib.error as error:
                cause = str(error).rsplit(": ", 1)[-1]
                raise InputError(f"corrupt gzip near byte {self._offset}: {cause}", self._mark()) from None
            self._pending = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            self._offset += before - len(self._pending)
            view[done : done + len(data)] = data
            done += len(data)
        return done

    def verify(self) -> None:
        """Read on to the end of a gzip, so that its check sums are seen: raises InputError where they are wrong."""
        view = memoryview(bytearray(READ_BYTES))
        while self.compressed and self._inflate_into(view):
            pass

    def _next_member(self) -> bool:
        """Begin the next gzip member, if there is one; what else follows is ignored, as gzip does."""
        if len(self._pending) < len(GZIP_MAGIC):
            self._pending += self._read()
        if self._pending.startswith(GZIP_MAGIC):
            self._inflate = zlib.decompressobj(wbits=31)
            return True
        self.trailing = len(self._pending)
        self._pending = b""
        self._file.seek(0, os.SEEK_END)
        return False

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> ByteStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

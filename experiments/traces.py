"""Reading the traces of ``oppcache mrc``: captures, and files of ids in three formats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oppcache.opp.errors import InputError, Mark, Problem, near_miss
from oppcache.opp.fields import FIELDS

FORMATS = ("pcap", "oraclegeneral", "csv", "npy")
_ENDINGS = {
    ".oraclegeneral": "oraclegeneral",
    ".oraclegeneral.bin": "oraclegeneral",
    ".csv": "csv",
    ".npy": "npy",
}
# libCacheSim's binary trace: a request is 24 bytes without padding.
ORACLE_GENERAL = np.dtype([("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")])


@dataclass(frozen=True)
class Trace:
    """Requests in order.

    Attributes:
        ids: ``uint64[requests]``.
        times: ``int64[requests]``, ns; empty where the file has none.
    """

    ids: np.ndarray
    times: np.ndarray


def trace_format(path: Path, given: str | None = None) -> str:
    """The format of a trace: as given, else by the file's ending, else a capture.

    Raises:
        InputError: there is no such format.
    """
    if given is None:
        name = path.name.lower()
        return next((format for ending, format in _ENDINGS.items() if name.endswith(ending)), "pcap")
    if given not in FORMATS:
        message = f"got {given!r}, expected {', '.join(FORMATS)}"
        raise InputError(Problem(message, Mark("--trace-format"), near_miss(given, FORMATS)))
    return given


def read_trace(path: Path, format: str | None = None, key: str | None = None) -> Trace:
    """Read a trace.

    Args:
        path: the file.
        format: one of :data:`FORMATS`; by the file's name and content unless given.
        key: for a capture, the header fields that a request is for, with commas between; the symmetric 5-tuple
            unless given. Packets that lack one of them are no requests.

    Raises:
        InputError: the file cannot be read, or is not what it should be.
    """
    format = trace_format(path, format)
    if key is not None and format != "pcap":
        raise InputError(f"got a key of header fields for a {format} trace, expected none", Mark("--key"))
    fields = None if key is None else _fields(key)
    mark = Mark(str(path))
    if not path.is_file():
        raise InputError("is a directory, expected a trace" if path.is_dir() else "no such file", mark)
    readers: dict[str, Callable[[], Trace]] = {
        "pcap": lambda: _capture(path, fields),
        "oraclegeneral": lambda: _oracle_general(path, mark),
        "csv": lambda: _csv(path, mark),
        "npy": lambda: _npy(path, mark),
    }
    try:
        trace = readers[format]()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", mark) from None
    if not len(trace.ids):
        raise InputError("has no requests", mark)
    if len(trace.ids) >= 2**31:
        raise InputError(f"has {len(trace.ids)} requests, expected fewer than {2**31}", mark)
    return trace


def _fields(key: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in key.split(","))
    known = [field.name for field in FIELDS]
    for name in names:
        if name not in known:
            message = f"unknown header field {name!r}, expected fields such as ip.src,ip.dst"
            raise InputError(Problem(message, Mark("--key"), near_miss(name, known)))
    if len(set(names)) < len(names):
        raise InputError(f"got {key!r}, expected each field once", Mark("--key"))
    return names


def _capture(path: Path, fields: tuple[str, ...] | None) -> Trace:
    from oppcache.hybrid.keys import KeyNumbers
    from oppcache.opp.fields import W_NOW
    from oppcache.traffic import open_capture

    numbers = KeyNumbers() if fields is None else KeyNumbers(fields, symmetric=False)
    ids, times = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for chunk in open_capture(path).chunks(numbers.layout):
        found = numbers.of(chunk.vectors)
        ids.append(found[found >= 0])
        times.append(chunk.vectors[found >= 0, W_NOW].astype(np.int64))
    return Trace(np.concatenate(ids).view(np.uint64), np.concatenate(times))


def _oracle_general(path: Path, mark: Mark) -> Trace:
    size = path.stat().st_size
    if size % ORACLE_GENERAL.itemsize:
        expected = f"a multiple of {ORACLE_GENERAL.itemsize} (time, id, size, next access)"
        raise InputError(f"has {size} bytes, expected {expected}", mark)
    records = np.fromfile(path, ORACLE_GENERAL)
    return Trace(records["id"].copy(), records["time"].astype(np.int64) * 1_000_000_000)


def _csv(path: Path, mark: Mark) -> Trace:
    import polars

    try:
        table = polars.read_csv(path, infer_schema=False)
    except polars.exceptions.PolarsError as error:
        raise InputError(f"not a CSV file: {str(error).splitlines()[0]}", mark) from None
    if "key" not in table.columns:
        got = ", ".join(table.columns[:8])
        place = Mark(mark.file, 1, 1)
        raise InputError(
            Problem(f"got columns {got}, expected one named key", place, near_miss("key", table.columns))
        )
    column = table["key"]
    if column.null_count():
        line = 2 + int(column.is_null().arg_true()[0])
        raise InputError("got an empty key", Mark(mark.file, line))
    for whole in (polars.UInt64, polars.Int64):
        numbers = column.cast(whole, strict=False)
        if not numbers.null_count():
            return Trace(
                numbers.to_numpy().astype(numbers.to_numpy().dtype).view(np.uint64), np.zeros(0, np.int64)
            )
    names = column.rank("dense").to_numpy().astype(np.uint64)
    return Trace(names, np.zeros(0, np.int64))


def _npy(path: Path, mark: Mark) -> Trace:
    try:
        ids = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f"not an .npy file: {str(error).splitlines()[0]}", mark) from None
    if not isinstance(ids, np.ndarray) or ids.ndim != 1 or ids.dtype.kind not in "iu":
        got = f"{ids.dtype} of shape {ids.shape}" if isinstance(ids, np.ndarray) else type(ids).__name__
        raise InputError(f"got {got}, expected whole numbers in one dimension", mark)
    wide = ids.astype(np.uint64) if ids.dtype.kind == "u" else ids.astype(np.int64).view(np.uint64)
    return Trace(np.ascontiguousarray(wide), np.zeros(0, np.int64))

"""Large arrays on huge pages: what kernels find by hashing lies everywhere, and small pages cost a walk each time.

On a virtual machine such a walk goes through two tables of pages; a look at 16 MiB in any order took four times as long
on pages of 4 KiB as on those of 2 MiB.
"""

from __future__ import annotations

import math
import mmap
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

_PAGE = 1 << 21
_LEAST = 1 << 16  # bytes from which on an array is large
_LINE = 64
_HUGE = hasattr(mmap, "MADV_HUGEPAGE")

# What is left of the page that the smaller ones of the large arrays share; no other array may be kept alive by it.
_spare = threading.local()


def zeros(shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return zeros as ``numpy.zeros`` does, on huge pages if the array is large and the system has them."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize if isinstance(shape, tuple) else shape * dtype.itemsize
    if not _HUGE or size < _LEAST:
        return np.zeros(shape, dtype)
    array: np.ndarray = _take(size).view(dtype).reshape(shape)
    return array


def full(shape: int | tuple[int, ...], value: Any, dtype: Any) -> np.ndarray:
    """Return an array filled with a value, as ``numpy.full`` does; as :func:`zeros`."""
    array = zeros(shape, dtype)
    array.fill(value)
    return array


def joined(parts: Sequence[np.ndarray], dtype: Any) -> np.ndarray:
    """Return arrays of one dimension one behind the other, as ``numpy.concatenate`` does; as :func:`zeros`."""
    array, at = zeros(sum(map(len, parts)), dtype), 0
    for part in parts:
        array[at : at + len(part)] = part
        at += len(part)
    return array


def copied(array: np.ndarray) -> np.ndarray:
    """Return a copy; as :func:`zeros`."""
    copy = zeros(array.shape, array.dtype)
    copy[...] = array
    return copy


def _take(size: int) -> np.ndarray:
    """Return so many zero bytes, at the start of a cache line."""
    wanted = -(-size // _LINE) * _LINE
    if wanted > _PAGE // 2:
        return _region(-(-wanted // _PAGE) * _PAGE)[:size]
    spare: np.ndarray | None = getattr(_spare, "bytes", None)
    if spare is None or wanted > len(spare):
        spare = _region(_PAGE)
    _spare.bytes = spare[wanted:]
    return spare[:size]


def _region(size: int) -> np.ndarray:
    """Return fresh bytes on whole huge pages; they are given back when no array is left that lies in them."""
    room = mmap.mmap(-1, size + _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel may be built without them
        room.madvise(mmap.MADV_HUGEPAGE)
    array = np.frombuffer(room, np.uint8)
    skip = -array.ctypes.data % _PAGE
    return array[skip : skip + size]

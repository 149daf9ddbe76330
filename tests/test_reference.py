"""Named tuples by reference: compiled code sees what the tuple holds, and writes to the same arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import types

from oppcache._jit import kernel
from oppcache._reference import Pointer, Reference, address_of, reader

ROW = np.dtype([("count", np.int64), ("small", np.int16)], align=True)
I64 = types.int64
TWICE = I64(I64)


class Inner(NamedTuple):
    words: np.ndarray  # uint64[a, b]
    number: int


class Outer(NamedTuple):
    first: int
    rows: np.ndarray  # ROW
    inner: Inner
    cube: np.ndarray  # float64[a, b, c]
    function: Any


def twice(x):
    return 2 * x


def thrice(x):
    return 3 * x


def outer(rows: int = 1, shape: tuple[int, int, int] = (1, 1, 1), function: Any = None) -> Outer:
    words = np.arange(shape[0] * shape[1], dtype=np.uint64).reshape(shape[:2])
    cube = np.arange(np.prod(shape), dtype=np.float64).reshape(shape)
    return Outer(-5, np.zeros(rows, ROW), Inner(words, 7), cube, Pointer(function, TWICE))


outer_at = reader(outer)


@kernel
def _inside(inner, i, j):
    return np.int64(inner.words[i, j]) + inner.number


@kernel(forceinline=False)
def _write(w, i, value):
    w.rows["count"][i] += value
    w.rows["small"][i] = value
    return w.rows.shape[0]


def _read(here, i, j, k):
    w = outer_at(here)
    return np.int64(w.cube[i, j, k]) + 1000 * _inside(w.inner, i, j) + w.first


def _change(here, i, value):
    w = outer_at(here)
    again = outer_at(address_of(w))
    return _write(again, i, w.function(value))


@pytest.fixture(scope="module")
def read() -> Any:
    return kernel(_read, signature=I64(I64, I64, I64, I64))


@pytest.fixture(scope="module")
def change() -> Any:
    return kernel(_change, signature=I64(I64, I64, I64))


@settings(deadline=None)
@given(shape=st.tuples(*[st.integers(1, 5)] * 3), rows=st.integers(1, 5), data=st.data())
def test_kernels_see_what_the_tuple_holds(
    read: Any, shape: tuple[int, int, int], rows: int, data: st.DataObject
) -> None:
    value = outer(rows, shape)
    i, j, k = (data.draw(st.integers(0, size - 1)) for size in shape)
    expected = int(value.cube[i, j, k]) + 1000 * (int(value.inner.words[i, j]) + 7) - 5
    assert read(Reference(value).address, i, j, k) == expected


@settings(deadline=None)
@given(rows=st.integers(1, 5), writes=st.lists(st.tuples(st.integers(0, 4), st.integers(-9, 9)), max_size=8))
def test_kernels_write_to_its_arrays_and_call_its_functions(
    change: Any, rows: int, writes: list[tuple[int, int]]
) -> None:
    for factor, function in ((2, twice), (3, thrice)):
        value = outer(rows, function=kernel(function, signature=TWICE))
        reference = Reference(value)
        expected = np.zeros(rows, ROW)
        for row, amount in writes:
            if row < rows:
                assert change(reference.address, row, amount) == rows
                expected["count"][row] += factor * amount
                expected["small"][row] = factor * amount
        np.testing.assert_array_equal(value.rows, expected)


def test_arrays_of_no_rows_have_their_shape() -> None:
    value = outer()._replace(rows=np.zeros(0, ROW), cube=np.zeros((0, 3, 5)))
    sizes = kernel(_sizes, signature=I64(I64))
    assert sizes(Reference(value).address) == 35


def _sizes(here):
    w = outer_at(here)
    return 1000 * w.rows.shape[0] + 100 * w.cube.shape[0] + 10 * w.cube.shape[1] + w.cube.shape[2]


def test_what_is_not_contiguous_is_refused() -> None:
    words = np.zeros((4, 4), np.uint64)[:, ::2]
    with pytest.raises(ValueError, match="not contiguous"):
        Reference(outer()._replace(inner=Inner(words, 0)))


def test_what_no_kernel_could_take_is_refused() -> None:
    from oppcache._reference import reference_type

    with pytest.raises(TypeError, match="got str, expected a named tuple, an array, an integer or a pointer"):
        reference_type(outer()._replace(first="x"))

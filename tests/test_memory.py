"""Large arrays on huge pages are arrays like others."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oppcache import _memory
from oppcache._memory import copied, full, joined, zeros

DTYPES = [np.dtype(name) for name in ("u1", "i4", "u8", "f8")] + [
    np.dtype([("a", "i8"), ("b", "u1")], align=True)
]
SHAPES = st.one_of(
    st.integers(0, 1 << 19), st.tuples(st.integers(0, 3000), st.integers(1, 40)), st.just((1 << 21,))
)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.lists(st.tuples(SHAPES, st.sampled_from(DTYPES)), min_size=1, max_size=8))
def test_arrays_are_zero_and_of_their_own(wanted: list) -> None:
    arrays = []
    for shape, dtype in wanted:
        array = zeros(shape, dtype)
        plain = np.zeros(shape, dtype)
        assert (array.shape, array.dtype, array.strides) == (plain.shape, plain.dtype, plain.strides)
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert array.flags.aligned
        assert not array.view(np.uint8).any()
        array.view(np.uint8)[...] = len(arrays) + 1
        arrays.append(array)
    for number, array in enumerate(arrays):
        assert (array.view(np.uint8) == number + 1).all()


def test_what_makes_arrays_of_arrays_does_as_numpy_does() -> None:
    parts = [np.arange(n, dtype=np.int64) for n in (0, 3, 100_000)]
    assert np.array_equal(joined(parts, np.int64), np.concatenate(parts))
    assert joined([], np.int64).shape == (0,)
    whole = np.arange(300_000, dtype=np.uint64).reshape(-1, 3)
    assert np.array_equal(copied(whole), whole)
    assert np.array_equal(full((70_000, 2), -1, np.int64), np.full((70_000, 2), -1, np.int64))


@pytest.mark.skipif(not _memory._HUGE, reason="this system has no huge pages to ask for")
def test_memory_is_given_back_with_the_last_array_in_it() -> None:
    first = zeros(1 << 22, np.uint8)
    whole = first
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    room = weakref.ref(whole.base.obj if isinstance(whole.base, memoryview) else whole.base)
    part = first[:10]
    del first, whole
    gc.collect()
    assert room() is not None
    del part
    gc.collect()
    assert room() is None

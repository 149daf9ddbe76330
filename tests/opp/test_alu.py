"""Every operation and comparison on every pair of corner operands, against the plain definition."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from oppcache.opp.alu import compute, holds
from oppcache.opp.arrays import CONDITION_DTYPE, OPERATION_DTYPE, ProgramArrays
from oppcache.opp.lower import lower
from oppcache.opp.program import CONDITION_OPS, FLOAT_OPS, INTEGER_OPS, OPERATIONS, RUNNING_OPS, Program
from oppcache.opp.reference_values import compare, compute_single, run_on
from oppcache.opp.reference_values import compute as plain

CORNERS = (
    *(0, 1, 2, 3, 7, 8, 31, 32, 33, 63, 64, 65, 1000, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 2, 2**32 - 1),
    *(2**32, 2**32 + 1, 2**40 + 5, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 2, 2**64 - 1),
)


def program(**arrays: np.ndarray) -> ProgramArrays:
    return lower(Program("none")).arrays._replace(**arrays)


@pytest.mark.parametrize("op", INTEGER_OPS)
@pytest.mark.parametrize(("width", "target"), [(32, 32), (64, 64), (64, 32)])
def test_operations(op: str, width: int, target: int) -> None:
    for k in range(9) if op == "ewma" else (0,):
        row = (INTEGER_OPS.index(op), 0, 0, k, width, 2**width - 1, 0, 0, 2**target - 1)
        operation = program(operations=np.array([row], OPERATION_DTYPE))
        for a, b in product(CORNERS, CORNERS):
            with np.errstate(over="ignore"):
                got = int(compute(operation, 0, np.uint64(a), np.uint64(b), np.uint64(0)))
            assert got == plain(op, a, b, k, width) % 2**target, (a, b, k)


def row_of(op: str, width: int, target: int) -> ProgramArrays:
    row = (OPERATIONS.index(op), 0, 0, 0, width, 2**width - 1, 0, 0, 2**target - 1)
    return program(operations=np.array([row], OPERATION_DTYPE))


SINGLES = (
    *(0, 0x80000000, 1, 0x80000001, 0x007FFFFF, 0x00800000, 0x3F800000, 0xBF800000, 0x40490FDB, 0x7F7FFFFF),
    *(0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x7F800001, 0x7FC00000, 0xFFC12345, 0x33800000, 0x4B800000),
)


@pytest.mark.parametrize("op", FLOAT_OPS)
def test_floating_point(op: str) -> None:
    operation = row_of(op, 32, 32)
    numpy_op = {"fadd": np.add, "fsub": np.subtract, "fmul": np.multiply, "fdiv": np.divide}[op]
    for a, b in product(SINGLES, SINGLES):
        with np.errstate(all="ignore"):
            got = int(compute(operation, 0, np.uint64(a), np.uint64(b), np.uint64(0)))
            x, y = np.array([a, b], np.uint32).view(np.float32)
            outside = numpy_op(x, y)
        expected = 0x7FC00000 if np.isnan(outside) else int(outside.view(np.uint32))
        assert got == compute_single(op, a, b) == expected, (hex(a), hex(b))


@pytest.mark.parametrize("op", RUNNING_OPS)
@pytest.mark.parametrize(("width", "target"), [(32, 32), (64, 64), (64, 32)])
def test_running_mean_and_variance_at_the_corners(op: str, width: int, target: int) -> None:
    operation = row_of(op, width, target)
    for a, b, old in product(CORNERS[::2], CORNERS[1::2], CORNERS):
        with np.errstate(all="ignore"):
            got = int(compute(operation, 0, np.uint64(a), np.uint64(b), np.uint64(old)))
        assert got == run_on(op, a, b, old, width) % 2**target, (a, b, old)


def test_a_running_mean_and_variance_of_samples_worked_out_by_hand() -> None:
    mean, variance = row_of("avg", 64, 64), row_of("var", 64, 64)
    old = spread = np.uint64(0)
    samples = (10, 20, 0, 4)
    for n, sample in enumerate(samples, 1):
        with np.errstate(all="ignore"):
            old = np.uint64(compute(mean, 0, np.uint64(n), np.uint64(sample), old))
            deviation = np.uint64((1000 * sample - int(old)) % 2**64)
            spread = np.uint64(compute(variance, 0, np.uint64(n), deviation, spread))
    # Means 10, 15, 10, 8.5; squared deviations from them 0, 25, 100, 20.25, averaged as they come:
    # 0, 12.5, 12.5 + 87.5 / 3 = 41.666, 41.666 - 21.416 / 4 = 36.312.
    assert int(old) == 8500
    assert int(spread) == 36312


@pytest.mark.parametrize("op", CONDITION_OPS)
@pytest.mark.parametrize("width", [32, 64])
def test_comparisons(op: str, width: int) -> None:
    row = (CONDITION_OPS.index(op), 0, 0, width, 2**width - 1)
    condition = program(conditions=np.array([row], CONDITION_DTYPE))
    for a, b in product(CORNERS, CORNERS):
        assert bool(holds(condition, 0, np.uint64(a), np.uint64(b))) == compare(op, a, b, width), (a, b)

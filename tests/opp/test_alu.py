"""Every operation and comparison on every pair of corner operands, against the plain definition."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from oppcache.opp.alu import compute, holds
from oppcache.opp.arrays import CONDITION_DTYPE, OPERATION_DTYPE, ProgramArrays
from oppcache.opp.lower import lower
from oppcache.opp.program import CONDITION_OPS, INTEGER_OPS, Program
from oppcache.opp.reference_values import compare
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
                got = int(compute(operation, 0, np.uint64(a), np.uint64(b)))
            assert got == plain(op, a, b, k, width) % 2**target, (a, b, k)


@pytest.mark.parametrize("op", CONDITION_OPS)
@pytest.mark.parametrize("width", [32, 64])
def test_comparisons(op: str, width: int) -> None:
    row = (CONDITION_OPS.index(op), 0, 0, width, 2**width - 1)
    condition = program(conditions=np.array([row], CONDITION_DTYPE))
    for a, b in product(CORNERS, CORNERS):
        assert bool(holds(condition, 0, np.uint64(a), np.uint64(b))) == compare(op, a, b, width), (a, b)

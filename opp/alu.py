"""Arithmetic of the machine: unsigned, modulo 2^width, every corner as the machine's definition says."""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel

from .program import CONDITION_OPS, INTEGER_OPS

MOV, ADD, SUB, MUL, DIV, MOD, AND, OR, XOR, SHL, SHR, MIN, MAX, EWMA = range(len(INTEGER_OPS))
LT, LE, GT, GE, EQ, NE, SLT, SLE = range(len(CONDITION_OPS))

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_THREE = np.uint64(3)
_EIGHT = np.uint64(8)


@kernel
def compute(program, o, a, b):
    """Result of operation row ``o`` on two operand values (uint64), reduced to its target's width."""
    width = program.operations["width"][o]
    mask = program.operations["mask"][o]
    a = a & mask
    b = b & mask
    result = operate(program.operations["op"][o], a, b, program.operations["k"][o], width, mask)
    return result & mask & program.operations["target_mask"][o]


@kernel
def operate(op, a, b, k, width, mask):
    """One operation on values already reduced to ``width`` bits; the caller reduces the result."""
    if op == ADD:
        return a + b
    if op == SUB:
        return a - b
    if op == MOV:
        return a
    if op == MUL:
        return a * b
    if op == DIV:
        return mask if b == _ZERO else a // b
    if op == MOD:
        return a if b == _ZERO else a % b
    if op == AND:
        return a & b
    if op == OR:
        return a | b
    if op == XOR:
        return a ^ b
    if op == SHL:
        return _ZERO if b >= width else a << b
    if op == SHR:
        return _ZERO if b >= width else a >> b
    if op == MIN:
        return min(a, b)
    if op == MAX:
        return max(a, b)
    return ((_EIGHT - k) * a + k * b) >> _THREE


@kernel
def holds(program, c, a, b):
    """Whether condition row ``c`` holds for two operand values (uint64)."""
    mask = program.conditions["mask"][c]
    a = a & mask
    b = b & mask
    op = program.conditions["op"][c]
    if op == SLT or op == SLE:
        # Two's complement order is unsigned order with the sign bit flipped.
        sign = _ONE << (program.conditions["width"][c] - _ONE)
        a = a ^ sign
        b = b ^ sign
    if op == LT or op == SLT:
        return a < b
    if op == LE or op == SLE:
        return a <= b
    if op == GT:
        return a > b
    if op == GE:
        return a >= b
    if op == EQ:
        return a == b
    return a != b

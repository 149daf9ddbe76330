"""Arithmetic of the machine: unsigned, modulo 2^width, every corner as the machine's definition says."""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel

from .program import CONDITION_OPS, FLOAT_OPS, INTEGER_OPS, OPERATIONS

MOV, ADD, SUB, MUL, DIV, MOD, AND, OR, XOR, SHL, SHR, MIN, MAX, EWMA = range(len(INTEGER_OPS))
FADD, FSUB, FMUL, FDIV = range(len(INTEGER_OPS), len(INTEGER_OPS) + len(FLOAT_OPS))
AVG, VAR = range(FDIV + 1, len(OPERATIONS))
LT, LE, GT, GE, EQ, NE, SLT, SLE = range(len(CONDITION_OPS))

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_THREE = np.uint64(3)
_EIGHT = np.uint64(8)
_THOUSAND = np.uint64(1000)
_SINGLE = np.uint64(0xFFFF_FFFF)
_NAN = np.uint64(0x7FC0_0000)
_INFINITY = np.uint64(0x7F80_0000)
_SIGN = np.uint64(0x8000_0000)
_MAGNITUDE = np.uint64(0x7FFF_FFFF)


@kernel
def compute(program, o, a, b, old):
    """Result of operation row ``o`` on two operand values (uint64), reduced to its target's width.

    ``old`` is the target's value before, which ``avg`` and ``var`` go on from.
    """
    width = program.operations["width"][o]
    mask = program.operations["mask"][o]
    a = a & mask
    b = b & mask
    op = program.operations["op"][o]
    if op < FADD:
        result = operate(op, a, b, program.operations["k"][o], width, mask)
    elif op < AVG:
        result = operate_single(op, a & _SINGLE, b & _SINGLE)
    else:
        result = run_on(op, a, b, old & mask, width, mask)
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
def operate_single(op, a, b):
    """IEEE 754 single precision on the bits of two words; every NaN is the quiet one, 0x7FC00000."""
    if (a & _MAGNITUDE) > _INFINITY or (b & _MAGNITUDE) > _INFINITY:
        return _NAN
    if op == FDIV and b & _MAGNITUDE == _ZERO:  # Numba would raise
        if a & _MAGNITUDE == _ZERO:
            return _NAN
        return ((a ^ b) & _SIGN) | _INFINITY
    x = np.uint32(a).view(np.float32)
    y = np.uint32(b).view(np.float32)
    if op == FADD:
        return _word(x + y)
    if op == FSUB:
        return _word(x - y)
    if op == FMUL:
        return _word(x * y)
    return _word(x / y)


@kernel
def _word(z):
    """The bits of a float32, uint64."""
    single = np.float32(z)
    bits = np.uint64(single.view(np.uint32))
    return _NAN if (bits & _MAGNITUDE) > _INFINITY else bits


@kernel
def run_on(op, n, x, old, width, mask):
    """One step of a running mean (``avg``) or variance (``var``), fixed point × 1000, signed.

    old + (new − old) ÷ n, rounded toward zero; n = 0 gives new. ``avg``: new = 1000·x. ``var``: x is a
    deviation × 1000 and new = x·x ÷ 1000.
    """
    sign = _ONE << (width - _ONE)
    if op == AVG:
        new = (x * _THOUSAND) & mask
    else:
        size = (_ZERO - x) & mask if x & sign else x
        new = ((size * size) // _THOUSAND) & mask
    if n == _ZERO:
        return new
    step = (new - old) & mask
    if step & sign:
        return old - ((_ZERO - step) & mask) // n
    return old + step // n


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

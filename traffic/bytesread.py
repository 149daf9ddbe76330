"""Loads from packet bytes inside kernels, and the Internet checksum.

Positions are ``uint64``: Numba then emits no wrap-around of negative indices, and LLVM joins the byte loads of
one number into one load with a byte swap.
"""

# Kernels are untyped: their argument types are in their docstrings.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel

U = np.uint64


@kernel
def be16(data, at):
    """Big-endian 16-bit number at ``at`` as uint64."""
    return (U(data[at]) << U(8)) | U(data[at + U(1)])


@kernel
def be32(data, at):
    """Big-endian 32-bit number at ``at`` as uint64."""
    return (
        (U(data[at]) << U(24))
        | (U(data[at + U(1)]) << U(16))
        | (U(data[at + U(2)]) << U(8))
        | U(data[at + U(3)])
    )


@kernel
def be64(data, at):
    """Big-endian 64-bit number at ``at`` as uint64."""
    return (
        (U(data[at]) << U(56))
        | (U(data[at + U(1)]) << U(48))
        | (U(data[at + U(2)]) << U(40))
        | (U(data[at + U(3)]) << U(32))
        | (U(data[at + U(4)]) << U(24))
        | (U(data[at + U(5)]) << U(16))
        | (U(data[at + U(6)]) << U(8))
        | U(data[at + U(7)])
    )


@kernel
def le32(data, at):
    """Little-endian 32-bit number at ``at`` as uint64."""
    return (
        U(data[at])
        | (U(data[at + U(1)]) << U(8))
        | (U(data[at + U(2)]) << U(16))
        | (U(data[at + U(3)]) << U(24))
    )


@kernel
def bits_at(data, base, offset, bits):
    """``bits`` (at most 64) bits that start ``offset`` bits behind byte ``base``, as uint64."""
    first = base + (offset >> U(3))
    last = base + ((offset + bits - U(1)) >> U(3))
    value = U(data[first]) & (U(0xFF) >> (offset & U(7)))
    at = first
    while at < last:
        at = at + U(1)
        value = (value << U(8)) | U(data[at])
    spare = U(7) - ((offset + bits - U(1)) & U(7))
    return value >> spare


@kernel
def ones_sum(data, start, end, total):
    """Add the bytes from ``start`` to ``end`` to a running one's-complement sum, not yet folded."""
    at = start
    while at + U(1) < end:
        total += be16(data, at)
        at += U(2)
    if at < end:
        total += U(data[at]) << U(8)
    return total


@kernel
def fold(total):
    """Fold a running sum to 16 bits; a packet whose checksum is right sums up to 0xffff."""
    while total > U(0xFFFF):
        total = (total & U(0xFFFF)) + (total >> U(16))
    return total

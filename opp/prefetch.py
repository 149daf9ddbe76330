"""Telling the processor what memory will be read soon: a hint, which never changes a result."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from oppcache._jit import JIT_DISABLED


def _prefetch(typing: Any, array: Any, index: Any) -> Any:
    """Fetch the cache line of ``array[index]``, of one dimension, which need not exist, into the nearest cache."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        made = context.make_array(array)(context, builder, arguments[0])
        place = builder.gep(made.data, [arguments[1]])
        pointer = builder.bitcast(place, ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [pointer, number(0), number(3), number(1)])  # to read, to keep, data
        return context.get_dummy_value()

    return types.void(array, index), generate


def _nothing(array: Any, index: Any) -> None:
    """Without compilation there is nothing to hint at."""


prefetch: Any = _nothing if JIT_DISABLED else intrinsic(_prefetch)

"""Named tuples of arrays, given to kernels by reference.

Numba passes a named tuple to a function member by member. A run's state is some hundred and fifty arrays: passed by
value they are a thousand words, in every call of every kernel, and most of what there is to compile. A
:class:`Reference` is the address of a table with one word for every address, length and number of the tuple; kernels
take one word, and of the table they read what they use::

    state = Reference(world)                  # in Python; arrays that take others' places need a new one
    run(state.address, …)

    w = at(address)                           # in a kernel, where at = reader(make_example)
    w.rows.marks["slot"][row]                 # as of the tuple

The words do not change while a kernel runs, and compiled code may rely on it. Arrays must be C-contiguous. Without
compilation the tuple itself takes the address's place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numba
import numpy as np
from numba.core import cgutils, types
from numba.core.imputils import lower_getattr_generic
from numba.core.types import WrapperAddressProtocol
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, intrinsic, models, register_model
from numba.np.arrayobj import make_array, populate_array

from ._jit import JIT_DISABLED

_WORD = 8


class Pointer(WrapperAddressProtocol):
    """A compiled function of one signature as a member of a tuple; a new one compiles nothing but itself.

    Attributes:
        address: of its code; 0 without a function, and without compilation.
    """

    def __init__(self, function: Any, signature: Any) -> None:
        self._function = function
        self._signature = signature
        self.address = self._wrapper = 0
        if function is not None and not JIT_DISABLED:
            result = function.get_compile_result(signature)
            self.address = int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))
            self._wrapper = int(result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name))

    def __wrapper_address__(self) -> int:
        return self._wrapper

    def signature(self) -> Any:
        """The signature, for Numba."""
        return self._signature

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)


class _Member(NamedTuple):
    """Where a member of a tuple stands in the table, in words from the tuple's own place, and of what type it is."""

    at: int
    kind: Any
    words: int


class TupleReference(types.Type):
    """The Numba type of a named tuple by reference.

    Attributes:
        members: ``_Member`` by name.
        words: that the tuple takes in the table.
    """

    def __init__(self, name: str, members: tuple[tuple[str, _Member], ...]) -> None:
        self.members = dict(members)
        self.words = sum(member.words for member in self.members.values())
        self._structure = members
        super().__init__(f"ref({name})")

    @property
    def key(self) -> Any:
        return self.name, self._structure


@register_model(TupleReference)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: TupleReference) -> None:
        from llvmlite import ir

        super().__init__(manager, kind, ir.IntType(64).as_pointer())


def _is_tuple(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")


@cache
def _layout(name: str, members: tuple[tuple[str, Any], ...]) -> TupleReference:
    at, placed = 0, []
    for field, kind in members:
        words = kind.words if isinstance(kind, TupleReference) else 1 + getattr(kind, "ndim", 0)
        placed.append((field, _Member(at, kind, words)))
        at += words
    return TupleReference(name, tuple(placed))


def reference_type(value: Any) -> Any:
    """The type of a tuple by reference, or of a member of one.

    Raises:
        TypeError: it is neither a named tuple, an array, an integer nor a pointer.
    """
    if _is_tuple(value):
        members = tuple((name, reference_type(part)) for name, part in zip(value._fields, value, strict=True))
        return _layout(type(value).__name__, members)
    if isinstance(value, np.ndarray):
        return types.Array(numba.from_dtype(value.dtype), value.ndim, "C")
    if isinstance(value, bool | int | np.integer):
        return types.int64
    if isinstance(value, Pointer):
        return types.FunctionType(value.signature())
    raise TypeError(f"got {type(value).__name__}, expected a named tuple, an array, an integer or a pointer")


def _words(value: Any) -> Iterator[int]:
    if _is_tuple(value):
        for part in value:
            yield from _words(part)
    elif isinstance(value, np.ndarray):
        if not value.flags.c_contiguous:
            raise ValueError("got an array that is not contiguous")
        yield value.ctypes.data
        yield from value.shape
    else:
        yield value.address if isinstance(value, Pointer) else int(value)


class Reference:
    """A named tuple's table, which keeps the tuple.

    Attributes:
        value: the tuple.
        address: what kernels take; without compilation the tuple.
    """

    def __init__(self, value: Any) -> None:
        self.value = value
        self._table = np.fromiter((word & 0xFFFF_FFFF_FFFF_FFFF for word in _words(value)), np.uint64)
        self.address: Any = value if JIT_DISABLED else int(self._table.ctypes.data)


@infer_getattr
class _Attributes(AttributeTemplate):
    key = TupleReference

    def generic_resolve(self, kind: Any, name: str) -> Any:  # type: ignore[override]
        member = kind.members.get(name)
        return None if member is None else member.kind


def _place(context: Any, builder: Any, table: Any, at: int) -> Any:
    return builder.gep(table, [context.get_constant(types.intp, at)], inbounds=True)


def _load(builder: Any, place: Any, *facts: str) -> Any:
    word = builder.load(place)
    for fact in ("invariant.load", *facts):
        word.set_metadata(fact, builder.module.add_metadata([]))
    return word


def _word(context: Any, builder: Any, table: Any, at: int) -> Any:
    return _load(builder, _place(context, builder, table, at))


def _pointer(context: Any, builder: Any, table: Any, at: int) -> Any:
    """A word that is an address. Told that it is not null, LLVM leaves out what Numba would do if it were."""
    place = _place(context, builder, table, at)
    kind = context.get_value_type(types.voidptr)
    return _load(builder, builder.bitcast(place, kind.as_pointer()), "nonnull")


@lower_getattr_generic(TupleReference)
def _get(context: Any, builder: Any, kind: TupleReference, table: Any, name: str) -> Any:
    member = kind.members[name]
    if isinstance(member.kind, TupleReference):
        return _place(context, builder, table, member.at)
    if isinstance(member.kind, types.Array):
        return _array(context, builder, member, table)
    if isinstance(member.kind, types.FunctionType):
        function = cgutils.create_struct_proxy(member.kind)(context, builder)
        function.jit_addr = _pointer(context, builder, table, member.at)
        return function._getvalue()
    return _word(context, builder, table, member.at)


def _array(context: Any, builder: Any, member: _Member, table: Any) -> Any:
    array = make_array(member.kind)(context, builder)
    size = context.get_abi_sizeof(context.get_data_type(member.kind.dtype))
    shape = [_word(context, builder, table, member.at + 1 + i) for i in range(member.kind.ndim)]
    strides = [context.get_constant(types.intp, size)]
    for length in shape[:0:-1]:
        strides.insert(0, builder.mul(strides[0], length, flags=["nsw"]))
    data = builder.bitcast(_pointer(context, builder, table, member.at), array.data.type)
    populate_array(array, data, shape, strides, size, None)
    return array._getvalue()


if JIT_DISABLED:

    def address_of(tuple_: Any) -> Any:
        """The tuple itself."""
        return tuple_

else:

    @intrinsic
    def address_of(typingctx: Any, tuple_: Any) -> Any:
        """The address of a tuple that a kernel has by reference."""

        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.ptrtoint(arguments[0], context.get_value_type(types.int64))

        return types.int64(tuple_), code


def reader(example: Callable[[], Any]) -> Any:
    """A function for kernels that takes an address for the tuple that stands there.

    Args:
        example: makes a tuple of the type; called once, when the first kernel is compiled.
    """
    if JIT_DISABLED:
        return lambda address: address

    @cache
    def kind() -> TupleReference:
        found: TupleReference = reference_type(example())
        return found

    @intrinsic
    def at(typingctx: Any, address: Any) -> Any:
        """The tuple at an address."""

        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return kind()(types.int64), code

    return at

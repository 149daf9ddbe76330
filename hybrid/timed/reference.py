"""A world by reference: kernels that are called, not inlined, take its address instead of five hundred words.

A named tuple of arrays is passed to a compiled function member by member. :func:`located` keeps it in the caller's
frame and notes the address in it; :func:`world_at` is the world at an address, of which compiled code reads only
what it uses. The address is good until the kernel that called :func:`located` returns.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from oppcache._jit import JIT_DISABLED


@cache
def world_type() -> Any:
    """The Numba type of every world."""
    import numba

    from .build import example_world

    return numba.typeof(example_world())


if JIT_DISABLED:

    def located(w: Any) -> Any:
        """The world, with its address in ``here``: without compilation, itself."""
        return w._replace(here=w)

    def world_at(here: Any) -> Any:
        """The world at an address."""
        return here._replace(here=here)

else:

    @intrinsic
    def located(typingctx: Any, w: Any) -> Any:
        """The world, with its address in ``here``."""

        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            (world,) = arguments
            place = cgutils.alloca_once(builder, world.type)
            address = builder.ptrtoint(place, context.get_value_type(types.int64))
            world = builder.insert_value(world, address, w.fields.index("here"))
            builder.store(world, place)
            return world

        return w(w), code

    @intrinsic
    def world_at(typingctx: Any, here: Any) -> Any:
        """The world at an address."""
        world = world_type()

        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind = context.get_value_type(world)
            return builder.load(builder.inttoptr(arguments[0], kind.as_pointer()))

        return world(types.int64), code

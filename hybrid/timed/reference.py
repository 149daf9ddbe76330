"""The world by reference, as all kernels of timed runs take it."""

from __future__ import annotations

from typing import Any

from oppcache._reference import address_of, reader

__all__ = ["address_of", "world_at"]


def _example() -> Any:
    from .build import example_world

    return example_world()


world_at = reader(_example)

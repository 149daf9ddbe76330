"""The world by reference, as all kernels of timed runs take it."""

from __future__ import annotations

from typing import Any

from oppcache._reference import reader


def _example() -> Any:
    from .build import example_world

    return example_world()


world_at = reader(_example)

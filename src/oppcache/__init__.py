"""oppcache: a smart NIC as a cache in front of a software OPP data plane.

The package's rooms, lowest first: :mod:`oppcache.opp` (the machine), :mod:`oppcache.traffic` (packets),
:mod:`oppcache.fastpath` (the NIC), :mod:`oppcache.slowpath` (the CPU), :mod:`oppcache.cache` (what is worth
a NIC slot), :mod:`oppcache.consistency` (how state moves), :mod:`oppcache.hybrid` (both paths joined),
:mod:`oppcache.controller` (what programs the machine) and :mod:`oppcache.experiments` (YAML to figures).

:func:`run` and :func:`load` do from Python what ``oppcache run`` does from a shell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = ["__version__", "load", "run"]

if TYPE_CHECKING:
    from oppcache.experiments import load, run


def __getattr__(name: str) -> Any:
    """Import the experiment layer on first use, so that ``import oppcache`` stays cheap."""
    if name in ("run", "load"):
        from oppcache import experiments

        return getattr(experiments, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

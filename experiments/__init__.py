"""YAML to figures. An experiment file (:mod:`.schema`) is read with its places (:mod:`.document`), checked
(:mod:`.reading`, :mod:`.checks`) and laid out as runs (:mod:`.plan`); the runs are simulated on workers
(:mod:`.runner`) and become tables (:mod:`.results`) and figures (:mod:`.plots`, one kind a file in
``figures/``). ``gallery/`` holds experiments that ship. Public: :func:`run`, :func:`load`, :class:`Results`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if __name__ != "oppcache.experiments":
    raise ImportError(
        f"import oppcache.experiments, not {__name__}: a second copy would not share its classes"
    )

if TYPE_CHECKING:
    from .api import run
    from .results import Results, load

__all__ = ["Results", "load", "run"]

_HOMES = {"run": "api", "load": "results", "Results": "results"}


def __getattr__(name: str) -> Any:
    """Import on first use: reading a schema must not load the simulator, nor the simulator the plots."""
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

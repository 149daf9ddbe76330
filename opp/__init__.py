"""The machine: OPP programs (tables, stages, keys, conditions, EFSM entries, actions, writes), their
validation and lowering to arrays, the one packet step that the NIC model, the software switch and the live
processes all run, and a slow plain-Python reference to hold it against. Imports nothing of ours.
"""

if __name__ != "oppcache.opp":
    raise ImportError(f"import oppcache.opp, not {__name__}: a second copy would not share its classes")

from typing import TYPE_CHECKING, Any

from .builder import ProgramBuilder
from .errors import InputError, Mark, OppCacheError, Problem, Problems
from .fields import FIELDS, Header, Layout, layout_for
from .library import load_program, program_path, shipped_programs
from .program import Program

if TYPE_CHECKING:
    from .contents import Context
    from .lower import Lowered
    from .machine import Machine, Verdicts
    from .swap import Carried

__all__ = [
    "FIELDS",
    "Carried",
    "Context",
    "Header",
    "InputError",
    "Layout",
    "Lowered",
    "Machine",
    "Mark",
    "OppCacheError",
    "Problem",
    "Problems",
    "Program",
    "ProgramBuilder",
    "Verdicts",
    "layout_for",
    "load_program",
    "program_path",
    "shipped_programs",
]

_COMPILED = {
    "Carried": "swap",
    "Context": "contents",
    "Lowered": "lower",
    "Machine": "machine",
    "Verdicts": "machine",
}


def __getattr__(name: str) -> Any:
    """Import what needs Numba at its first use: reading programs and reporting errors does not."""
    if name not in _COMPILED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_COMPILED[name]}", __name__), name)

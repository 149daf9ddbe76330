"""The machine: OPP programs (tables, stages, keys, conditions, EFSM entries, actions, writes), their
validation and lowering to arrays, the one packet step that the NIC model, the software switch and the live
processes all run, and a slow plain-Python reference to hold it against. Imports nothing of ours.
"""

if __name__ != "oppcache.opp":
    raise ImportError(f"import oppcache.opp, not {__name__}: a second copy would not share its classes")

from .builder import ProgramBuilder
from .errors import InputError, Mark, OppCacheError, Problem, Problems
from .fields import FIELDS, Header, Layout, layout_for
from .library import load_program, program_path, shipped_programs
from .lower import Lowered, lower
from .machine import Machine, Verdicts
from .program import Program

__all__ = [
    "FIELDS",
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
    "lower",
    "program_path",
    "shipped_programs",
]

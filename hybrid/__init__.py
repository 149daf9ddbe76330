"""The two paths joined, in virtual time: a NIC whose context tables are a cache in front of the software switch.

:func:`simulate` takes one :class:`Setup` (program, traffic, capacity, policies) from its first packet to its
last and gives an :class:`Outcome` (metrics, series, final state). :class:`HybridMachine` takes packets as they come.
"""

if __name__ != "oppcache.hybrid":
    raise ImportError(f"import oppcache.hybrid, not {__name__}: a second copy would not share its classes")

from .faults import ControlFaults, Faults, PolicyFault
from .release import ReleaseSettings
from .setup import Control, Cpu, Link, Migration, Outcome, RuleSettings, Setup
from .simulation import simulate
from .stepping import HybridMachine
from .warm import warm_up

__all__ = [
    "Control",
    "ControlFaults",
    "Cpu",
    "Faults",
    "HybridMachine",
    "Link",
    "Migration",
    "Outcome",
    "PolicyFault",
    "ReleaseSettings",
    "RuleSettings",
    "Setup",
    "simulate",
    "warm_up",
]

"""Which entries of a stage a NIC with few ternary entries should hold: rule caching after CacheFlow.

Katta, Alipourfard, Rexford and Walker, "CacheFlow: Dependency-Aware Rule-Caching for Software-Defined Networks",
SOSR 2016. :mod:`.shapes` gives the stage's entries as numbers, :mod:`.dependencies` says which entries an entry must not
be without, :mod:`.selection` chooses, :mod:`.updating` gets from one choice to the next in few safe changes, and
:mod:`.nic_side` makes the list that the NIC then has.
"""

from .dependencies import Dependencies, dependencies_of
from .nic_side import TO_CPU, NicSide, nic_side
from .selection import ALGORITHMS, Selection, select
from .updating import Change, RuleCache

__all__ = [
    "ALGORITHMS",
    "TO_CPU",
    "Change",
    "Dependencies",
    "NicSide",
    "RuleCache",
    "Selection",
    "dependencies_of",
    "nic_side",
    "select",
]

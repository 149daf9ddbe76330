"""What programs the machine: iptables rulesets become OPP programs, and a shell runs packets through them.

:mod:`.ruleset` is what a ruleset says (:mod:`.parser` reads it), :mod:`.topology` where it runs, :func:`translate`
makes the program, :mod:`.interface` is what the program and the shell around it expect of each other. Matches and
targets are one module a group in :mod:`.extensions`.
"""

if __name__ != "oppcache.controller":
    raise ImportError(
        f"import oppcache.controller, not {__name__}: a second copy would not share its classes"
    )

from .interface import ENTRY, LOCAL_PORT, METADATA, PKTTYPE, REJECTS, reject_name
from .library import load_iptables, load_translation, shipped_file, shipped_rulesets
from .parser import load_ruleset, parse_ruleset
from .ruleset import Chain, Match, Option, Rule, Ruleset, Table, Target
from .topology import Interface, Route, RoutingRule, Topology, load_topology, topology_from
from .translate import CONNTRACKS, Translation, translate

__all__ = [
    "CONNTRACKS",
    "ENTRY",
    "LOCAL_PORT",
    "METADATA",
    "PKTTYPE",
    "REJECTS",
    "Chain",
    "Interface",
    "Match",
    "Option",
    "Route",
    "RoutingRule",
    "Rule",
    "Ruleset",
    "Table",
    "Target",
    "Topology",
    "Translation",
    "load_iptables",
    "load_ruleset",
    "load_topology",
    "load_translation",
    "parse_ruleset",
    "reject_name",
    "shipped_file",
    "shipped_rulesets",
    "topology_from",
    "translate",
]

"""What programs the machine: iptables rulesets become OPP programs, and a shell runs packets through them.

:mod:`.ruleset` is what a ruleset says, :mod:`.topology` where it runs, :mod:`.interface` what a translated program
and the shell around it (routing, reassembly, the local stack) expect of each other.
"""

if __name__ != "oppcache.controller":
    raise ImportError(
        f"import oppcache.controller, not {__name__}: a second copy would not share its classes"
    )

from .interface import ENTRY, LOCAL_PORT, METADATA, PKTTYPE, REJECTS, reject_name
from .ruleset import Chain, Match, Option, Rule, Ruleset, Table, Target
from .topology import Interface, Route, RoutingRule, Topology, load_topology

__all__ = [
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
    "load_topology",
    "reject_name",
]

"""A case through ``oppcache``: translated, and replayed by the shell."""

from __future__ import annotations

from typing import Any

from oppcache.controller.parser import parse_ruleset
from oppcache.controller.shell import MachineRunner, Sent, Shell, replay
from oppcache.controller.topology import topology_from
from oppcache.controller.translate import translate
from oppcache.opp import Machine

from .case import Case


def answers(case: Case, conntrack: str = "linux") -> list[dict[str, Any]]:
    """One record a packet."""
    topology = topology_from(case.topology)
    translation = translate(parse_ruleset(case.rules), topology, conntrack)
    shell = Shell(topology, MachineRunner(Machine(translation.program)), translation.reassemble)
    sent = [Sent(p.frame, p.iface, p.t, p.patch, p.reply_to) for p in case.packets]
    return [record for record, _ in replay(shell, sent)]

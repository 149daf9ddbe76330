"""A translated ruleset on the NIC and CPU that an experiment file describes, for ``oppcache replay --hybrid``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from oppcache.controller import Translation
from oppcache.controller.shell import MachineRunner
from oppcache.controller.tables import Tables
from oppcache.hybrid import HybridMachine
from oppcache.opp.yaml_source import MarkedDict

from .document import Document, mark_at, read_document, replaced
from .plan import make_plan
from .worker import make_setup

# Packets that are answered one by one need machines that take no time; that is what a file means that names none.
_TIMELESS = ((("nic", "profile"), "ideal"), (("consistency", "protocol"), "instant"))


def make_hybrid_runner(translation: Translation, file: str | Path, seed: int) -> tuple[MachineRunner, Tables]:
    """What runs the packets, and where their connections can be looked up.

    Args:
        file: an experiment; its program and traffic are not used, and of several runs it is the first. NIC and protocol
            are ``ideal`` and ``instant`` unless it names others.
        seed: of what the rules draw at random.

    Raises:
        InputError: the experiment is wrong, or cannot take packets one by one.
    """
    plan = make_plan(_timeless(read_document(str(file))))
    setup = replace(make_setup(plan.runs[0]), program=translation.program, seed=seed, warmup=0.0)
    machine = HybridMachine(setup)
    return MachineRunner(machine), Tables(translation, machine)


def _timeless(document: Document) -> Document:
    tree = document.tree
    for path, name in _TIMELESS:
        section = tree.get(path[0], MarkedDict())
        if isinstance(section, MarkedDict) and path[1] not in section:
            tree = replaced(tree, path, name, mark_at(tree, path))
    return replace(document, tree=tree)

"""A translated ruleset on the NIC and CPU that an experiment file describes, for ``oppcache replay --hybrid``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from oppcache.controller import Translation
from oppcache.controller.shell import MachineRunner
from oppcache.controller.tables import Tables
from oppcache.hybrid import HybridMachine

from . import api
from .worker import make_setup


def make_hybrid_runner(translation: Translation, file: str | Path, seed: int) -> tuple[MachineRunner, Tables]:
    """What runs the packets, and where their connections can be looked up.

    Args:
        file: an experiment; its program and traffic are not used, and of several runs it is the first.
        seed: of what the rules draw at random.

    Raises:
        InputError: the experiment is wrong, or cannot take packets one by one.
    """
    plan = api.plan(str(file))
    setup = replace(make_setup(plan.runs[0]), program=translation.program, seed=seed, warmup=0.0)
    machine = HybridMachine(setup)
    return MachineRunner(machine), Tables(translation, machine)

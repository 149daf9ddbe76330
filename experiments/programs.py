"""What an experiment runs: an OPP program, or an iptables ruleset that becomes one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oppcache import opp

RULESET = "iptables:"  # before the path of a ruleset


def load(source: str | Path | None, parameters: Mapping[str, Any]) -> opp.Program:
    """Load a program as a resolved experiment names it: ``nf:NAME``, ``iptables:PATH`` or a program's file.

    Raises:
        InputError: everything that is wrong with it.
    """
    assert source is not None, "an experiment that was resolved has a program"
    text = str(source)
    if text.startswith(RULESET):
        from oppcache.controller import load_iptables

        return load_iptables(text.removeprefix(RULESET), parameters)
    return opp.load_program(source, parameters)

"""``oppcache translate``: the OPP program that an iptables ruleset comes to, and how it fits a NIC."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .common import Format, FormatOption

RANK = 52
EXAMPLE = "oppcache translate three-functions.v4 --conntrack paper --nic netfpga-sume"


def translate(
    rules: Annotated[
        str, typer.Argument(metavar="RULES.v4", help="A ruleset (iptables-save, or iptables command lines).")
    ],
    topology: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="The router: interfaces, addresses, routes. "
            "RULES.json or topology.json beside the rules unless given.",
        ),
    ] = None,
    conntrack: Annotated[
        str, typer.Option(metavar="BLOCK", help="Connection tracking: linux, or paper (7 entries).")
    ] = "linux",
    nic: Annotated[
        str | None,
        typer.Option(metavar="PROFILE", help="Also say how it fits this NIC: a profile's name or file."),
    ] = None,
    format: FormatOption = Format.text,
) -> None:
    """Translate an iptables ruleset into an OPP program, and show its stages."""
    from oppcache.controller import load_translation
    from oppcache.controller.report import as_dict, as_text
    from oppcache.fastpath import fit, fit_text, load_profile
    from oppcache.opp import Mark

    translation = load_translation(rules, topology, conntrack)
    fitted = None if nic is None else fit(translation.program, load_profile(nic, Mark("--nic")))
    if format is Format.json:
        facts = as_dict(translation)
        facts["nic"] = None if fitted is None else fitted.as_dict()
        typer.echo(json.dumps(facts, indent=2))
        return
    typer.echo(as_text(translation), nl=False)
    if fitted is not None:
        typer.echo("\n" + fit_text.as_text(fitted), nl=False)

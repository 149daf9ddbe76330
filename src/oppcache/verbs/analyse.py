"""``oppcache analyse``: which state a program keeps, and what does not fit a NIC."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from .common import Format, FormatOption

RANK = 50
EXAMPLE = "oppcache analyse nf:stateful-firewall-2stage --nic netfpga-sume"


def analyse(
    program: Annotated[
        str,
        typer.Argument(
            metavar="PROGRAM",
            help="A program's YAML file, a ruleset (NAME.v4), or nf:NAME for a shipped one.",
        ),
    ],
    nic: Annotated[
        str | None,
        typer.Option(metavar="PROFILE", help="Also say how it fits this NIC: a profile's name or file."),
    ] = None,
    format: FormatOption = Format.text,
) -> None:
    """Say which state a program keeps, who shares it, what keeps it consistent, and what does not fit a NIC."""
    from oppcache.fastpath import fit, fit_text, load_profile
    from oppcache.opp import Mark, load_program
    from oppcache.opp.analysis import analyse as analyse_program
    from oppcache.opp.analysis_text import as_text

    if program.endswith(".v4"):
        from oppcache.controller import load_translation

        loaded = load_translation(program).program
    else:
        loaded = load_program(program)
    analysis = analyse_program(loaded)
    fitted = None if nic is None else fit(loaded, load_profile(nic, Mark("--nic")))
    if format is Format.json:
        facts = analysis.as_dict()
        facts["nic"] = None if fitted is None else fitted.as_dict()
        typer.echo(json.dumps(facts, indent=2))
        return
    typer.echo(as_text(analysis), nl=False)
    if fitted is not None:
        typer.echo("\n" + fit_text.as_text(fitted), nl=False)

"""``oppcache bench``: this project and its peers side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from oppcache.opp.errors import InputError, Mark

from .common import Format, FormatOption

RANK = 90
EXAMPLE = "oppcache bench parse main"


def bench(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME...]", help="Benchmarks; none: all.")
    ] = None,
    quick: Annotated[
        bool, typer.Option(help="Small inputs and two rounds: only to see that it runs.")
    ] = False,
    rounds: Annotated[int | None, typer.Option(min=1, help="Interleaved rounds to take medians of.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Also write the reports there.")
    ] = None,
    format: FormatOption = Format.text,
) -> None:
    """Measure this project and the installed peers side by side: medians of interleaved runs, and ratios."""
    from oppcache.bench import benchmark_names, run_benchmark

    reports = []
    for name in names or benchmark_names():
        report = run_benchmark(name, quick=quick, rounds=rounds)
        reports.append(report.as_dict())
        if format is Format.text:
            typer.echo(report.as_text())
    if format is Format.text:
        typer.echo("machine: " + ", ".join(f"{key} {value}" for key, value in report.machine.items()))
    else:
        typer.echo(json.dumps(reports, indent=2))
    if out is not None:
        try:
            out.write_text(json.dumps(reports, indent=2) + "\n")
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror or error}", Mark(str(out))) from None

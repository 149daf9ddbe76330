"""``oppcache validate``: every error of experiment files, without running them."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from oppcache.opp.errors import OppCacheError

from .common import BAD_INPUT, Format, FormatOption

RANK = 20
EXAMPLE = "oppcache validate my-experiment.yaml gallery:quickstart"


def validate(
    files: Annotated[list[str], typer.Argument(metavar="FILE.yaml...", help="Experiments to check.")],
    format: FormatOption = Format.text,
) -> None:
    """Check experiment files, files that they name included: every error at once, with line and column."""
    from oppcache.experiments import api

    wrong: list[OppCacheError] = []
    for file in files:
        try:
            plan = api.plan(file)
        except OppCacheError as error:
            wrong.append(error)
            continue
        if format is Format.text:
            runs = len(plan.runs)
            typer.echo(f"{file}: fine, {runs} run{'' if runs == 1 else 's'}")
    if format is Format.json:
        typer.echo(json.dumps([_problem(item) for error in wrong for item in error.problems], indent=2))
        if wrong:
            raise typer.Exit(BAD_INPUT)
    elif wrong:
        raise OppCacheError([problem for error in wrong for problem in error.problems])


def _problem(problem: Any) -> dict[str, Any]:
    mark = problem.mark
    return {
        "file": mark.file,
        "line": mark.line,
        "column": mark.column,
        "message": problem.message,
        "hint": problem.hint,
    }

"""``oppcache run``: an experiment, from YAML to tables and figures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import INCOMPLETE, Format, FormatOption, Settings, cores

if TYPE_CHECKING:
    from oppcache.experiments.outcome import Outcome
    from oppcache.experiments.plan import Plan

RANK = 10
EXAMPLE = "oppcache run gallery:quickstart --set sweep.nic.contexts=[256,1k,4k] --jobs 2"


def run(
    experiment: Annotated[str, typer.Argument(metavar="FILE.yaml|gallery:NAME", help="What to run.")],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Result folder; results/NAME unless given.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Worker processes; all cores unless given.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="a.b=V", help="Set a key to a YAML value; replaces a swept key."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check all and list the runs only.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Run again what is done already.")] = False,
    format: FormatOption = Format.text,
) -> None:
    """Run an experiment: every combination of its sweep with every seed.

    Writes results.csv, timing.csv, manifest.json, series/ and figures/ into the result folder. A call that
    was interrupted goes on where it stopped when it is repeated.
    """
    from oppcache.experiments import api
    from oppcache.experiments.progress import make_progress

    plan = api.plan(experiment, set_ or [])
    if dry_run:
        _print_runs(plan, format)
        return
    folder = out or api.default_folder(plan)
    progress = make_progress(Settings.quiet)
    command = ["oppcache", *sys.argv[1:]]
    outcome, _, figures = api.perform(plan, folder, jobs or cores(), progress, force=force, command=command)
    _print_outcome(plan, outcome, folder, figures, format)
    if outcome.failures:
        raise typer.Exit(INCOMPLETE)


def _print_runs(plan: Plan, format: Format) -> None:
    if format is Format.json:
        runs = [{"index": run.index, "swept": run.swept, "seed": run.seed} for run in plan.runs]
        typer.echo(json.dumps({"name": plan.experiment.name, "runs": runs}, indent=2))
        return
    for run in plan.runs:
        typer.echo(f"{run.index}: {run.title()}")
    typer.echo(f"{len(plan.runs)} runs")


def _print_outcome(plan: Plan, outcome: Outcome, folder: Path, figures: list[Path], format: Format) -> None:
    if format is Format.json:
        facts: dict[str, Any] = {
            "out": str(folder),
            "runs": len(plan.runs),
            "done": len(outcome.records),
            "resumed": outcome.resumed,
            "failed": sorted(outcome.failures),
            "figures": [str(path) for path in figures],
        }
        typer.echo(json.dumps(facts, indent=2))
        return
    parts = [f"{len(outcome.records)} of {len(plan.runs)} runs done"]
    if outcome.resumed:
        parts.append(f"{outcome.resumed} of them before")
    if outcome.failures:
        parts.append(f"{len(outcome.failures)} failed (why: {folder / 'manifest.json'})")
    typer.echo(", ".join(parts))
    typer.echo(f"table:  {folder / 'results.csv'}")
    for path in figures:
        if path.suffix == ".png":
            typer.echo(f"figure: {path}")

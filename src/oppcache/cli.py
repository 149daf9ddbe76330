"""The command line: verbs that call the rooms, one place for exit status, logging and how errors look.

A verb is a function of :data:`app`; it imports what it needs when it is called, so that ``--help`` is quick.
It returns or raises: :class:`~oppcache.opp.errors.OppCacheError` becomes one line a problem on stderr and its
exit status, anything unforeseen one line and status 70.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from oppcache import __version__
from oppcache.opp.errors import InputError, Mark, OppCacheError

if TYPE_CHECKING:
    from oppcache.experiments.outcome import Outcome
    from oppcache.experiments.plan import Plan

log = logging.getLogger("oppcache")

FINE, DOES_NOT_HOLD, BAD_INPUT, INCOMPLETE, INTERNAL, INTERRUPTED = 0, 1, 2, 3, 70, 130
REPORT_TO = "please report it with the command and its input, and with what -v shows"

app = typer.Typer(
    name="oppcache",
    help="A smart NIC as a cache in front of a software OPP data plane.\n\n"
    "Experiments are YAML files; runs give tables and figures.\n\n"
    "Example: oppcache run gallery:quickstart\n\n"
    "Exit status: 0 fine; 1 checked, and it does not hold; 2 bad usage or bad input; "
    "3 undecided, or some runs failed; 70 internal error; 130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Format(StrEnum):
    """How a verb prints."""

    text = "text"
    json = "json"


class _Settings:
    """What the options before the verb set."""

    verbose = False
    quiet = False


FormatOption = Annotated[Format, typer.Option("--format", help="How to print: text or json.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"oppcache {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log more; show tracebacks.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only errors on stderr, no progress.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    _Settings.verbose, _Settings.quiet = verbose, quiet
    level = logging.DEBUG if verbose else logging.ERROR if quiet else logging.INFO
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LowerLevel("%(levelname)s: %(message)s"))
    log.handlers[:] = [handler]
    log.propagate = False
    log.setLevel(level)


class _LowerLevel(logging.Formatter):
    """``warning: text``, as errors look; what is merely told has no prefix."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        return prefix + record.getMessage()


@app.command(epilog="Example: oppcache run gallery:quickstart --set sweep.nic.contexts=[256,1k,4k] --jobs 2")
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
    progress = make_progress(_Settings.quiet)
    command = ["oppcache", *sys.argv[1:]]
    outcome, _, figures = api.perform(plan, folder, jobs or _cores(), progress, force=force, command=command)
    _print_outcome(plan, outcome, folder, figures, format)
    if outcome.failures:
        raise typer.Exit(INCOMPLETE)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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


@app.command(epilog="Example: oppcache validate my-experiment.yaml gallery:quickstart")
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


@app.command(epilog="Example: oppcache schema > oppcache.schema.json")
def schema() -> None:
    """Print the JSON Schema of experiment files, for editors that complete and check YAML."""
    from oppcache.experiments.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))


@app.command(epilog="Example: oppcache analyse nf:stateful-firewall-2stage --nic netfpga-sume")
def analyse(
    program: Annotated[
        str, typer.Argument(metavar="PROGRAM", help="A program's YAML file, or nf:NAME for a shipped one.")
    ],
    nic: Annotated[
        str | None,
        typer.Option(metavar="PROFILE", help="Also say how it fits this NIC: a profile's name or file."),
    ] = None,
    format: FormatOption = Format.text,
) -> None:
    """Say which state a program keeps, who shares it, what keeps it consistent, and what does not fit a NIC."""
    from oppcache.fastpath import fit, fit_text, load_profile
    from oppcache.opp import InputError, Mark, load_program
    from oppcache.opp.analysis import analyse as analyse_program
    from oppcache.opp.analysis_text import as_text

    if program.endswith(".v4"):
        raise InputError("translating a ruleset is not available in this version", Mark(program))
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


@app.command(epilog="Example: oppcache plot results/quickstart")
def plot(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A result folder of oppcache run.")],
    format: FormatOption = Format.text,
) -> None:
    """Draw a result folder's figures again, as PNG and PDF."""
    from oppcache.experiments.plots import plot as draw

    files = [str(path) for path in draw(folder)]
    typer.echo(json.dumps(files, indent=2) if format is Format.json else "\n".join(files))


@app.command(epilog="Example: oppcache bench parse main")
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


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with its status; the entry point of the console command."""
    sys.exit(call(arguments))


def call(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    _Settings.verbose = _Settings.quiet = False
    try:
        status = app(args=arguments, prog_name="oppcache", standalone_mode=False)
        sys.stdout.flush()
    except OppCacheError as error:
        for problem in error.problems:
            _say(f"error: {problem}")
        return error.exit_status
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except BrokenPipeError:
        return _reader_left()
    except SystemExit as left:
        # Typer turns a broken pipe into this.
        return _reader_left() if isinstance(left.__context__, BrokenPipeError) else int(left.code or 0)
    except Exception as error:
        return _unforeseen(error)
    if status == INTERRUPTED:
        _say("interrupted; what is done is kept, repeat the command to go on")
    return status if isinstance(status, int) else FINE


def _reader_left() -> int:
    """Whoever read our output has seen enough, as ``head`` does: be quiet about it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FINE


def _unforeseen(error: Exception) -> int:
    """Tell apart wrong usage, which Typer reports with an exit code and words, from a bug."""
    words, code = getattr(error, "format_message", None), getattr(error, "exit_code", None)
    if callable(words) and isinstance(code, int):
        if type(error).__name__ == "NoArgsIsHelpError":
            _say(words())
            return BAD_INPUT
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context is not None else ""
        _say(f"error: {words()}{hint}")
        return BAD_INPUT
    if isinstance(error, typer.Exit):
        return error.exit_code
    if _Settings.verbose:
        traceback.print_exception(error)
    what = f"{type(error).__name__}: {error}".splitlines()[0]
    _say(f"internal error: {what}; {REPORT_TO}")
    return INTERNAL


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    main()

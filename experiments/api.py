"""The two calls that do in a notebook what the command line does in a shell."""

from __future__ import annotations

import logging
import multiprocessing
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import store
from .document import read_document
from .outcome import Outcome
from .plan import Plan, make_plan
from .progress import Progress, Silent
from .results import Results, write
from .runner import run_plan

log = logging.getLogger("oppcache")


def plan(source: str | Path | Mapping[str, Any], options: Sequence[str] = ()) -> Plan:
    """Read and check an experiment.

    Args:
        source: a YAML file, ``gallery:NAME``, or the same content as a mapping.
        options: texts ``a.b=VALUE``, as ``--set`` takes them.

    Raises:
        InputError: every problem at once.
    """
    return make_plan(read_document(source, options))


def perform(
    planned: Plan,
    out: Path,
    jobs: int,
    progress: Progress,
    *,
    force: bool = False,
    command: Sequence[str] | None = None,
) -> tuple[Outcome, Results, list[Path]]:
    """Run a plan and write its results and figures.

    Returns:
        What came of the runs, the result folder, and the figures' files.

    Raises:
        InputError: an input cannot be used; finished runs stay.
        KeyboardInterrupt: stopped by the user; finished runs stay.
    """
    from .plots import plot

    store.prepare(out)
    outcome = run_plan(planned, out, jobs, progress, force=force)
    results = write(planned, outcome, out, sys.argv if command is None else command)
    figures = plot(results) if outcome.records else []
    return outcome, results, figures


def run(
    source: str | Path | Mapping[str, Any],
    out: str | Path | None = None,
    jobs: int = 1,
    set: Mapping[str, Any] | Sequence[str] = (),
    force: bool = False,
) -> Results:
    """Run an experiment, or what an interrupted call left undone of it.

    Args:
        source: a YAML file, ``gallery:NAME``, or the same content as a mapping.
        out: result folder, by default ``results/NAME``.
        jobs: worker processes; with more than 1, a script needs its ``if __name__ == "__main__":`` guard.
        set: values by dotted key, or texts ``a.b=VALUE``, as ``--set`` takes them.
        force: run finished runs again.

    Returns:
        The opened result folder. Runs that failed have empty metrics, their reason is in its manifest.

    Raises:
        InputError: every problem of the input at once.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        # A worker that is starting imports the caller's script, and must not find a sweep there.
        raise RuntimeError('call oppcache.run under `if __name__ == "__main__":` when it has jobs > 1')
    planned = plan(source, _options(set))
    folder = default_folder(planned) if out is None else Path(out)
    _, results, _ = perform(planned, folder, jobs, Silent(), force=force)
    return results


def default_folder(planned: Plan) -> Path:
    """Return where results go unless the user says otherwise."""
    return Path("results") / planned.experiment.name


def _options(given: Mapping[str, Any] | Sequence[str]) -> Sequence[str]:
    if not isinstance(given, Mapping):
        return given
    import json

    return [f"{key}={json.dumps(value, default=str)}" for key, value in given.items()]

"""Running a plan: what is done already is found again by its key, the rest is given to a crew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import store
from .crew import Crew, Report
from .outcome import Outcome
from .plan import Plan
from .progress import Progress
from .worker import Task


def hash_inputs(plan: Plan) -> dict[str, str]:
    """Return the SHA-256 of every file of the user's that a run reads, each hashed once."""
    files = dict.fromkeys(path for run in plan.runs for path in run.resolved.files())
    return {str(path): store.sha256(path) for path in files}


def run_keys(plan: Plan, inputs: dict[str, str]) -> list[str]:
    """Return every run's key."""
    unrelated = {"name", "question", "figures", "sweep", "seeds"}
    dumps: dict[int, Any] = {}
    keys = []
    for run in plan.runs:
        # Runs that differ by seed alone share their configuration.
        config = dumps.get(id(run.config))
        if config is None:
            config = dumps[id(run.config)] = run.config.model_dump(mode="json", exclude=unrelated)
        files = [inputs[str(path)] for path in run.resolved.files()]
        keys.append(store.run_key({"config": config, "seed": run.seed, "files": files}))
    return keys


def run_plan(plan: Plan, out: Path, jobs: int, progress: Progress, *, force: bool = False) -> Outcome:
    """Run what is not done yet.

    Args:
        plan: the runs.
        out: the result folder; it exists.
        jobs: how many worker processes; 1 runs here.
        progress: is told what happens.
        force: whether finished runs are run again.

    Raises:
        InputError: a run's input cannot be used; what is done stays done.
        KeyboardInterrupt: the user stopped it; what is done stays done.
    """
    inputs = hash_inputs(plan)
    outcome = Outcome(run_keys(plan, inputs), inputs=inputs)
    pending = []
    for run, key in zip(plan.runs, outcome.keys, strict=True):
        record = None if force else store.load_run(out, key)
        if record is None:
            pending.append(Task(run, key, out))
        else:
            outcome.records[run.index] = record
    outcome.resumed = len(outcome.records)
    if not pending:
        return outcome
    report = Report(outcome, progress)
    try:
        Crew(pending, jobs, report).run(lambda: progress.start(len(plan.runs), outcome.resumed))
    finally:
        progress.stop()
    return outcome

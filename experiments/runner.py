"""Running a plan: on several workers, resumable, with a failing run recorded and the others going on."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oppcache.opp.errors import InputError

from . import store
from .plan import Plan
from .progress import Progress
from .worker import Task, execute

log = logging.getLogger("oppcache")

_TICK_SECONDS = 0.25


class Interrupted(BaseException):
    """Raised inside a run that should stop: the user pressed Ctrl-C."""


@dataclass
class Outcome:
    """What came of a plan.

    Attributes:
        keys: every run's key.
        records: finished runs' records by index.
        failures: failed runs' tracebacks by index.
        resumed: how many runs were done before.
        inputs: SHA-256 by file, in order of first use.
    """

    keys: list[str]
    records: dict[int, dict[str, Any]] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    resumed: int = 0
    inputs: dict[str, str] = field(default_factory=dict)


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
    with _progressing(progress, len(plan.runs), outcome.resumed):
        if min(jobs, len(pending)) <= 1:
            _run_here(pending, outcome, progress)
        else:
            _Pool(pending, min(jobs, len(pending)), outcome, progress).run()
    return outcome


@contextlib.contextmanager
def _progressing(progress: Progress, total: int, done: int) -> Iterator[None]:
    progress.start(total, done)
    try:
        yield
    finally:
        progress.stop()


def _import_plotting() -> None:
    """Import what figures and tables need while the runs have the processor to themselves anyway."""
    import matplotlib.figure  # noqa: F401
    import polars  # noqa: F401


def _finish(task: Task, record: dict[str, Any], outcome: Outcome, progress: Progress) -> None:
    outcome.records[task.plan.index] = record
    progress.finished(task.plan.title(), record["timing"]["wall_seconds"])


def _fail(task: Task, trace: str, outcome: Outcome, progress: Progress) -> None:
    outcome.failures[task.plan.index] = trace
    lines = trace.strip().splitlines()
    log.error("run failed: %s: %s", task.plan.title(), lines[-1] if lines else "no reason known")
    progress.finished(task.plan.title(), 0.0)


def _run_here(pending: list[Task], outcome: Outcome, progress: Progress) -> None:
    from oppcache.hybrid import warm_up

    warm_up()
    total = 0

    def tell(packets: int) -> None:
        progress.update(total + packets)

    for task in pending:
        try:
            record = execute(task, tell)
        except InputError:
            raise
        except Exception:
            _fail(task, traceback.format_exc(), outcome, progress)
        else:
            total += record["source"]["counts"].get("packets", 0)
            progress.update(total)
            _finish(task, record, outcome, progress)


class _Pool:
    """Worker processes that share a packet count each with this process, and a flag that stops them."""

    def __init__(self, pending: list[Task], jobs: int, outcome: Outcome, progress: Progress) -> None:
        import multiprocessing

        self.pending, self.jobs, self.outcome, self.progress = pending, jobs, outcome, progress
        # A forked child would inherit locks held by threads that it lacks; spawn starts clean everywhere.
        context = multiprocessing.get_context("spawn")
        self.stop = context.Event()
        self.counts = context.Array("q", len(pending), lock=False)
        initargs = (self.stop, self.counts)
        self.executor = ProcessPoolExecutor(jobs, context, initializer=_start_worker, initargs=initargs)

    def run(self) -> None:
        from oppcache.hybrid import warm_up

        # Workers import while this process compiles what the cache lacks; only then may they simulate.
        ready = [self.executor.submit(_import_engine) for _ in range(self.jobs)]
        try:
            warm_up()
            threading.Thread(target=_import_plotting, daemon=True).start()
            wait(ready)
            self._collect()
        except BaseException:
            self.stop.set()
            raise
        finally:
            self.executor.shutdown(cancel_futures=True)

    def _collect(self) -> None:
        futures: dict[Future[Any], Task] = {
            self.executor.submit(_work, task, place): task for place, task in enumerate(self.pending)
        }
        waiting = set(futures)
        while waiting:
            done, waiting = wait(waiting, _TICK_SECONDS, FIRST_COMPLETED)
            self.progress.update(sum(self.counts))
            for future in sorted(done, key=lambda future: futures[future].plan.index):
                self._take(futures[future], future)

    def _take(self, task: Task, future: Future[Any]) -> None:
        try:
            record, trace = future.result()
        except BrokenProcessPool:
            record, trace = None, "a worker process died (out of memory?); run again to continue"
        if record is None:
            _fail(task, trace, self.outcome, self.progress)
        else:
            _finish(task, record, self.outcome, self.progress)


_worker: Any = None  # (stop, counts) of this worker process


def _start_worker(stop: Any, counts: Any) -> None:
    global _worker
    _worker = (stop, counts)
    # Ctrl-C reaches the whole process group; the parent decides what it means and sets the flag.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _import_engine() -> None:
    import oppcache.hybrid
    import oppcache.traffic  # noqa: F401

    time.sleep(0.01)  # so that no worker takes two of these


def _work(task: Task, place: int) -> tuple[dict[str, Any] | None, str]:
    stop, counts = _worker

    def tell(packets: int) -> None:
        counts[place] = packets
        if stop.is_set():
            raise Interrupted

    try:
        tell(0)
        return execute(task, tell), ""
    except InputError:
        raise
    except Interrupted:
        return None, "interrupted"
    except Exception:
        return None, traceback.format_exc()

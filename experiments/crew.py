"""Who does the runs: this process, and further ones as soon as they are worth their start.

A worker process takes a second or two to start and load its kernels, longer than many a sweep lasts. So this
process begins by itself, hires workers when what is left would keep it busy for longer, and goes on as one of
them. Every run is on its own: who does it, and when, changes nothing in its results.
"""

from __future__ import annotations

import logging
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from oppcache.opp.errors import InputError

from .outcome import Outcome
from .progress import Progress
from .worker import Task, execute, warm_up_source

log = logging.getLogger("oppcache")

HIRE_SECONDS = 3.0  # work left, if done alone, that makes workers worth their start
_TICK_SECONDS = 0.1

_Result = tuple[dict[str, Any] | None, str]


class _Abandon(BaseException):
    """Leaves a run that is under way: the user stopped it, or another run's input turned out bad."""


class _Found(_Abandon):
    """Bad input that a worker found."""

    def __init__(self, error: InputError) -> None:
        super().__init__()
        self.error = error


class Report:
    """Notes what comes of each run and tells the user."""

    def __init__(self, outcome: Outcome, progress: Progress) -> None:
        self.outcome = outcome
        self.progress = progress

    def finish(self, task: Task, result: _Result) -> None:
        """Note a run that has ended: its record, or why it failed."""
        record, trace = result
        if record is not None:
            self.outcome.records[task.plan.index] = record
            self.progress.finished(task.plan.title(), record["timing"]["wall_seconds"])
            return
        self.outcome.failures[task.plan.index] = trace
        lines = trace.strip().splitlines()
        log.error("run failed: %s: %s", task.plan.title(), lines[-1] if lines else "no reason known")
        self.progress.finished(task.plan.title(), 0.0)


class Crew:
    """Does tasks, at most ``jobs`` at a time, this process among them.

    Args:
        tasks: what to do.
        jobs: processes at most.
        report: takes results as they come.
    """

    def __init__(self, tasks: list[Task], jobs: int, report: Report) -> None:
        import multiprocessing

        # A forked child would inherit locks of threads that it lacks; spawn starts clean everywhere.
        self.context = multiprocessing.get_context("spawn")
        self.stop = self.context.Event()
        self.counts = self.context.Array("q", len(tasks), lock=False)
        self.total = len(tasks)
        self.pending = deque(enumerate(tasks))
        self.first = tasks[0].plan
        # One of each policy, by how it is named; admission may be a mapping.
        self.evictions = {str(t.plan.resolved.eviction): t.plan.resolved.eviction for t in tasks}
        self.admissions = {str(t.plan.resolved.admission): t.plan.resolved.admission for t in tasks}
        self.extra = min(jobs, len(tasks)) - 1
        self.report = report
        self.executor: ProcessPoolExecutor | None = None
        self.starting: list[Future[None]] = []
        self.running: dict[Future[_Result], Task] = {}
        self.started = self.looked = 0.0

    def run(self, begin: Callable[[], None]) -> None:
        """Do everything; ``begin`` is called when kernels are ready and the first run begins.

        Raises:
            InputError: of the first run that meets bad input; runs under way are left, finished ones stay.
            KeyboardInterrupt: likewise.
        """
        try:
            self._warm_up()
            begin()
            self.started = time.monotonic()
            while self.pending:
                self._do_next_here()
                self._look_around()
            while self.running:
                wait(self.running, _TICK_SECONDS, FIRST_COMPLETED)
                self._look_around()
            self.report.progress.update(sum(self.counts))
        except _Found as found:
            self.stop.set()
            raise found.error from None
        except BaseException:
            self.stop.set()
            raise
        finally:
            if self.executor is not None:
                self.executor.shutdown(cancel_futures=True)

    def _warm_up(self) -> None:
        """Fill the kernel cache before anyone simulates: the engine here, the packets' part beside it."""
        from oppcache._jit import is_cached
        from oppcache.hybrid import warm_up

        if self.extra > 0 and not is_cached("engine.run_packets"):
            self._hire()
        plans = [task.plan for _, task in self.pending]
        units = {plan.config.cache.unit for plan in plans if not plan.takes_time}
        warm_up(
            self.evictions.values(),
            self.admissions.values(),
            untimed="context" in units,
            bundles="bundle" in units,
            timed=any(plan.takes_time for plan in plans),
        )
        try:
            for future in self.starting[:1]:
                future.result()
        except BrokenProcessPool:
            self._dismiss()
        warm_up_source(self.first)

    def _hire(self) -> None:
        initargs = (self.stop, self.counts)
        self.executor = ProcessPoolExecutor(
            self.extra, self.context, initializer=_start_worker, initargs=initargs
        )
        # Ctrl-C reaches the whole process group, but the parent decides what it means and sets the flag: a worker
        # inherits the mask, and so does not see it even while it starts.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.starting = [self.executor.submit(warm_up_source, self.first)]
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.starting += [self.executor.submit(_import_engine) for _ in range(self.extra - 1)]

    def _do_next_here(self) -> None:
        place, task = self.pending.popleft()

        def tell(packets: int) -> None:
            self.counts[place] = packets
            self._look_around()

        self.report.finish(task, _attempt(task, tell))

    def _look_around(self) -> None:
        """Take what workers have done, give them more, hire if that is worth it; called while runs go on."""
        now = time.monotonic()
        if now - self.looked < _TICK_SECONDS and not any(future.done() for future in self.running):
            return
        self.looked = now
        try:
            self._collect()
            self._assign()
        except InputError as error:
            raise _Found(error) from None
        self.report.progress.update(sum(self.counts))
        if self.executor is None and self.extra > 0 and self._left_seconds(now) > HIRE_SECONDS:
            self._hire()

    def _left_seconds(self, now: float) -> float:
        elapsed, done = now - self.started, self.total - len(self.pending) - 1
        return elapsed / max(done, 1) * len(self.pending) if elapsed > 0.5 else 0.0

    def _collect(self) -> None:
        for future in [future for future in self.running if future.done()]:
            task = self.running.pop(future)
            try:
                self.report.finish(task, future.result())
            except BrokenProcessPool:
                self.report.finish(task, (None, "a worker process died (out of memory?)"))
                self._dismiss()

    def _assign(self) -> None:
        if self.extra <= 0 or self.executor is None:
            return
        ready = sum(future.done() for future in self.starting)
        while self.pending and len(self.running) < ready:
            place, task = self.pending[0]
            try:
                future = self.executor.submit(_work, task, place)
            except BrokenProcessPool:
                self._dismiss()
                return
            self.pending.popleft()
            self.running[future] = task

    def _dismiss(self) -> None:
        """Go on alone: a worker has died, and the pool with it."""
        if self.extra > 0:
            log.warning("worker processes have died; what is left is done by one process")
        self.extra = 0


def _attempt(task: Task, tell: Any) -> _Result:
    try:
        return execute(task, tell), ""
    except InputError:
        raise
    except Exception:
        return None, traceback.format_exc()


_worker: Any = None  # (stop, counts) of this worker process


def _start_worker(stop: Any, counts: Any) -> None:
    global _worker
    _worker = (stop, counts)


def _import_engine() -> None:
    import oppcache.hybrid
    import oppcache.traffic  # noqa: F401

    time.sleep(_TICK_SECONDS)  # so that no worker takes two of these


def _work(task: Task, place: int) -> _Result:
    stop, counts = _worker

    def tell(packets: int) -> None:
        counts[place] = packets
        if stop.is_set():
            raise _Abandon

    try:
        tell(0)
        return _attempt(task, tell)
    except _Abandon:
        return None, "interrupted"

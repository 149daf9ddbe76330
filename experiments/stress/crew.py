"""Many seeds, in this process and in others."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice

from oppcache.opp.errors import InputError

from .drawing import read_stress_file
from .trial import Result, Trials

_CHUNK = 50  # seeds of a task
_AHEAD = 2  # tasks a process has before it
_ALONE = 200  # so few seeds are not worth another process's start


def run_seeds(
    trials: Trials,
    source: str,
    options: Sequence[str],
    seeds: range,
    jobs: int,
    finished: Callable[[Result], None],
) -> None:
    """Try seeds, each once; the order in which they are told is not theirs.

    Args:
        trials: for this process.
        source, options: what they are of, for others: as :func:`~.drawing.read_stress_file` takes them.
        jobs: processes at most.
        finished: told every result.

    Raises:
        InputError: the file, or a program that it draws, is wrong.
    """
    if jobs == 1 or len(seeds) <= _ALONE:
        for seed in seeds:
            finished(tried(trials, seed))
        return
    chunks = iter([seeds[at : at + _CHUNK] for at in range(0, len(seeds), _CHUNK)])
    # A forked child would inherit locks of threads that it lacks; spawn starts clean everywhere.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(
        min(jobs, 1 + len(seeds) // _CHUNK), context, initializer=_begin, initargs=(source, tuple(options))
    )
    try:
        running = {executor.submit(_some, chunk) for chunk in islice(chunks, _AHEAD * jobs)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            running |= {executor.submit(_some, chunk) for chunk in islice(chunks, len(done))}
            for result in _results(done):
                finished(result)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _results(done: set[Future[list[Result]]]) -> Iterator[Result]:
    for future in done:
        yield from future.result()


def tried(trials: Trials, seed: int, keep: Sequence[int] | None = None) -> Result:
    """Try a seed, with some of its packets or all; a run that breaks is a result too.

    Raises:
        InputError: the program that it draws cannot be stressed.
    """
    try:
        return trials.run(seed, keep)
    except InputError:
        raise
    except Exception as error:
        if os.environ.get("OPPCACHE_DEBUG"):
            traceback.print_exc()
        return Result(seed, error=f"{type(error).__name__}: {error}")


_trials: list[Trials] = []


def _begin(source: str, options: tuple[str, ...]) -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
    _trials[:] = [Trials(read_stress_file(source, options))]


def _some(seeds: range) -> list[Result]:
    return [tried(_trials[0], seed) for seed in seeds]

"""Interleaved runs, medians and ratios: how a benchmark is measured and reported.

Machines are shared and noisy, so candidates take turns (A B C A B C …), each figure is a median over the
rounds, and what is quoted is the ratio to the peers of the same rounds.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from oppcache.opp.errors import InputError, Mark, Problem, near_miss

ROUNDS = 7
_NOT_BENCHMARKS = ("__init__", "calibration", "harness", "inputs", "rules_generator")


class Prepared(NamedTuple):
    """A candidate that has something to make ready before each round, whose time does not count."""

    prepare: Callable[[], None]
    run: Callable[[], int]


Candidate = Callable[[], int] | Prepared
Candidates = Callable[[bool], AbstractContextManager[dict[str, Candidate]]]


@dataclass(frozen=True)
class Measured:
    """One candidate's figures.

    Attributes:
        per_second: median of units per second over the rounds.
        lowest, highest: the rounds' extremes.
        ratio: ours divided by this one, as the median of the rounds' ratios; per unit of work. Where the benchmark
            says what each candidate is compared with, this one divided by that; None for none.
    """

    name: str
    units: int
    per_second: float
    lowest: float
    highest: float
    ratio: float | None


@dataclass(frozen=True)
class Report:
    """A benchmark's outcome; plain data, ready for JSON."""

    benchmark: str
    title: str
    unit: str
    excludes: str
    rounds: int
    measured: list[Measured]
    missing: list[str] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)
    ratio_text: str = "oppcache is {:,.3g} x"

    def as_dict(self) -> dict[str, Any]:
        """The report as plain data."""
        return asdict(self)

    def as_text(self) -> str:
        """The report as a table."""
        width = max(len(m.name) for m in self.measured)
        lines = [f"{self.benchmark}: {self.title}", f"  excluded: {self.excludes}"]
        for m in self.measured:
            ratio = "" if m.ratio is None else "   " + self.ratio_text.format(m.ratio)
            lines.append(
                f"  {m.name:<{width}}  {_si(m.per_second):>9} {self.unit}/s "
                f"(median of {self.rounds}; {_si(m.lowest)} to {_si(m.highest)}){ratio}"
            )
        lines += [f"  not installed: {name} (pip install 'oppcache[bench]')" for name in self.missing]
        return "\n".join(lines)


def benchmark_names() -> list[str]:
    """Names of the benchmarks, by file name."""
    return sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem not in _NOT_BENCHMARKS)


def run_benchmark(name: str, *, quick: bool = False, rounds: int | None = None) -> Report:
    """Measure one benchmark.

    Args:
        name: of the benchmark.
        quick: small inputs and two rounds, to see that it runs.
        rounds: how many, by default :data:`ROUNDS`.

    Raises:
        InputError: there is no such benchmark.
    """
    known = benchmark_names()
    if name not in known:
        message = f"unknown benchmark {name!r}; known: {', '.join(known)}"
        raise InputError(Problem(message, Mark("bench"), near_miss(name, known)))
    module: ModuleType = importlib.import_module(f".{name}", __package__)
    rounds = rounds or (2 if quick else int(getattr(module, "ROUNDS", ROUNDS)))
    prepare: Candidates = module.candidates
    # On a busy machine the time that a process had says more than the time that passed.
    clock = time.process_time if getattr(module, "CPU_TIME", False) else time.perf_counter
    with prepare(quick) as candidates:
        rates = _interleave(candidates, rounds, clock)
    return Report(
        benchmark=name,
        title=module.TITLE,
        unit=module.UNIT,
        excludes=module.EXCLUDES,
        rounds=rounds,
        measured=_summarise(rates, getattr(module, "against", None)),
        missing=[p for p in getattr(module, "PEERS", ()) if importlib.util.find_spec(p) is None],
        machine=describe_machine(),
        ratio_text=getattr(module, "RATIO", Report.ratio_text),
    )


def _interleave(
    candidates: dict[str, Candidate], rounds: int, clock: Callable[[], float]
) -> dict[str, list[tuple[int, float]]]:
    """(units, units per second) of every candidate in every round, after one round that does not count."""
    rates: dict[str, list[tuple[int, float]]] = {name: [] for name in candidates}
    for round_number in range(rounds + 1):
        for name, candidate in candidates.items():
            prepare, run = candidate if isinstance(candidate, Prepared) else (None, candidate)
            if prepare is not None:
                prepare()
            started = clock()
            units = run()
            seconds = clock() - started
            if round_number:
                rates[name].append((units, units / seconds))
    return rates


def _summarise(
    rates: dict[str, list[tuple[int, float]]], against: Callable[[str], str] | None
) -> list[Measured]:
    """Figures of every candidate; ``against`` names the one that a candidate is compared with."""
    first = next(iter(rates))
    out = []
    for name, rows in rates.items():
        speeds = [rate for _, rate in rows]
        if against is None:
            above, below = (first, name) if name != first else ("", "")
        else:
            above, below = name, against(name)
        ratio = None
        if above in rates and below in rates:
            pairs = zip(rates[above], rates[below], strict=True)
            ratio = statistics.median(a / b for (_, a), (_, b) in pairs)
        out.append(Measured(name, rows[0][0], statistics.median(speeds), min(speeds), max(speeds), ratio))
    return out


def describe_machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import numba
    import numpy as np

    import oppcache

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "oppcache": oppcache.__version__,
    }


def _si(value: float) -> str:
    for scale, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= scale:
            return f"{value / scale:.3g} {letter}"
    return f"{value:.3g} "

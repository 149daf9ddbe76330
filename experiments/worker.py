"""One run: build its packets and its machine, simulate, and leave the results in the result folder."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .plan import RunPlan
from .schema import Faults as FaultsSection
from .schema import Traffic
from .store import save_run


@dataclass(frozen=True)
class Task:
    """What a worker is asked to do.

    Attributes:
        plan: the run.
        key: under which its results are left.
        out: the result folder.
    """

    plan: RunPlan
    key: str
    out: Path


def execute(task: Task, progress: Callable[[int], None] | None = None) -> dict[str, Any]:
    """Simulate one run and save it.

    Returns:
        Its record: ``metrics``, ``timing``, ``series`` (names) and ``source``.
    """
    from oppcache.hybrid import simulate

    started = time.perf_counter()
    setup = make_setup(task.plan)
    if task.plan.config.measure == "max_lossless_rate":
        from . import lossless

        def run(rate: float) -> Any:
            return simulate(replace(setup, source=make_source(task.plan, rate)), progress=progress)

        outcome = lossless.search(run)
    else:
        outcome = simulate(setup, progress=progress)
    wall_seconds = time.perf_counter() - started
    metrics = {name: _number(value) for name, value in outcome.metrics.items()}
    packets = setup.source.counts().get("packets", metrics.get("packets") or 0)
    # A capture's file is described (and hashed) once, by whoever asked for the run.
    described = {} if task.plan.resolved.capture else setup.source.describe()
    record = {
        "metrics": metrics,
        "timing": {
            "wall_seconds": wall_seconds,
            "packets_per_wall_second": packets / wall_seconds,
            "peak_rss_bytes": peak_rss_bytes(),
        },
        "series": sorted(outcome.series),
        "source": {**described, "counts": setup.source.counts()},
    }
    save_run(task.out, task.key, record, outcome.series)
    return record


def warm_up_source(plan: RunPlan) -> None:
    """Compile, or load from the cache, what makes a run's packets."""
    from oppcache import opp, traffic

    for _ in traffic.limit(make_source(plan), packets=1).chunks(opp.Layout()):
        pass


def make_setup(plan: RunPlan, program: Any = None) -> Any:
    """Return the :class:`oppcache.hybrid.Setup` of a run.

    Args:
        program: that of the plan, if it has been loaded already.
    """
    from oppcache.hybrid import Control, Cpu, Link, Migration, ReleaseSettings, RuleSettings, Setup
    from oppcache.slowpath import Law, Service

    from .programs import load

    config, resolved = plan.config, plan.resolved
    return Setup(
        program=program or load(resolved.program, resolved.parameters),
        source=make_source(plan),
        contexts=config.nic.contexts,
        eviction=resolved.eviction,
        admission=resolved.admission,
        profile=str(resolved.profile),
        protocol=str(resolved.protocol),
        seed=plan.seed,
        warmup=config.traffic.warmup,
        link=Link(**dict(config.link)),
        control=Control(**config.control.model_dump(exclude={"rules"})),
        cpu=Cpu(
            config.cpu.cores,
            Service(
                1000 * config.cpu.service,
                1000 * config.cpu.stage,
                1000 * config.cpu.batch_time,
                config.cpu.batch,
                Law[config.cpu.distribution.upper()],
            ),
            config.cpu.queue,
        ),
        migration=Migration(
            config.consistency.hold,
            config.consistency.hold_timeout,
            config.consistency.resend,
            config.consistency.retries,
            config.consistency.writeback_interval or 0,
            config.consistency.checkpoint_interval,
        ),
        faults=make_faults(config.faults),
        hazard=config.nic.hazard or "",
        organisation=config.nic.organisation or "",
        rules=RuleSettings(
            "" if config.cache.rules == "none" else config.cache.rules,
            config.nic.entries,
            config.control.rules,
            config.cache.rules_interval,
        ),
        unit=config.cache.unit,
        release=ReleaseSettings(
            config.cache.release.idle or 0, config.cache.release.states, config.cache.release.flags
        ),
    )


def make_faults(section: FaultsSection) -> Any:
    """Return the :class:`oppcache.hybrid.Faults` of a ``faults`` section."""
    from oppcache.hybrid import ControlFaults, Faults

    return Faults(**dict(section) | {"control": ControlFaults(**dict(section.control))})


def make_source(plan: RunPlan, rate: float | None = None) -> Any:
    """Return the run's packets: a capture, or a generator with the run's seed; paced, then limited.

    Args:
        rate: packets/s instead of the file's ``traffic.rate``.
    """

    section = plan.config.traffic
    return paced(first_source(plan, plan.seed, section.packets), section, rate)


def first_source(plan: RunPlan, seed: int, packets: int | None) -> Any:
    """Return the run's packets as the capture has them, or as the generator makes so many from a seed."""
    from oppcache import traffic

    if plan.resolved.capture is not None:
        return traffic.open_capture(plan.resolved.capture)
    generator = plan.config.traffic.generator
    assert generator is not None
    return traffic.make_generator(generator, seed=seed, packets=packets, base=plan.resolved.generator_base)


def paced(source: Any, section: Traffic, rate: float | None = None) -> Any:
    """Return packets in the times and numbers that a ``traffic`` section says."""
    from oppcache import traffic

    if rate is not None:
        source = traffic.retime(source, traffic.Rate("packets", rate))
    elif section.rate != "as-captured":
        source = traffic.retime(source, traffic.parse_rate(section.rate))
    if section.packets is not None or section.duration is not None:
        source = traffic.limit(source, packets=section.packets, duration_ns=section.duration)
    return source


def _number(value: Any) -> int | float | None:
    """Return a metric as a plain number: NumPy's own numbers do not all print alike."""
    if value is None or isinstance(value, int | float):
        return value
    return value.item()  # type: ignore[no-any-return]


def peak_rss_bytes() -> int:
    """Return the largest resident size that this process has had, in bytes (of all its runs so far)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

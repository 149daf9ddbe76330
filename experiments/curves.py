"""Miss-ratio curves of a trace: every policy at every size, in full or estimated from samples of the ids."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oppcache.cache import Eviction, load_policy
from oppcache.cache.ids import dense_ids
from oppcache.cache.replay import replay
from oppcache.cache.stack_distances import distance_counts, lru_misses, sample_group
from oppcache.opp.errors import InputError, Mark
from oppcache.opp.units import parse_count, parse_fraction

from .traces import Trace

# From so many sizes on, one pass for all of them is quicker for LRU than a simulation each.
ONE_PASS_SIZES = 8
SAMPLES = 8  # disjoint shares of the ids that an estimate is the mean of
COLUMNS = (
    "policy",
    "size",
    "requests",
    "misses",
    "miss_ratio",
    "requests_per_second",
    "requests_per_second_dense",
    "reading_seconds",
)


@dataclass(frozen=True)
class Point:
    """One policy at one size.

    Attributes:
        policy: its name.
        size: the cache's slots.
        requests: of the trace.
        misses: counted, or estimated from samples.
        error: standard error of the miss ratio, None if it was counted.
        per_second: requests per second from 64-bit ids in memory to the misses, numbering the ids included.
        per_second_dense: the same from ids that are numbered already.
    """

    policy: str
    size: int
    requests: int
    misses: int
    error: float | None
    per_second: float
    per_second_dense: float

    @property
    def miss_ratio(self) -> float:
        """Share of the requests that miss."""
        return self.misses / self.requests


def parse_sizes(text: str, objects: int) -> list[int]:
    """Sizes such as ``64,1k,10%``: counts, or shares of the trace's distinct objects (rounded down, from 1).

    Raises:
        InputError: one of them is neither.
    """
    sizes = []
    for item in (part.strip() for part in text.split(",")):
        try:
            size = max(int(parse_fraction(item) * objects), 1) if item.endswith("%") else parse_count(item)
        except ValueError:
            raise InputError(
                f"got {item!r}, expected a count such as 4096 or 64k, or a share such as 10%", Mark("--size")
            ) from None
        if not 1 <= size < 2**31:
            raise InputError(f"got {item!r}, expected from 1 to {2**31 - 1} objects", Mark("--size"))
        sizes.append(size)
    return sizes


def load_policies(names: str) -> list[Eviction]:
    """Load the policies of a list such as ``lru,sieve,mine.py``, and compile their simulators.

    Raises:
        InputError: one of them is unknown or wrong.
    """
    nothing = np.zeros(1, np.int32)
    policies = [
        load_policy(Path(n) if n.endswith(".py") else n) for n in (p.strip() for p in names.split(","))
    ]
    for policy in policies:
        replay(policy, nothing, 1, 1)
    distance_counts(nothing, 1)
    dense_ids(nothing)
    return policies


def curves(policies: Sequence[Eviction], trace: Trace, sizes: Sequence[int]) -> Iterator[Point]:
    """Count the misses of every policy at every size."""
    started = time.perf_counter()
    dense, keys = dense_ids(trace.ids)
    numbering = time.perf_counter() - started
    requests = len(dense)
    for policy in policies:
        if policy.built_in and policy.name == "lru" and len(sizes) >= ONE_PASS_SIZES:
            started = time.perf_counter()
            counts = distance_counts(dense, keys)
            seconds = time.perf_counter() - started
            found = lru_misses(counts, np.array(sizes)).tolist()
            took = [seconds] * len(sizes)
        else:
            found, took = [], []
            for size in sizes:
                started = time.perf_counter()
                found.append(replay(policy, dense, keys, size, times=trace.times))
                took.append(time.perf_counter() - started)
        for size, misses, seconds in zip(sizes, found, took, strict=True):
            yield Point(
                policy.name,
                size,
                requests,
                misses,
                None,
                requests / (numbering + seconds),
                requests / seconds,
            )


def estimates(
    policies: Sequence[Eviction], trace: Trace, sizes: Sequence[int], share: float
) -> Iterator[Point]:
    """Estimate the misses of every policy at every size from :data:`SAMPLES` disjoint samples of the ids.

    A sample has all requests for ``share`` / :data:`SAMPLES` of the ids, and its cache as many slots less (SHARDS for LRU:
    Waldspurger et al., FAST 2015; miniature simulations for others: the same, ATC 2017). The estimate is the mean of the samples; their
    spread gives its standard error. A sample's misses are divided by the requests that it should have had, the
    difference counting as hits (SHARDS' adjustment), as a hot id's being in or out is what errs most.

    Raises:
        InputError: the samples are too small for a size.
    """
    requests = len(trace.ids)
    groups = round(SAMPLES / share)
    started = time.perf_counter()
    group = sample_group(trace.ids, groups)
    samples = [group == number for number in range(SAMPLES)]
    mine = [
        (trace.ids[sample], trace.times[sample] if len(trace.times) else trace.times) for sample in samples
    ]
    numbered = [(*dense_ids(ids), times) for ids, times in mine]
    numbering = time.perf_counter() - started
    least = min(sizes)
    if least < groups:
        raise InputError(
            f"size {least} has no slot in samples of one id in {groups}, expected sizes from {groups} or a larger share",
            Mark("--sample"),
        )
    for policy in policies:
        for size in sizes:
            started = time.perf_counter()
            ratios = []
            for dense, keys, times in numbered:
                misses = replay(policy, dense, keys, round(size / groups), times=times) if keys else 0
                ratios.append(min(misses * groups / requests, 1.0))
            seconds = time.perf_counter() - started
            mean, error = float(np.mean(ratios)), float(np.std(ratios, ddof=1) / np.sqrt(SAMPLES))
            per_second = requests / (numbering + seconds)
            yield Point(
                policy.name, size, requests, round(mean * requests), error, per_second, requests / seconds
            )


def draw(points: Sequence[Point], path: Path, title: str) -> None:
    """Draw miss ratio against size, a line a policy, into a PNG, PDF or SVG file.

    Raises:
        InputError: the file cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.style.context(str(Path(__file__).with_name("house.mplstyle"))):
        figure, axes = pyplot.subplots()
        for name in dict.fromkeys(point.policy for point in points):
            curve = sorted((p for p in points if p.policy == name), key=lambda p: p.size)
            sizes, ratios = [p.size for p in curve], [p.miss_ratio for p in curve]
            style = {"color": "#222222", "linestyle": "--"} if name == "belady" else {}
            (line,) = axes.plot(sizes, ratios, label=name, **style)  # type: ignore[arg-type]
            if curve[0].error is not None:
                error = 1.96 * np.array([p.error for p in curve])
                axes.fill_between(
                    sizes, ratios - error, ratios + error, color=line.get_color(), alpha=0.18, linewidth=0
                )
        axes.set_xscale("log", base=2)
        axes.set_xlabel("slots")
        axes.set_ylabel("miss ratio")
        axes.set_ylim(bottom=0)
        axes.set_title(title)
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        try:
            figure.savefig(path, bbox_inches="tight", metadata={} if path.suffix == ".svg" else None)
        except (OSError, ValueError) as error:
            raise InputError(f"cannot be written: {error}", Mark(str(path))) from None
        finally:
            pyplot.close(figure)

"""``oppcache stress``: many small random runs, each followed by the history checker."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import DOES_NOT_HOLD, INCOMPLETE, Format, FormatOption, Settings, cores

if TYPE_CHECKING:
    from oppcache.experiments.stress.shrinking import Shrunk
    from oppcache.experiments.stress.trial import Result, Trials

RANK = 65
_MANY = 20  # seeds of which some must have promoted a context
EXAMPLE = "oppcache stress gallery:stress-cas-hold --seeds 20"


def stress(
    file: Annotated[str, typer.Argument(metavar="FILE.yaml|gallery:NAME", help="What to draw runs from.")],
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds to try.")] = 100,
    from_: Annotated[int, typer.Option("--from", metavar="S", min=0, help="The first seed.")] = 0,
    shrink: Annotated[
        bool, typer.Option("--shrink", help="Make the first failing seed's run smaller, and tell its story.")
    ] = False,
    keep: Annotated[
        str | None,
        typer.Option(metavar="N,N,…", help="Only these packets of each run, as --shrink gives them."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="a.b=V", help="Set a key to a YAML value, which is then not drawn."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Worker processes; all cores unless given.")
    ] = None,
    format: FormatOption = Format.text,
) -> None:
    """Look for anomalies in random runs: workload, timing, sizes and faults as the file allows.

    Each run's history is checked against the properties of a single machine, and replayed on the plain reference. A
    failing seed is one line that says how to run it again. Exit status: 0 no anomaly, 1 some, 3 a run broke, or 20 seeds
    and more without a single promotion have shown nothing.
    """
    from oppcache.experiments.stress.crew import run_seeds, tried
    from oppcache.experiments.stress.drawing import read_stress_file
    from oppcache.experiments.stress.trial import Trials, added

    options = set_ or []
    trials = Trials(read_stress_file(file, options))
    kept = _numbers(keep) if keep is not None else None
    progress = _Progress(seeds)
    totals: dict[str, int] = {}
    bad: list[Result] = []

    def finished(result: Result) -> None:
        nonlocal totals
        totals = added(totals, result.totals)
        progress.count()
        if result.findings or result.error:
            bad.append(result)
            if format is Format.text:
                typer.echo(_line(file, options, keep, result))

    wanted = range(from_, from_ + seeds)
    if kept is None:
        run_seeds(trials, file, options, wanted, jobs or cores(), finished)
    else:
        for seed in wanted:
            finished(tried(trials, seed, kept))
    bad.sort(key=lambda result: result.seed)
    failing = [result for result in bad if result.findings]
    small = _shrunk(trials, failing[0].seed, kept) if shrink and failing else None
    if format is Format.json:
        typer.echo(json.dumps(_facts(file, options, keep, seeds, totals, bad, small), indent=2))
    else:
        if small is not None:
            typer.echo(_story(file, options, small))
        typer.echo(_summary(seeds, totals, bad))
    if failing:
        raise typer.Exit(DOES_NOT_HOLD)
    if bad or _vacuous(seeds, totals):
        raise typer.Exit(INCOMPLETE)


def _numbers(text: str) -> list[int]:
    from oppcache.opp.errors import InputError, Mark

    try:
        return sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise InputError(f"got {text!r}, expected packet numbers such as 3,7,9", Mark("--keep")) from None


def _again(file: str, options: Sequence[str], keep: str | None, seed: int) -> str:
    words = ["oppcache", "stress", file, "--seeds", "1", "--from", str(seed)]
    for option in options:
        words += ["--set", option]
    return shlex.join(words + (["--keep", keep] if keep else []))


def _line(file: str, options: Sequence[str], keep: str | None, result: Result) -> str:
    if result.error:
        what = f"broke: {result.error}"
    else:
        kinds = ", ".join(f"{kind} {count}" for kind, count in result.kinds.items())
        what = f"{kinds}: {result.findings[0].text}"
    return f"seed {result.seed}: {what}\n  again: {_again(file, options, keep, result.seed)}"


def _vacuous(seeds: int, totals: dict[str, int]) -> bool:
    """Whether so many runs without a promotion have shown nothing."""
    return seeds >= _MANY and totals.get("promotions", 0) == 0


def _summary(seeds: int, totals: dict[str, int], bad: list[Result]) -> str:
    happened = ", ".join(f"{count} {name}" for name, count in totals.items() if count)
    failing = sum(bool(result.findings) for result in bad)
    broken = len(bad) - failing
    verdict = (
        f"{failing} of {seeds} seeds show anomalies" if failing else f"{seeds - broken} seeds, no anomaly"
    )
    if broken:
        verdict += f", {broken} broke"
    elif not failing and _vacuous(seeds, totals):
        verdict = f"undecided: no promotion completes in {seeds} seeds"
    return f"{happened or 'nothing happened'}\n{verdict}"


def _shrunk(trials: Trials, seed: int, keep: list[int] | None) -> Shrunk:
    from oppcache.experiments.stress.shrinking import Shrinker

    return Shrinker(trials, seed).run(keep)


def _story(file: str, options: Sequence[str], small: Shrunk) -> str:
    keep = ",".join(map(str, small.keep))
    lines = [f"shrunk to {len(small.keep)} packets in {small.tries} runs:"]
    lines += [f"  {line}" for line in small.story]
    lines += [f"  {finding.kind}: {finding.text}" for finding in small.result.findings]
    lines.append(f"  again: {_again(file, [*options, *small.options], keep, small.seed)}")
    return "\n".join(lines)


def _facts(
    file: str,
    options: Sequence[str],
    keep: str | None,
    seeds: int,
    totals: dict[str, int],
    bad: list[Result],
    small: Shrunk | None,
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "seeds": seeds,
        "totals": totals,
        "failing": [
            {
                "seed": result.seed,
                "kinds": result.kinds,
                "findings": [finding._asdict() for finding in result.findings],
                "error": result.error,
                "again": _again(file, options, keep, result.seed),
            }
            for result in bad
        ],
    }
    if small is not None:
        left = ",".join(map(str, small.keep))
        facts["shrunk"] = {
            "packets": list(small.keep),
            "findings": [finding._asdict() for finding in small.result.findings],
            "story": list(small.story),
            "again": _again(file, [*options, *small.options], left, small.seed),
        }
    return facts


class _Progress:
    """Tells how far it is, every few seconds, on stderr."""

    def __init__(self, total: int) -> None:
        import logging
        import time

        self._log, self._clock = logging.getLogger("oppcache"), time.monotonic
        from oppcache._jit import tell_if_compiling

        tell_if_compiling("events.run_events")
        self.total, self.done = total, 0
        self.started = self.told = self._clock()

    def count(self) -> None:
        """One seed is done."""
        self.done += 1
        now = self._clock()
        if Settings.quiet or now - self.told < 5:
            return
        self.told = now
        rate = self.done / (now - self.started)
        left = (self.total - self.done) / rate
        self._log.info("%d of %d seeds, %.0f a second, %.0f s left", self.done, self.total, rate, left)

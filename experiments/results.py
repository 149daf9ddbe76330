"""Result folders: writing the tables of a plan's outcome, and reading them back as data frames."""

from __future__ import annotations

import datetime
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oppcache import __version__
from oppcache.opp.errors import InputError, Mark

from . import store
from .metrics import in_order
from .outcome import Outcome
from .plan import Plan
from .schema import Faults

if TYPE_CHECKING:
    import polars

TIMING_COLUMNS = ("wall_seconds", "packets_per_wall_second", "peak_rss_bytes")


@dataclass(frozen=True)
class Results:
    """A result folder.

    Attributes:
        folder: where it is.
    """

    folder: Path

    @cached_property
    def results(self) -> polars.DataFrame:
        """``results.csv``: one row a run; swept keys, ``seed``, metrics in base units."""
        return self._table(store.RESULTS)

    @cached_property
    def timing(self) -> polars.DataFrame:
        """``timing.csv``: swept keys, ``seed``, wall-clock seconds, packets a second, peak memory in bytes.

        ``peak_rss_bytes`` is the worker's peak so far, over all the runs that it has done.
        """
        return self._table(store.TIMING)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """``manifest.json``: versions, configuration, seeds, input hashes, runs."""
        import json

        path = self.folder / store.MANIFEST
        try:
            manifest: Any = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _unreadable(self.folder, path, error) from None
        if not isinstance(manifest, dict):
            raise InputError("holds no mapping, expected a manifest of `oppcache run`", Mark(str(path)))
        return manifest

    @property
    def series_names(self) -> list[str]:
        """Names of the series that the runs recorded."""
        return sorted(path.stem for path in (self.folder / store.SERIES).glob("*.parquet"))

    def series(self, name: str) -> polars.DataFrame:
        """One series of all runs: ``run`` (the row of ``results``), swept keys, ``seed``, the series' columns.

        Raises:
            InputError: there is no such series.
        """
        import polars

        path = self.folder / store.SERIES / f"{name}.parquet"
        if not path.is_file():
            known = ", ".join(self.series_names) or "none"
            raise InputError(f"got series {name!r}, expected one of: {known}", Mark(str(self.folder)))
        return polars.read_parquet(path)

    def _table(self, name: str) -> polars.DataFrame:
        import polars

        path = self.folder / name
        try:
            # A text column stays text even if all its values look like numbers in the first rows.
            return polars.read_csv(path, infer_schema_length=None)
        except (OSError, polars.exceptions.PolarsError) as error:
            raise _unreadable(self.folder, path, error) from None


def _unreadable(folder: Path, path: Path, error: Exception) -> InputError:
    if not folder.is_dir():
        return InputError("no such folder, expected a result folder of `oppcache run`", Mark(str(folder)))
    if isinstance(error, FileNotFoundError):
        return InputError(
            f"has no {path.name}, expected a result folder of `oppcache run`", Mark(str(folder))
        )
    return InputError(f"cannot be read: {str(error).splitlines()[0]}", Mark(str(path)))


def load(folder: str | Path) -> Results:
    """Open a result folder.

    Raises:
        InputError: it is not one.
    """
    results = Results(Path(folder))
    _ = results.manifest
    return results


def write(plan: Plan, outcome: Outcome, out: Path, command: Iterable[str]) -> Results:
    """Write ``results.csv``, ``timing.csv``, ``series/`` and ``manifest.json`` of a plan's outcome."""
    records = outcome.records
    # In run order: which run finishes first must not decide the order of columns.
    metrics = in_order(name for index in sorted(records) for name in records[index]["metrics"])
    write_rows = []
    timing_rows = []
    for run in plan.runs:
        record = records.get(run.index, {"metrics": {}, "timing": {}})
        place = [*run.swept.values(), run.seed]
        write_rows.append([*place, *(record["metrics"].get(name) for name in metrics)])
        timing_rows.append([*place, *(record["timing"].get(name) for name in TIMING_COLUMNS)])
    store.write_csv(out / store.RESULTS, [*plan.keys, "seed", *metrics], write_rows)
    store.write_csv(out / store.TIMING, [*plan.keys, "seed", *TIMING_COLUMNS], timing_rows)
    _write_series(plan, outcome, out)
    store.write_json(out / store.MANIFEST, manifest(plan, outcome, command))
    return Results(out)


def _write_series(plan: Plan, outcome: Outcome, out: Path) -> None:
    if not any(record["series"] for record in outcome.records.values()):
        return
    import polars

    frames: dict[str, list[polars.DataFrame]] = {}
    for run in plan.runs:
        if run.index not in outcome.records:
            continue
        for name, columns in store.load_series(out, outcome.keys[run.index]).items():
            constants = {"run": run.index, **run.swept, "seed": run.seed}
            frame = polars.DataFrame(columns)
            places = [polars.lit(value).alias(key) for key, value in constants.items()]
            frames.setdefault(name, []).append(frame.select(*places, polars.all()))
    for name, parts in frames.items():
        whole = polars.concat(parts, how="vertical_relaxed")
        store.write_atomically(out / store.SERIES / f"{name}.parquet", whole.write_parquet)


def manifest(plan: Plan, outcome: Outcome, command: Iterable[str]) -> dict[str, Any]:
    """Return what ``manifest.json`` says: enough to run the experiment again and to know what it ran on."""
    return {
        "oppcache": __version__,
        "engine_sha256": store.engine_hash(),
        "command": list(command),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "cpu": cpu_type(),
        "platform": platform.platform(),
        "source": plan.label,
        "configuration": configuration(plan),
        "swept": list(plan.keys),
        "seeds": list(plan.experiment.seeds),
        "inputs": {path: {"sha256": digest} for path, digest in outcome.inputs.items()},
        "runs": [_run_entry(plan, outcome, index) for index in range(len(plan.runs))],
    }


def configuration(plan: Plan) -> dict[str, Any]:
    """Return the whole configuration with defaults and figures filled in; it can be run again as it stands."""
    dump = plan.experiment.model_dump(mode="json", exclude_none=True)
    dump["figures"] = [
        figure.model_dump(mode="json", exclude_none=True) | {"by": list(figure.by)} for figure in plan.figures
    ]
    if plan.experiment.faults == Faults():
        dump.pop("faults")
    return dump


def _run_entry(plan: Plan, outcome: Outcome, index: int) -> dict[str, Any]:
    run = plan.runs[index]
    entry: dict[str, Any] = {"swept": run.swept, "seed": run.seed, "key": outcome.keys[index]}
    if index in outcome.failures:
        return entry | {"status": "failed", "error": outcome.failures[index]}
    if index not in outcome.records:
        return entry | {"status": "not run"}
    return entry | {"status": "done", "packets_source": outcome.records[index]["source"]}


def versions() -> Mapping[str, str]:
    """Return the versions that can change a result."""
    import numba
    import numpy

    return {
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "numba": numba.__version__,
    }


def cpu_type() -> str:
    """Return the processor's name, as the operating system tells it."""
    if sys.platform == "linux":
        try:
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
        except OSError:
            pass
    return platform.processor() or platform.machine()

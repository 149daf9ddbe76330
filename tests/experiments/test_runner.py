"""Running sweeps: the same bytes however they are run, resumed, failed in part or interrupted."""

from __future__ import annotations

import csv
import json
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars
import pytest

import oppcache
import oppcache.hybrid
from oppcache.experiments import api, crew
from oppcache.experiments.progress import Silent
from oppcache.opp.errors import InputError

Simulate = Callable[..., Any]


@pytest.fixture
def simulations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the runs that this process simulates, by their contexts."""
    seen: list[int] = []
    simulate = oppcache.hybrid.simulate

    def counting(setup: Any, progress: Any = None) -> Any:
        seen.append(setup.contexts)
        return simulate(setup, progress=progress)

    monkeypatch.setattr(oppcache.hybrid, "simulate", counting)
    return seen


@pytest.fixture
def eager_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hire workers at once and wait until they are ready, however short the sweep."""
    hire = crew.Crew._hire

    def hire_and_wait(self: crew.Crew) -> None:
        hire(self)
        for future in self.starting:
            future.result()

    monkeypatch.setattr(crew, "HIRE_SECONDS", -1.0)
    monkeypatch.setattr(crew.Crew, "_hire", hire_and_wait)


def patch(monkeypatch: pytest.MonkeyPatch, before: Callable[[Any], None]) -> None:
    """Have ``before`` look at each run's setup first; it may raise."""
    simulate = oppcache.hybrid.simulate

    def patched(setup: Any, progress: Any = None) -> Any:
        before(setup)
        return simulate(setup, progress=progress)

    monkeypatch.setattr(oppcache.hybrid, "simulate", patched)


def test_a_run_leaves_tables_series_manifest_and_figures(experiment: dict[str, Any], tmp_path: Path) -> None:
    results = oppcache.run(experiment, out=tmp_path / "out")
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:6] == ["nic.contexts", "cache.eviction", "seed", "packets", "bytes", "flows"]
    places = [(row["nic.contexts"], row["cache.eviction"]) for row in rows]
    assert places == [("16", "fifo"), ("16", "lru"), ("64", "fifo"), ("64", "lru")]
    assert all(0 < float(row["hit_rate"]) < 1 for row in rows)
    assert all(row["packets"] == "3000" for row in rows)
    timing = results.timing
    assert timing.columns[3:] == ["wall_seconds", "packets_per_wall_second", "peak_rss_bytes"]
    assert timing["peak_rss_bytes"].min() > 10e6
    series = results.series("hit_rate")
    assert series.columns[:4] == ["run", "nic.contexts", "cache.eviction", "seed"]
    assert series["run"].unique().sort().to_list() == [0, 1, 2, 3]
    names = sorted(path.name for path in (tmp_path / "out" / "figures").iterdir())
    assert names == ["hit_rate-vs-nic.contexts.pdf", "hit_rate-vs-nic.contexts.png"]
    leftovers = [path for path in (tmp_path / "out").rglob(".*") if path.is_file()]
    assert leftovers == []


def test_the_manifest_says_what_made_the_results(experiment: dict[str, Any], tmp_path: Path) -> None:
    policy = tmp_path / "mine.py"
    lru = Path(oppcache.hybrid.__file__).resolve().parent.parent / "cache" / "eviction" / "fifo.py"
    policy.write_text(lru.read_text().replace("from ..", "from oppcache.cache.").replace("cache..", "cache."))
    experiment["sweep"] = {"cache.eviction": ["fifo", str(policy)]}
    manifest = oppcache.run(experiment, out=tmp_path / "out").manifest
    assert manifest["oppcache"] == oppcache.__version__
    assert set(manifest["versions"]) == {"python", "numpy", "numba"}
    assert manifest["cpu"]
    assert manifest["seeds"] == [0]
    assert len(manifest["inputs"][str(policy)]["sha256"]) == 64
    assert manifest["configuration"]["link"]["rx"] == "2us"
    assert [run["status"] for run in manifest["runs"]] == ["done", "done"]


def test_a_manifest_configuration_runs_again_to_the_same_bytes(
    experiment: dict[str, Any], tmp_path: Path
) -> None:
    first = oppcache.run(experiment, out=tmp_path / "a")
    oppcache.run(first.manifest["configuration"], out=tmp_path / "b")
    assert (tmp_path / "a/results.csv").read_bytes() == (tmp_path / "b/results.csv").read_bytes()


def test_results_and_figures_are_the_same_bytes_with_two_workers(
    experiment: dict[str, Any], tmp_path: Path, eager_workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    oppcache.run(experiment, out=tmp_path / "one")
    here: list[int] = []

    def dawdle(setup: Any) -> None:
        # Only this process dawdles, so that its worker gets to work.
        here.append(setup.contexts)
        time.sleep(0.2)

    patch(monkeypatch, dawdle)
    oppcache.run(experiment, out=tmp_path / "two", jobs=2)
    assert 0 < len(here) < 4
    for name in ("results.csv", "series/hit_rate.parquet", "figures/hit_rate-vs-nic.contexts.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    pdf = "figures/hit_rate-vs-nic.contexts.pdf"
    assert (tmp_path / "one" / pdf).read_bytes() == (tmp_path / "two" / pdf).read_bytes()


def test_a_worker_that_dies_costs_its_run_and_no_more(
    experiment: dict[str, Any], tmp_path: Path, eager_workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    here: list[int] = []

    def kill_the_worker(setup: Any) -> None:
        here.append(setup.contexts)
        time.sleep(0.1)
        if len(here) == 2:
            for process in multiprocessing.active_children():
                process.kill()
                process.join()

    experiment["seeds"] = 2
    with monkeypatch.context() as patched:
        patch(patched, kill_the_worker)
        results = oppcache.run(experiment, out=tmp_path, jobs=2)
    statuses = [run["status"] for run in results.manifest["runs"]]
    assert statuses.count("failed") <= 1
    assert set(statuses) <= {"done", "failed"}
    assert oppcache.run(experiment, out=tmp_path).results["hit_rate"].null_count() == 0


def test_what_is_done_is_not_done_again(
    experiment: dict[str, Any], tmp_path: Path, simulations: list[int]
) -> None:
    oppcache.run(experiment, out=tmp_path)
    before = (tmp_path / "results.csv").read_bytes()
    assert simulations == [16, 16, 64, 64]
    oppcache.run(experiment, out=tmp_path)
    assert len(simulations) == 4
    assert (tmp_path / "results.csv").read_bytes() == before
    longer = experiment | {"sweep": {"nic.contexts": [16, 64, 256], "cache.eviction": ["fifo", "lru"]}}
    oppcache.run(longer, out=tmp_path)
    assert simulations[4:] == [256, 256]
    oppcache.run(experiment | {"question": "Another?"}, out=tmp_path, force=True)
    assert simulations[6:] == [16, 16, 64, 64]
    assert (tmp_path / "results.csv").read_bytes() == before


def test_a_changed_input_file_is_noticed(
    experiment: dict[str, Any], tmp_path: Path, simulations: list[int]
) -> None:
    program = tmp_path / "mine.yaml"
    shipped = Path(oppcache.hybrid.__file__).resolve().parent.parent / "opp/programs/stateful-firewall.yaml"
    program.write_text(shipped.read_text())
    small = experiment | {"program": {"opp": str(program)}, "sweep": {}}
    oppcache.run(small, out=tmp_path / "out")
    program.write_text(shipped.read_text() + "# changed\n")
    oppcache.run(small, out=tmp_path / "out")
    assert len(simulations) == 2


def test_files_of_others_in_the_result_folder_stay(experiment: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    notes = [tmp_path / "notes.txt", tmp_path / "runs" / "mine.json"]
    for path in notes:
        path.write_text("mine")
    oppcache.run(experiment, out=tmp_path)
    assert all(path.read_text() == "mine" for path in notes)


def test_a_failing_run_is_recorded_and_the_others_go_on(
    experiment: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(setup: Any) -> None:
        if setup.contexts == 16 and setup.eviction == "lru":
            raise RuntimeError("out of luck")

    with monkeypatch.context() as patched:
        patch(patched, fail)
        results = oppcache.run(experiment, out=tmp_path)
    assert results.results["hit_rate"].is_null().to_list() == [False, True, False, False]
    failed = results.manifest["runs"][1]
    assert failed["status"] == "failed"
    assert "RuntimeError: out of luck" in failed["error"]
    assert (tmp_path / "figures/hit_rate-vs-nic.contexts.png").is_file()
    again = oppcache.run(experiment, out=tmp_path)
    assert again.results["hit_rate"].null_count() == 0


def test_an_interrupted_call_keeps_what_is_done(
    experiment: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, simulations: list[int]
) -> None:
    def interrupt(setup: Any) -> None:
        if setup.contexts == 64:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patch(patched, interrupt)
        with pytest.raises(KeyboardInterrupt):
            oppcache.run(experiment, out=tmp_path)
    assert not (tmp_path / "results.csv").exists()
    assert simulations == [16, 16]
    oppcache.run(experiment, out=tmp_path)
    assert simulations == [16, 16, 64, 64]


@pytest.mark.parametrize("jobs", [1, 2])
def test_bad_input_met_in_a_run_is_an_error_of_the_input(
    experiment: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    def fail(setup: Any) -> None:
        raise InputError("corrupt gzip")

    patch(monkeypatch, fail)
    with pytest.raises(InputError, match="corrupt gzip"):
        oppcache.run(experiment, out=tmp_path, jobs=jobs)


def test_every_run_of_a_crew_is_reported_once(experiment: dict[str, Any], tmp_path: Path) -> None:
    class Listening(Silent):
        def __init__(self) -> None:
            self.told: list[str] = []
            self.total = self.packets = 0

        def start(self, total: int, done: int) -> None:
            self.total = total

        def update(self, packets: int) -> None:
            self.packets = packets

        def finished(self, title: str, seconds: float) -> None:
            self.told.append(title)

    progress = Listening()
    api.perform(api.plan(experiment), tmp_path, 1, progress)
    assert progress.total == 4
    assert progress.packets == 4 * 3000
    assert progress.told[0] == "nic.contexts=16 cache.eviction=fifo seed=0"
    assert len(set(progress.told)) == 4


def test_an_unusable_result_folder_is_an_input_error(experiment: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match="is not a folder"):
        oppcache.run(experiment, out=file)


def test_options_may_be_given_as_a_mapping(experiment: dict[str, Any], tmp_path: Path) -> None:
    options = {"nic.contexts": 8, "cache.admission": {"packet": 2}}
    results = oppcache.run(experiment, out=tmp_path, set=options)
    assert results.results.columns[0] == "cache.eviction"
    assert results.manifest["configuration"]["nic"]["contexts"] == 8


def test_load_opens_what_run_wrote(experiment: dict[str, Any], tmp_path: Path) -> None:
    oppcache.run(experiment, out=tmp_path)
    results = oppcache.load(tmp_path)
    assert results.results.shape[0] == 4
    assert results.results["hit_rate"].dtype == polars.Float64
    assert results.series_names == ["hit_rate"]
    with pytest.raises(InputError, match="got series 'latency', expected one of: hit_rate"):
        results.series("latency")


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_load_refuses_what_is_no_result_folder(tmp_path: Path, content: str | None) -> None:
    if content is None:
        with pytest.raises(InputError, match="no such folder"):
            oppcache.load(tmp_path / "absent")
    else:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(InputError):
        oppcache.load(tmp_path)


def test_numbers_in_tables_are_plain_and_read_back(experiment: dict[str, Any], tmp_path: Path) -> None:
    results = oppcache.run(experiment, out=tmp_path)
    record = json.loads(next((tmp_path / "runs").glob("*.json")).read_text())
    rates = results.results["hit_rate"].to_list()
    assert record["metrics"]["hit_rate"] in rates

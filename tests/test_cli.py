"""The command line from outside: exit status, what is printed where, and one clear line for bad input."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import oppcache
from oppcache import cli

Call = Callable[..., tuple[int, str, str]]

SMALL: dict[str, Any] = {
    "name": "small",
    "program": {"nf": "stateful-firewall"},
    "traffic": {"generator": {"model": "caida-like", "flows": 200}, "packets": 3000},
    "sweep": {"nic.contexts": [16, 64]},
}
EMPTY_PCAP = bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000")
WRONG_POLICY = """\
def state_size(capacity, keys): return 1
def init(state, capacity): pass
def hit(state, slot, now): pass
def victim(state, candidates, n, key, now, next_use): return 0
def insert(state, slot, key, now, next_use): pass
def remove(state, slot, evicted): pass
"""


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command in an empty folder; returns exit status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            cli.main(list(arguments))
        printed = capsys.readouterr()
        return int(left.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture
def small(tmp_path: Path) -> str:
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL, sort_keys=False))
    return "small.yaml"


def test_help_is_complete_and_shows_an_example(call: Call) -> None:
    status, out, _ = call("--help")
    assert status == 0
    assert all(verb in out for verb in ("run", "validate", "schema", "plot", "--version", "130 interrupted"))
    for verb in ("run", "validate", "schema", "plot"):
        status, out, _ = call(verb, "--help")
        assert status == 0
        assert f"Example: oppcache {verb}" in out


def test_help_does_not_load_the_simulator() -> None:
    code = "import sys; from oppcache import cli; cli.call(['--help']); print([m for m in ('numba', 'polars') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_version(call: Call) -> None:
    assert call("--version") == (0, f"oppcache {oppcache.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "Usage: oppcache"),
        (("run",), "Missing argument"),
        (("run", "x.yaml", "--job", "2"), "No such option"),
        (("run", "x.yaml", "--jobs", "0"), "Invalid value"),
        (("rum",), "No such command 'rum'"),
        (("validate", "x.yaml", "--format", "xml"), "Invalid value"),
    ],
)
def test_wrong_usage_is_status_2_and_no_traceback(
    call: Call, arguments: tuple[str, ...], expected: str
) -> None:
    status, out, err = call(*arguments)
    assert status == 2
    assert expected in err
    assert out == ""
    assert "Traceback" not in err


def bad_inputs(folder: Path) -> dict[str, tuple[list[str], str]]:
    """Bad input by name: the command's arguments, and what its one line must say."""
    (folder / "text.pcap").write_text("this is no capture, whatever its name says\n" * 9)
    packed = bytearray(gzip.compress(EMPTY_PCAP + bytes(5000), mtime=0))
    packed[30:40] = bytes(10)
    (folder / "corrupt.pcap.gz").write_bytes(packed)
    (folder / "policy.py").write_text(WRONG_POLICY)
    (folder / "duplicate.yaml").write_text("name: a\nname: b\n")
    (folder / "unknown.yaml").write_text(yaml.safe_dump(SMALL | {"nik": {}}, sort_keys=False))
    (folder / "unit.yaml").write_text(yaml.safe_dump(SMALL | {"link": {"rx": "2usec"}}, sort_keys=False))
    capture = ["run", "gallery:real-capture", "--set"]
    return {
        "missing file": (["run", "absent.yaml"], "absent.yaml: no such file"),
        "directory": (["run", "."], ".: is a directory, expected a file"),
        "missing capture": ([*capture, "traffic.pcap=absent.pcap"], "absent.pcap: no such file"),
        "directory as capture": ([*capture, "traffic.pcap=."], ".: is a directory, expected a capture"),
        "text as capture": ([*capture, "traffic.pcap=text.pcap"], "text.pcap: begins with b'this'"),
        "corrupt gzip": ([*capture, "traffic.pcap=corrupt.pcap.gz"], "corrupt.pcap.gz: corrupt gzip"),
        "unknown key": (["run", "unknown.yaml"], "unknown.yaml:13:1: got unknown key 'nik', expected one of"),
        "duplicate key": (["run", "duplicate.yaml"], "duplicate.yaml:2:1: duplicate key 'name'"),
        "wrong unit": (["run", "unit.yaml"], "unit.yaml:14:7: link.rx: got '2usec', expected a duration"),
        "negative size": (
            ["run", "unknown.yaml", "--set", "nic.contexts=-4"],
            "nic.contexts: got -4, expected",
        ),
        "wrong signature": (
            ["run", "gallery:quickstart", "--set", "cache.eviction=policy.py"],
            "policy.py:3:1: got hit(state, slot, now), expected hit(state, slot, now, next_use)",
        ),
        "no result folder": (["plot", "absent"], "absent: no such folder"),
    }


BAD_INPUTS = [
    "missing file",
    "directory",
    "missing capture",
    "directory as capture",
    "text as capture",
    "corrupt gzip",
    "unknown key",
    "duplicate key",
    "wrong unit",
    "negative size",
    "wrong signature",
    "no result folder",
]


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input_is_clear_lines_and_status_2(call: Call, tmp_path: Path, name: str) -> None:
    arguments, expected = bad_inputs(tmp_path)[name]
    status, out, err = call("-q", *arguments)
    assert status == 2, err
    assert out == ""
    assert expected in err
    assert all(line.startswith("error: ") for line in err.splitlines())
    assert len(err.splitlines()) <= 2


def test_validate_tells_all_mistakes_of_all_files(call: Call, small: str, tmp_path: Path) -> None:
    assert call("validate", small) == (0, "small.yaml: fine, 2 runs\n", "")
    bad_inputs(tmp_path)
    status, out, err = call("validate", "unknown.yaml", small, "unit.yaml", "duplicate.yaml")
    assert status == 2
    assert out == "small.yaml: fine, 2 runs\n"
    assert [line.split(":")[1].strip() for line in err.splitlines()] == [
        "unknown.yaml",
        "unit.yaml",
        "duplicate.yaml",
    ]
    status, out, _ = call("validate", "unit.yaml", "--format", "json")
    assert status == 2
    (problem,) = json.loads(out)
    assert (problem["file"], problem["line"], problem["column"]) == ("unit.yaml", 14, 7)


def test_schema_prints_json(call: Call) -> None:
    status, out, _ = call("schema")
    assert status == 0
    assert json.loads(out)["title"] == "oppcache experiment"


def test_run_writes_to_results_name_and_goes_on_from_there(call: Call, small: str, tmp_path: Path) -> None:
    status, out, err = call("run", small, "--jobs", "1")
    assert status == 0, err
    assert "2 of 2 runs done" in out
    assert "run 2/2: nic.contexts=64 seed=0" in err
    assert (tmp_path / "results/small/results.csv").is_file()
    assert (tmp_path / "results/small/figures/hit_rate-vs-nic.contexts.png").is_file()
    status, out, err = call("-q", "run", small, "--format", "json", "--out", "results/small")
    assert (status, err) == (0, "")
    assert json.loads(out)["resumed"] == 2
    status, out, _ = call("plot", "results/small")
    assert status == 0
    assert out.splitlines()[0].endswith("hit_rate-vs-nic.contexts.png")


def test_dry_run_lists_the_runs_and_writes_nothing(call: Call, small: str, tmp_path: Path) -> None:
    status, out, _ = call("run", small, "--dry-run", "--set", "seeds=2")
    assert status == 0
    assert out.splitlines()[1] == "1: nic.contexts=16 seed=1"
    assert out.splitlines()[-1] == "4 runs"
    status, out, _ = call("run", small, "--dry-run", "--format", "json")
    assert json.loads(out)["runs"][1] == {"index": 1, "swept": {"nic.contexts": 64}, "seed": 0}
    assert not (tmp_path / "results").exists()


def test_a_failed_run_is_status_3(call: Call, small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import oppcache.hybrid

    simulate = oppcache.hybrid.simulate

    def fail(setup: Any, progress: Any = None) -> Any:
        if setup.contexts == 16:
            raise RuntimeError("out of luck")
        return simulate(setup, progress=progress)

    monkeypatch.setattr(oppcache.hybrid, "simulate", fail)
    status, out, err = call("run", small, "--jobs", "1")
    assert status == 3
    assert "error: run failed: nic.contexts=16 seed=0: RuntimeError: out of luck" in err
    assert "1 failed (why: results/small/manifest.json)" in out


def test_a_bug_is_status_70_with_a_traceback_only_if_asked(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    from oppcache.experiments import schema

    def fail() -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(schema, "json_schema", fail)
    status, out, err = call("schema")
    assert (status, out) == (70, "")
    assert err.startswith("internal error: ZeroDivisionError: a bug; please report it")
    assert len(err.splitlines()) == 1
    status, _, err = call("-v", "schema")
    assert status == 70
    assert "Traceback" in err


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = [sys.executable, "-m", "oppcache.cli", "schema"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait() == 0


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_is_status_130_and_a_second_call_goes_on(tmp_path: Path, jobs: str) -> None:
    large = SMALL | {
        "traffic": {"generator": {"model": "caida-like"}, "packets": "400k"},
        "seeds": 200,
    }
    path = tmp_path / "large.yaml"
    path.write_text(yaml.safe_dump(large, sort_keys=False))
    command = [sys.executable, "-m", "oppcache.cli", "run", str(path), "--out", "out", "--jobs", jobs]
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("out/runs/*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    if jobs == "2":
        time.sleep(1.5)  # by now a worker is hired or about to be
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; what is done is kept" in err
    assert "Traceback" not in err
    done = len(list(tmp_path.glob("out/runs/*.json")))
    assert 0 < done < 400
    assert not (tmp_path / "out/results.csv").exists()


def test_what_calibrate_prints_can_be_pasted_into_an_experiment(call: Call, tmp_path: Path) -> None:
    status, printed, _ = call("calibrate", "nf:stateful-firewall", "--packets", "2000")
    assert status == 0
    experiment = "name: calibrated\nprogram: {nf: stateful-firewall}\n"
    experiment += "traffic: {generator: {model: zipf, flows: 100, rate: 1Mpps}, packets: 2k}\n"
    (tmp_path / "mine.yaml").write_text(experiment + printed, encoding="utf-8")
    assert call("run", "mine.yaml", "--out", "out")[0] == 0
    used = oppcache.load(tmp_path / "out").manifest["configuration"]["cpu"]["service"]
    assert used == yaml.safe_load(printed)["cpu"]["service"] != "850ns"

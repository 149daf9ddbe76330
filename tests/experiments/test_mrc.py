"""``oppcache mrc``: the four formats give the same counts, and what is wrong is said."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from oppcache.cache import load_policy
from oppcache.cache.ids import dense_ids
from oppcache.cache.replay import replay
from oppcache.cli import call
from oppcache.experiments.traces import ORACLE_GENERAL, read_trace

COLUMNS = (
    "policy,size,requests,misses,miss_ratio,requests_per_second,requests_per_second_dense,reading_seconds"
)


@pytest.fixture(scope="module")
def ids() -> np.ndarray:
    return (np.random.default_rng(3).pareto(0.9, 6_000) * 20).astype(np.int64) % 2_000


@pytest.fixture(scope="module")
def files(ids: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same requests in every format of ids; names in the CSV are words."""
    folder = tmp_path_factory.mktemp("traces")
    records = np.zeros(len(ids), ORACLE_GENERAL)
    records["id"], records["time"] = ids, np.arange(len(ids)) // 100
    records.tofile(folder / "t.oracleGeneral.bin")
    np.save(folder / "t.npy", ids)
    (folder / "t.csv").write_text("time,key\n" + "".join(f"{i},{id}\n" for i, id in enumerate(ids)))
    (folder / "words.csv").write_text("key\n" + "".join(f"flow-{id}\n" for id in ids))
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["t.oracleGeneral.bin", "t.npy", "t.csv", "words.csv"])
def test_every_format_gives_the_same_counts(
    ids: np.ndarray, files: dict[str, Path], name: str, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    arguments = ["mrc", str(files[name]), "--policy", "lru,belady", "--size", "7,5%", "--csv", str(out)]
    assert call(arguments) == 0
    dense, keys = dense_ids(ids)
    assert out.read_text().splitlines()[0] == COLUMNS
    rows = list(csv.DictReader(out.open()))
    sizes = (7, int(0.05 * keys))
    wanted = [
        (p, size, replay(load_policy(p), dense, keys, size)) for p in ("lru", "belady") for size in sizes
    ]
    assert [(r["policy"], int(r["size"]), int(r["misses"])) for r in rows] == wanted
    for row in rows:
        assert float(row["miss_ratio"]) == int(row["misses"]) / len(ids)
        assert int(row["requests"]) == len(ids)
        assert int(row["requests_per_second_dense"]) > int(row["requests_per_second"]) > 0


def test_a_format_may_be_given(files: dict[str, Path], tmp_path: Path) -> None:
    odd = tmp_path / "trace.dat"
    odd.write_bytes(files["t.oracleGeneral.bin"].read_bytes())
    assert (read_trace(odd, "oraclegeneral").ids == read_trace(files["t.npy"]).ids).all()


def test_many_sizes_of_lru_in_one_pass_are_those_one_by_one(
    files: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    def misses(sizes: str) -> list[int]:
        assert call(["mrc", str(files["t.npy"]), "--size", sizes, "--format", "json"]) == 0
        return [row["misses"] for row in json.loads(capsys.readouterr().out)]

    sizes = ["1", "2", "5", "10", "50", "100", "300", "1k", "10k"]
    assert misses(",".join(sizes)) == [misses(size)[0] for size in sizes]


def test_a_sample_estimates_within_its_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.npy"
    rng = np.random.default_rng(8)
    np.save(
        path,
        np.where(
            rng.random(200_000) < 0.5, rng.integers(0, 5_000, 200_000), rng.integers(0, 60_000, 200_000)
        ),
    )
    figure = tmp_path / "curve.png"
    options = ["--policy", "lru,sieve", "--size", "2k,10k", "--format", "json"]
    assert call(["mrc", str(path), *options]) == 0
    exact = json.loads(capsys.readouterr().out)
    assert call(["mrc", str(path), *options, "--sample", "20%", "--figure", str(figure)]) == 0
    for row, true in zip(json.loads(capsys.readouterr().out), exact, strict=True):
        assert abs(row["miss_ratio"] - true["miss_ratio"]) < 5 * row["miss_ratio_error"] + 0.005
        assert 0 < row["miss_ratio_error"] < 0.03
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_a_captures_requests_are_its_connections(traces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = str(traces / "openNetVM__pcap_64B_download.pcap")
    assert call(["mrc", capture, "--policy", "lru", "--size", "100000", "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["misses"] == 750  # connections, each missed once
    assert call(["mrc", capture, "--key", "ip.src", "--size", "100000", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["misses"] < 750


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no.npy"], "no.npy: no such file"),
        (["t.npy", "--policy", "lur"], "did you mean 'lru'?"),
        (
            ["t.npy", "--size", "5x"],
            "--size: got '5x', expected a count such as 4096 or 64k, or a share such as 10%",
        ),
        (["t.npy", "--size", "0"], "--size: got '0', expected from 1"),
        (["t.npy", "--trace-format", "cvs"], "did you mean 'csv'?"),
        (["t.npy", "--key", "ip.src"], "--key: got a key of header fields for a npy trace"),
        (["t.csv", "--trace-format", "oraclegeneral"], "bytes, expected a multiple of 24"),
        (["t.npy", "--trace-format", "pcap", "--key", "ip.scr"], "did you mean 'ip.src'?"),
        (["t.npy", "--trace-format", "pcap"], "expected a capture file"),
        (["t.csv", "--trace-format", "npy"], "not an .npy file"),
        (["none.csv"], "got columns a, b, expected one named key"),
        (["words.npy"], "expected whole numbers in one dimension"),
        (["t.npy", "--sample", "0%"], "--sample: got '0%', expected more than 0"),
        (["t.npy", "--sample", "1%", "--size", "5"], "has no slot in samples"),
        (["t.npy", "--figure", "x.gif"], "expected .png, .pdf or .svg"),
    ],
)
def test_what_is_wrong_is_said(
    files: dict[str, Path], arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = files["t.npy"].parent
    (folder / "none.csv").write_text("a,b\n1,2\n")
    np.save(folder / "words.npy", np.array(["a"]))
    assert call(["mrc", str(folder / arguments[0]), *arguments[1:]]) == 2
    assert said in capsys.readouterr().err

"""What a user installs is whole: sdist and wheel hold the package and its data, and the wheel runs anywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import oppcache

DATA = (".yaml", ".mplstyle", ".typed", ".v4", ".json", ".csv", ".pcap", ".j2", ".html")
ROOMS = [
    "opp",
    "traffic",
    "fastpath",
    "slowpath",
    "cache",
    "consistency",
    "hybrid",
    "controller",
    "experiments",
    "bench",
]


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command; what it wrote is the failure's message."""
    result = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert result.returncode == 0, f"{command}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
    return result


@pytest.fixture(scope="module")
def source(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout to build in, since setuptools leaves its work behind."""
    folder = tmp_path_factory.mktemp("source") / "oppcache"
    kept = [
        *ROOMS,
        "src",
        "docs",
        "tests",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "CITATION.cff",
    ]
    left_out = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dist", "results")
    folder.mkdir()
    for name in kept:
        path = checkout / name
        if path.is_dir():
            shutil.copytree(path, folder / name, symlinks=True, ignore=left_out)
        else:
            shutil.copy2(path, folder / name)
    return folder


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that is made of it."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source, cwd=out)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


def shipped(checkout: Path) -> set[str]:
    """The package's modules and data files as they lie in the checkout, by their names in a wheel."""
    names = set()
    for folder, subfolders, files in os.walk(checkout / "src" / "oppcache", followlinks=True):
        subfolders[:] = [name for name in subfolders if name != "__pycache__"]
        for name in files:
            if name.endswith((".py", *DATA)):
                names.add(Path(folder, name).relative_to(checkout / "src").as_posix())
    return names


def test_the_wheel_of_the_sdist_holds_the_whole_package_and_nothing_beside_it(
    source: Path, built: tuple[Path, Path]
) -> None:
    sdist, wheel = built
    assert wheel.name == f"oppcache-{oppcache.__version__}-py3-none-any.whl"
    assert sdist.name == f"oppcache-{oppcache.__version__}.tar.gz"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    info = f"oppcache-{oppcache.__version__}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"oppcache", info}
    package = {name for name in names if name.startswith("oppcache/")}
    assert package == shipped(source)
    for name in ("opp/programs/stateful-firewall.yaml", "fastpath/profiles/ideal.yaml", "py.typed"):
        assert f"oppcache/{name}" in package
    for name in ("gallery/quickstart.yaml", "gallery/real-capture.yaml", "house.mplstyle"):
        assert f"oppcache/experiments/{name}" in package
    assert f"{info}/licenses/LICENSE" in names


def test_the_sdist_has_the_rooms_as_files(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as archive:
        links = [member.name for member in archive.getmembers() if member.issym() or member.islnk()]
        names = archive.getnames()
    assert not links
    assert f"oppcache-{oppcache.__version__}/LICENSE" in names


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds nothing but the installed wheel."""
    folder = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile")
    run(*pip, "--target", folder, built[1], cwd=folder)
    return folder


def test_the_installed_wheel_runs_the_main_job_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    where = run(
        sys.executable,
        "-P",
        "-c",
        "import oppcache; print(oppcache.__file__)",
        cwd=tmp_path,
        PYTHONPATH=str(installed),
    )
    assert Path(where.stdout.strip()).is_relative_to(installed), "the checkout shadows the installed package"
    small = ("--set", "traffic.packets=2k", "--set", "sweep.nic.contexts=[64, 256]", "--jobs", "1")
    # Plain Python does for files that must be found; compiling it all anew would take half a minute.
    result = run(
        installed / "bin" / "oppcache", "run", "gallery:quickstart", *small, cwd=tmp_path,
        PYTHONPATH=str(installed), NUMBA_DISABLE_JIT="1",
    )  # fmt: skip
    assert "runs done" in result.stdout
    out = tmp_path / "results" / "quickstart"
    assert (out / "results.csv").is_file()
    assert [path.suffix for path in sorted(out.glob("figures/*"))] == [".pdf", ".png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results"]

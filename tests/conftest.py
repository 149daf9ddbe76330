"""What every test may use: outside inputs, the long sizes, and skips that CI turns into failures."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run fuzz, mutants and stress at their full size")
    parser.addoption(
        "--seeds", metavar="FIRST-LAST", help="seeds of the step's long comparison, to run it in pieces"
    )


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One process for chosen tests or a debugger, else one a core; more than a few would all wait for compilation."""
    whole = config.args == [str(CHECKOUT / "tests")] or config.args == config.getini("testpaths")
    return min(os.cpu_count() or 1, 4) if whole and not config.getoption("usepdb") else 0


def unavailable(what: str, why: str) -> NoReturn:
    """Skip with a line that says so, or fail where ``OPPCACHE_REQUIRE`` names ``what``."""
    if what in os.environ.get("OPPCACHE_REQUIRE", "").split(","):
        pytest.fail(f"OPPCACHE_REQUIRE={what}: {why}")
    pytest.skip(why)


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether ``--full`` asks for the long sizes."""
    return bool(request.config.getoption("--full"))


@pytest.fixture(scope="session")
def seeds(request: pytest.FixtureRequest, full: bool) -> range:
    """Seeds of the long comparison of the step with the reference: those of ``--seeds``, else by size."""
    chosen = request.config.getoption("--seeds")
    if chosen is None:
        return range(100_000 if full else 500)
    first, _, last = str(chosen).partition("-")
    return range(int(first), int(last) + 1)


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The project's root folder."""
    return CHECKOUT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of outside inputs: ``$OPPCACHE_SHARED``, by default ``../shared`` beside the checkout."""
    folder = Path(os.environ.get("OPPCACHE_SHARED") or CHECKOUT.parent / "shared")
    if not (folder / "traces").is_dir():
        unavailable("shared", f"no outside inputs: {folder}/traces is not a folder (set OPPCACHE_SHARED)")
    return folder


@pytest.fixture(scope="session")
def traces(shared: Path) -> Path:
    """Folder of real captures."""
    return shared / "traces"


@pytest.fixture(scope="session")
def tshark() -> str:
    """The ``tshark`` command."""
    found = shutil.which("tshark")
    if found is None:
        unavailable("tshark", "no tshark on PATH (Debian package tshark)")
    return found


@pytest.fixture(scope="session")
def run_script() -> Callable[..., str]:
    """Run Python code in a process of its own, under settings such as Numba's: ``run_script(code, *words, NAME="1")``.

    It returns what the code prints; a warning or an error in it fails the test.
    """

    def run(code: str, *words: object, **settings: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code, *map(str, words)],
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return run


@pytest.fixture(scope="session")
def random_programs() -> ModuleType:
    """The module ``random_programs.py`` beside this file: programs, packets and sources for property tests."""
    return _beside("random_programs")


@pytest.fixture(scope="session")
def plain_protocol() -> ModuleType:
    """The module ``plain_protocol.py`` beside this file: a second reading of protocol tables."""
    return _beside("plain_protocol")


@pytest.fixture(scope="session")
def mutating() -> ModuleType:
    """The module ``mutants/run.py`` beside this file: changed copies of the sources, and how to run them."""
    return _beside("mutants/run")


def _beside(module: str) -> ModuleType:
    name = f"oppcache_{module.replace('/', '_')}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{module}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]

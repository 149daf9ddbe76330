"""Mutation testing of the packet step: every mutant must fail a test.

A mutant of ``mutants.yaml`` is applied to a copy of the sources in a temporary folder, and the tests of the step are
run there with ``NUMBA_DISABLE_JIT=1``, so that nothing is compiled, until one fails::

    python tests/mutants/run.py                      # all mutants, as a table
    python tests/mutants/run.py --only timer --jobs 2
    python tests/mutants/run.py --list

Exit status: 0 if every mutant was killed and the sources without one pass, else 1.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
CATALOGUE = Path(__file__).with_name("mutants.yaml")
ROOM = "opp"  # where `old` is looked for
# What kills most comes first; -x ends a mutant's run at its first failure.
TESTS = (
    "tests/opp/test_step.py",
    "tests/opp/test_alu.py",
    "tests/opp/test_alloc.py",
    "tests/opp/test_made.py",
    "tests/opp/test_run_time.py",
    "tests/opp/test_machine.py",
    "tests/opp/test_classifier.py",
    "tests/opp/test_tuples.py",
    "tests/opp/test_editing.py",
)
# Left out: what runs the same again in another process, and what is slow because it is large.
DESELECT = "not numba_setting and not ten_thousand and not fw-10000"
LIMIT_S = 1800
COPIED = ("pyproject.toml", "src", "tests", "opp", "traffic", "fastpath", "slowpath", "cache", "consistency")
COPIED += ("hybrid", "controller", "experiments", "bench", "docs")


@dataclass(frozen=True)
class Mutant:
    """A change of the sources: ``old``, which stands in them exactly once, becomes ``new``.

    Attributes:
        quick: whether every run of the test suite tries it.
        first: file of tests to run before the others, where these take long to find it.
    """

    name: str
    old: str
    new: str
    quick: bool = False
    first: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: the test that failed, "" if none did, and how long it took."""

    mutant: Mutant
    file: str
    killer: str
    seconds: float


def mutants() -> list[Mutant]:
    """The catalogue.

    Raises:
        ValueError: two mutants have one name or make one change.
    """
    found = [Mutant(**item) for item in yaml.safe_load(CATALOGUE.read_text(encoding="utf-8"))]
    for what in ([m.name for m in found], [(m.old, m.new) for m in found]):
        if len(set(what)) != len(what):
            raise ValueError(f"{CATALOGUE}: {next(w for w in what if what.count(w) > 1)!r} stands twice")
    return found


def place(mutant: Mutant, root: Path = CHECKOUT) -> Path:
    """The file that the mutant changes.

    Raises:
        ValueError: its text does not stand exactly once in the kernels' sources.
    """
    hits = []
    for path in sorted((root / ROOM).glob("*.py")):
        hits += [path] * path.read_text(encoding="utf-8").count(mutant.old)
    if len(hits) != 1:
        files = ", ".join(sorted({p.name for p in hits})) or "nowhere"
        raise ValueError(f"{mutant.name!r}: {mutant.old!r} stands {len(hits)} times ({files}), expected once")
    return hits[0]


def copy_sources(folder: Path) -> None:
    """Copy what the tests need; the rooms' links in ``src`` stay links, and so lead into the copy."""
    for name in COPIED:
        source = CHECKOUT / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", ".pytest_cache", ".hypothesis")
            shutil.copytree(source, folder / name, symlinks=True, ignore=ignore)
        else:
            shutil.copy(source, folder / name)


def change(path: Path, old: str, new: str) -> None:
    """Make one change in a file of a copy.

    Raises:
        ValueError: the text does not stand exactly once in it.
    """
    text = path.read_text(encoding="utf-8")
    if text.count(old) != 1:
        raise ValueError(f"{path.name}: {old!r} stands {text.count(old)} times, expected once")
    path.write_text(text.replace(old, new), encoding="utf-8")


def environment_of(folder: Path) -> dict[str, str]:
    """The environment in which a copy's sources run, and nothing is compiled."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "NUMBA_"))}
    return environment | {
        "PYTHONPATH": str(folder / "src"),
        "NUMBA_DISABLE_JIT": "1",
        "OPPCACHE_CACHE_DIR": str(folder / "kernels"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def run_tests(folder: Path, tests: tuple[str, ...] = TESTS) -> tuple[int, str]:
    """Run the tests in a copy; returns pytest's status and output."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "--no-header",
        "--tb=line",
        "-p",
        "no:cacheprovider",
    ]
    command += ["-k", DESELECT, *tests]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment_of(folder),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 0, ""  # a mutant that only takes longer is not killed
    return done.returncode, done.stdout + done.stderr


def killer(status: int, output: str) -> str:
    """The test that failed, "" if none did.

    Raises:
        RuntimeError: the tests could not be run.
    """
    if status == 0:
        return ""
    found = re.search(r"^(?:FAILED|ERROR) (?:tests/opp/)?(.+?)(?: - .*)?$", output, re.MULTILINE)
    if status != 1 or found is None:
        raise RuntimeError(f"pytest ended with {status}:\n{output[-2000:]}")
    return found.group(1)


def try_mutant(mutant: Mutant) -> Outcome:
    """Apply a mutant to a fresh copy and run the tests there."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="oppcache-mutant-") as name:
        folder = Path(name)
        copy_sources(folder)
        path = place(mutant, folder)
        change(path, mutant.old, mutant.new)
        first = (f"tests/opp/{mutant.first}.py",) if mutant.first else ()
        found = killer(*run_tests(folder, (*first, *TESTS)))
        return Outcome(mutant, path.relative_to(folder).as_posix(), found, time.monotonic() - started)


def baseline() -> str:
    """What fails without any mutant, "" as it should be; also that the copy is what runs."""
    with tempfile.TemporaryDirectory(prefix="oppcache-mutant-") as name:
        folder = Path(name)
        copy_sources(folder)
        where = "import oppcache.opp.step as s; print(s.__file__)"
        environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "NUMBA_DISABLE_JIT": "1"}
        done = subprocess.run(
            [sys.executable, "-c", where],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        if not Path(done.stdout.strip()).resolve().is_relative_to(folder.resolve()):
            raise RuntimeError(f"the copy is not what runs: {done.stdout.strip()}")
        return killer(*run_tests(folder))


def try_all(chosen: list[Mutant], jobs: int) -> Iterator[Outcome]:
    """Try mutants, some at a time, in order."""
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(try_mutant, chosen)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="mutants whose name or file contains this")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time")
    parser.add_argument("--list", action="store_true", help="say what the mutants are, try none")
    arguments = parser.parse_args()
    chosen = [m for m in mutants() if arguments.only in m.name or arguments.only in place(m).name]
    if arguments.list:
        for mutant in chosen:
            print(f"{place(mutant).name:16} {mutant.name}")
        return 0
    wrong = baseline()
    if wrong:
        print(f"without a mutant, {wrong} fails")
        return 1
    print("| mutant | in | fails |\n|---|---|---|", flush=True)
    survivors = 0
    for outcome in try_all(chosen, arguments.jobs):
        survivors += not outcome.killer
        found = f"`{outcome.killer}`" if outcome.killer else "**survives**"
        print(f"| {outcome.mutant.name} | `{outcome.file}` | {found} |", flush=True)
    print(f"\n{len(chosen)} mutants, {survivors} survive")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())

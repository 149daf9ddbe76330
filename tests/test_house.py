"""The house stands as designed: who imports whom, one version, a cheap import, nothing of a machine's own."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import yaml

import oppcache

BELOW = {
    "opp": set(),
    "traffic": {"opp"},
    "fastpath": {"opp"},
    "slowpath": {"opp"},
    "cache": {"opp"},
    "consistency": {"opp", "cache"},
    "hybrid": {"opp", "traffic", "fastpath", "slowpath", "cache", "consistency"},
    "controller": {"opp", "traffic", "consistency", "hybrid"},
}
BELOW["experiments"] = set(BELOW)
BELOW["bench"] = set(BELOW)
ROOMS = sorted(BELOW)
# What stands above all rooms and belongs to none of them.
COMMON = {"oppcache", "oppcache._jit", "oppcache._memory", "oppcache._reference"}


def modules(checkout: Path, room: str) -> Iterator[tuple[Path, str]]:
    """Every module of a room with its dotted package."""
    for path in sorted((checkout / room).rglob("*.py")):
        folders = path.relative_to(checkout).parent.parts
        yield path, ".".join(("oppcache", *folders))


def imports(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """Every imported module (line, absolute dotted name), wherever in the file it is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.split(".")
                parent = parent[: len(parent) - node.level + 1]
                base = ".".join([*parent, *filter(None, [base])])
            if base == "oppcache":
                for alias in node.names:
                    # `from oppcache import opp` names a room, `import __version__` the package.
                    known = alias.name in {*BELOW, "cli", "verbs"} or alias.name.startswith(
                        ("_jit", "_memory", "_reference")
                    )
                    yield node.lineno, f"oppcache.{alias.name}" if known else "oppcache"
            else:
                yield node.lineno, base


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_lies_below_it(checkout: Path, room: str) -> None:
    wrong = []
    for path, package in modules(checkout, room):
        for line, name in imports(ast.parse(path.read_text(encoding="utf-8")), package):
            parts = name.split(".")
            if parts[0] in BELOW:
                wrong.append(f"{path.relative_to(checkout)}:{line}: {name}, expected oppcache.{name}")
            if parts[0] != "oppcache" or name in COMMON:
                continue
            if parts[1] != room and parts[1] not in BELOW[room]:
                wrong.append(f"{path.relative_to(checkout)}:{line}: {room} may not import {name}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_refuses_to_be_imported_as_a_bare_package(checkout: Path, room: str) -> None:
    script = f"import sys; sys.path.insert(0, {str(checkout)!r}); import {room}"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert f"import oppcache.{room}, not {room}" in result.stderr


def test_the_package_links_every_room_and_nothing_else(checkout: Path) -> None:
    package = checkout / "src" / "oppcache"
    links = {path.name: os.readlink(path) for path in package.iterdir() if path.is_symlink()}
    assert links == {room: f"../../{room}" for room in ROOMS}
    assert importlib.util.find_spec("oppcache.cache") is not None


def tracked(checkout: Path) -> list[Path]:
    """Files that Git tracks, or all that matter where there is no Git."""
    try:
        command = ["git", "-c", f"safe.directory={checkout}", "ls-files", "-z"]
        listed = subprocess.run(command, cwd=checkout, capture_output=True, check=True).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        names = [*ROOMS, "docs", "tests", "src"]
        found = [path for name in names for path in (checkout / name).rglob("*")]
        return [p for p in [*checkout.glob("*"), *found] if p.is_file() and "__pycache__" not in p.parts]
    paths = [checkout / name for name in listed.split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def test_no_file_names_a_folder_of_one_machine(checkout: Path) -> None:
    folders = "|".join(("work", "root", "home/[a-z]", "Users/[A-Za-z]"))
    pattern = re.compile(rf"(?<![\w.$}}*)~\]-])/({folders})/".encode())
    wrong = []
    for path in tracked(checkout):
        data = path.read_bytes()
        if b"\0" in data[:1024]:
            continue
        for number, line in enumerate(data.splitlines(), 1):
            if pattern.search(line):
                wrong.append(
                    f"{path.relative_to(checkout)}:{number}: {line.decode(errors='replace').strip()}"
                )
    assert not wrong, "\n".join(wrong)


def test_there_is_one_version(checkout: Path) -> None:
    project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "oppcache.__version__"}
    citation = yaml.safe_load((checkout / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == oppcache.__version__
    entries = re.findall(r"^## (\S+)", (checkout / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert entries[0] == oppcache.__version__
    assert metadata.version("oppcache") == oppcache.__version__


def test_the_licence_is_said_alike(checkout: Path) -> None:
    project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((checkout / "CITATION.cff").read_text(encoding="utf-8"))
    assert project["license"] == citation["license"] == "Apache-2.0"
    assert "Apache License" in (checkout / "LICENSE").read_text(encoding="utf-8")[:200]


def loaded_after(script: str) -> set[str]:
    """Names of the modules that a new interpreter holds after a script."""
    script += "\nimport json, sys\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(result.stdout.splitlines()[-1]))


def test_help_and_import_do_not_load_the_engine() -> None:
    heavy = {"numba", "scapy", "polars", "matplotlib"}
    assert not heavy & loaded_after("import oppcache")
    assert not heavy & loaded_after("from oppcache.cli import call\nassert call(['--help']) == 0")
    assert not heavy & loaded_after("from oppcache.cli import call\nassert call(['run', '--help']) == 0")


def test_the_core_never_imports_scapy(checkout: Path) -> None:
    # Scapy is GPL: only what crafts packets may load it, and only when it does.
    names = sorted(
        ".".join(("oppcache", *path.relative_to(checkout).with_suffix("").parts)).removesuffix(".__init__")
        for room in ROOMS
        if room != "bench"
        for path, _ in modules(checkout, room)
    )
    script = f"import importlib\nfor name in {names!r}: importlib.import_module(name)\nimport oppcache.cli"
    assert "scapy" not in loaded_after(script)


def test_every_room_says_what_it_is(checkout: Path) -> None:
    for room in ROOMS:
        tree = ast.parse((checkout / room / "__init__.py").read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), f"{room}/__init__.py has no docstring"


def test_modules_stay_about_one_thing(checkout: Path) -> None:
    long = []
    for room in ROOMS:
        for path, _ in modules(checkout, room):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            if lines > 500:
                long.append(f"{path.relative_to(checkout)}: {lines} lines")
    assert not long, "\n".join(long)


def test_ci_takes_its_commands_from_the_readme(checkout: Path) -> None:
    script = checkout / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)
    text = script.read_text(encoding="utf-8")
    assert "README.md" in text
    assert "pip install -e" not in text, "the README says how to install; a second copy would drift"

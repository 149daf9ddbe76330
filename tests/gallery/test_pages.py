"""Every program of the gallery has a page that names all that it has, and the index knows them all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from oppcache.opp import load_program, program_path
from oppcache.opp.yaml_source import load_yaml

PAGES = sorted((Path(__file__).resolve().parents[2] / "docs" / "gallery").glob("*.md"))
NAMES = [page.stem for page in PAGES if page.stem != "README"]


def text_of(name: str) -> str:
    return next(page for page in PAGES if page.stem == name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_a_page_names_tables_stages_entries_registers_and_parameters(name: str) -> None:
    program, text = load_program(f"nf:{name}"), text_of(name)
    named = set(re.findall(r"`([^`]+)`", text))
    wanted = {t.name for t in program.tables} | {s.name for s in program.stages}
    wanted |= {label for t in program.tables for label in t.states}
    wanted |= {r.name for t in program.tables for r in t.registers}
    wanted |= {e.name for s in program.stages for e in s.entries}
    wanted |= {"default" for s in program.stages if s.default}
    wanted |= set(load_yaml(program_path(f"nf:{name}"))["parameters"])
    assert not wanted - named
    globals_ = {f"{g.name}.{v.name}" for g in program.globals for v in g.variables}
    assert all(one in named or f"{one.split('.')[0]}.*" in named for one in globals_)
    assert text.startswith(f"# {name}\n")
    assert "\nSource: " in text
    assert "\n## Traps\n" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_the_index_lists_every_program_and_its_test_is_there() -> None:
    listed = re.findall(r"^\| \[([\w-]+)\]\(\1\.md\)", text_of("README"), re.MULTILINE)
    assert listed == sorted(NAMES)
    for name in NAMES:
        assert Path(__file__).with_name(f"test_{name.replace('-', '_')}.py").exists()

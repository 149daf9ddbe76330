"""Every mutant of the packet step fails a test; see ``run.py``. If not, a test is missing."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def load() -> ModuleType:
    name = "oppcache_mutants"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("run.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


RUN = load()
MUTANTS = RUN.mutants()


def test_every_mutant_applies_to_one_place_of_the_sources() -> None:
    assert len(MUTANTS) >= 100
    assert sum(mutant.quick for mutant in MUTANTS) == 3
    for mutant in MUTANTS:
        RUN.place(mutant)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Three mutants in every run of the suite, all of them with ``--full``."""
    if "mutant" in metafunc.fixturenames:
        chosen = MUTANTS if metafunc.config.getoption("--full") else [m for m in MUTANTS if m.quick]
        metafunc.parametrize("mutant", chosen, ids=lambda m: m.name.replace(" ", "-"))


def test_a_mutant_fails_a_test(mutant: Any) -> None:
    assert RUN.try_mutant(mutant).killer

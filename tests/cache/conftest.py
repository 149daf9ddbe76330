"""What the tests of policies share: the plain versions, and the traces that libCacheSim's counts are for."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def beside(name: str) -> ModuleType:
    """A module that stands in this folder and is no test."""
    full = f"oppcache_tests_cache_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]


@pytest.fixture(scope="session")
def plain() -> ModuleType:
    """The module ``plain.py``: every policy with lists and dictionaries."""
    return beside("plain")


@pytest.fixture(scope="session")
def libcachesim_counts() -> ModuleType:
    """The module ``libcachesim_counts.py``: Zipf traces, and what their counts were made with."""
    return beside("libcachesim_counts")

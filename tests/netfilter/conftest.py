"""The kernel as a fixture, and the package ``harness`` beside this file as the module ``netfilter_harness``."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
NAME = "netfilter_harness"

if NAME not in sys.modules:
    spec = importlib.util.spec_from_file_location(
        NAME, HERE / "harness" / "__init__.py", submodule_search_locations=[str(HERE / "harness")]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules[NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[NAME])


@pytest.fixture(scope="session")
def netns() -> None:
    """Skips, or fails under ``OPPCACHE_REQUIRE=netns``, where the kernel's netfilter cannot be asked."""
    from netfilter_harness.namespaces import missing

    why = missing()
    if why is not None:
        text = f"no netfilter in network namespaces: {why}"
        if "netns" in os.environ.get("OPPCACHE_REQUIRE", "").split(","):
            pytest.fail(f"OPPCACHE_REQUIRE=netns: {text}")
        pytest.skip(text)


@pytest.fixture(scope="session")
def samples(shared: Path) -> list[Path]:
    """Folders of sample cases whose answers others recorded."""
    folders = sorted(p.parent for p in (shared / "netfilter" / "samples").glob("*/expected.jsonl"))
    assert folders, f"no samples in {shared / 'netfilter' / 'samples'}"
    return folders

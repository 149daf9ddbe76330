"""A small experiment that runs in a blink, as a mapping and as a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture
def experiment() -> dict[str, Any]:
    """A sweep of 2 capacities × 2 policies of the textbook's cache, on a few thousand generated packets."""
    return {
        "name": "small",
        "question": "Does a larger cache hit more often?",
        "program": {"nf": "stateful-firewall"},
        "traffic": {"generator": {"model": "caida-like", "flows": 200}, "packets": 3000},
        "nic": {"profile": "ideal"},
        "consistency": {"protocol": "instant"},
        "sweep": {"nic.contexts": [16, 64], "cache.eviction": ["fifo", "lru"]},
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write an experiment, given as text or mapping, and return its file."""

    def write_file(content: str | dict[str, Any], name: str = "experiment.yaml") -> Path:
        path = tmp_path / name
        text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
        path.write_text(text, encoding="utf-8")
        return path

    return write_file

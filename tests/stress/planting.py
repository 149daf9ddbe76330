"""Copies of the sources with a bug in them, and the command run there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOMS = (
    "opp", "traffic", "fastpath", "slowpath", "cache", "consistency", "hybrid", "controller", "experiments", "bench",
)  # fmt: skip


def plant(folder: Path, checkout: Path, file: str, old: str, new: str) -> Path:
    """Copy the sources into a folder, with a text of a file replaced by another one; returns the folder."""
    ignore = shutil.ignore_patterns("__pycache__")
    for name in ("src", *ROOMS):
        shutil.copytree(checkout / name, folder / name, symlinks=True, ignore=ignore)
    path = folder / file
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{file}: {old!r} stands {text.count(old)} times, expected once"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return folder


def stress_in(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``oppcache stress`` on the sources of a folder, without compiling anything."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "NUMBA_"))}
    environment |= {
        "PYTHONPATH": str(folder / "src"),
        "NUMBA_DISABLE_JIT": "1",
        "OPPCACHE_CACHE_DIR": str(folder / "kernels"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-m", "oppcache.cli", "stress", *words, "--jobs", "1"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)

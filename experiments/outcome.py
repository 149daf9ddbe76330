"""What came of a plan's runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Outcome:
    """What came of a plan.

    Attributes:
        keys: every run's key.
        records: finished runs' records by index.
        failures: failed runs' tracebacks by index.
        resumed: how many runs were done before.
        inputs: SHA-256 by file, in order of first use.
    """

    keys: list[str]
    records: dict[int, dict[str, Any]] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    resumed: int = 0
    inputs: dict[str, str] = field(default_factory=dict)

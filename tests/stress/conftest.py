"""The command sets up logging for a process of its own; here it shares one."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    log = logging.getLogger("oppcache")
    before = log.propagate, log.level, list(log.handlers)
    yield
    log.propagate, log.level, log.handlers[:] = before

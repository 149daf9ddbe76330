"""What verbs share: exit statuses, the options that stand before a verb, how a verb prints."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

FINE, DOES_NOT_HOLD, BAD_INPUT, INCOMPLETE, INTERNAL, INTERRUPTED = 0, 1, 2, 3, 70, 130


class Format(StrEnum):
    """How a verb prints."""

    text = "text"
    json = "json"


FormatOption = Annotated[Format, typer.Option("--format", help="How to print: text or json.")]


def cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Settings:
    """What the options before the verb set."""

    verbose = False
    quiet = False

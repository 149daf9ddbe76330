"""Finding and loading programs: files, the shipped ones, documents in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .document import program_from_document
from .errors import InputError, Mark, near_miss
from .program import Program
from .yaml_source import load_yaml

_PROGRAMS = Path(__file__).parent / "programs"


def shipped_programs() -> list[str]:
    """Names of the programs that come with the package, for ``nf: NAME``."""
    return sorted(p.stem for p in _PROGRAMS.glob("*.yaml"))


def program_path(source: str | Path) -> Path:
    """The file of a program: ``nf:NAME`` among the shipped ones, else a path as it stands.

    Raises:
        InputError: there is no shipped program of that name.
    """
    text = str(source)
    if not text.startswith("nf:"):
        return Path(source)
    name = text[3:]
    if name not in shipped_programs():
        known = shipped_programs()
        raise InputError(
            f"no program {name!r}, shipped are: {', '.join(known)} {near_miss(name, known)}".strip(),
            Mark(text),
        )
    return _PROGRAMS / f"{name}.yaml"


def load_program(
    source: str | Path | Mapping[str, Any], parameters: Mapping[str, Any] | None = None
) -> Program:
    """Load and check a program.

    Args:
        source: a path, ``nf:NAME``, or a document (what :func:`~.yaml_source.parse_yaml` or the builder gives).
        parameters: values for the program's ``parameters``.

    Raises:
        InputError: every problem at once, each with file, line and column.
    """
    if isinstance(source, Mapping):
        return program_from_document(source, parameters)
    path = program_path(source)
    return program_from_document(load_yaml(path), parameters, str(path))

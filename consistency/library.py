"""Finding and loading protocols: the shipped ones by name, a user's own by its path."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from oppcache.opp.errors import InputError, Mark, Problem, Problems, near_miss
from oppcache.opp.yaml_source import load_yaml, names_file, parse_yaml

from .checks import check
from .document import protocol_from_document
from .table import Protocol

_PROTOCOLS = Path(__file__).parent / "protocols"


def protocol_names() -> list[str]:
    """Names of the protocols that come with the package."""
    return sorted(path.stem for path in _PROTOCOLS.glob("*.yaml"))


def protocol_path(source: str | Path, mark: Mark | None = None) -> Path:
    """The file of a protocol: a shipped one's by its name, else what ends in ``.yaml`` as it stands.

    Raises:
        InputError: there is no shipped protocol of that name.
    """
    text = str(source)
    if names_file(text):
        return Path(source)
    known = protocol_names()
    if text not in known:
        message = f"unknown protocol {text!r}; known: {', '.join(known)}, or a file ending in .yaml"
        raise InputError(Problem(message, mark or Mark(text), near_miss(text, known)))
    return _PROTOCOLS / f"{text}.yaml"


def load_protocol(source: str | Path, mark: Mark | None = None) -> Protocol:
    """Load and check a protocol.

    Args:
        source: a shipped one's name, or a path ending in ``.yaml``.
        mark: where the name stands, for messages.

    Raises:
        InputError: every problem at once, each with file, line and column.
    """
    path = protocol_path(source, mark)
    return _load(path) if path.parent != _PROTOCOLS else _shipped(path)


@cache
def _shipped(path: Path) -> Protocol:
    return _load(path)


def _load(path: Path) -> Protocol:
    return _checked(load_yaml(path), Mark(str(path)))


def protocol_from_text(text: str, file: str = "<text>") -> Protocol:
    """The same from the text of a file."""
    return _checked(parse_yaml(text, file), Mark(file))


def _checked(document: object, mark: Mark) -> Protocol:
    problems = Problems()
    protocol = protocol_from_document(document, problems, mark)
    if protocol is not None:
        check(protocol, problems)
    problems.raise_if_any()
    assert protocol is not None
    return protocol

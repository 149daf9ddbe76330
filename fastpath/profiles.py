"""NIC profiles: what a device can hold, do and how long it takes, one YAML file each in ``profiles/``.

A profile file::

    profile*: NAME      description: TEXT
    base: PROFILE                               its limits hold unless this file says otherwise
    SECTION: {KEY: VALUE, …}                    see :mod:`.limits` for sections, keys and units
    SECTION: {KEY: {value*: VALUE, kind: read | derived | assumed | given, source: TEXT}, …}

A limit that a profile does not have is no limit; the value ``unlimited`` takes one of its base away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from oppcache.opp.errors import InputError, Mark, Problem, Problems, near_miss
from oppcache.opp.yaml_source import load_yaml, mark_of, names_file

from .limits import SECTIONS, SPECS, Limit, Value, read_section

_PROFILES = Path(__file__).parent / "profiles"
_KEYS = ("profile", "description", "base", *SECTIONS)
_MAX_BASES = 8


@dataclass(frozen=True)
class Profile:
    """A NIC as the model knows it; ``limits`` by ``section.key`` (see :data:`~.limits.SPECS`)."""

    name: str
    description: str
    limits: Mapping[str, Limit] = field(default_factory=dict)

    def value(self, key: str) -> Value | None:
        """A limit's value in base units, None where there is no limit.

        Raises:
            KeyError: profiles have no such key.
        """
        if key not in SPECS:
            raise KeyError(key)
        limit = self.limits.get(key)
        return None if limit is None else limit.value

    def number(self, key: str) -> int | None:
        """A limit that is a whole number, None where there is no limit."""
        value = self.value(key)
        return int(value) if isinstance(value, int | float) else None

    def allows(self, key: str, name: str = "") -> bool:
        """Whether a flag is not false, or a list of names has ``name``; true where nothing is said."""
        value = self.value(key)
        if isinstance(value, tuple):
            return name in value
        return value is not False


@cache
def profile_names() -> tuple[str, ...]:
    """Names of the shipped profiles."""
    return tuple(sorted(p.stem for p in _PROFILES.glob("*.yaml")))


def load_profile(name: str, mark: Mark | None = None) -> Profile:
    """Load a profile: a shipped one by its name, or a file (a path that ends in ``.yaml``).

    Args:
        name: name or path.
        mark: where the name stands, for the error if there is none of it.

    Raises:
        InputError: there is none of that name, or every problem of its file with line and column.
    """
    path = _path(name, mark or Mark("nic.profile"))
    return _read(path) if path.parent != _PROFILES else _shipped(path)


@cache
def _shipped(path: Path) -> Profile:
    return _read(path)


def _read(path: Path) -> Profile:
    problems = Problems()
    profile = _load(path, problems, _MAX_BASES)
    problems.raise_if_any()
    return profile


def _load(path: Path, problems: Problems, depth: int) -> Profile:
    document = load_yaml(path)
    if not isinstance(document, dict):
        raise InputError(f"got {document!r}, expected a profile: a mapping", Mark(str(path), 1, 1))
    for key in document:
        if key not in _KEYS:
            hint = near_miss(str(key), _KEYS) or f"known: {', '.join(_KEYS)}"
            problems.add(f"a profile has no key {key!r}", mark_of(document, key, at_key=True), hint)
    limits = dict(_base(document, path, problems, depth).limits)
    for section in SECTIONS:
        if section in document:
            limits.update(read_section(section, document[section], problems, mark_of(document, section)))
    return Profile(
        _text(document, "profile", problems, required=True), _text(document, "description", problems), limits
    )


def _base(document: dict[str, Any], path: Path, problems: Problems, depth: int) -> Profile:
    if "base" not in document:
        return Profile("", "")
    name, mark = _text(document, "base", problems), mark_of(document, "base")
    if depth == 0:
        raise InputError(f"base {name!r}: more than {_MAX_BASES} profiles stand on each other", mark)
    beside = path.parent / name
    return _load(beside if beside.is_file() else _path(name, mark), problems, depth - 1)


def _path(name: str, mark: Mark) -> Path:
    if names_file(name):
        return Path(name)
    known = profile_names()
    if name not in known:
        message = (
            f"NIC profile {name!r} is not available in this version; available: {', '.join(known)}, "
            "or a .yaml file"
        )
        raise InputError(Problem(message, mark, near_miss(name, known)))
    return _PROFILES / f"{name}.yaml"


def _text(document: dict[str, Any], key: str, problems: Problems, *, required: bool = False) -> str:
    if key not in document:
        if required:
            problems.add(f"{key!r} is missing", mark_of(document))
        return ""
    if not isinstance(document[key], str):
        problems.add(f"{key}: got {document[key]!r}, expected text", mark_of(document, key))
    return str(document[key])

"""NIC profiles: what a device can hold and how long it takes, one YAML file each in ``profiles/``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from oppcache.opp.errors import InputError, Mark, Problem, near_miss
from oppcache.opp.yaml_source import load_yaml, mark_of

_PROFILES = Path(__file__).parent / "profiles"
_KEYS = ("profile", "description")


@dataclass(frozen=True)
class Profile:
    """A NIC as the model knows it. In this version a profile says only what it is called."""

    name: str
    description: str


def profile_names() -> list[str]:
    """Names of the shipped profiles."""
    return sorted(p.stem for p in _PROFILES.glob("*.yaml"))


def load_profile(name: str, mark: Mark | None = None) -> Profile:
    """Load a shipped profile.

    Raises:
        InputError: there is none of that name, or its file has an unknown key.
    """
    known = profile_names()
    if name not in known:
        message = f"NIC profile {name!r} is not available in this version; available: {', '.join(known)}"
        raise InputError(Problem(message, mark or Mark("nic.profile"), near_miss(name, known)))
    document = load_yaml(_PROFILES / f"{name}.yaml")
    for key in document:
        if key not in _KEYS:
            raise InputError(f"a profile has no key {key!r}", mark_of(document, key, at_key=True))
    return Profile(str(document["profile"]), str(document.get("description", "")))

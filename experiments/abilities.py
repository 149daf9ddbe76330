"""What this version can do with the names that an experiment file may hold.

The file's language is larger than any one version: names that are known but not built yet are refused with
what is available, so that a file says the same thing in every version that takes it.
"""

from __future__ import annotations

from collections.abc import Sequence

from oppcache.opp.errors import Mark, Problems, near_miss


def absent(what: str, available: Sequence[str]) -> str:
    """Return the one sentence for what the language has and this version has not."""
    return f"{what} is not available in this version; available: {', '.join(available)}"


def check_name(
    problems: Problems,
    key: str,
    got: str,
    available: Sequence[str],
    planned: Sequence[str],
    mark: Mark,
    also: str = "",
) -> bool:
    """Record a problem unless ``got`` is available; return whether it is."""
    if got in available:
        return True
    if got in planned:
        problems.add(f"{key}: " + absent(repr(got), available), mark)
    else:
        expected = ", ".join(available) + (f" or {also}" if also else "")
        problems.add(f"{key}: got {got!r}, expected {expected}", mark, near_miss(got, [*available, *planned]))
    return False


def is_file(name: str) -> bool:
    """Whether a policy is named by its file rather than by its name."""
    return name.endswith(".py")

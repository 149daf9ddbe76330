"""Dotted keys of an experiment: which exist, and what stands at their end."""

from __future__ import annotations

from typing import Any

from oppcache.opp.errors import InputError, Mark, Problem, near_miss

from .quantities import Quantity
from .schema import FREE, WHOLE, leaves


def check_path(key: str, mark: Mark, *, whole: bool = False) -> None:
    """Refuse a dotted key that the schema does not have.

    Args:
        key: as ``nic.contexts``.
        mark: where it stands.
        whole: whether keys of which an experiment has one value (``seeds``, ``figures``) will do.

    Raises:
        InputError: no such key, or one that cannot be swept.
    """
    known = leaves()
    if not whole and key in WHOLE:
        raise InputError(f"{key!r} cannot be swept: an experiment has one", mark)
    if key in known or is_free(key):
        return
    raise InputError(
        Problem(
            f"got {key!r}, expected a key such as nic.contexts or cache.eviction", mark, _hint(key, known)
        )
    )


def is_free(key: str) -> bool:
    """Whether ``key`` lies in a mapping whose keys the schema does not list (a program's parameters)."""
    head, _, tail = key.rpartition(".")
    return head in FREE and bool(tail)


def _hint(key: str, known: dict[str, Any]) -> str:
    names = [name for name in known if name not in WHOLE]
    hint = near_miss(key, names)
    if hint:
        return hint
    tails = {name.rpartition(".")[2]: name for name in names}
    tail = key.rpartition(".")[2]
    if tail in tails:
        return f"did you mean {tails[tail]!r}?"
    return ""


def quantity(key: str) -> Quantity | None:
    """Return what the key's number measures; None for names and free-form values."""
    field = leaves().get(key)
    for item in getattr(field, "metadata", ()):
        if isinstance(item, Quantity):
            return item
    return None


def title(key: str) -> str:
    """Return the words that an axis or a legend shows for a key."""
    field = leaves().get(key)
    if field is not None and field.title:
        return str(field.title)
    return key.rpartition(".")[2].replace("_", " ")

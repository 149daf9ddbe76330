"""What can go wrong in the middle of a run."""

from __future__ import annotations

from oppcache.cache import Eviction
from oppcache.opp.errors import OppCacheError


class PolicyFault(OppCacheError):
    """A policy broke its contract in the middle of a run."""


def impossible_slot(eviction: Eviction) -> PolicyFault:
    """An eviction policy named a slot that is empty or does not exist."""
    who = "victim" if eviction.release is None else "victim or release"
    return PolicyFault(f"eviction policy {eviction.name}: {who} chose an empty or impossible slot")

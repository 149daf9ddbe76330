"""What can go wrong in the middle of a run."""

from __future__ import annotations

from oppcache.opp.errors import OppCacheError


class PolicyFault(OppCacheError):
    """A policy broke its contract in the middle of a run."""

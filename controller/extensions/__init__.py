"""Matches and targets of iptables: what their options look like and what they come to. One module a group.

A module has ``MATCHES`` and ``TARGETS``, tuples of :class:`~.base.MatchSpec` and :class:`~.base.TargetSpec`; it is
found by being here. ``REFUSED`` names those that a machine without a view of the payload cannot do, and why.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from .base import MatchSpec, TargetSpec

REFUSED: dict[str, str] = {
    "string": "it looks into the payload",
    "u32": "it looks at any bytes of the packet",
    "bpf": "it runs code of its own",
    "layer7": "it looks into the payload",
    "helper": "helpers read the payload of control connections",
    "osf": "it needs a database of fingerprints",
    "policy": "there is no IPsec",
    "set": "there are no ipsets here",
    "owner": "packets of the local stack have no socket here",
    "cgroup": "packets of the local stack have no process here",
    "socket": "there are no sockets here",
    "physdev": "there are no bridges here",
    "geoip": "it needs a database of addresses",
    "time": "it looks at the wall clock",
    "quota2": "it is not part of Linux",
    "rpfilter": "it makes a routing decision of its own",
    "realm": "routes have no realms here",
    "ipvs": "there is no IPVS",
    "NFQUEUE": "there is no program that takes packets",
    "QUEUE": "there is no program that takes packets",
    "TPROXY": "there are no sockets here",
    "SET": "there are no ipsets here",
    "HMARK": "it hashes with the kernel's own function",
    "CLUSTERIP": "it answers ARP",
    "SYNPROXY": "it holds connections of its own",
    "TEE": "it sends packets twice",
    "ULOG": "it is gone from Linux",
    "IDLETIMER": "it reports to user space",
    "RATEEST": "it samples rates by a timer",
    "rateest": "it samples rates by a timer",
    "LED": "there are no LEDs here",
    "SECMARK": "there are no security labels",
    "CONNSECMARK": "there are no security labels",
}


@cache
def _modules() -> tuple[object, ...]:
    names = sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "base")
    return tuple(importlib.import_module(f"{__name__}.{name}") for name in names)


@cache
def matches() -> dict[str, MatchSpec]:
    """All matches by name."""
    return {spec.name: spec for module in _modules() for spec in getattr(module, "MATCHES", ())}


@cache
def targets() -> dict[str, TargetSpec]:
    """All targets by name."""
    return {spec.name: spec for module in _modules() for spec in getattr(module, "TARGETS", ())}

"""The router's own lookups: which addresses are its own, and from which address it answers.

The packets' routing decision is a stage of the program; this is what the local stack does for packets of its own.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from ..topology import Interface, Route, Topology

_STOP = frozenset(("blackhole", "unreachable", "prohibit"))


class Routes:
    """Lookups over a topology's routes and rules, for packets without an input interface."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        tables: dict[str, list[Route]] = {}
        for route in topology.routes:
            tables.setdefault(route.table, []).append(route)
        # The longest prefix first, then the smallest metric, then the order of the file.
        self._tables = {
            name: sorted(routes, key=lambda r: (-r.destination.prefixlen, r.metric))
            for name, routes in tables.items()
        }
        self._find = lru_cache(4096)(self._lookup)

    def route(self, destination: bytes, source: bytes = bytes(4), mark: int = 0) -> Route | None:
        """The route of a packet of the local stack, or None."""
        return self._find(destination, source, mark)

    def _lookup(self, destination: bytes, source: bytes, mark: int) -> Route | None:
        to, of = ipaddress.IPv4Address(destination), ipaddress.IPv4Address(source)
        for rule in self.topology.rules:
            if rule.input or rule.output:
                continue
            if rule.mark is not None and mark & rule.mark_mask != rule.mark & rule.mark_mask:
                continue
            if rule.source is not None and of not in rule.source:
                continue
            if rule.destination is not None and to not in rule.destination:
                continue
            for route in self._tables.get(rule.table, ()):
                if to in route.destination:
                    if route.type == "throw":
                        break
                    return None if route.type in _STOP else route
        return None

    def is_local(self, address: bytes) -> bool:
        """Whether the router takes packets to this address as its own."""
        return self._kind(address) == "local"

    def is_broadcast(self, address: bytes) -> bool:
        """Whether this is a broadcast address of a connected network, or the limited broadcast."""
        return address == b"\xff\xff\xff\xff" or self._kind(address) == "broadcast"

    def _kind(self, address: bytes) -> str:
        to = ipaddress.IPv4Address(address)
        for route in self._tables.get("local", ()):
            if to in route.destination:
                return route.type
        return ""

    def source_for(self, destination: bytes) -> bytes | None:
        """The address from which the router speaks to a destination, or None without a route."""
        route = self.route(destination)
        if route is None:
            return None
        if route.type == "local":
            return destination
        device = self.device(route)
        if device is None:
            return None
        towards = route.via if route.via is not None else ipaddress.IPv4Address(destination)
        for address in device.addresses:
            if towards in address.network:
                return address.ip.packed
        for interface in (device, *self.topology.interfaces[1:]):
            if interface.addresses:
                return interface.addresses[0].ip.packed
        return None

    def device(self, route: Route) -> Interface | None:
        """A route's interface: as it says, or that of its gateway."""
        if route.device:
            return self.topology.by_name[route.device]
        if route.via is None:
            return None
        for interface in self.topology.interfaces:
            if any(route.via in a.network for a in interface.addresses):
                return interface
        return None

"""Where a ruleset runs: interfaces, addresses, routes, from a ``topology.json``."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from oppcache.opp.errors import InputError, Mark, Problems, near_miss

LOOPBACK = 1  # number of lo; 0 is no interface
MAIN, LOCAL, DEFAULT = "main", "local", "default"


@dataclass(frozen=True)
class Interface:
    """A network interface.

    Attributes:
        number: its port in programs, from 1 (``lo``), in the order of the file.
        addresses: with their prefix lengths.
        mac: 48 bits.
    """

    name: str
    number: int
    addresses: tuple[ipaddress.IPv4Interface, ...] = ()
    mac: int = 0
    mtu: int = 1500
    role: str = ""


@dataclass(frozen=True)
class Route:
    """A route: ``type`` is ``unicast``, ``local``, ``broadcast``, ``blackhole``, ``unreachable``, ``prohibit`` or ``throw``."""

    destination: ipaddress.IPv4Network
    device: str = ""
    via: ipaddress.IPv4Address | None = None
    table: str = MAIN
    type: str = "unicast"
    metric: int = 0


@dataclass(frozen=True)
class RoutingRule:
    """A policy rule: packets that match it look into ``table``; lower preference first."""

    preference: int
    table: str
    source: ipaddress.IPv4Network | None = None
    destination: ipaddress.IPv4Network | None = None
    mark: int | None = None
    mark_mask: int = 0xFFFF_FFFF
    input: str = ""
    output: str = ""


@dataclass(frozen=True)
class Topology:
    """A router and what it is connected to.

    Attributes:
        interfaces: ``lo`` first.
        routes: those of the file, then those that its addresses imply (connected, local, broadcast).
        rules: in order of preference, the three that every router has included.
        sysctl: by name, as written.
        local_stack: what the router itself answers; ``mute``: nothing.
    """

    interfaces: tuple[Interface, ...]
    routes: tuple[Route, ...] = ()
    rules: tuple[RoutingRule, ...] = ()
    sysctl: Mapping[str, Any] = field(default_factory=dict)
    realtime: bool = False
    local_stack: str = "mute"
    sink_ports: tuple[int, ...] = ()

    @cached_property
    def by_name(self) -> dict[str, Interface]:
        """Interfaces by name."""
        return {i.name: i for i in self.interfaces}

    @cached_property
    def local_addresses(self) -> frozenset[ipaddress.IPv4Address]:
        """The router's own addresses, those of ``lo`` not included."""
        return frozenset(a.ip for i in self.interfaces if i.number != LOOPBACK for a in i.addresses)

    def setting(self, name: str, default: int) -> int:
        """A sysctl as a number, such as ``net.netfilter.nf_conntrack_tcp_loose``."""
        for key in (name, name.replace(".", "/")):
            if key in self.sysctl:
                return int(self.sysctl[key])
        return default


def load_topology(path: str | Path) -> Topology:
    """Read a topology file.

    Raises:
        InputError: it cannot be read, or something in it cannot be used; everything at once.
    """
    mark = Mark(str(path))
    try:
        document = json.loads(Path(path).read_text())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", mark) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        place = Mark(str(path), getattr(error, "lineno", 0), getattr(error, "colno", 0))
        raise InputError(f"not JSON: {getattr(error, 'msg', error)}", place) from None
    return topology_from(document, str(path))


def topology_from(document: Any, file: str = "<topology>") -> Topology:
    """The same from a loaded document."""
    problems = Problems()
    reader = _Reader(Mark(file), problems)
    found = reader.topology(document)
    problems.raise_if_any()
    return found


class _Reader:
    """Reads one document, collecting what is wrong with it."""

    def __init__(self, mark: Mark, problems: Problems) -> None:
        self.mark = mark
        self.problems = problems

    def topology(self, document: Any) -> Topology:
        if not isinstance(document, Mapping) or not isinstance(document.get("interfaces"), list):
            self.problems.add("expected an object with a list of interfaces", self.mark)
            return Topology(())
        loopback = Interface("lo", LOOPBACK, (ipaddress.IPv4Interface("127.0.0.1/8"),), mtu=65536)
        interfaces = [loopback]
        for item in document["interfaces"]:
            if isinstance(item, Mapping) and item.get("name") != "lo":
                interfaces.append(self.interface(item, len(interfaces) + 1))
        names = [i.name for i in interfaces]
        for name in sorted({n for n in names if names.count(n) > 1}):
            self.problems.add(f"interface {name!r} is there twice", self.mark)
        routes = [self.route(item, names) for item in document.get("routes", [])]
        rules = [self.rule(item, names) for item in document.get("ip_rules", [])]
        return Topology(
            tuple(interfaces),
            (*routes, *_implied(interfaces)),
            tuple(sorted((*_BUILTIN_RULES, *_numbered(rules)), key=lambda r: r.preference)),
            dict(document.get("sysctl", {})),
            bool(document.get("realtime", False)),
            str(document.get("local_stack", "mute")),
            tuple(int(p) for p in document.get("sink_ports", ())),
        )

    def interface(self, item: Mapping[str, Any], number: int) -> Interface:
        name = str(item.get("name", ""))
        if not name:
            self.problems.add("an interface needs a name", self.mark)
        addresses = item.get("addr", [])
        found = []
        for text in [addresses] if isinstance(addresses, str) else addresses:
            try:
                found.append(ipaddress.IPv4Interface(text))
            except ValueError:
                self.problems.add(
                    f"interface {name!r}: got address {text!r}, expected such as 10.0.0.1/24", self.mark
                )
        mac = str(item.get("mac", "0"))
        digits = mac.replace(":", "")
        if not re.fullmatch("[0-9a-fA-F]{1,12}", digits):
            self.problems.add(f"interface {name!r}: got MAC {mac!r}", self.mark)
            digits = "0"
        return Interface(
            name,
            number,
            tuple(found),
            int(digits, 16),
            int(item.get("mtu", 1500)),
            str(item.get("role", "")),
        )

    def route(self, item: Mapping[str, Any], names: list[str]) -> Route:
        via = item.get("via")
        device = str(item.get("dev") or "")
        self.known(device, names)
        return Route(
            self.network(item.get("dst", "0.0.0.0/0")),
            device,
            None if via in (None, "") else self.address(via),
            str(item.get("table") or MAIN),
            str(item.get("type") or "unicast"),
            int(item.get("metric") or 0),
        )

    def rule(self, item: Any, names: list[str]) -> RoutingRule:
        words = _words(item)
        mark, mask = None, 0xFFFF_FFFF
        if "fwmark" in words:
            value, _, given = words["fwmark"].partition("/")
            mark, mask = int(value, 0), int(given, 0) if given else mask
        for key in ("iif", "oif"):
            self.known(words.get(key, ""), names)
        return RoutingRule(
            int(words.get("priority", -1)),
            words.get("lookup", MAIN),
            self.network(words["from"]) if words.get("from", "all") != "all" else None,
            self.network(words["to"]) if words.get("to", "all") != "all" else None,
            mark,
            mask,
            words.get("iif", ""),
            words.get("oif", ""),
        )

    def known(self, device: str, names: list[str]) -> None:
        if device and device not in names:
            self.problems.add(f"unknown interface {device!r}", self.mark, near_miss(device, names))

    def network(self, text: Any) -> ipaddress.IPv4Network:
        try:
            return ipaddress.IPv4Network("0.0.0.0/0" if text == "default" else str(text))
        except ValueError as error:
            self.problems.add(f"got destination {text!r}: {error}", self.mark)
            return ipaddress.IPv4Network("0.0.0.0/0")

    def address(self, text: Any) -> ipaddress.IPv4Address:
        try:
            return ipaddress.IPv4Address(text)
        except ValueError:
            self.problems.add(f"got {text!r}, expected an IPv4 address", self.mark)
            return ipaddress.IPv4Address(0)


_SAME = {
    "mark": "fwmark",
    "table": "lookup",
    "src": "from",
    "dst": "to",
    "prio": "priority",
    "pref": "priority",
    "preference": "priority",
}
_BUILTIN_RULES = (RoutingRule(0, LOCAL), RoutingRule(32766, MAIN), RoutingRule(32767, DEFAULT))


def _words(item: Any) -> dict[str, str]:
    """An ``ip rule`` as words, whether it is text or an object."""
    if isinstance(item, str):
        split = item.split()
        pairs = list(zip(split[::2], split[1::2], strict=False))
    else:
        pairs = [(str(k), str(v)) for k, v in item.items() if v not in (None, "")]
    return {_SAME.get(key, key): value for key, value in pairs}


def _numbered(rules: list[RoutingRule]) -> list[RoutingRule]:
    """Rules without a preference go, as ``ip rule add`` puts them, before all that came earlier."""
    from dataclasses import replace

    lowest, out = 32766, []
    for rule in rules:
        if rule.preference < 0:
            rule = replace(rule, preference=lowest - 1)
        lowest = min(lowest, rule.preference) if rule.preference > 0 else lowest
        out.append(rule)
    return out


def _implied(interfaces: list[Interface]) -> list[Route]:
    """What the kernel adds by itself for every address."""
    out = []
    for interface in interfaces:
        for address in interface.addresses:
            net = address.network
            host = ipaddress.IPv4Network(address.ip)
            out.append(Route(host, interface.name, None, LOCAL, "local"))
            if interface.number == LOOPBACK:
                out.append(Route(net, interface.name, None, LOCAL, "local"))
            if net.prefixlen < 32 and interface.number != LOOPBACK:
                out.append(Route(net, interface.name))
            if net.prefixlen < 31:
                end = ipaddress.IPv4Network(net.broadcast_address)
                out.append(Route(end, interface.name, None, LOCAL, "broadcast"))
    return out

"""The routing decision as stages made from the topology: longest prefixes first, policy rules in their order."""

from __future__ import annotations

from collections.abc import Iterator

from oppcache.opp.program import Action

from .clauses import Bits, Clause, Clauses, Spans, both, field, metadata
from .extensions.base import U32
from .flow import DROP, Flow, Label, puts
from .interface import ENTRY, PKTTYPE, REJECTS
from .topology import LOOPBACK, Route, RoutingRule, Topology
from .world import World

WIRE = metadata("entry", Spans.values([ENTRY.WIRE, ENTRY.LOOPED]))
OWN = metadata("entry", Spans.values([ENTRY.LOCAL, ENTRY.ANSWER]))
# What looped back has its way already.
FRESH = metadata("entry", Spans.values([ENTRY.WIRE]))
_MULTICAST = Spans.of((0xE000_0000, 0xEFFF_FFFF))
_ALL_HOSTS = 0xE000_0001
_LOOPBACK_NET = Spans.of((0x7F00_0000, 0x7FFF_FFFF))
_REFUSING = {"unreachable": "icmp-host-unreachable", "prohibit": "icmp-admin-prohibited"}


def destinations(topology: Topology, subject: str, table: str = "main") -> Iterator[tuple[Clause, Route]]:
    """Routes of a table in the order in which they are tried, each with the clause that an address is in it."""
    routes = [r for r in topology.routes if r.table in (table, _NUMBERS.get(table, table))]
    ordered = sorted(
        enumerate(routes), key=lambda pair: (-pair[1].destination.prefixlen, pair[1].metric, pair[0])
    )
    for _, route in ordered:
        low, high = int(route.destination.network_address), int(route.destination.broadcast_address)
        yield ({} if (low, high) == (0, U32) else field(subject, Spans.of((low, high)))), route


_NUMBERS = {"255": "local", "254": "main", "253": "default", "local": "255", "main": "254", "default": "253"}


def _rule_clauses(rule: RoutingRule, topology: Topology, side: Clause) -> Clause | None:
    """Where a policy rule applies; None: never."""
    out: Clause | None = dict(side)
    for net, subject in ((rule.source, "ipv4.src"), (rule.destination, "ipv4.dst")):
        if net is not None and out is not None:
            span = (int(net.network_address), int(net.broadcast_address))
            out = both(out, field(subject, Spans.of(span)))
    if rule.mark is not None and out is not None:
        out = both(out, metadata("mark", Bits.of((rule.mark, rule.mark_mask))))
    if rule.input and out is not None:
        number = LOOPBACK if side is OWN else topology.by_name[rule.input].number
        if side is OWN and rule.input != "lo":
            return None
        if side is not OWN:
            out = both(out, field("in_port", Spans.values([number])))
    return None if rule.output else out


def lookups(topology: Topology, side: Clause) -> Iterator[tuple[Clause, Route]]:
    """Every (where, route) that a packet is tried against, in order."""
    for rule in topology.rules:
        where = _rule_clauses(rule, topology, side)
        if where is None:
            continue
        for clause, route in destinations(topology, "ipv4.dst", rule.table):
            joined = both(where, clause)
            if joined is None:
                continue
            yield joined, route
            if route.type == "throw":
                continue


def emit_output_route(flow: Flow, world: World) -> None:
    """Where packets of the local stack go: sets ``oif`` and ``nexthop``; one that has no way is dropped."""
    flow.begin("router output route")
    topology = world.topology
    for i, (clause, route) in enumerate(lookups(topology, OWN)):
        name = f"{route.table} {route.destination} {i}"
        if route.type == "local":
            flow.entry([clause], name, puts(oif=LOOPBACK, nexthop=0))
        elif route.type == "throw":
            continue
        elif route.type in _REFUSING or route.type == "blackhole":
            flow.entry([clause], name, (DROP,))
        else:
            flow.entry([clause], name, way_out(topology, route))
    flow.entry([OWN], "no route", (DROP,))
    flow.close()


def way_out(topology: Topology, route: Route) -> tuple[Action, ...]:
    """Actions that set a route's interface and next hop."""
    number = topology.by_name[route.device].number if route.device else _device_of(topology, route)
    return puts(oif=number, nexthop=int(route.via) if route.via is not None else 0)


def _device_of(topology: Topology, route: Route) -> int:
    """The interface of a route that names only its gateway."""
    if route.via is not None:
        for clause, other in destinations(topology, "ipv4.dst"):
            if other.device and (not clause or route.via in other.destination):
                return topology.by_name[other.device].number
    return LOOPBACK


def emit_input_route(flow: Flow, world: World, local: Label, forward: Label) -> None:
    """Local delivery or forwarding of packets from an interface: martians, then the tables, then TTL and MTU."""
    topology = world.topology
    _martians(flow, world)
    _reverse_path(flow, world)
    flow.begin("router input route")
    here = [{**WIRE, **field("ipv4.dst", Spans.of((U32, U32)))}]
    here.append({**WIRE, **field("ipv4.dst", Spans.values([_ALL_HOSTS]))})
    flow.entry(here, "to all hosts", puts(oif=0), goto=local)
    flow.entry([{**WIRE, **field("ipv4.dst", _MULTICAST)}], "to a group", (DROP,))
    fine = Label("forwarding")
    forwards = topology.setting("net.ipv4.ip_forward", 1) != 0
    for i, (clause, route) in enumerate(lookups(topology, WIRE)):
        name = f"{route.table} {route.destination} {i}"
        if route.type in ("local", "broadcast"):
            flow.entry([clause], name, puts(oif=0), goto=local)
        elif route.type == "throw":
            continue
        elif route.type == "blackhole" or not forwards:
            flow.entry([clause], name, (DROP,))
        elif route.type in _REFUSING:
            flow.entry([clause], name, (*puts(reject=REJECTS.index(_REFUSING[route.type])), DROP))
        else:
            flow.entry([clause], name, way_out(topology, route), goto=fine)
    no_route = puts(reject=REJECTS.index("icmp-no-route")) if forwards else ()
    flow.entry([WIRE], "no route", (*no_route, DROP))
    flow.here(fine)
    _forwarding(flow, world, forward)


def _martians(flow: Flow, world: World) -> None:
    """Addresses that no packet on a wire has."""
    topology = world.topology
    wire = FRESH
    own = Spans.values(int(a) for a in topology.local_addresses)
    flow.begin("router martians")
    zero = Spans.of((0, 0))  # alone: Linux takes the rest of 0.0.0.0/8 as it comes
    bad: Clauses = [
        {**wire, **field("ipv4.src", Spans.of(*_MULTICAST.spans, (U32, U32), *_LOOPBACK_NET.spans))},
        {**wire, **field("ipv4.dst", Spans.of(*zero.spans, *_LOOPBACK_NET.spans))},
    ]
    flow.entry(bad, "martian", (DROP,))
    beside = both({**wire, **field("ipv4.src", zero)}, field("ipv4.dst", _not_broadcast(topology)))
    if beside is not None:
        flow.entry([beside], "from nowhere", (DROP,))
    if own:
        flow.entry([{**wire, **field("ipv4.src", own)}], "from an address of its own", (DROP,))
    flow.close()


def _not_broadcast(topology: Topology) -> Spans:
    """Destinations for which a source of 0.0.0.0 is refused: all but the limited broadcast and groups."""
    return Spans.of((U32, U32), *_MULTICAST.spans).complement(U32)


def _reverse_path(flow: Flow, world: World) -> None:
    """``rp_filter``: 1, the way back must be the interface that the packet came from; 2, there must be one."""
    topology = world.topology
    everywhere = topology.setting("net.ipv4.conf.all.rp_filter", 0)
    default = topology.setting("net.ipv4.conf.default.rp_filter", 0)
    modes = {
        i.number: max(everywhere, topology.setting(f"net.ipv4.conf.{i.name}.rp_filter", default))
        for i in topology.interfaces
        if i.number != LOOPBACK
    }
    if not any(modes.values()):
        return
    flow.begin("router reverse path")
    go_on = Label("reverse path is fine")
    exempt = Spans.of((0, 0x00FF_FFFF))
    flow.entry([{**FRESH, **field("ipv4.src", exempt)}], "from nowhere", goto=go_on)
    for i, (clause, route) in enumerate(destinations(topology, "ipv4.src")):
        number = topology.by_name[route.device].number if route.device else 0
        wrong = [n for n, mode in modes.items() if mode == 1 and n != number]
        if wrong:
            flow.entry(
                [{**FRESH, **clause, **field("in_port", Spans.values(wrong))}], f"spoofed {i}", (DROP,)
            )
        flow.entry([{**FRESH, **clause}], f"plausible {i}", goto=go_on)
    checked = [n for n, mode in modes.items() if mode]
    flow.entry([{**FRESH, **field("in_port", Spans.values(checked))}], "no way back", (DROP,))
    flow.here(go_on)


def _forwarding(flow: Flow, world: World, forward: Label) -> None:
    """What ``ip_forward`` does before the FORWARD hook."""
    flow.begin("router forwarding")
    not_host = Spans.values([PKTTYPE.HOST]).complement(U32)
    flow.entry([{**WIRE, **metadata("pkttype", not_host)}], "not to this host", (DROP,))
    expired = REJECTS.index("icmp-time-exceeded")
    flow.entry(
        [{**WIRE, **field("ipv4.ttl", Spans.of((0, 1)))}], "TTL ran out", (*puts(reject=expired), DROP)
    )
    too_big = REJECTS.index("icmp-frag-needed")
    for interface in world.topology.interfaces:
        clause = {
            **WIRE,
            **metadata("oif", Spans.values([interface.number])),
            **field("ipv4.df", Spans.of((1, 1))),
            **field("ipv4.length", Spans.of((interface.mtu + 1, 0xFFFF))),
        }
        if interface.mtu < 0xFFFF:
            actions = (*puts(reject=too_big, mtu=interface.mtu), DROP)
            flow.entry([clause], f"too big for {interface.name}", actions)
    flow.entry([WIRE], "forwarded", (Action("dec_ttl"),), goto=forward)
    flow.close()


__all__ = ["OWN", "WIRE", "Clauses", "destinations", "emit_input_route", "emit_output_route"]

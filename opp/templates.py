"""Packets that a program makes: reading their templates, and which headers they have.

A template's fields are set as by ``set``, and besides those that a packet in transit may have set, every field that
says what a made packet is (ARP and ICMP fields, its length and port).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .errors import Mark, near_miss
from .fields import FIELD_BY_NAME, Base, Header
from .program import Action, Expiry, Program, Template
from .reading import Reader
from .yaml_source import mark_of

_GENERATE = ("stage", "from", "headers", "quote", "set")
_EXPIRY = ("stage", "timers", "set")
TRANSPORTS = {
    Header.TCP: 6,
    Header.UDP: 17,
    Header.UDPLITE: 136,
    Header.SCTP: 132,
    Header.ICMP: 1,
    Header.ICMPV6: 58,
}
WITH_PORTS = (Header.TCP, Header.UDP, Header.UDPLITE, Header.SCTP)
_MADE = (
    "packet_length",
    "in_port",
    "icmp.type",
    "icmp.code",
    "icmp.rest",
    "icmpv6.type",
    "icmpv6.code",
    "icmpv6.rest",
)


def settable_in_template(name: str) -> bool:
    """Whether a template may set a field."""
    field = FIELD_BY_NAME[name]
    return field.writable or field.base is Base.ARP or name in _MADE


def closed(names: Iterable[str]) -> int:
    """Validity bits of named headers and of all that come with them."""
    headers = {Header[name.upper()] for name in names}
    if headers & {Header.IPV4, Header.IPV6}:
        headers.add(Header.IP)
    if headers & set(WITH_PORTS):
        headers.add(Header.L4_PORTS)
    if headers & {Header.INNER_IPV4, Header.INNER_IPV6}:
        headers.add(Header.INNER_IP)
    return sum(1 << h for h in headers)


def parse_generate(read: Reader, node: Any, mark: Mark, set_action: Any) -> Action:
    """Read ``generate: {stage, from, headers, quote, set}``; ``set_action`` reads one ``set``."""
    node = read.as_mapping(node, mark, "generate")
    read.known_keys(node, _GENERATE, "generate")
    stage = read.text(node, "stage", required=True)
    source = node.get("from", "packet")
    if source not in ("packet", "nothing"):
        read.problems.add(f"from: got {source!r}, expected packet or nothing", mark_of(node, "from"))
    headers = _headers(read, node) if "headers" in node else None
    if source == "nothing" and headers is None:
        read.problems.add("generate: from nothing needs headers", mark)
    template = Template(
        stage, source == "nothing", headers, read.boolean(node, "quote"), _sets(read, node, set_action)
    )
    return Action("generate", template=template, mark=mark)


def parse_expiry(read: Reader, node: Any, mark: Mark, set_action: Any) -> Expiry:
    """Read a table's ``expiry: {stage, timers, set}``."""
    node = read.as_mapping(node, mark, "expiry")
    read.known_keys(node, _EXPIRY, "expiry")
    timers = [str(t) for t in read.items(node, "timers")] if "timers" in node else ["idle", "hard"]
    for i, timer in enumerate(timers):
        if timer not in ("idle", "hard"):
            read.problems.add(f"timers: got {timer!r}, expected idle or hard", mark_of(node["timers"], i))
    stage = read.text(node, "stage", required=True)
    return Expiry(stage, "idle" in timers, "hard" in timers, _sets(read, node, set_action), mark)


def _headers(read: Reader, node: Mapping[str, Any]) -> tuple[str, ...]:
    names = tuple(str(n) for n in read.items(node, "headers"))
    for i, name in enumerate(names):
        if name.upper() not in Header.__members__:
            known = [h.lower() for h in Header.__members__]
            read.problems.add(f"unknown header {name!r}", mark_of(node["headers"], i), near_miss(name, known))
    return tuple(name for name in names if name.upper() in Header.__members__)


def _sets(read: Reader, node: Mapping[str, Any], set_action: Any) -> tuple[Action, ...]:
    body = read.as_mapping(node.get("set"), mark_of(node, "set"), "set")
    return tuple(
        set_action(read, str(target), value, mark_of(body, target), mark_of(body, target, at_key=True))
        for target, value in body.items()
    )


def made_packets(program: Program) -> list[tuple[str, tuple[Action, ...]]]:
    """Where packets that a program makes may enter, and what is set in them."""
    found = [(t.expiry.stage, t.expiry.sets) for t in program.tables if t.expiry is not None]
    for stage in program.stages:
        for entry in (*stage.entries, *((stage.default,) if stage.default else ())):
            found += [(a.template.stage, a.template.sets) for a in entry.actions if a.template is not None]
    return found

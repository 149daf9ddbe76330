"""Packets that a program makes, in the plain reference: generated ones, and those that tell of a passed timer.

Written from the model page (``docs/machine.md``, "Packets that are made"), with nothing shared with the lowered form.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .fields import FIELDS
from .program import Key, Template
from .reference_headers import can_set, set_field
from .reference_values import KeyTuple, Packet, Result, Value

_PROTOCOLS = {"TCP": 6, "UDP": 17, "UDPLITE": 136, "SCTP": 132, "ICMP": 1, "ICMPV6": 58}
_WITH_PORTS = {"TCP", "UDP", "UDPLITE", "SCTP"}
_ENDS = {"src": "dst", "dst": "src", "sport": "dport", "dport": "sport"}


@dataclass
class MadePacket:
    """A packet that another one, or a sweep, has made.

    Attributes:
        parent: number of the packet that it comes from.
        nth: counted from 0 over all that come from the same packet from outside.
        event: whether it tells of a passed timer.
        stage: where it enters.
        result: what became of it, once it has run.
    """

    packet: Packet
    parent: int
    nth: int
    event: bool
    stage: str
    result: Result = field(default_factory=Result)


def complete(names: Iterable[str]) -> set[str]:
    """Headers with those that always come with them."""
    headers = {name.upper() for name in names}
    if headers & {"IPV4", "IPV6"}:
        headers.add("IP")
    if headers & _WITH_PORTS:
        headers.add("L4_PORTS")
    if headers & {"INNER_IPV4", "INNER_IPV6"}:
        headers.add("INNER_IP")
    return headers


def _family(headers: set[str]) -> int:
    return 4 if "IPV4" in headers else 6 if "IPV6" in headers else 0


def _zeros(headers: set[str]) -> dict[str, Value]:
    """Every field that a packet with these headers has, at 0."""
    family = _family(headers)
    fields: dict[str, Value] = {
        f.name: (family, 0) if f.is_address else 0
        for f in FIELDS
        if f.header is None or f.header.name in headers
    }
    for end in ("src", "dst") if family == 4 else ():
        fields[f"ip.{end}.low"] = 0xFFFF << 32
    if "IP" in headers:
        fields["ip.family"] = family
    return fields


def build(template: Template, packet: Packet) -> Packet | None:
    """The packet of a template before its fields are set; None where there is nothing to quote."""
    if template.quote and not _family(packet.headers):
        return None
    made = Packet(now=packet.now, metadata=[0] * len(packet.metadata))
    if not template.blank:
        made.fields, made.headers = dict(packet.fields), set(packet.headers)
        made.metadata = list(packet.metadata)
    if template.headers is not None:
        _dress(made, complete(template.headers))
    if template.quote:
        _quote(made, packet)
    elif template.headers is not None:
        _name_flow(made)
    return made


def _dress(made: Packet, headers: set[str]) -> None:
    """Give it headers; it keeps the fields of those that it had before."""
    kept = made.headers & headers
    if not kept & _WITH_PORTS:
        kept.discard("L4_PORTS")
    if not kept & {"IPV4", "IPV6"}:
        kept -= {"IP", "L4_PORTS"}
    fields = _zeros(headers)
    for f in FIELDS:
        home = (
            "L4_PORTS"
            if f.name in ("l4.sport", "l4.dport")
            else f.header.name
            if f.header is not None
            else None
        )
        if f.name in made.fields and (home is None or home in kept):
            fields[f.name] = made.fields[f.name]
    made.fields, made.headers = fields, headers
    for name, number in _PROTOCOLS.items():
        if name in headers:
            for field_name in ("ip.proto", "ipv4.proto", "ipv6.next"):
                if field_name in fields:
                    fields[field_name] = number


def _name_flow(made: Packet) -> None:
    for last in ("src", "dst", "sport", "dport", "proto"):
        layer = "l4" if last in ("sport", "dport") else "ip"
        if f"flow.{last}" in made.fields:
            made.fields[f"flow.{last}"] = made.fields[f"{layer}.{last}"]


def _quote(made: Packet, packet: Packet) -> None:
    """The quoted packet under the names with inner, and its tuple reversed."""
    family = _family(packet.headers)
    quoted = {"INNER_IP", f"INNER_IPV{family}"}
    if "L4_PORTS" in packet.headers:
        quoted |= {"INNER_L4", "INNER_PORTS"}
    elif "ICMP_QUERY" in packet.headers:
        quoted |= {"INNER_L4", "INNER_QUERY"}
    elif packet.headers & {"ICMP", "ICMPV6"}:
        quoted.add("INNER_L4")
    gone = {name for name in made.headers if name.startswith("INNER_")}
    made.headers = made.headers - gone | quoted
    made.fields = {name: value for name, value in made.fields.items() if not name.startswith("inner.")}
    for name, value in _zeros(made.headers).items():
        made.fields.setdefault(name, value)
    query = packet.fields.get("icmp.id" if family == 4 else "icmpv6.id", 0)
    for f in FIELDS:
        if f.name.startswith("inner.") and f.name in made.fields:
            plain = f.name.removeprefix("inner.")
            if plain == "icmp.id":
                made.fields[f.name] = query
            elif f"INNER_IPV{family}" == (f.header.name if f.header is not None else "") or plain.startswith(
                "l4."
            ):
                made.fields[f.name] = packet.fields.get(plain, 0)
    for last in ("src", "dst", "sport", "dport", "proto"):
        layer = "l4" if last in ("sport", "dport") else "ip"
        if f"flow.{last}" in made.fields:
            value = packet.fields[f"{layer}.{_ENDS.get(last, last)}"]
            made.fields[f"flow.{last}"] = _as_of(_family(made.headers), value)
    if "INNER_QUERY" in quoted:
        for port in ("flow.sport", "flow.dport"):
            if port in made.fields:
                made.fields[port] = query


def _as_of(family: int, value: Value) -> Value:
    """An address as a packet of an IP version has it."""
    if not isinstance(value, tuple):
        return value
    number = value[1] | 0xFFFF << 32 if value[0] == 4 else value[1]
    return family, number % 2**32 if family == 4 else number


def of_key(key: Key, values: KeyTuple, metadata: tuple[str, ...]) -> Packet:
    """The packet that carries a context's key: its fields, and the headers that they stand in."""
    known = {f.name: f for f in FIELDS}
    headers: set[str] = set()
    families = [value[0] for value in values if isinstance(value, tuple)]
    family = families[0] if families else 0
    for part, value in zip(key.parts, values, strict=True):
        if part.kind != "field":
            continue
        header = known[part.name].header
        if header is not None:
            headers |= complete([header.name])
            if header.name in _WITH_PORTS | {"ICMP", "ICMPV6"}:
                headers.add("IP")
        if part.name in ("l4.sport", "l4.dport"):
            headers.add("L4_PORTS")
        if part.name == "ip.family" and not families and isinstance(value, int):
            family = value
    if family in (4, 6):
        headers = headers - {"IPV4", "IPV6"} | {"IP", f"IPV{family}"}
    made = Packet(_zeros(headers), headers, metadata=[0] * len(metadata))
    for part, value in zip(key.parts, values, strict=True):
        if part.kind == "metadata" and isinstance(value, int):
            made.metadata[metadata.index(part.name)] = value
        elif part.kind == "field" and part.name in made.fields and part.name != "ip.family":
            made.fields[part.name] = _as_of(_family(headers), value)
    # Whatever follows a field that is set follows it here, once all of the key is there.
    for part in key.parts:
        if part.kind == "field" and not part.name.startswith("flow.") and can_set(made, part.name):
            set_field(made, part.name, made.fields[part.name])
    return made

"""Setting header fields in the plain reference: a field, and every other name of the same bits of the packet.

Written from the table on the model page (``docs/machine.md``, "Fields that follow"), with nothing shared with the
lowered form.
"""

from __future__ import annotations

from .fields import FIELD_BY_NAME
from .reference_values import Packet, Value

_V4_MAPPED = 0xFFFF << 32
_PORTS = ("l4", "tcp", "udp", "udplite", "sctp")
_OTHER_END = {"src": "dst", "dst": "src", "sport": "dport", "dport": "sport"}


def can_set(packet: Packet, target: str) -> bool:
    """Whether a field is there to be set."""
    if target not in packet.fields:
        return False
    if target in ("ip.src", "ip.dst") and not packet.headers & {"IPV4", "IPV6"}:
        return False
    if target.startswith("l4.") and "L4_PORTS" not in packet.headers:
        return False
    return target != "tcp.mss" or packet.fields[target] != 0


def set_field(packet: Packet, target: str, value: Value) -> None:
    """Set a field and what follows it; nothing happens where the field is absent or cannot take the value."""
    fields, headers = packet.fields, packet.headers
    layer, _, last = target.rpartition(".")
    if not can_set(packet, target):
        return
    if target in ("ip.src", "ip.dst"):
        family = _family(packet)
        if isinstance(value, tuple) and value[0] != family:
            return
        _set_address(packet, last, as_number(value) % 2 ** (32 if family == 4 else 128))
        return
    number = as_number(value) % (1 << FIELD_BY_NAME[target].bits)
    fields[target] = number
    if layer in ("ipv4", "ipv6") and last in ("src", "dst"):
        _set_address(packet, last, number)
    elif layer == "ipv4":
        _follow_service(packet, "ipv4", "tos", last, number)
    elif layer == "ipv6":
        _follow_service(packet, "ipv6", "tclass", last, number)
    elif layer in _PORTS and last in ("sport", "dport"):
        for name in _PORTS:
            _put(packet, f"{name}.{last}", number)
        if "INNER_IP" not in headers:
            _put(packet, f"flow.{last}", number)
    elif layer in ("icmp", "icmpv6"):
        _follow_icmp(packet, layer, last, number)
    elif layer.startswith("inner"):
        _follow_quote(packet, layer, last, number)


def as_number(value: Value) -> int:
    """An address as 128 bits, any other value as it is."""
    if isinstance(value, tuple):
        return value[1] | _V4_MAPPED if value[0] == 4 else value[1]
    return value


def _family(packet: Packet) -> int:
    return 4 if "IPV4" in packet.headers else 6


def _put(packet: Packet, name: str, value: Value) -> None:
    if name in packet.fields:
        packet.fields[name] = value


def _set_address(packet: Packet, end: str, number: int) -> None:
    """The packet's source or destination under all its names; an IPv4 number has 32 bits."""
    family = _family(packet)
    _put(packet, f"ip.{end}", (family, number))
    _put(packet, f"ipv{family}.{end}", number)
    whole = as_number((family, number))
    _put(packet, f"ip.{end}.high", whole >> 64)
    _put(packet, f"ip.{end}.low", whole % 2**64)
    if "INNER_IP" not in packet.headers:
        _put(packet, f"flow.{end}", (family, number))


def _follow_service(packet: Packet, layer: str, whole: str, last: str, number: int) -> None:
    if last == whole:
        _put(packet, f"{layer}.dscp", number // 4)
        _put(packet, f"{layer}.ecn", number % 4)
    old = packet.fields.get(f"{layer}.{whole}")
    if isinstance(old, int) and last == "dscp":
        packet.fields[f"{layer}.{whole}"] = number * 4 + old % 4
    elif isinstance(old, int) and last == "ecn":
        packet.fields[f"{layer}.{whole}"] = old // 4 * 4 + number


def _follow_icmp(packet: Packet, layer: str, last: str, number: int) -> None:
    rest = packet.fields.get(f"{layer}.rest")
    if isinstance(rest, int) and last == "id":
        packet.fields[f"{layer}.rest"] = number << 16 | rest % 2**16
    elif isinstance(rest, int) and last == "seq":
        packet.fields[f"{layer}.rest"] = rest >> 16 << 16 | number
    if last == "rest":
        _put(packet, f"{layer}.id", number >> 16)
        _put(packet, f"{layer}.seq", number % 2**16)
        number >>= 16
    if last in ("id", "rest") and "ICMP_QUERY" in packet.headers and "INNER_IP" not in packet.headers:
        _put(packet, "flow.sport", number)
        _put(packet, "flow.dport", number)


def _follow_quote(packet: Packet, layer: str, last: str, number: int) -> None:
    """The flow of an ICMP error is the quoted packet's, reversed."""
    if "INNER_IP" not in packet.headers:
        return
    if layer == "inner.icmp":
        _put(packet, "flow.sport", number)
        _put(packet, "flow.dport", number)
    elif last in ("sport", "dport"):
        _put(packet, f"flow.{_OTHER_END[last]}", number)
    elif layer == f"inner.ipv{_family(packet)}" and last in _OTHER_END:
        _put(packet, f"flow.{_OTHER_END[last]}", (_family(packet), number))

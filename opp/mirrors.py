"""Fields that stand for the same bits of a packet: what else a header vector must say when one of them is set.

``ip.src`` and ``ipv4.src`` are one address, ``l4.sport`` and ``tcp.sport`` one port, ``ipv4.dscp`` six bits of
``ipv4.tos``, and ``flow.*`` repeats what the connection tuple is made of. A program that sets one of them sees the
new value in all of them. The table is the one on the machine's page in the documentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from .fields import FIELD_BY_NAME, Header

_ALL = 2**64 - 1
_LOW32 = 2**32 - 1
_TRANSPORTS = {"tcp": Header.TCP, "udp": Header.UDP, "udplite": Header.UDPLITE, "sctp": Header.SCTP}
_OTHER = {"src": "dst", "dst": "src", "sport": "dport", "dport": "sport"}

# Which half of a 128-bit value a row sets.
WHOLE, HIGH, LOW = "whole", "high", "low"


@dataclass(frozen=True)
class Mirror:
    """Bits of another field that follow: its word + ``offset`` gets ``value >> right << left`` under ``mask``.

    Attributes:
        need: header bits that must all be valid.
        unless: header bits of which none may be.
    """

    field: str
    offset: int = 0
    need: int = 0
    unless: int = 0
    right: int = 0
    left: int = 0
    mask: int = _ALL


@dataclass(frozen=True)
class SetRow:
    """One word that a ``set`` changes: word + ``offset`` of ``field`` under ``mask``, with what follows it.

    Attributes:
        half: which part of the value it takes.
        header: that must be valid.
        only_if_set: whether it is skipped where the word is 0 (an option that is not there).
    """

    half: str
    field: str
    offset: int
    header: Header | None
    mask: int
    mirrors: tuple[Mirror, ...] = ()
    only_if_set: bool = False


def _bits(*headers: Header) -> int:
    return sum(1 << h for h in headers)


@cache
def set_rows(target: str) -> tuple[SetRow, ...]:
    """What setting a field changes in the vector; for a joint address first the row of IPv4 packets."""
    field = FIELD_BY_NAME[target]
    layer, _, last = target.rpartition(".")
    error = _bits(Header.INNER_IP)
    if layer == "ip" and last in ("src", "dst"):
        four = (
            Mirror(f"ipv4.{last}", mask=_LOW32),
            Mirror(f"flow.{last}", 1, unless=error, mask=_LOW32),
        )
        return (
            SetRow(LOW, target, 1, Header.IPV4, _LOW32, four),
            *_halves(target, Header.IPV6, (f"ipv6.{last}", 0, 0), (f"flow.{last}", 0, error)),
        )
    if target == f"ipv6.{last}" and field.bits == 128:
        return _halves(target, Header.IPV6, (f"ip.{last}", 0, 0), (f"flow.{last}", 0, error))
    if target == f"inner.ipv6.{last}" and field.bits == 128:
        need = _bits(Header.INNER_IP, Header.IPV6)
        return _halves(target, Header.INNER_IPV6, (f"flow.{_OTHER[last]}", need, 0))
    header = Header.L4_PORTS if layer == "l4" else field.header
    mask = (1 << field.bits) - 1
    return (SetRow(WHOLE, target, 0, header, mask, tuple(_followers(target)), target == "tcp.mss"),)


def _halves(target: str, header: Header, *followers: tuple[str, int, int]) -> tuple[SetRow, ...]:
    """Both words of a 128-bit field, each followed by the same word of others: (field, need, unless)."""
    return tuple(
        SetRow(
            half,
            target,
            i,
            header,
            _ALL,
            tuple(Mirror(name, i, need, unless) for name, need, unless in followers),
        )
        for i, half in ((0, HIGH), (1, LOW))
    )


def _followers(target: str) -> Iterator[Mirror]:
    """What follows a field of one word."""
    layer, _, last = target.rpartition(".")
    error = _bits(Header.INNER_IP)
    if layer == "flow":  # follows, and leads nothing
        return
    if target in ("ipv4.src", "ipv4.dst"):
        yield Mirror(f"ip.{last}", 1, mask=_LOW32)
        yield Mirror(f"flow.{last}", 1, unless=error, mask=_LOW32)
    elif target in ("inner.ipv4.src", "inner.ipv4.dst"):
        yield Mirror(f"flow.{_OTHER[last]}", 1, need=_bits(Header.INNER_IP, Header.IPV4), mask=_LOW32)
    elif layer == "inner.l4":
        yield Mirror(f"flow.{_OTHER[last]}", need=error)
    elif layer == "inner.icmp":
        yield from (Mirror(f"flow.{port}", need=error) for port in ("sport", "dport"))
    elif last in ("sport", "dport"):
        if layer != "l4":
            yield Mirror(f"l4.{last}")
        for name, header in _TRANSPORTS.items():
            if name != layer:
                yield Mirror(f"{name}.{last}", need=_bits(header))
        yield Mirror(f"flow.{last}", unless=error)
    elif layer in ("icmp", "icmpv6"):
        yield from _icmp(layer, last)
    elif layer in ("ipv4", "ipv6"):
        yield from _service(layer, last)


def _icmp(layer: str, last: str) -> Iterator[Mirror]:
    if last == "id":
        yield Mirror(f"{layer}.rest", left=16, mask=0xFFFF_0000)
    elif last == "seq":
        yield Mirror(f"{layer}.rest", mask=0xFFFF)
    elif last == "rest":
        yield Mirror(f"{layer}.id", right=16)
        yield Mirror(f"{layer}.seq", mask=0xFFFF)
    if last in ("id", "rest"):
        need, unless, right = _bits(Header.ICMP_QUERY), _bits(Header.INNER_IP), 16 if last == "rest" else 0
        yield from (Mirror(f"flow.{port}", 0, need, unless, right) for port in ("sport", "dport"))


def _service(layer: str, last: str) -> Iterator[Mirror]:
    """The type of service or traffic class, and its parts."""
    whole = "tos" if layer == "ipv4" else "tclass"
    if last == whole:
        yield Mirror(f"{layer}.dscp", right=2)
        yield Mirror(f"{layer}.ecn", mask=3)
    elif last == "dscp":
        yield Mirror(f"{layer}.{whole}", left=2, mask=0xFC)
    elif last == "ecn":
        yield Mirror(f"{layer}.{whole}", mask=3)


@cache
def changed_with(target: str) -> tuple[str, ...]:
    """A field and every other one that may change when it is set."""
    names = [name for row in set_rows(target) for name in (row.field, *(m.field for m in row.mirrors))]
    halves = [f"{name}.{half}" for name in names if name in ("ip.src", "ip.dst") for half in (HIGH, LOW)]
    return tuple(dict.fromkeys([target, *names, *halves]))

"""The header vector: which fields a packet has, and where they stand in an array of words.

A parsed packet is one row of a ``uint64`` array. The first :data:`CORE_WORDS` words are the same for every
program (the joint fields that nearly every key uses); the words after them are chosen by the program's
:class:`Layout`: the further fields it reads, then its metadata. One field takes one word; the 128-bit
addresses take two (high, low). Everything that must travel with a punted packet is in its row: rewritten
headers, metadata, the ingress stamp ``now`` and the packet's number.

An IPv4 address stands in the joint fields as its IPv4-mapped IPv6 address, and ``ip.family`` (4 or 6) is
part of every key that names a joint address, so that the two families never alias.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from typing import Any

import numpy as np

# Words of the core, in every header vector.
W_HEADERS = 0  # validity bits, see Header
W_STATUS = 1  # STATUS_* fields
W_NOW = 2  # ingress stamp, nanoseconds, monotone over a run
W_LENGTH = 3  # length of the frame on the wire without FCS, bytes
W_IN_PORT = 4
W_FAMILY = 5  # 4, 6, or 0 when there is no IP header
W_IP_SRC = 6  # and 7
W_IP_DST = 8  # and 9
W_IP_PROTO = 10
W_L4_SPORT = 11
W_L4_DPORT = 12
W_TCP_FLAGS = 13
W_OFFSETS = 14  # byte offsets in the captured frame: l3 | l4 << 16 | payload << 32; 0xffff: none
W_ID = 15  # number of the packet in its run, from 0
CORE_WORDS = 16

IPV4_MAPPED = 0xFFFF_0000_0000  # high part of the low word of an IPv4-mapped address
NO_OFFSET = 0xFFFF

# Bit fields of W_STATUS.
STATUS_REASON_BITS = 8  # low 8 bits: why parsing stopped early (traffic.Reason), 0 = whole
STATUS_L3_CSUM_SHIFT = 8  # 2 bits: CSUM_*
STATUS_L4_CSUM_SHIFT = 10
CSUM_UNKNOWN, CSUM_OK, CSUM_BAD = 0, 1, 2


class Header(IntEnum):
    """Bit numbers of the validity word."""

    ETH = 0
    VLAN = 1  # outer tag
    QINQ = 2  # second tag
    MPLS = 3
    PPPOE = 4
    ARP = 5
    IPV4 = 6  # outermost IP header
    IPV6 = 7
    IP = 8  # either; the joint fields ip.* and l4.* are present
    TCP = 9  # the header is present in full (without options)
    UDP = 10
    UDPLITE = 11
    SCTP = 12
    ICMP = 13
    ICMPV6 = 14
    INNER_IPV4 = 15  # quoted by an ICMP error
    INNER_IPV6 = 16
    INNER_IP = 17
    INNER_L4 = 18  # the quoted ports, or the quoted ICMP header
    FRAGMENT = 19  # any fragment, the first included
    LATER_FRAGMENT = 20  # offset > 0: there is no layer-4 header
    L4_PORTS = 21  # l4.sport and l4.dport were read from the packet, not set to 0
    IPV6_EXT = 22  # at least one extension header was walked
    ICMP_QUERY = 23  # an ICMP or ICMPv6 query or its answer: its identifier is there
    INNER_PORTS = 24  # the quoted packet's ports are there
    INNER_QUERY = 25  # the quoted packet is an ICMP query or its answer, with its identifier
    # Headers that a program declares, in its order, see declared.
    DECLARED_0 = 32
    DECLARED_1 = 33
    DECLARED_2 = 34
    DECLARED_3 = 35
    DECLARED_4 = 36
    DECLARED_5 = 37
    DECLARED_6 = 38
    DECLARED_7 = 39


class Base(IntEnum):
    """Where a field's offset counts from."""

    CORE = 0  # in the core words
    ETH = 1
    VLAN = 2
    QINQ = 3
    MPLS = 4
    ARP = 5
    L3 = 6  # outermost IP header
    L4 = 7
    INNER_L3 = 8
    INNER_L4 = 9
    DERIVED = 10  # computed by the parser, see Derived
    METADATA = 11
    PAYLOAD = 12  # of UDP: headers that a program declares


class Derived(IntEnum):
    """Fields that are computed rather than read at an offset."""

    L3_CSUM_OK = 0
    L4_CSUM_OK = 1
    FLOW_FAMILY = 2
    FLOW_SRC = 3
    FLOW_DST = 4
    FLOW_PROTO = 5
    FLOW_SPORT = 6
    FLOW_DPORT = 7
    TCP_MSS = 8
    TCP_WSCALE = 9
    TCP_SACK_PERMITTED = 10
    TCP_TSVAL = 11
    TCP_TSECR = 12
    PAYLOAD_LENGTH = 13
    TCP_OPTIONS = 14
    TCP_SACK_EDGE = 15
    TCP_OPTIONS_WALKED = 16
    ESP_SPI = 17
    AH_SPI = 18


@dataclass(frozen=True)
class Field:
    """One named field of the header vector.

    Attributes:
        name: as programs write it.
        bits: width; 128 takes two words.
        header: the validity bit without which the field is absent, or None when it is always there.
        base: what ``offset`` counts from.
        offset: core word (CORE), bit offset from the base's first byte (packet bases), or a Derived number.
        writable: whether an action may set it.
    """

    name: str
    bits: int
    header: Header | None
    base: Base
    offset: int
    writable: bool = False

    @property
    def words(self) -> int:
        """Words that the field takes in the vector."""
        return 2 if self.bits > 64 else 1

    @property
    def is_address(self) -> bool:
        """Whether this is a joint IPv4/IPv6 address, which carries its family with it."""
        return self.bits == 128 and self.name.split(".")[0] in ("ip", "flow")


def _packet_fields(header: Header, base: Base, prefix: str, spec: str, writable: str = "") -> list[Field]:
    """Fields read at a fixed place: ``name:bit_offset:bits`` separated by blanks."""
    out = []
    for item in spec.split():
        name, offset, bits = item.split(":")
        out.append(Field(f"{prefix}.{name}", int(bits), header, base, int(offset), name in writable.split()))
    return out


_V4 = "version:0:4 ihl:4:4 tos:8:8 dscp:8:6 ecn:14:2 length:16:16 id:32:16 df:49:1 mf:50:1 frag_offset:51:13 ttl:64:8 proto:72:8 csum:80:16 src:96:32 dst:128:32"
_V6 = "version:0:4 tclass:4:8 dscp:4:6 ecn:10:2 flow_label:12:20 length:32:16 next:48:8 hop_limit:56:8 src:64:128 dst:192:128"
_TCP = "sport:0:16 dport:16:16 seq:32:32 ack:64:32 data_offset:96:4 window:112:16 csum:128:16 urgent:144:16"
# The common header, and what the first chunk behind it begins with.
_SCTP = "sport:0:16 dport:16:16 vtag:32:32 csum:64:32 chunk_type:96:8 chunk_flags:104:8 chunk_length:112:16 init_tag:128:32"
_ICMP = "type:0:8 code:8:8 csum:16:16 id:32:16 seq:48:16 rest:32:32"

FIELDS: tuple[Field, ...] = (
    Field("packet_length", 32, None, Base.CORE, W_LENGTH),
    Field("in_port", 16, None, Base.CORE, W_IN_PORT),
    Field("ip.family", 8, Header.IP, Base.CORE, W_FAMILY),
    Field("ip.src", 128, Header.IP, Base.CORE, W_IP_SRC, True),
    Field("ip.dst", 128, Header.IP, Base.CORE, W_IP_DST, True),
    # Halves of the joint addresses, an IPv4 one as IPv4-mapped: what registers can keep.
    Field("ip.src.high", 64, Header.IP, Base.CORE, W_IP_SRC),
    Field("ip.src.low", 64, Header.IP, Base.CORE, W_IP_SRC + 1),
    Field("ip.dst.high", 64, Header.IP, Base.CORE, W_IP_DST),
    Field("ip.dst.low", 64, Header.IP, Base.CORE, W_IP_DST + 1),
    Field("ip.proto", 8, Header.IP, Base.CORE, W_IP_PROTO),
    Field("l4.sport", 16, Header.IP, Base.CORE, W_L4_SPORT, True),
    Field("l4.dport", 16, Header.IP, Base.CORE, W_L4_DPORT, True),
    Field("tcp.flags", 9, Header.TCP, Base.CORE, W_TCP_FLAGS, True),
    *_packet_fields(Header.ETH, Base.ETH, "eth", "dst:0:48 src:48:48", "dst src"),
    *_packet_fields(Header.VLAN, Base.VLAN, "vlan", "pcp:0:3 dei:3:1 id:4:12 type:16:16", "pcp id"),
    *_packet_fields(Header.QINQ, Base.QINQ, "qinq", "pcp:0:3 dei:3:1 id:4:12 type:16:16", "pcp id"),
    *_packet_fields(Header.MPLS, Base.MPLS, "mpls", "label:0:20 tc:20:3 bottom:23:1 ttl:24:8"),
    *_packet_fields(
        Header.ARP,
        Base.ARP,
        "arp",
        "htype:0:16 ptype:16:16 op:48:16 sha:64:48 spa:112:32 tha:144:48 tpa:192:32",
    ),
    *_packet_fields(Header.IPV4, Base.L3, "ipv4", _V4, "tos dscp ecn id df ttl src dst"),
    *_packet_fields(Header.IPV6, Base.L3, "ipv6", _V6, "tclass dscp ecn flow_label hop_limit src dst"),
    *_packet_fields(Header.TCP, Base.L4, "tcp", _TCP, "sport dport seq ack window"),
    *_packet_fields(
        Header.UDP, Base.L4, "udp", "sport:0:16 dport:16:16 length:32:16 csum:48:16", "sport dport"
    ),
    *_packet_fields(
        Header.UDPLITE, Base.L4, "udplite", "sport:0:16 dport:16:16 coverage:32:16 csum:48:16", "sport dport"
    ),
    *_packet_fields(Header.SCTP, Base.L4, "sctp", _SCTP, "sport dport"),
    *_packet_fields(Header.ICMP, Base.L4, "icmp", _ICMP, "id seq"),
    *_packet_fields(Header.ICMPV6, Base.L4, "icmpv6", _ICMP, "id seq"),
    *_packet_fields(Header.INNER_IPV4, Base.INNER_L3, "inner.ipv4", _V4, "src dst"),
    *_packet_fields(Header.INNER_IPV6, Base.INNER_L3, "inner.ipv6", _V6, "src dst"),
    *_packet_fields(Header.INNER_PORTS, Base.INNER_L4, "inner.l4", "sport:0:16 dport:16:16", "sport dport"),
    *_packet_fields(Header.INNER_QUERY, Base.INNER_L4, "inner.icmp", "type:0:8 code:8:8 id:32:16", "id"),
    # 0 where the protocol is not ESP or AH, and in fragments but the first.
    Field("esp.spi", 32, Header.IP, Base.DERIVED, Derived.ESP_SPI),
    Field("ah.spi", 32, Header.IP, Base.DERIVED, Derived.AH_SPI),
    Field("l3.csum_ok", 2, Header.IP, Base.DERIVED, Derived.L3_CSUM_OK),
    Field("l4.csum_ok", 2, Header.IP, Base.DERIVED, Derived.L4_CSUM_OK),
    Field("flow.src", 128, Header.IP, Base.DERIVED, Derived.FLOW_SRC),
    Field("flow.dst", 128, Header.IP, Base.DERIVED, Derived.FLOW_DST),
    Field("flow.proto", 8, Header.IP, Base.DERIVED, Derived.FLOW_PROTO),
    Field("flow.sport", 16, Header.IP, Base.DERIVED, Derived.FLOW_SPORT),
    Field("flow.dport", 16, Header.IP, Base.DERIVED, Derived.FLOW_DPORT),
    # TCP options are 0 in a TCP header that lacks them; tcp.sack_permitted is a flag.
    Field("tcp.mss", 16, Header.TCP, Base.DERIVED, Derived.TCP_MSS, True),
    Field("tcp.wscale", 8, Header.TCP, Base.DERIVED, Derived.TCP_WSCALE),
    Field("tcp.sack_permitted", 1, Header.TCP, Base.DERIVED, Derived.TCP_SACK_PERMITTED),
    Field("tcp.tsval", 32, Header.TCP, Base.DERIVED, Derived.TCP_TSVAL),
    Field("tcp.tsecr", 32, Header.TCP, Base.DERIVED, Derived.TCP_TSECR),
    # Which kinds of options there are (bit k: kind k, up to 63), and the highest sequence number that is acknowledged,
    # selectively or not.
    Field("tcp.options", 64, Header.TCP, Base.DERIVED, Derived.TCP_OPTIONS),
    # The same for a reader that does not stop at the end of the options, as iptables' tcp match.
    Field("tcp.options_walked", 64, Header.TCP, Base.DERIVED, Derived.TCP_OPTIONS_WALKED),
    Field("tcp.sack_edge", 32, Header.TCP, Base.DERIVED, Derived.TCP_SACK_EDGE),
    Field("l4.payload_length", 16, Header.IP, Base.DERIVED, Derived.PAYLOAD_LENGTH),
)


class _Fields(dict[str, Field]):
    """Fields by name; a declared field's name says what it is (see :mod:`.declared`), so these are made when asked for."""

    def __missing__(self, name: str) -> Field:
        field = declared_field(name)
        if field is None:
            raise KeyError(name)
        return field

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and declared_field(name) is not None)

    def get(self, name: str, default: Any = None) -> Any:
        try:
            return self[name]
        except KeyError:
            return default


@cache
def declared_field(name: str) -> Field | None:
    """The field of a declared header, by its full name ``HEADER.FIELD@NUMBER[OFFSET:BITS]``, or None."""
    found = _DECLARED.fullmatch(name)
    if found is None:
        return None
    number, offset, bits = map(int, found.groups())
    return Field(name, bits, Header(Header.DECLARED_0 + number), Base.PAYLOAD, offset, True)


_DECLARED = re.compile(r"[\w-]+\.[\w-]+@([0-7])\[(\d+):(\d+)\]")
# The built-in fields; also gives those of declared headers.
FIELD_BY_NAME: dict[str, Field] = _Fields({f.name: f for f in FIELDS})

# What the parser must put into words beyond the core: one row a field.
EXTRA_DTYPE = np.dtype(
    [
        ("word", np.int64),  # first word in the vector
        ("header", np.int64),  # validity bit that must be set, else the word stays 0
        ("base", np.int64),  # Base
        ("offset", np.int64),  # bit offset from the base, or Derived
        ("bits", np.int64),
    ],
    align=True,
)


# Which datagrams have a declared header: one row a header.
DECLARED_DTYPE = np.dtype([("bit", np.int64), ("port", np.int64), ("bytes", np.int64)], align=True)


@dataclass(frozen=True)
class DeclaredHeader:
    """A header that a program declares: the first bytes of what UDP carries from or to a port.

    Attributes:
        fields: (name, bits) in order, without gaps; together whole bytes.
    """

    name: str
    udp_port: int
    fields: tuple[tuple[str, int], ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(bits for _, bits in self.fields) // 8


@dataclass(frozen=True)
class Layout:
    """Where each field and metadata word of one program stands in the header vector.

    Attributes:
        extra_fields: fields beyond the core that the program reads or writes, in order.
        metadata_words: number of metadata words behind them.
        headers: that the program declares.
    """

    extra_fields: tuple[Field, ...] = ()
    metadata_words: int = 0
    headers: tuple[DeclaredHeader, ...] = ()
    word_of: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        word_of = {f.name: f.offset for f in FIELDS if f.base is Base.CORE}
        at = CORE_WORDS
        for extra in self.extra_fields:
            word_of[extra.name] = at
            at += extra.words
        object.__setattr__(self, "word_of", word_of)

    @property
    def metadata_word(self) -> int:
        """Word of metadata[0]."""
        return CORE_WORDS + sum(f.words for f in self.extra_fields)

    @property
    def words(self) -> int:
        """Words in a header vector: rows are ``uint64[words]``."""
        return self.metadata_word + self.metadata_words

    def extras(self) -> np.ndarray:
        """The parser's work list for this layout: an :data:`EXTRA_DTYPE` array, one row an extra field."""
        rows = np.zeros(len(self.extra_fields), EXTRA_DTYPE)
        for i, extra in enumerate(self.extra_fields):
            header = -1 if extra.header is None else int(extra.header)
            rows[i] = (self.word_of[extra.name], header, int(extra.base), extra.offset, extra.bits)
        return rows

    def declared(self) -> np.ndarray:
        """The parser's list of declared headers: a :data:`DECLARED_DTYPE` array, one row a header."""
        rows = np.zeros(len(self.headers), DECLARED_DTYPE)
        for i, header in enumerate(self.headers):
            rows[i] = (Header.DECLARED_0 + i, header.udp_port, header.size)
        return rows


def layout_for(
    names: Iterable[str], metadata_words: int = 0, headers: tuple[DeclaredHeader, ...] = ()
) -> Layout:
    """Return the layout with every named field; core fields take no extra words."""
    chosen = {FIELD_BY_NAME[name] for name in names if FIELD_BY_NAME[name].base is not Base.CORE}
    declared = [f for f in chosen if f.base is Base.PAYLOAD]
    declared.sort(key=lambda f: (int(f.header or 0), f.offset, f.bits))
    return Layout((*(f for f in FIELDS if f in chosen), *declared), metadata_words, headers)


@cache
def field_names() -> Sequence[str]:
    """All field names, for messages and completion."""
    return tuple(FIELD_BY_NAME)

"""Words beyond the core: fields at fixed places in a header, and fields that are derived."""

# Kernels are untyped: their argument types are in their docstrings.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from oppcache._jit import kernel
from oppcache.opp.fields import (
    IPV4_MAPPED,
    STATUS_L3_CSUM_SHIFT,
    STATUS_L4_CSUM_SHIFT,
    W_HEADERS,
    W_IP_DST,
    W_IP_PROTO,
    W_IP_SRC,
    W_L4_DPORT,
    W_L4_SPORT,
    W_STATUS,
    Base,
    Derived,
    Header,
    Layout,
)

from .bytesread import U, be16, be32, be64, bits_at
from .checksums import layer3_checksum, layer4_checksum
from .headers import S_CAPTURED_END, S_INNER_PROTO, S_L4_LENGTH, bit

_H_TCP, _H_UDPLIKE, _H_SCTP = bit(Header.TCP), bit(Header.UDP, Header.UDPLITE), bit(Header.SCTP)
_H_ICMP, _H_ICMPV6 = bit(Header.ICMP), bit(Header.ICMPV6)
_H_INNER_IPV4, _H_INNER_IP = bit(Header.INNER_IPV4), bit(Header.INNER_IP)
_H_INNER_PORTS, _H_INNER_QUERY = bit(Header.INNER_PORTS), bit(Header.INNER_QUERY)
_H_ICMP_QUERY = bit(Header.ICMP_QUERY)
_H_LATER, _H_IP = bit(Header.LATER_FRAGMENT), bit(Header.IP)
_B_L4, _B_INNER_L3, _B_INNER_L4 = int(Base.L4), int(Base.INNER_L3), int(Base.INNER_L4)
_B_PAYLOAD, _H_UDP = int(Base.PAYLOAD), bit(Header.UDP)
_DERIVED, _METADATA = int(Base.DERIVED), int(Base.METADATA)
_MAPPED = U(IPV4_MAPPED)
_LOW32, _HALF = U(0xFFFF_FFFF), U(0x8000_0000)

# Work that several derived fields share.
WANT_L3_CSUM, WANT_L4_CSUM, WANT_FLOW, WANT_TCP_OPTIONS = 1, 2, 4, 8

_D_L3, _D_L4 = int(Derived.L3_CSUM_OK), int(Derived.L4_CSUM_OK)
_D_SRC, _D_DST, _D_PROTO = int(Derived.FLOW_SRC), int(Derived.FLOW_DST), int(Derived.FLOW_PROTO)
_D_SPORT, _D_DPORT = int(Derived.FLOW_SPORT), int(Derived.FLOW_DPORT)
_D_MSS, _D_WSCALE, _D_SACK = int(Derived.TCP_MSS), int(Derived.TCP_WSCALE), int(Derived.TCP_SACK_PERMITTED)
_D_OPTIONS, _D_SACK_EDGE = int(Derived.TCP_OPTIONS), int(Derived.TCP_SACK_EDGE)
_D_WALKED = int(Derived.TCP_OPTIONS_WALKED)
_D_ESP_SPI, _D_AH_SPI = int(Derived.ESP_SPI), int(Derived.AH_SPI)
_D_TSVAL, _D_TSECR, _D_PAYLOAD = int(Derived.TCP_TSVAL), int(Derived.TCP_TSECR), int(Derived.PAYLOAD_LENGTH)


def derived_wanted(layout: Layout) -> int:
    """Return the WANT_* bits of what a layout's derived fields need."""
    want = 0
    for extra in layout.extra_fields:
        if extra.base is not Base.DERIVED:
            continue
        if extra.offset == Derived.L3_CSUM_OK:
            want |= WANT_L3_CSUM
        elif extra.offset == Derived.L4_CSUM_OK:
            want |= WANT_L4_CSUM
        elif extra.name.startswith("flow."):
            want |= WANT_FLOW
        elif extra.name.startswith("tcp."):
            want |= WANT_TCP_OPTIONS
    return want


@kernel
def _flow(data, out, row, scratch):
    """The connection tuple of a packet by its kind, as (source, destination, protocol, ports) in seven words.

    An ICMP error stands for the packet that it quotes, reversed; an ICMP query has its identifier in place of
    both ports; any other packet has its addresses and ports.
    """
    headers = out[row, W_HEADERS]
    proto = out[row, W_IP_PROTO]
    if headers & _H_INNER_IP != U(0):
        at, proto = scratch[_B_INNER_L3], scratch[S_INNER_PROTO]
        sport = dport = U(0)
        ipv4 = headers & _H_INNER_IPV4 != U(0)
        l4 = scratch[_B_INNER_L4]
        if headers & _H_INNER_QUERY != U(0):
            sport = dport = be16(data, l4 + U(4))
        elif headers & _H_INNER_PORTS != U(0):
            sport, dport = be16(data, l4), be16(data, l4 + U(2))
        if ipv4:
            src, dst = _MAPPED | be32(data, at + U(12)), _MAPPED | be32(data, at + U(16))
            return U(0), dst, U(0), src, proto, dport, sport
        return (
            be64(data, at + U(24)), be64(data, at + U(32)), be64(data, at + U(8)), be64(data, at + U(16)),
            proto, dport, sport,
        )  # fmt: skip
    sport, dport = out[row, W_L4_SPORT], out[row, W_L4_DPORT]
    if headers & _H_ICMP_QUERY != U(0):
        sport = dport = be16(data, scratch[_B_L4] + U(4))
    return (
        out[row, W_IP_SRC], out[row, W_IP_SRC + 1], out[row, W_IP_DST], out[row, W_IP_DST + 1],
        proto, sport, dport,
    )  # fmt: skip


@kernel
def _highest_edge(data, at, end, edge):
    """The highest right edge of SACK blocks, or ``edge`` if it is higher: modulo 2^32, as sequence numbers are."""
    while at < end:
        right = be32(data, at + U(4))
        ahead = (right - edge) & _LOW32
        if ahead != U(0) and ahead < _HALF:
            edge = right
        at += U(8)
    return edge


@kernel
def _tcp_options(data, out, row, scratch):
    """Return (MSS, window scale, SACK permitted, TSval, TSecr, kinds, highest acknowledged edge) of a TCP header.

    What it lacks is 0. Selective acknowledgements count from the first SACK option (RFC 2018).
    """
    mss = wscale = sack = tsval = tsecr = kinds = edge = U(0)
    if out[row, W_HEADERS] & _H_TCP == U(0):
        return mss, wscale, sack, tsval, tsecr, kinds, edge
    l4 = scratch[_B_L4]
    edge = be32(data, l4 + U(8))
    blocks = False
    at = l4 + U(20)
    end = min(l4 + ((U(data[l4 + U(12)]) >> U(4)) << U(2)), scratch[S_CAPTURED_END])
    while at < end:
        kind = U(data[at])
        if kind == U(0):
            break
        if kind == U(1):
            kinds |= U(1) << kind
            at += U(1)
            continue
        if at + U(2) > end:
            break
        size = U(data[at + U(1)])
        if size < U(2) or at + size > end:
            break
        if kind < U(64):
            kinds |= U(1) << kind
        if kind == U(5) and size >= U(10) and (size - U(2)) & U(7) == U(0) and not blocks:
            blocks = True
            edge = _highest_edge(data, at + U(2), at + size, edge)
        elif kind == U(2) and size == U(4):
            mss = be16(data, at + U(2))
        elif kind == U(3) and size == U(3):
            wscale = U(data[at + U(2)])
        elif kind == U(4) and size == U(2):
            sack = U(1)
        elif kind == U(8) and size == U(10):
            tsval, tsecr = be32(data, at + U(2)), be32(data, at + U(6))
        at += size
    return mss, wscale, sack, tsval, tsecr, kinds, edge


@kernel
def _walked_options(data, out, row, scratch):
    """Kinds of a TCP header's options, the end of the options and options without a length counting a byte each."""
    kinds = U(0)
    if out[row, W_HEADERS] & _H_TCP == U(0):
        return kinds
    l4 = scratch[_B_L4]
    at = l4 + U(20)
    end = min(l4 + ((U(data[l4 + U(12)]) >> U(4)) << U(2)), scratch[S_CAPTURED_END])
    while at < end:
        kind = U(data[at])
        if kind < U(64):
            kinds |= U(1) << kind
        size = U(1)
        if kind >= U(2) and at + U(1) < end and data[at + U(1)] != 0:
            size = U(data[at + U(1)])
        at += size
    return kinds


@kernel
def _payload_length(data, out, row, scratch):
    """Bytes behind the layer-4 header by the IP length, captured or not; all of layer 4 where it has no header."""
    headers, length = out[row, W_HEADERS], scratch[S_L4_LENGTH]
    size = U(0)
    if headers & _H_LATER != U(0):
        return length
    if headers & _H_TCP != U(0):
        size = (U(data[scratch[_B_L4] + U(12)]) >> U(4)) << U(2)
    elif headers & (_H_UDPLIKE | _H_ICMP | _H_ICMPV6) != U(0):
        size = U(8)
    elif headers & _H_SCTP != U(0):
        size = U(12)
    return length - size if size < length else U(0)


@kernel
def _spi(data, out, row, proto, offset, scratch):
    """The security parameters index, ``offset`` bytes behind the start of layer 4 if that is of this protocol."""
    at = scratch[_B_L4] + offset
    if out[row, W_IP_PROTO] != proto or out[row, W_HEADERS] & _H_LATER != U(0):
        return U(0)
    return be32(data, at) if at + U(4) <= scratch[S_CAPTURED_END] else U(0)


@kernel
def find_declared(declared, out, row, scratch):
    """Set the validity bits of the headers that a program declares, and note where the payload of UDP starts.

    A header is there if the datagram is from or to its port and has all its bytes, captured.
    """
    if out[row, W_HEADERS] & _H_UDP == U(0):
        return
    start = scratch[_B_L4] + U(8)
    end = min(scratch[S_CAPTURED_END], scratch[_B_L4] + scratch[S_L4_LENGTH])
    scratch[_B_PAYLOAD] = start
    for i in range(declared.shape[0]):
        port = U(declared["port"][i])
        if out[row, W_L4_DPORT] != port and out[row, W_L4_SPORT] != port:
            continue
        if start + U(declared["bytes"][i]) <= end:
            out[row, W_HEADERS] |= U(1) << U(declared["bit"][i])


@kernel
def fill_extras(data, extras, want, out, row, scratch):
    """Fill the words beyond the core of one row, which are 0 so far, and the checksum bits of its status."""
    headers = out[row, W_HEADERS]
    is_ip = headers & _H_IP != U(0)
    if is_ip and want & WANT_L3_CSUM:
        out[row, W_STATUS] |= layer3_checksum(data, out, row, scratch) << U(STATUS_L3_CSUM_SHIFT)
    if is_ip and want & WANT_L4_CSUM:
        out[row, W_STATUS] |= layer4_checksum(data, out, row, scratch) << U(STATUS_L4_CSUM_SHIFT)
    f0 = f1 = f2 = f3 = f4 = f5 = f6 = U(0)
    if is_ip and want & WANT_FLOW:
        f0, f1, f2, f3, f4, f5, f6 = _flow(data, out, row, scratch)
    mss = wscale = sack = tsval = tsecr = kinds = edge = U(0)
    if want & WANT_TCP_OPTIONS:
        mss, wscale, sack, tsval, tsecr, kinds, edge = _tcp_options(data, out, row, scratch)
    for i in range(extras.shape[0]):
        header, base, word = extras["header"][i], extras["base"][i], extras["word"][i]
        if base == _METADATA or (header >= 0 and (headers >> U(header)) & U(1) == U(0)):
            continue
        offset, bits = extras["offset"][i], extras["bits"][i]
        if base != _DERIVED:
            at = scratch[base]
            if at + ((U(offset) + U(bits) + U(7)) >> U(3)) > scratch[S_CAPTURED_END]:
                continue
            if bits > 64:
                out[row, word] = be64(data, at + (U(offset) >> U(3)))
                out[row, word + 1] = be64(data, at + (U(offset) >> U(3)) + U(8))
            else:
                out[row, word] = bits_at(data, at, U(offset), U(bits))
        elif offset == _D_L3:
            out[row, word] = (out[row, W_STATUS] >> U(STATUS_L3_CSUM_SHIFT)) & U(3)
        elif offset == _D_L4:
            out[row, word] = (out[row, W_STATUS] >> U(STATUS_L4_CSUM_SHIFT)) & U(3)
        elif offset == _D_SRC:
            out[row, word], out[row, word + 1] = f0, f1
        elif offset == _D_DST:
            out[row, word], out[row, word + 1] = f2, f3
        elif offset == _D_PROTO:
            out[row, word] = f4
        elif offset == _D_SPORT:
            out[row, word] = f5
        elif offset == _D_DPORT:
            out[row, word] = f6
        elif offset == _D_MSS:
            out[row, word] = mss
        elif offset == _D_WSCALE:
            out[row, word] = wscale
        elif offset == _D_SACK:
            out[row, word] = sack
        elif offset == _D_TSVAL:
            out[row, word] = tsval
        elif offset == _D_TSECR:
            out[row, word] = tsecr
        elif offset == _D_OPTIONS:
            out[row, word] = kinds
        elif offset == _D_WALKED:
            out[row, word] = _walked_options(data, out, row, scratch)
        elif offset == _D_SACK_EDGE:
            out[row, word] = edge
        elif offset == _D_ESP_SPI:
            out[row, word] = _spi(data, out, row, U(50), U(0), scratch)
        elif offset == _D_AH_SPI:
            out[row, word] = _spi(data, out, row, U(51), U(4), scratch)
        elif offset == _D_PAYLOAD:
            out[row, word] = _payload_length(data, out, row, scratch)

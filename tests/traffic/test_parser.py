"""Header vectors of packets written by hand: what a program would read wrongly if the parser were wrong."""

from __future__ import annotations

import ipaddress
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oppcache.opp.fields import (
    CSUM_BAD,
    CSUM_OK,
    CSUM_UNKNOWN,
    IPV4_MAPPED,
    W_HEADERS,
    W_L4_DPORT,
    W_L4_SPORT,
    W_OFFSETS,
    W_STATUS,
    Header,
    layout_for,
)
from oppcache.traffic import Reason

A4, B4, A6, B6 = "10.1.2.3", "130.4.5.6", "2001:db8::1", "2001:db8:1::2"


def headers(row) -> set[Header]:
    return {h for h in Header if int(row[W_HEADERS]) >> h & 1}


def reason(row) -> Reason:
    return Reason(int(row[W_STATUS]) & 0xFF)


def field(row, layout, name: str, words: int = 1) -> int:
    at = layout.word_of[name]
    return int(row[at]) if words == 1 else int(row[at]) << 64 | int(row[at + 1])


def joint(address: str) -> int:
    parsed = ipaddress.ip_address(address)
    return int(parsed) | (IPV4_MAPPED if parsed.version == 4 else 0)


def offsets(row) -> tuple[int, int, int]:
    word = int(row[W_OFFSETS])
    return word & 0xFFFF, word >> 16 & 0xFFFF, word >> 32 & 0xFFFF


def test_tcp_over_ipv4_has_every_field(craft, parse, everything):
    options = bytes([2, 4, 5, 180, 1, 3, 3, 7, 4, 2, 8, 10]) + struct.pack(">II", 111, 222)
    segment = craft.tcp(A4, B4, 1000, 80, b"x" * 30, flags=0x112, seq=7, ack=9, options=options, window=555)
    row = parse([craft.ether(0x0800, craft.ipv4(A4, B4, 6, segment, ttl=61))], everything)[0]
    assert headers(row) == {Header.ETH, Header.IPV4, Header.IP, Header.TCP, Header.L4_PORTS}
    expected = {
        "packet_length": 14 + 20 + 40 + 30, "ip.family": 4, "ip.proto": 6, "l4.sport": 1000, "l4.dport": 80,
        "tcp.flags": 0x112, "tcp.seq": 7, "tcp.ack": 9, "tcp.window": 555, "tcp.mss": 1460, "tcp.wscale": 7,
        "tcp.sack_permitted": 1, "tcp.tsval": 111, "tcp.tsecr": 222, "tcp.data_offset": 10, "ipv4.ttl": 61,
        "ipv4.dscp": 46, "ipv4.ecn": 0, "ipv4.id": 0x1234, "ipv4.length": 90, "ipv4.df": 0, "l4.payload_length": 30,
        "l3.csum_ok": CSUM_OK, "l4.csum_ok": CSUM_OK, "eth.src": 0x020000000001, "eth.dst": 0x020000000002,
        "flow.sport": 1000, "flow.dport": 80, "flow.proto": 6, "ipv6.hop_limit": 0, "udp.length": 0,
        "tcp.options": 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 8, "tcp.sack_edge": 9,
    }  # fmt: skip
    assert {name: field(row, everything, name) for name in expected} == expected
    assert field(row, everything, "ip.src", 2) == joint(A4) == field(row, everything, "flow.src", 2)
    assert field(row, everything, "ip.dst", 2) == joint(B4) == field(row, everything, "flow.dst", 2)
    assert offsets(row) == (14, 34, 74)


@pytest.mark.parametrize(
    ("ack", "blocks", "edge"),
    [
        (100, [(200, 300), (400, 500)], 500),
        (100, [(400, 500), (200, 300)], 500),
        (600, [(200, 300)], 600),
        (0xFFFFFF00, [(0xFFFFFFF0, 0x10)], 0x10),
    ],
)
def test_the_highest_acknowledged_edge(craft, parse, everything, ack, blocks, edge):
    sack = bytes([1, 1, 5, 2 + 8 * len(blocks)]) + b"".join(struct.pack(">II", *b) for b in blocks)
    segment = craft.tcp(A4, B4, 1000, 80, b"", flags=0x10, seq=7, ack=ack, options=sack, window=555)
    row = parse([craft.ether(0x0800, craft.ipv4(A4, B4, 6, segment))], everything)[0]
    assert field(row, everything, "tcp.sack_edge") == edge
    assert field(row, everything, "tcp.options") == 1 << 1 | 1 << 5


def test_ipv6_extension_headers_are_walked_to_the_final_protocol(craft, parse, everything):
    segment = craft.tcp(A6, B6, 1, 2, b"abc")
    chain = craft.extension(43, craft.extension(60, craft.extension(135, craft.extension(6, segment)), 2))
    row = parse([craft.ether(0x86DD, craft.ipv6(A6, B6, 0, chain))], everything)[0]
    assert headers(row) == {Header.ETH, Header.IPV6, Header.IP, Header.IPV6_EXT, Header.TCP, Header.L4_PORTS}
    assert field(row, everything, "ip.proto") == 6
    assert field(row, everything, "ip.src", 2) == joint(A6) == field(row, everything, "ipv6.src", 2)
    assert field(row, everything, "l4.csum_ok") == CSUM_OK
    assert field(row, everything, "ipv6.flow_label") == 0xABCDE
    assert field(row, everything, "ipv6.tclass") == 0x12
    assert field(row, everything, "l4.payload_length") == 3


def test_spis_are_read_where_the_protocol_has_one(craft, parse, everything):
    body = struct.pack(">IIII", 0x01020304, 0x05060708, 9, 10)
    later = craft.ipv4(A4, B4, 50, body, fragment=1)
    packets = [craft.ipv4(A4, B4, p, body) for p in (50, 51, 59)] + [craft.ipv4(A4, B4, 50, body[:3]), later]
    rows = parse([craft.ether(0x0800, p) for p in packets], everything)
    assert [field(row, everything, "esp.spi") for row in rows] == [0x01020304, 0, 0, 0, 0]
    assert [field(row, everything, "ah.spi") for row in rows] == [0, 0x05060708, 0, 0, 0]


@pytest.mark.parametrize("final", [50, 51, 59])
def test_esp_ah_and_no_next_header_are_final_protocols(craft, parse, final):
    row = parse([craft.ether(0x86DD, craft.ipv6(A6, B6, 60, craft.extension(final, bytes(24))))])[0]
    assert int(row[10]) == final
    assert reason(row) is Reason.OK


def test_endless_extension_headers_are_bounded(craft, parse):
    chain = b""
    for _ in range(40):
        chain = craft.extension(60, chain)
    row = parse([craft.ether(0x86DD, craft.ipv6(A6, B6, 60, chain))])[0]
    assert reason(row) is Reason.TOO_MANY_HEADERS
    assert Header.IP in headers(row)
    row = parse([craft.ether(0x8847, craft.mpls(list(range(16, 56)), b""))])[0]
    assert reason(row) is Reason.TOO_MANY_HEADERS


def test_link_layers(craft, parse, everything):
    ip = craft.ipv4(A4, B4, 17, craft.udp(A4, B4, 5, 6, b"payload"))
    tagged = craft.ether(
        0x88A8, craft.vlan(200, 0x8100, craft.vlan(300, 0x9100, craft.vlan(400, 0x0800, ip)), 3)
    )
    labelled = craft.ether(0x8100, craft.vlan(9, 0x8847, craft.mpls([1000, 1001], ip)))
    session = craft.ether(0x8864, craft.pppoe(0x0021, ip))
    rows = parse([tagged, labelled, session], everything)
    assert all(field(row, everything, "l4.dport") == 6 for row in rows)
    assert [offsets(row)[0] for row in rows] == [26, 26, 22]
    names = ["vlan.id", "vlan.pcp", "vlan.type", "qinq.id", "qinq.type", "mpls.label"]
    assert [field(rows[0], everything, n) for n in names] == [200, 3, 0x8100, 300, 0x9100, 0]
    assert [field(rows[1], everything, n) for n in names] == [9, 0, 0x8847, 0, 0, 1000]
    assert {Header.VLAN, Header.QINQ} <= headers(rows[0])
    assert {Header.VLAN, Header.MPLS} <= headers(rows[1])
    assert {Header.PPPOE} <= headers(rows[2])


def test_frames_without_ip_are_delivered_without_the_ip_bit(craft, parse, everything):
    llc = craft.ether(40, b"\x42\x42\x03" + bytes(40))
    snap = craft.ether(
        60, b"\xaa\xaa\x03\x00\x00\x00\x08\x00" + craft.ipv4(A4, B4, 6, craft.tcp(A4, B4, 1, 2))
    )
    rows = parse([llc, snap, craft.ether(0x88CC, bytes(30)), craft.ether(0x0806, craft.arp())], everything)
    assert [headers(row) for row in rows] == [{Header.ETH}] * 3 + [{Header.ETH, Header.ARP}]
    assert [reason(row) for row in rows] == [Reason.OK] * 4
    assert field(rows[3], everything, "arp.op") == 2
    assert field(rows[3], everything, "arp.spa") == 0x0A000001
    assert field(rows[3], everything, "arp.tha") == 0x020000000002


def test_other_link_types(craft, parse):
    ip = craft.ipv4(A4, B4, 17, craft.udp(A4, B4, 5, 6))
    six = craft.ipv6(A6, B6, 17, craft.udp(A6, B6, 5, 6))
    cooked = struct.pack(">HHH8sH", 0, 1, 6, bytes(8), 0x0800) + ip
    cooked2 = struct.pack(">HHIHBB8s", 0x0800, 0, 3, 1, 0, 6, bytes(8)) + ip
    rows = [*parse([ip, six], kind=1), *parse([cooked], kind=2), *parse([cooked2], kind=3)]
    assert [int(row[W_L4_DPORT]) for row in rows] == [6] * 4
    assert [offsets(row)[0] for row in rows] == [0, 0, 16, 20]
    assert not any(Header.ETH in headers(row) for row in rows)
    assert reason(parse([b"\x10" + ip], kind=1)[0]) is Reason.BAD_IP_VERSION
    assert reason(parse([b""], kind=1)[0]) is Reason.TRUNCATED_L2


def test_fragments(craft, parse, everything):
    datagram = craft.udp(A4, B4, 5, 6, b"x" * 24)
    frames = [
        craft.ether(0x0800, craft.ipv4(A4, B4, 17, datagram, more=True)),
        craft.ether(0x0800, craft.ipv4(A4, B4, 17, datagram, fragment=3)),
        craft.ether(0x86DD, craft.ipv6(A6, B6, 44, craft.fragment6(17, 0, True, datagram))),
        craft.ether(0x86DD, craft.ipv6(A6, B6, 44, craft.fragment6(17, 3, False, datagram))),
        craft.ether(0x86DD, craft.ipv6(A6, B6, 44, craft.fragment6(17, 0, False, datagram))),
    ]
    rows = parse(frames, everything)
    later = [Header.LATER_FRAGMENT in headers(row) for row in rows]
    assert later == [False, True, False, True, False]
    # An atomic fragment (RFC 6946) is a whole packet.
    assert [Header.FRAGMENT in headers(row) for row in rows] == [True, True, True, True, False]
    assert [int(row[W_L4_SPORT]) for row in rows] == [5, 0, 5, 0, 5]
    assert [Header.L4_PORTS in headers(row) for row in rows] == [not x for x in later]
    assert [field(row, everything, "l4.csum_ok") for row in rows][:4] == [CSUM_UNKNOWN] * 4
    assert [offsets(row)[1] for row in rows] == [34, 0xFFFF, 62, 0xFFFF, 62]
    assert field(rows[1], everything, "l4.payload_length") == len(datagram)


def flow(row, layout):
    names = ["flow.proto", "flow.sport", "flow.dport"]
    addresses = [field(row, layout, "flow.src", 2), field(row, layout, "flow.dst", 2)]
    return (*addresses, *[field(row, layout, n) for n in names])


def test_icmp_flows(craft, parse, everything):
    datagram = craft.ipv4(A4, B4, 17, craft.udp(A4, B4, 5, 6, b"data"), options=bytes([1] * 4))
    echo = craft.ipv4(A4, B4, 1, craft.icmp(8, 0, b"\x43\x21\x00\x01"))
    fragment = craft.ipv4(A4, B4, 17, bytes(20), fragment=9)
    esp = craft.ipv4(A4, B4, 50, bytes(20))
    six = craft.ipv6(A6, B6, 0, craft.extension(6, craft.tcp(A6, B6, 7, 8)))
    errors = [
        craft.ipv4("130.9.9.9", A4, 1, craft.icmp(3, 1, bytes(4), q)) for q in (datagram, echo, fragment, esp)
    ]
    error6 = craft.ipv6(B6, A6, 58, craft.icmpv6(B6, A6, 1, 4, bytes(4), six))
    echo6 = craft.ipv6(A6, B6, 58, craft.icmpv6(A6, B6, 128, 0, b"\x77\x88\x00\x01"))
    rows = parse([craft.ether(0x0800, e) for e in errors] + [craft.ether(0x86DD, error6)], everything)
    # The quoted packet went A → B; the error belongs to the answering direction of its flow.
    assert [flow(row, everything) for row in rows] == [
        (joint(B4), joint(A4), 17, 6, 5),
        (joint(B4), joint(A4), 1, 0x4321, 0x4321),
        (joint(B4), joint(A4), 17, 0, 0),
        (joint(B4), joint(A4), 50, 0, 0),
        (joint(B6), joint(A6), 6, 8, 7),
    ]
    assert [Header.INNER_L4 in headers(row) for row in rows] == [True, True, False, False, True]
    assert field(rows[0], everything, "inner.l4.sport") == 5
    assert field(rows[0], everything, "inner.ipv4.src") == int(ipaddress.ip_address(A4))
    assert field(rows[4], everything, "inner.ipv6.dst", 2) == joint(B6)
    assert [field(row, everything, "l4.csum_ok") for row in rows] == [CSUM_OK] * 5
    queries = parse([craft.ether(0x0800, echo), craft.ether(0x86DD, echo6)], everything)
    assert flow(queries[0], everything) == (joint(A4), joint(B4), 1, 0x4321, 0x4321)
    assert flow(queries[1], everything) == (joint(A6), joint(B6), 58, 0x7788, 0x7788)
    assert [int(row[W_L4_SPORT]) for row in queries] == [0, 0]


@pytest.mark.parametrize(
    ("change", "expected", "is_ip"),
    [
        ({"version": 5}, Reason.BAD_IP_VERSION, False),
        ({"ihl": 4, "length": 40}, Reason.BAD_IHL, False),
        ({"length": 19}, Reason.BAD_IP_LENGTH, False),
        ({"length": 2000}, Reason.BAD_IP_LENGTH, True),
        ({"length": 24}, Reason.BAD_L4_LENGTH, True),
        ({"length": 0}, Reason.OK, True),
        ({"ihl": 15, "length": 60}, Reason.TRUNCATED_L3, True),
    ],
)
def test_malformed_ipv4(craft, parse, change, expected, is_ip):
    packet = craft.ipv4(A4, B4, 6, craft.tcp(A4, B4, 1, 2), **change)
    row = parse([craft.ether(0x0800, packet)], wire=14 + 60 if "ihl" in change else None)[0]
    assert reason(row) is expected
    assert (Header.IP in headers(row)) is is_ip
    assert offsets(row)[0] == (14 if is_ip else 0xFFFF)
    assert is_ip or not row[5:14].any()
    assert is_ip or offsets(row) == (0xFFFF, 0xFFFF, 0xFFFF)


def test_tcp_data_offset_below_five_words(craft, parse, everything):
    segment = bytearray(craft.tcp(A4, B4, 1, 2))
    segment[12] = 0x40
    row = parse([craft.ether(0x0800, craft.ipv4(A4, B4, 6, bytes(segment)))], everything)[0]
    assert reason(row) is Reason.BAD_L4_LENGTH
    assert field(row, everything, "l4.payload_length") == 4


def test_truncation_is_told_at_every_length(craft, parse):
    frame = craft.ether(0x8100, craft.vlan(5, 0x0800, craft.ipv4(A4, B4, 6, craft.tcp(A4, B4, 1000, 80))))
    for size in range(len(frame)):
        row = parse([frame[:size]], wire=len(frame))[0]
        if size < 18:
            expected = Reason.TRUNCATED_L2
        elif size < 38:
            expected = Reason.TRUNCATED_L3
        else:
            expected = Reason.TRUNCATED_L4
        assert reason(row) is expected, size
        assert (Header.IP in headers(row)) is (size >= 38)
        assert (Header.L4_PORTS in headers(row)) is (size >= 42)
        assert int(row[W_L4_DPORT]) == (80 if size >= 42 else 0)
        assert Header.TCP not in headers(row)


def test_checksums_tell_right_wrong_and_unknown(craft, parse):
    layout = layout_for(["l3.csum_ok", "l4.csum_ok"])
    makers = {
        (4, 6): craft.tcp(A4, B4, 1, 2, b"odd"),
        (4, 17): craft.udp(A4, B4, 1, 2, b"odd"),
        (4, 136): craft.udp(A4, B4, 1, 2, b"odd", proto=136),
        (4, 132): craft.sctp(1, 2, b"four"),
        (4, 1): craft.icmp(8, 0, bytes(4), b"odd"),
        (6, 6): craft.tcp(A6, B6, 1, 2, b"odd"),
        (6, 17): craft.udp(A6, B6, 1, 2, b"odd"),
        (6, 58): craft.icmpv6(A6, B6, 128, 0, bytes(4), b"odd"),
    }

    def outcome(family, proto, payload, cut=0):
        maker, (a, b) = (craft.ipv4, (A4, B4)) if family == 4 else (craft.ipv6, (A6, B6))
        frame = craft.ether(0x0800 if family == 4 else 0x86DD, maker(a, b, proto, payload))
        row = parse([frame[: len(frame) - cut]], layout, wire=len(frame))[0]
        assert field(row, layout, "l3.csum_ok") == int(row[W_STATUS]) >> 8 & 3 == CSUM_OK
        assert field(row, layout, "l4.csum_ok") == int(row[W_STATUS]) >> 10 & 3
        return field(row, layout, "l4.csum_ok")

    for (family, proto), payload in makers.items():
        wrong = bytearray(payload)
        wrong[-1] ^= 0x40
        assert outcome(family, proto, payload) == CSUM_OK, (family, proto)
        assert outcome(family, proto, bytes(wrong)) == CSUM_BAD, (family, proto)
        assert outcome(family, proto, payload, cut=1) == CSUM_UNKNOWN, (family, proto)
    no_checksum = craft.udp(A4, B4, 1, 2, b"x")[:6] + bytes(2) + b"x"
    assert outcome(4, 17, no_checksum) == CSUM_OK
    assert outcome(6, 17, no_checksum) == CSUM_BAD
    assert outcome(4, 47, b"gre tunnel") == CSUM_UNKNOWN
    header = bytearray(craft.ipv4(A4, B4, 6, craft.tcp(A4, B4, 1, 2)))
    header[8] ^= 1
    assert field(parse([craft.ether(0x0800, bytes(header))], layout)[0], layout, "l3.csum_ok") == CSUM_BAD


def test_metadata_and_absent_fields_are_zero(craft, parse):
    layout = layout_for(["tcp.seq", "vlan.id", "udp.length"], metadata_words=3)
    rows = parse([craft.ether(0x0800, craft.ipv4(A4, B4, 6, craft.tcp(A4, B4, 1, 2, seq=77)))], layout)
    assert rows.shape == (1, 22)
    assert field(rows[0], layout, "tcp.seq") == 77
    assert not rows[0, [layout.word_of["vlan.id"], layout.word_of["udp.length"], 19, 20, 21]].any()


@settings(derandomize=True, deadline=None, max_examples=300)
@given(data=st.data())
def test_nothing_beyond_the_captured_bytes_is_read(craft, parse, everything, data):
    """The same frame between zeros and between ones gives the same row, however it was cut or mutated."""
    frames = craft.corpus()
    frame = bytearray(data.draw(st.sampled_from(frames)))
    for _ in range(data.draw(st.integers(0, 3))):
        frame[data.draw(st.integers(12, len(frame) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(frame[: data.draw(st.integers(0, len(frame)))])
    kind = data.draw(st.sampled_from([0, 0, 0, 1, 2, 3]))
    first = parse([cut], everything, kind=kind, wire=len(frame), before=bytes(64), after=bytes(128))
    second = parse([cut], everything, kind=kind, wire=len(frame), before=b"\xff" * 64, after=b"\xff" * 128)
    assert np.array_equal(first, second)

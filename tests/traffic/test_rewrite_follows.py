"""A program sets a field; the frame that results, parsed again, says in every field what the vector says.

What would break: a rewritten packet whose later stages, or whose receiver, see something else than was meant.
"""

from __future__ import annotations

import struct

import numpy as np
import pytest

from oppcache.opp import Machine, ProgramBuilder
from oppcache.opp.fields import CSUM_OK, FIELD_BY_NAME, FIELDS, W_OFFSETS, W_STATUS
from oppcache.opp.mirrors import changed_with
from oppcache.opp.reference import Packet, Reference
from oppcache.traffic.rewrite import rewrite
from oppcache.traffic.source import Chunk

A4, B4, C4 = "10.1.2.3", "130.4.5.6", "203.0.113.9"
A6, B6, C6 = "2001:db8::1", "2001:db8:1::2", "2001:db8:2::3"
SETTABLE = [f.name for f in FIELDS if f.writable]
STAYS = {"tcp.ack": "tcp.sack_edge"}  # worked out as the packet came, says the machine's page


def frames_of_every_kind(craft) -> list[bytes]:
    """IPv4 and IPv6; every layer 4; ICMP queries, and errors that quote every layer 4."""
    options = bytes([1, 2, 4, 5, 180, 4, 2, 0])  # the MSS stands at an odd place
    out = []
    for a, b, ip, kind in ((A4, B4, craft.ipv4, 0x0800), (A6, B6, craft.ipv6, 0x86DD)):
        four = kind == 0x0800
        proto = 1 if four else 58

        def icmp(type_, rest, payload=b"", src=a, dst=b, four=four):
            six = () if four else (src, dst)
            return (craft.icmp if four else craft.icmpv6)(*six, type_, 0, rest, payload)

        segment = craft.tcp(a, b, 1000, 80, b"xyz", flags=2, options=options)
        echo = icmp(8 if four else 128, b"\x43\x21\x00\x07", b"ping")
        sctp = struct.pack(">HHII", 5, 6, 77, 0) + b"\x00\x00\x00\x04"
        sctp = sctp[:8] + struct.pack("<I", craft.crc32c(sctp)) + sctp[12:]
        payloads = [
            (6, segment),
            (17, craft.udp(a, b, 5, 6, b"payload")),
            (136, craft.udp(a, b, 5, 6, b"payload", proto=136)),
            (132, sctp),
            (proto, echo),
            (47, bytes(20)),
        ]
        plain = [ip(a, b, p, body) for p, body in payloads]
        quotes = [ip(b, a, proto, icmp(3 if four else 1, bytes(4), q, b, a)) for q in plain]
        cut = ip(b, a, proto, icmp(3 if four else 1, bytes(4), plain[0][: (20 if four else 40) + 8], b, a))
        out += [craft.ether(kind, p) for p in (*plain, *quotes, cut)]
    out.append(craft.ether(0x8100, craft.vlan(9, 0x0800, craft.ipv4(A4, B4, 6, craft.tcp(A4, B4, 1, 2)))))
    tagged = craft.vlan(3, 0x8100, craft.vlan(9, 0x86DD, craft.ipv6(A6, B6, 17, craft.udp(A6, B6, 1, 2))), 3)
    return [*out, craft.ether(0x88A8, tagged)]


@pytest.fixture(scope="module")
def machine_setting():
    """A machine over all fields, whose one entry is then changed: nothing else is compiled or parsed anew."""
    builder = ProgramBuilder("setter")
    builder.stage("set").entry(name="it", priority=1, actions=["drop"])
    return Machine(builder.build(), fields=[f.name for f in FIELDS])


def values_for(name: str) -> list[object]:
    field = FIELD_BY_NAME[name]
    if name in ("ip.src", "ip.dst"):
        return [C4, C6, "flow.dst", [0x20010DB8_00000000, 0xFFFF_CB007109]]
    if field.bits == 128:
        return [C6, "flow.src"]
    return [1, (1 << field.bits) - 2]


@pytest.mark.parametrize("name", SETTABLE)
def test_the_frame_says_what_the_vector_says(name, craft, parse, everything, machine_setting) -> None:
    frames = frames_of_every_kind(craft)
    before = parse(frames, everything)
    changed = 0
    for value in values_for(name):
        action = [{"set": {name: value}}]
        machine_setting.modify_entry("set", "it", {"name": "it", "priority": 1, "actions": action})
        vectors = before.copy()
        machine_setting.process(vectors)
        sizes = np.array([len(f) for f in frames], np.int32)
        chunk = Chunk(vectors, np.frombuffer(b"".join(frames), np.uint8), np.cumsum(sizes) - sizes, sizes)
        out = rewrite(chunk, before, everything)
        again = parse(
            [out.data[o : o + s].tobytes() for o, s in zip(out.offsets, sizes, strict=True)], everything
        )
        reference = Reference(machine_setting.program)
        for i, row in enumerate(before):
            packet = Packet.from_vector(row, everything)
            reference.process(packet)
            got = Packet.from_vector(again[i], everything).fields
            for field in got:
                if STAYS.get(name) == field:
                    assert packet.fields[field] == Packet.from_vector(row, everything).fields[field]
                elif not field.endswith(("csum", "csum_ok")):
                    assert got[field] == packet.fields[field], f"{field} of packet {i}, set to {value}"
                if field.endswith("csum_ok"):
                    assert got[field] == Packet.from_vector(row, everything).fields[field], f"{field} of {i}"
            changed += bool((again[i] != row).any())
            quoted_checksums(out.data[out.offsets[i] : out.offsets[i] + sizes[i]].tobytes(), row, craft)
    assert changed, "no packet that could be changed"
    assert set(changed_with(name)) <= {f.name for f in FIELDS}


def quoted_checksums(frame: bytes, row: np.ndarray, craft) -> None:
    """What an ICMP error quotes has right checksums, where it is quoted whole."""
    l4 = int(row[W_OFFSETS]) >> 16 & 0xFFFF
    quote = frame[l4 + 8 :]
    if l4 == 0xFFFF or frame[l4] not in (1, 3) or len(quote) < 28 or quote[0] >> 4 not in (4, 6):
        return
    head = 20 if quote[0] >> 4 == 4 else 40
    proto = quote[9] if head == 20 else quote[6]
    body = quote[head:]
    if head == 20:
        assert craft.checksum(quote[:20]) == 0
        addresses = quote[12:20]
        length = struct.unpack(">H", quote[2:4])[0] - 20
        pseudo = addresses + struct.pack(">BBH", 0, proto, length)
    else:
        length = struct.unpack(">H", quote[4:6])[0]
        pseudo = quote[8:40] + struct.pack(">IHBB", length, 0, 0, proto)
    if len(body) == length and proto in (6, 17, 136, 58):
        assert craft.checksum(pseudo + body) == 0
    elif len(body) == length and proto == 1:
        assert craft.checksum(body) == 0


def test_the_packets_of_this_test_are_well_formed(craft, parse, everything) -> None:
    rows = parse(frames_of_every_kind(craft), everything)
    assert not (rows[:, W_STATUS] & np.uint64(0xFF)).any()
    assert (rows[:, everything.word_of["l3.csum_ok"]] == CSUM_OK).all()
    assert (rows[:, everything.word_of["l4.csum_ok"]] == CSUM_OK).sum() >= len(rows) - 2

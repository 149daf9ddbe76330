"""Headers that programs declare: frames by hand, parsed, rewritten and parsed again.

If these break, a program of a protocol of its own reads other bits than its packets have, or breaks their checksums.
"""

from __future__ import annotations

import struct
from random import Random

import numpy as np
import pytest

from oppcache.opp import InputError, Machine, load_program
from oppcache.opp.fields import CSUM_OK, W_HEADERS, Header
from oppcache.traffic import Chunk, rewrite
from oppcache.traffic.parser import Parser, Records


def checksum(data: bytes) -> int:
    """Internet checksum (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def ether(ethertype: int, payload: bytes) -> bytes:
    return bytes(range(12)) + struct.pack(">H", ethertype) + payload


SOURCE, TARGET = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])


def datagram(
    payload: bytes, sport: int = 5000, dport: int = 7777, *, checked: bool = True, cut: int = 0
) -> bytes:
    """An Ethernet frame with UDP over IPv4; ``cut`` bytes of it were not captured."""
    size = 8 + len(payload)
    udp = struct.pack(">HHHH", sport, dport, size, 0) + payload
    pseudo = SOURCE + TARGET + struct.pack(">BBH", 0, 17, size)
    total = checksum(pseudo + udp) or 0xFFFF
    udp = udp[:6] + struct.pack(">H", total if checked else 0) + udp[8:]
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + size, 1, 0, 64, 17, 0) + SOURCE + TARGET
    head = head[:10] + struct.pack(">H", checksum(head)) + head[12:]
    frame = ether(0x0800, head + udp)
    return frame[: len(frame) - cut]


def parsed(machine: Machine, frames: list[bytes], lengths: list[int] | None = None) -> Chunk:
    data = np.frombuffer(b"".join(frames), np.uint8).copy()
    records = Records(len(frames))
    records.captured[:] = [len(f) for f in frames]
    records.offsets[:] = np.cumsum([0, *records.captured[:-1]])
    records.lengths[:] = lengths or records.captured
    rows = np.zeros((len(frames), machine.layout.words), np.uint64)
    Parser(machine.layout).parse(data, records, 0, len(frames), rows)
    return Chunk(rows, data, records.offsets, records.captured)


DOCUMENT = {
    "program": "odd",
    "headers": {
        "mine": {"udp": 7777, "fields": {"a": 3, "b": 13, "c": 64, "d": 1, "e": 31, "f": 48}},
        "other": {"udp": 8888, "fields": {"x": 8}},
    },
    "metadata": ["b"],
    "stages": [
        {
            "name": "turn",
            "entries": [
                {
                    "name": "mine",
                    "match": {"valid.mine": True},
                    "actions": [
                        {"set": {"mine.a": "mine.d"}},
                        {"set": {"mine.b": "mine.e"}},
                        {"set": {"mine.c": "mine.f"}},
                        {"set": {"mine.d": "mine.a"}},
                        {"set": {"mine.e": "mine.b"}},
                        {"set": {"mine.f": "mine.c"}},
                        {"output": 1},
                    ],
                },
                {"name": "other", "match": {"other.x": "16-32"}, "actions": [{"output": "other.x"}]},
            ],
        }
    ],
}
FIELDS = (("a", 3), ("b", 13), ("c", 64), ("d", 1), ("e", 31), ("f", 48))


def pack(values: list[int]) -> bytes:
    number = 0
    for value, (_, bits) in zip(values, FIELDS, strict=True):
        number = number << bits | value % (1 << bits)
    return number.to_bytes(20, "big")


def test_every_bit_is_where_it_was_declared_and_goes_back_there() -> None:
    rng, machine = Random(1), Machine(load_program(DOCUMENT), fields=["l4.csum_ok"])
    drawn = [[rng.getrandbits(bits) for _, bits in FIELDS] for _ in range(200)]
    frames = [
        datagram(pack(v) + rng.randbytes(rng.randrange(9)), checked=i % 5 > 0) for i, v in enumerate(drawn)
    ]
    chunk = parsed(machine, frames)
    names = [n for n in machine.layout.word_of if n.startswith("mine.")]
    assert [n.partition("@")[0] for n in names] == [f"mine.{name}" for name, _ in FIELDS]
    columns = [machine.layout.word_of[n] for n in names]
    assert chunk.vectors[:, columns].tolist() == drawn
    before = chunk.vectors.copy()
    assert set(machine.process(chunk.vectors).port.tolist()) == {1}
    out = rewrite(chunk, before, machine.layout)
    for i, (a, b, c, d, e, f) in enumerate(drawn):
        frame = out.data[out.offsets[i] : out.offsets[i] + out.captured[i]].tobytes()
        assert frame[42:62] == pack([d, e, f, a, b, c])
        assert frame[62:] == frames[i][62:]
        assert frame[:40] == frames[i][:40]
        assert (frame[40:42] == b"\0\0") == (i % 5 == 0)
        again = parsed(machine, [frame]).vectors[0]
        assert again[machine.layout.word_of["l4.csum_ok"]] == CSUM_OK


@pytest.mark.parametrize(
    ("frame", "there"),
    [
        (datagram(bytes(20)), [0]),
        (datagram(bytes(20), sport=7777, dport=9), [0]),
        (datagram(bytes(19)), []),
        (datagram(bytes(40), cut=20), [0]),
        (datagram(bytes(40), cut=21), []),
        (datagram(bytes(20), dport=7778), []),
        (datagram(b"\x10", dport=8888), [1]),
        (datagram(b"", dport=8888), []),
        (datagram(bytes(20), sport=7777, dport=8888), [0, 1]),
        (datagram(bytes(20))[:23] + b"\x06" + datagram(bytes(20))[24:], []),
        (datagram(bytes(20))[:20] + b"\x00\x05" + datagram(bytes(20))[22:], []),
    ],
)
def test_a_header_is_there_where_port_and_length_say_so(frame: bytes, there: list[int]) -> None:
    machine = Machine(load_program(DOCUMENT))
    row = parsed(machine, [frame], [max(len(frame), 60)]).vectors[0]
    found = [i for i in range(8) if int(row[W_HEADERS]) >> (Header.DECLARED_0 + i) & 1]
    assert found == there


def test_programs_with_declared_headers_differ_in_what_they_say() -> None:
    machine = Machine(load_program(DOCUMENT))
    verdicts = machine.process(
        parsed(machine, [datagram(bytes([x]), dport=8888) for x in (15, 16, 32, 33)]).vectors
    )
    assert verdicts.port.tolist() == [0, 16, 32, 0]
    machine.add_entry(
        "turn", {"name": "new", "priority": 9, "match": {"other.x": 15}, "actions": [{"output": 5}]}
    )
    verdicts = machine.process(parsed(machine, [datagram(bytes([15]), dport=8888)]).vectors)
    assert verdicts.port.tolist() == [5]
    with pytest.raises(InputError, match="header 'other' has no field 'y'"):
        machine.add_entry("turn", {"name": "no", "priority": 10, "match": {"other.y": 15}})


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"h": {"udp": 1, "fields": {"a": 7}}}, "header 'h' has 7 bits, expected whole bytes, 1 to 256"),
        ({"h": {"udp": 1, "fields": {}}}, "header 'h' has 0 bits"),
        ({"h": {"udp": 1, "fields": {"a": 65, "b": 7}}}, "h.a: got 65 bits, expected 1 to 64"),
        ({"h": {"udp": 65536, "fields": {"a": 8}}}, "udp: got 65536, expected a port from 1 to 65535"),
        ({"h": {"fields": {"a": 8}}}, "header 'h': 'udp' is missing"),
        ({"h": {"udp": 1, "fields": {"a": 8}, "tcp": 1}}, "a header has no key 'tcp'"),
        ({"tcp": {"udp": 1, "fields": {"a": 8}}}, "a header cannot be called 'tcp'"),
        ({"R": {"udp": 1, "fields": {"a": 8}}}, "a header cannot be called 'R'"),
        ({"h": {"udp": 1, "fields": {"a b": 8}}}, "h: a field cannot be called 'a b'"),
        ({f"h{i}": {"udp": 1, "fields": {"a": 8}} for i in range(9)}, "9 headers, expected at most 8"),
    ],
)
def test_declarations_that_cannot_be_are_refused(headers: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        load_program({"program": "p", "headers": headers, "stages": [{"name": "s"}]})
    assert message in str(caught.value)


def test_the_parser_says_the_same_without_declared_headers() -> None:
    plain = Machine(load_program({"program": "p", "stages": [{"name": "s"}]}))
    frames = [datagram(bytes(20)), ether(0x0806, bytes(28)), ether(0x86DD, bytes(40))]
    own = Machine(load_program(DOCUMENT))
    core = plain.layout.words
    rows = parsed(own, frames).vectors[:, :core]
    rows[:, W_HEADERS] &= np.uint64(2**32 - 1)
    np.testing.assert_array_equal(parsed(plain, frames).vectors, rows)

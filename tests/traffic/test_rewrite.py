"""Rewritten headers: what the frames say afterwards, and their checksums, read by the parser and by dpkt."""

from __future__ import annotations

import io

import dpkt
import numpy as np
import pytest

from oppcache.opp.fields import CSUM_OK, FIELD_BY_NAME, Header, layout_for
from oppcache.traffic import Chunk, open_capture, pcap_bytes
from oppcache.traffic.parser import Parser, Records
from oppcache.traffic.rewrite import rewrite

FIELDS = (
    "l4.sport", "l4.dport", "ipv4.ttl", "ipv4.tos", "ipv4.id", "ipv4.src", "ipv6.hop_limit", "ipv6.tclass",
    "ipv6.flow_label", "ipv6.dst", "tcp.seq", "tcp.ack", "tcp.window", "icmp.id", "icmpv6.seq", "eth.dst", "vlan.id",
)  # fmt: skip
CHECKS = ("l3.csum_ok", "l4.csum_ok")
CAPTURES = (
    "nDPI__pcap_reddit.pcap",
    "PcapPlusPlus__pcap_examples_many-protocols.pcap",
    "tcpdump__tests_forces3.pcap",
    "arkime__pcap_arkime_synthetic.pcap",
    "nDPI__pcap_gnutella.pcap",
    "snabb__tests_sanitized4k_truncated128.pcap",
)


class OneChunk:
    """A source of packets that are in memory, bytes included."""

    def __init__(self, chunk):
        self.chunk = chunk

    def chunks(self, layout):
        yield self.chunk


def changed(vectors, layout, rng):
    """Give every writable field that is there a random value, in half of the packets."""
    for name in FIELDS:
        field = FIELD_BY_NAME[name]
        there = (vectors[:, 0] >> np.uint64(field.header)) & np.uint64(1) == 1
        if name.startswith("l4."):
            there &= (vectors[:, 0] >> np.uint64(Header.L4_PORTS)) & np.uint64(1) == 1
        chosen = there & (rng.random(len(vectors)) < 0.5)
        for word in range(field.words):
            bits = min(field.bits, 64)
            values = (
                rng.integers(0, 1 << bits, len(vectors), dtype=np.uint64, endpoint=False)
                if bits < 64
                else (rng.integers(0, 2**64 - 1, len(vectors), dtype=np.uint64))
            )
            column = layout.word_of[name] + word
            vectors[chosen, column] = values[chosen]


@pytest.mark.parametrize("capture", CAPTURES)
def test_frames_say_what_vectors_say_and_checksums_stay_as_right_as_they_were(traces, tmp_path, capture):
    layout = layout_for([*FIELDS, *CHECKS])
    rng = np.random.default_rng(7)
    chunk = next(iter(open_capture(traces / capture).chunks(layout)))
    before = chunk.vectors.copy()
    changed(chunk.vectors, layout, rng)
    original = chunk.data.copy()
    out = rewrite(chunk, before, layout)
    assert (chunk.data == original).all(), "the caller's bytes were changed"
    path = tmp_path / "out.pcap"
    frames = [
        out.data[o : o + c].tobytes()
        for o, c in zip(out.offsets.tolist(), out.captured.tolist(), strict=True)
    ]
    write(path, frames, before, open_capture(traces / capture).describe())
    again = next(iter(open_capture(path).chunks(layout))).vectors
    for name in (*FIELDS, *CHECKS):
        for word in range(FIELD_BY_NAME[name].words):
            column = layout.word_of[name] + word
            np.testing.assert_array_equal(again[:, column], chunk.vectors[:, column], name)
    checked = before[:, layout.word_of["l4.csum_ok"]] == CSUM_OK
    assert checked.any() or "truncated" in capture


def write(path, frames, vectors, described):
    """A pcap of these frames, with their wire lengths, by dpkt."""
    linktype = 113 if "forces3" in described["file"] else 1
    with path.open("wb") as file:
        writer = dpkt.pcap.Writer(file, snaplen=1 << 18, linktype=linktype, nano=True)
        for frame, length in zip(frames, vectors[:, 3].tolist(), strict=True):
            writer.writepkt(frame, 0.0)
            file.seek(-len(frame) - 4, io.SEEK_END)
            file.write(int(length).to_bytes(4, "little"))
            file.seek(0, io.SEEK_END)


def test_ports_and_addresses_by_hand():
    from oppcache.traffic import frame_layout, frames, make_generator

    layout = frame_layout()
    source = make_generator({"model": "zipf", "flows": 50}, 3, 200)
    chunk = frames(next(iter(source.chunks(layout))), layout)
    before = chunk.vectors.copy()
    chunk.vectors[:, layout.word_of["ip.src"] + 1] = 0xFFFF_C0000201
    chunk.vectors[:, layout.word_of["l4.sport"]] = 4242
    out = rewrite(chunk, before, layout)
    for _, frame in dpkt.pcap.Reader(io.BytesIO(b"".join(pcap_bytes(OneChunk(out))))):
        ip = dpkt.ethernet.Ethernet(frame).data
        assert ip.src == bytes([192, 0, 2, 1])
        assert ip.data.sport == 4242
        assert dpkt.in_cksum(bytes(ip)[:20]) == 0
        pseudo = ip.src + ip.dst + bytes([0, ip.p]) + len(ip.data).to_bytes(2, "big")
        assert ip.data.sum == 0 or dpkt.in_cksum(pseudo + bytes(ip.data)) == 0


def test_packets_without_bytes_are_refused():
    from oppcache.traffic import make_generator

    layout = layout_for([])
    chunk = next(iter(make_generator({"model": "zipf", "flows": 5}, 0, 10).chunks(layout)))
    with pytest.raises(ValueError, match="without bytes"):
        rewrite(chunk, chunk.vectors.copy(), layout)


@pytest.mark.parametrize(("kind", "size", "ethertype_at"), [(0, 14, 12), (2, 16, 14), (3, 20, 0)])
def test_tags_are_rewritten_where_they_stand_behind_every_link_header(kind, size, ethertype_at):
    link = bytearray(range(1, size + 1))
    link[ethertype_at : ethertype_at + 2] = b"\x81\x00"
    frame = bytes(link) + b"\x60\x07\x81\x00" + b"\x00\x09\x08\x06" + bytes(28)
    layout = layout_for(["vlan.id", "vlan.pcp", "qinq.id"])
    records = Records(1)
    records.captured[:], records.lengths[:], records.kinds[:] = len(frame), len(frame), kind
    rows = np.zeros((1, layout.words), np.uint64)
    data = np.frombuffer(frame, np.uint8).copy()
    Parser(layout).parse(data, records, 0, 1, rows)
    assert [int(rows[0, layout.word_of[n]]) for n in ("vlan.id", "vlan.pcp", "qinq.id")] == [7, 3, 9]
    before = rows.copy()
    rows[0, layout.word_of["vlan.id"]], rows[0, layout.word_of["qinq.id"]] = 0x123, 0x456
    out = rewrite(Chunk(rows, data, records.offsets, records.captured, records.kinds), before, layout)
    assert out.data.tobytes() == bytes(link) + b"\x61\x23\x81\x00" + b"\x04\x56\x08\x06" + bytes(28)

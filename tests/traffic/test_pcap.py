"""Capture files that are written: other readers and our own find the packets that went in.

If these break, what a program made of traffic cannot be looked at with any tool.
"""

from __future__ import annotations

import dpkt
import numpy as np
import pytest

from oppcache.opp.errors import InputError
from oppcache.opp.fields import W_LENGTH, W_NOW, layout_for
from oppcache.traffic import Chunk, PcapWriter, make_generator, open_capture, write_pcap
from oppcache.traffic.headers import KIND_ETHERNET, KIND_RAW_IP

LAYOUT = layout_for([])


def chunk(frames: list[bytes], kinds: list[int] | None = None) -> Chunk:
    rows = np.zeros((len(frames), LAYOUT.words), np.uint64)
    rows[:, W_NOW] = [1_700_000_000_123_456_789 + i for i in range(len(frames))]
    rows[:, W_LENGTH] = [len(f) + 4 for f in frames]
    sizes = np.array([len(f) for f in frames], np.int32)
    offsets = np.cumsum(np.append(0, sizes[:-1])).astype(np.int64)
    data = np.frombuffer(b"".join(frames), np.uint8)
    return Chunk(rows, data, offsets, sizes, None if kinds is None else np.array(kinds, np.uint8))


FRAMES = [bytes([i]) * (20 + i) for i in range(7)]


def test_frames_stamps_and_lengths_are_read_back_by_dpkt(tmp_path):
    path = tmp_path / "out.pcap"
    with PcapWriter(path, snaplen=24) as writer:
        assert writer.write(chunk(FRAMES)) == 7
        assert writer.write(chunk(FRAMES), keep=np.arange(7) % 3 == 0) == 3
    with path.open("rb") as file:
        reader = dpkt.pcap.Reader(file)
        assert reader.datalink() == 1
        assert reader.snaplen == 24
        found = list(reader)
    assert [frame for _, frame in found] == [f[:24] for f in (*FRAMES, *FRAMES[::3])]
    stamps = [1_700_000_000_123_456_789 + i for i in (*range(7), 0, 3, 6)]
    assert [round(stamp * 10**9) for stamp, _ in found] == stamps
    again = next(iter(open_capture(path).chunks(LAYOUT)))
    assert again.vectors[:, W_LENGTH].tolist() == [24 + i for i in (*range(7), 0, 3, 6)]


def test_an_empty_file_is_a_capture(tmp_path):
    with PcapWriter(tmp_path / "out.pcap") as writer:
        assert writer.write(chunk([])) == 0
        assert writer.write(chunk(FRAMES), keep=np.zeros(7, bool)) == 0
    assert list(open_capture(tmp_path / "out.pcap").chunks(LAYOUT)) == []


def test_a_file_has_the_link_type_of_its_first_packet_and_no_other(tmp_path):
    with PcapWriter(tmp_path / "out.pcap") as writer:
        writer.write(chunk(FRAMES[:2], [KIND_RAW_IP] * 2))
        with pytest.raises(InputError, match="got a packet of link type 1 behind one of 101"):
            writer.write(chunk(FRAMES[:2], [KIND_RAW_IP, KIND_ETHERNET]))
        writer.write(chunk(FRAMES[:2], [KIND_RAW_IP, KIND_ETHERNET]), keep=np.array([True, False]))
    with (tmp_path / "out.pcap").open("rb") as file:
        reader = dpkt.pcap.Reader(file)
        assert reader.datalink() == 101
        assert len(list(reader)) == 3


def test_what_cannot_be_written_is_said(tmp_path):
    with pytest.raises(InputError, match="cannot be written: No such file"):
        PcapWriter(tmp_path / "nowhere" / "out.pcap")
    bare = next(iter(make_generator({"model": "zipf", "flows": 5}, 0, 10).chunks(LAYOUT)))
    with PcapWriter(tmp_path / "out.pcap") as writer:
        with pytest.raises(ValueError, match="without bytes"):
            writer.write(bare)
        with pytest.raises(ValueError, match="got keep of shape"):
            writer.write(chunk(FRAMES), keep=np.ones(3, bool))


def test_a_capture_of_another_link_type_is_copied_as_it_is(traces, tmp_path):
    source = open_capture(traces / "tcpdump__tests_forces3.pcap")
    write_pcap(tmp_path / "copy.pcap", source)
    first, again = (next(iter(s.chunks(LAYOUT))) for s in (source, open_capture(tmp_path / "copy.pcap")))
    np.testing.assert_array_equal(first.vectors, again.vectors)
    assert first.kinds is not None
    assert again.kinds is not None
    assert first.kinds.tolist() == again.kinds.tolist()

"""Capture files: every format and byte order, files that are cut off, corrupt or no captures, bounded memory."""

from __future__ import annotations

import gzip
import random
import struct

import numpy as np
import pytest

from oppcache.opp.errors import InputError
from oppcache.opp.fields import W_ID, W_IN_PORT, W_LENGTH, W_NOW, Layout
from oppcache.traffic import PacketSource, open_capture
from oppcache.traffic.capture import Capture


@pytest.fixture
def read(tmp_path):
    """Write bytes to a file, read it as a capture; return (rows, frames, counts)."""

    def read_bytes(data: bytes, **options):
        path = tmp_path / "capture"
        path.write_bytes(data)
        source = Capture(path, **options)
        rows, frames = [], []
        for chunk in source.chunks(Layout()):
            rows.append(chunk.vectors.copy())
            for start, size in zip(chunk.offsets, chunk.captured, strict=True):
                frames.append(chunk.data[start : start + size].tobytes())
        return np.concatenate(rows) if rows else np.zeros((0, 16), np.uint64), frames, source.counts()

    return read_bytes


def test_a_capture_is_a_packet_source(craft, tmp_path):
    (tmp_path / "a").write_bytes(craft.pcap(craft.corpus()))
    source = open_capture(tmp_path / "a")
    assert isinstance(source, PacketSource)
    assert source.inputs() == [tmp_path / "a"]
    described = source.describe()
    assert (described["format"], described["gzip"], len(described["sha256"])) == ("pcap", False, 64)
    passes = [[chunk.vectors.copy() for chunk in source.chunks(Layout())] for _ in range(2)]
    assert np.array_equal(passes[0], passes[1]), "a second pass begins anew"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nano", [False, True])
def test_pcap_in_both_byte_orders_and_resolutions(craft, read, order, nano):
    frames = craft.corpus()
    rows, got, counts = read(craft.pcap(frames, order=order, nano=nano))
    assert got == frames
    assert rows[:, W_NOW].tolist() == [10**18 + i * 1000 for i in range(len(frames))]
    assert rows[:, W_LENGTH].tolist() == [len(frame) for frame in frames]
    assert rows[:, W_ID].tolist() == list(range(len(frames)))
    assert (counts["packets_read"], counts["packets"]) == (len(frames), len(frames))


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_with_every_packet_block(craft, read, order):
    frames = craft.corpus()
    rows, got, counts = read(craft.pcapng(frames, order))
    assert got == frames
    # A simple packet block has no stamp: it takes the last one.
    assert rows[:6, W_NOW].tolist() == [0, 1000, 1000, 3000, 4000, 4000]
    assert counts == {"packets_read": len(frames), "packets": len(frames)}


def test_pcapng_resolution_offset_interfaces_and_sections(craft, read):
    frame = craft.corpus()[0]
    first = craft.section() + b"".join(
        craft.interface(resolution=r, offset=o)
        for r, o in ((None, None), (9, 5), (3, None), (0x80 | 20, None))
    )
    first += craft.enhanced(frame, 4_000_000, 0) + craft.enhanced(frame, 7, 1)
    first += craft.enhanced(frame, 6_001, 2) + craft.enhanced(frame, 7 << 20 | 1 << 19, 3)
    second = (
        craft.section(">") + craft.interface(">", resolution=12) + craft.enhanced(frame, 8 * 10**12, 0, ">")
    )
    second += craft.enhanced(frame, 1, 7, ">")
    rows, got, counts = read(first + second)
    assert got == [frame] * 5
    assert rows[:, W_NOW].tolist() == [
        4_000_000_000,
        5_000_000_007,
        6_001_000_000,
        7_500_000_000,
        8_000_000_000,
    ]
    assert rows[:, W_IN_PORT].tolist() == [0, 1, 2, 3, 0]
    assert counts["skipped_no_interface"] == 1


def test_frame_check_sequences_do_not_count(craft, read):
    frame = craft.corpus()[0]
    rows, got, _ = read(craft.section() + craft.interface(fcs=4) + craft.enhanced(frame + b"FCS!", 1))
    assert got == [frame]
    assert rows[0, W_LENGTH] == len(frame)


def test_link_types_that_are_not_read_are_skipped_and_counted(craft, read):
    frame = craft.corpus()[0]
    data = craft.section() + craft.interface(linktype=105) + craft.interface() + craft.interface(linktype=147)
    for number in (0, 1, 2, 0, 1):
        data += craft.enhanced(frame, 1, number)
    rows, _, counts = read(data)
    assert len(rows) == 2
    assert counts["skipped_linktype_105"] == 2
    assert counts["skipped_linktype_147"] == 1
    assert counts["packets_read"] == 5


def test_gzip_of_several_members_with_garbage_behind(craft, read):
    frames = craft.corpus()
    data = craft.pcap(frames)
    packed = gzip.compress(data[:700]) + gzip.compress(b"", mtime=0) + gzip.compress(data[700:]) + bytes(20)
    _, got, counts = read(packed)
    assert got == frames
    assert counts["ignored_trailing_bytes"] == 20


def test_time_never_goes_back(craft, read):
    frame = craft.corpus()[0]
    ticks = [5, 3, 4, 9, 8]
    rows, _, counts = read(
        craft.section() + craft.interface() + b"".join(craft.enhanced(frame, t) for t in ticks)
    )
    assert rows[:, W_NOW].tolist() == [5000, 5000, 5000, 9000, 9000]
    assert counts["time_steps_back"] == 3


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_file_cut_off_within_a_record_is_counted(craft, read, cut):
    frames = craft.corpus()[:3]
    for data in (
        craft.pcap(frames),
        craft.section() + craft.interface() + b"".join(map(craft.enhanced, frames, (1, 2, 3))),
    ):
        _, got, counts = read(data[:-cut])
        assert got == frames[:2]
        assert counts["truncated_file"] == 1


def test_a_gzip_cut_off_is_an_error_not_a_shorter_capture(craft, read):
    packed = gzip.compress(craft.pcap(craft.corpus() * 50))
    for cut in (len(packed) // 2, len(packed) - 1):
        with pytest.raises(InputError, match=r"corrupt gzip: it ends early, at byte \d+"):
            read(packed[:cut])


def test_records_that_a_damaged_gzip_made_impossible_are_the_gzips_fault(craft, read):
    data = bytearray(craft.pcap(craft.corpus() * 50))
    data[24 + 8 : 24 + 12] = b"\xff" * 4
    packed = bytearray(gzip.compress(data))
    assert read(bytes(packed))[2]["corrupt_file"] == 1
    packed[-8] ^= 1  # the check sum
    with pytest.raises(InputError, match="corrupt gzip near byte"):
        read(bytes(packed))


def test_an_impossible_record_length_ends_the_file(craft, read, caplog):
    data = craft.pcap(craft.corpus()[:2]) + struct.pack("<IIII", 1, 1, 0x7FFFFFFF, 60) + bytes(100)
    _, got, counts = read(data)
    assert len(got) == 2
    assert counts["corrupt_file"] == 1
    assert "impossible length" in caplog.text
    _, got, counts = read(craft.pcapng(craft.corpus()[:2]) + struct.pack("<II", 6, 13) + bytes(100))
    assert counts["corrupt_file"] == 1


def test_wrong_wire_lengths_are_corrected(craft, read):
    frame = craft.corpus()[0]
    data = craft.section() + craft.interface()
    data += craft.enhanced(frame, 1, wire=0) + craft.enhanced(frame, 2, wire=0xFFFFFFFF)
    rows, _, counts = read(data)
    assert rows[:, W_LENGTH].tolist() == [len(frame)] * 2
    assert counts["lengths_corrected"] == 2


def test_stamps_stay_within_63_bits(craft, read):
    rows, _, counts = read(
        craft.section() + craft.interface(resolution=0) + craft.enhanced(craft.corpus()[0], 2**64 - 1)
    )
    assert rows[0, W_NOW] == 1 << 62
    assert counts["stamps_clamped"] == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\xd4\xc3\xb2\xa1\x02\x00", "ends after 6 bytes"),
        (b"a line of text\nand another one\n", "begins with b'a li'"),
        (
            gzip.compress(b"a line of text\nand another one\n", mtime=0),
            "gzip of something that begins with b'a li'",
        ),
        (b"\x1f\x8b\x08\x00 no gzip at all, really", "corrupt gzip near byte"),
    ],
)
def test_what_is_no_capture_is_one_clear_line(tmp_path, content, says):
    path = tmp_path / "file.pcap"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        open_capture(path)
    assert len(str(caught.value).splitlines()) == 1
    assert str(path) in str(caught.value)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        open_capture(tmp_path / "missing.pcap")
    with pytest.raises(InputError, match="is a directory, expected a capture file"):
        open_capture(tmp_path)


def test_a_gzip_corrupt_in_the_middle_says_where(craft, tmp_path):
    rng = random.Random(1)
    noise = [craft.ether(0x0800, rng.randbytes(1000)) for _ in range(2000)]
    packed = bytearray(gzip.compress(craft.pcap(noise), 1))
    packed[len(packed) // 2 : len(packed) // 2 + 2000] = bytes(2000)
    path = tmp_path / "corrupt.pcap.gz"
    path.write_bytes(packed)
    source = open_capture(path)
    with pytest.raises(InputError, match=r"corrupt gzip near byte \d+: "):
        for _ in source.chunks(Layout()):
            pass
    wrong = bytearray(gzip.compress(craft.pcap(noise[:10])))
    wrong[-8] ^= 1
    path.write_bytes(wrong)
    with pytest.raises(InputError, match="incorrect data check"):
        for _ in open_capture(path).chunks(Layout()):
            pass


def test_memory_is_constant_and_buffers_are_reused(craft, tmp_path):
    """A file of 25 times the buffer is read through one buffer and one array of rows."""
    frames = [frame + bytes(1300) for frame in craft.corpus()]
    path = tmp_path / "long.pcap"
    path.write_bytes(craft.pcap(frames * 900))
    source = Capture(path, chunk_packets=256)
    assert path.stat().st_size > 25 * source.buffer_bytes
    places, count = set(), 0
    for chunk in source.chunks(Layout()):
        places.add((chunk.vectors.ctypes.data, chunk.data.ctypes.data, chunk.data.nbytes))
        assert chunk.vectors.flags["C_CONTIGUOUS"]
        assert len(chunk) <= 256
        count += len(chunk)
    assert places == {(min(places)[0], min(places)[1], source.buffer_bytes)}
    assert count == len(frames) * 900


def test_blocks_longer_than_the_buffer_are_passed_over(craft, read):
    frame = craft.corpus()[0]
    data = craft.section() + craft.interface() + craft.enhanced(frame, 1)
    data += craft.block(10, bytes(3_000_000)) + craft.enhanced(frame, 2) + craft.enhanced(bytes(600_000), 3)
    _, got, counts = read(data + craft.enhanced(frame, 4))
    assert got == [frame] * 3
    assert counts["skipped_bad_block"] == 1
    assert counts["packets_read"] == 4

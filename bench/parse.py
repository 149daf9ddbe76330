"""Header parsing: frames in memory to header vectors of the core layout, on one core.

Each candidate walks the records of a pcap image in memory and dissects each frame down to its layer-4 header.
scapy and dpkt make objects rather than rows, which is what a user of theirs gets; scapy has a small sample.
Outside the time: generating or reading the image, imports, compiling.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from oppcache.opp.fields import CORE_WORDS, Layout
from oppcache.traffic import make_generator, pcap_bytes
from oppcache.traffic.bytestream import ByteStream
from oppcache.traffic.parser import Parser, Records
from oppcache.traffic.records import PCAP_HEADER_BYTES, PcapWalker

PACKETS = 300_000
SNAPLEN = 96
SCAPY_PACKETS = 2_000
DPKT_PACKETS = 20_000
CHUNK_PACKETS = 4096


def generated_image(packets: int = PACKETS) -> bytes:
    """A pcap image of generated traffic, cut to SNAPLEN bytes a packet."""
    source = make_generator({"model": "caida-like", "flows": 10_000}, seed=1, packets=packets)
    return b"".join(pcap_bytes(source, SNAPLEN))


def capture_image(path: Path) -> bytes:
    """A pcap file, unpacked if it is gzip."""
    pieces = []
    buffer = bytearray(1 << 20)
    with ByteStream(path) as stream:
        while count := stream.readinto(memoryview(buffer)):
            pieces.append(bytes(buffer[:count]))
    return b"".join(pieces)


def parse_image(image: bytes) -> int:
    """Parse a pcap image with this project's kernels; return the number of packets."""
    data = np.frombuffer(image, np.uint8)
    walker, parser = PcapWalker(image[:PCAP_HEADER_BYTES]), Parser(Layout())
    records, rows = Records(CHUNK_PACKETS), np.zeros((CHUNK_PACKETS, CORE_WORDS), np.uint64)
    pos, count = PCAP_HEADER_BYTES, 0
    while True:
        found = walker.walk(data, pos, len(data), records)
        if found.count == 0:
            return count
        parser.parse(data, records, 0, found.count, rows)
        pos, count = found.pos, count + found.count


def _frames(image: bytes, limit: int) -> Iterator[bytes]:
    pos = PCAP_HEADER_BYTES
    while pos < len(image) and limit > 0:
        size = struct.unpack_from("<I", image, pos + 8)[0]
        yield image[pos + 16 : pos + 16 + size]
        pos, limit = pos + 16 + size, limit - 1


def candidates(trace: Path | None = None, packets: int = PACKETS) -> dict[str, Callable[[], int]]:
    """Name → a call that processes its packets once and returns how many; peers that are missing are left out.

    Args:
        trace: a little-endian pcap file to parse in place of generated traffic.
        packets: generated packets.
    """
    image = generated_image(packets) if trace is None else capture_image(trace)
    found: dict[str, Callable[[], int]] = {"oppcache": lambda: parse_image(image)}
    parse_image(image)  # compiles

    try:
        import dpkt
    except ImportError:
        pass
    else:
        some = list(_frames(image, DPKT_PACKETS))

        def run_dpkt() -> int:
            for frame in some:
                try:
                    dpkt.ethernet.Ethernet(frame)
                except (dpkt.UnpackError, IndexError, struct.error):
                    continue
            return len(some)

        found["dpkt"] = run_dpkt

    try:
        from scapy.layers.l2 import Ether
    except ImportError:
        pass
    else:
        import scapy.layers.inet
        import scapy.layers.inet6  # noqa: F401  layers register themselves

        few = list(_frames(image, SCAPY_PACKETS))

        def run_scapy() -> int:
            for frame in few:
                Ether(frame)
            return len(few)

        found["scapy"] = run_scapy
    return found

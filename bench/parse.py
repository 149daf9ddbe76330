"""Header parsing: captured frames in memory to header vectors of the core layout, on one core.

Each candidate dissects frames down to the layer-4 header. scapy and dpkt make objects rather than rows, which is
what their users get, and take a sample of the frames.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from oppcache.opp.fields import CORE_WORDS, Layout
from oppcache.traffic.parser import Parser, Records
from oppcache.traffic.records import PCAP_HEADER_BYTES, PcapWalker

from .inputs import headers_capture

TITLE = "headers of a capture in memory to header vectors, record walk included"
UNIT = "packets"
EXCLUDES = "imports, kernel compilation, making and reading the capture (96-byte headers, in memory)"
PEERS = ("dpkt", "scapy")

CHUNK_PACKETS = 4096


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


def frames_of(image: bytes, limit: int) -> list[bytes]:
    """The first ``limit`` frames of a little-endian pcap image."""
    found: list[bytes] = []
    pos = PCAP_HEADER_BYTES
    while pos < len(image) and len(found) < limit:
        size = struct.unpack_from("<I", image, pos + 8)[0]
        found.append(image[pos + 16 : pos + 16 + size])
        pos += 16 + size
    return found


@contextmanager
def candidates(quick: bool) -> Iterator[dict[str, Callable[[], int]]]:
    """This project, and the peers that are installed."""
    with headers_capture(20_000 if quick else 1_000_000) as capture:
        image = capture.read_bytes()
    found: dict[str, Callable[[], int]] = {"oppcache": lambda: parse_image(image)}
    for name, prepare, packets in (("dpkt", _dpkt, 20_000), ("scapy", _scapy, 2_000)):
        dissect = prepare()
        if dissect is not None:
            found[name] = _each(dissect, frames_of(image, packets // 10 if quick else packets))
    yield found


def _each(dissect: Callable[[bytes], object], some: list[bytes]) -> Callable[[], int]:
    def run() -> int:
        for frame in some:
            dissect(frame)
        return len(some)

    return run


def _dpkt() -> Callable[[bytes], object] | None:
    try:
        import dpkt
    except ImportError:
        return None
    dissect: Callable[[bytes], object] = dpkt.ethernet.Ethernet
    return dissect


def _scapy() -> Callable[[bytes], object] | None:
    try:
        import scapy.layers.inet  # noqa: F401  layers register themselves
        from scapy.layers.l2 import Ether
    except ImportError:
        return None
    dissect: Callable[[bytes], object] = Ether
    return dissect

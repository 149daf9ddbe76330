"""Rewritten captures read by tshark: no packet is malformed and no checksum wrong that was right before.

If these break, what a program rewrote cannot be written out, replayed or shown to anybody.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from oppcache.opp.errors import InputError
from oppcache.opp.fields import W_HEADERS, Header, layout_for
from oppcache.traffic import PcapWriter, limit, open_capture, rewrite

FIELDS = ("ipv4.ttl", "ipv6.hop_limit", "l4.sport", "l4.dport")
STATUS = ("ip", "tcp", "udp", "icmp", "icmpv6", "sctp", "igmp", "gre")
OPTIONS = [
    "ip.check_checksum:TRUE",
    "tcp.check_checksum:TRUE",
    "udp.check_checksum:TRUE",
    "sctp.checksum:CRC32C",
    "udplite.check_checksum:TRUE",
    "udplite.ignore_checksum_coverage:FALSE",
]
BAD = "0"  # tshark's checksum status: 0 bad, 1 good, 2 unverified, 3 not present
MOST = 60_000  # packets of a capture
SMALL = (
    "nDPI__pcap_reddit.pcap",
    "PcapPlusPlus__pcap_examples_many-protocols.pcap",
    "packet-captures__amp.dns.RRSIG.fragmented.pcap",
    "tcpdump__tests_forces3.pcap",
    "pkt2flow__sample_udp_lite_normal_coverage_8-20.pcap",
)


def seen_by_tshark(path: Path, fields: list[str], *, as_data: bool) -> list[list[str]]:
    """The given fields of every packet; ``as_data`` keeps tshark from guessing what is in TCP and UDP by ports."""
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "separator=|"]
    command += [word for option in OPTIONS for word in ("-o", option)]
    if as_data:
        command += ["-d", "tcp.port==1-65535,data", "-d", "udp.port==1-65535,data"]
    command += [word for field in fields for word in ("-e", field)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return [line.split("|") for line in done.stdout.splitlines()]


def judged(path: Path, *, as_data: bool) -> list[list[str]]:
    """Malformed or not, and the checksums' statuses, of every packet."""
    return seen_by_tshark(path, ["_ws.malformed", *(f"{s}.checksum.status" for s in STATUS)], as_data=as_data)


def other(vectors: np.ndarray, layout, *, ports: bool) -> None:
    """Another address for every address, another port for every port, and TTLs; the same one for the same."""
    headers = vectors[:, W_HEADERS]

    def there(header: Header) -> np.ndarray:
        return headers >> np.uint64(header) & np.uint64(1) == 1

    for name in ("ip.src", "ip.dst"):
        column = vectors[:, layout.word_of[name] + 1]
        column[there(Header.IP)] ^= np.uint64(0x2305)
    for name in ("ipv4.ttl", "ipv6.hop_limit"):
        column = vectors[:, layout.word_of[name]]
        column[column > 1] -= np.uint64(1)
    if ports:
        for name in ("l4.sport", "l4.dport"):
            vectors[there(Header.L4_PORTS), layout.word_of[name]] ^= np.uint64(0x5A3C)


def write_both(capture: Path, folder: Path, *, ports: bool) -> tuple[Path, Path] | None:
    """The capture's packets as they are and rewritten, as pcap files; None where it has several link types."""
    layout = layout_for(FIELDS)
    plain, changed = folder / "plain.pcap", folder / "changed.pcap"
    try:
        with PcapWriter(plain) as one, PcapWriter(changed) as two:
            for chunk in limit(open_capture(capture), packets=MOST).chunks(layout):
                before = chunk.vectors.copy()
                one.write(chunk)
                other(chunk.vectors, layout, ports=ports)
                two.write(rewrite(chunk, before, layout))
    except InputError:
        return None
    return plain, changed


@pytest.mark.parametrize("ports", [False, True])
@pytest.mark.usefixtures("tshark")
def test_tshark_finds_nothing_in_rewritten_packets_that_was_not_there_before(traces, tmp_path, ports, full):
    names = (
        sorted(p.name for p in traces.iterdir() if {".pcap", ".pcapng"} & {*p.suffixes}) if full else SMALL
    )
    judgements: Counter[str] = Counter()
    for name in names:
        paths = write_both(traces / name, tmp_path, ports=ports)
        if paths is None:
            continue
        before, after = (judged(path, as_data=ports) for path in paths)
        # A packet that is malformed may become less so: other addresses, another conversation.
        wrong = [i for i, b in enumerate(before) if b != after[i] and not (b[0] and b[1:] == after[i][1:])]
        assert len(before) == len(after)
        assert not wrong, (
            f"{name}: packet {wrong[0] + 1}: {before[wrong[0]]} became {after[wrong[0]]}, {len(wrong)}"
        )
        judgements.update(status for row in after for status in ",".join(row[1:]).split(","))
    assert judgements["1"] > 1000, "few checksums were checked"

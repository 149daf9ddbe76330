"""Real captures: all packets counted, nothing crashes, and an outside parser reads the same headers."""

from __future__ import annotations

import ipaddress
import logging
from collections import Counter, OrderedDict

import numpy as np
import pytest

from oppcache.opp.fields import (
    IPV4_MAPPED,
    W_FAMILY,
    W_HEADERS,
    W_IP_DST,
    W_IP_PROTO,
    W_IP_SRC,
    W_L4_DPORT,
    W_L4_SPORT,
    W_LENGTH,
    W_NOW,
    W_STATUS,
    Header,
    Layout,
)
from oppcache.traffic import open_capture
from oppcache.traffic.records import PcapngWalker, PcapWalker

MIX = "mix-dev.pcap.gz"
IP = np.uint64(1 << Header.IP)


def test_every_capture_is_read_whole(traces, manifest, everything):
    """Packets and their lengths on the wire are those of the manifest, which another tool wrote."""
    wrong = []
    for row in manifest:
        source = open_capture(traces / row["#file"])
        layout = Layout() if row["#file"] == MIX else everything
        length = last = 0
        for chunk in source.chunks(layout):
            length += int(chunk.vectors[:, W_LENGTH].sum())
            stamps = chunk.vectors[:, W_NOW].astype(np.int64)
            assert stamps[0] >= last
            assert (np.diff(stamps) >= 0).all()
            last = stamps[-1]
        counts = source.counts()
        got = counts["packets_read"], length
        expected = int(row["packets"]), int(row["wire_bytes"])
        if counts.get("skipped_linktype_10") == expected[0]:
            expected = expected[0], 0
        if got != expected or "corrupt_file" in counts or "truncated_file" in counts:
            wrong.append((row["#file"], got, expected, counts))
    assert not wrong


def test_the_fddi_capture_is_skipped_and_counted(traces):
    source = open_capture(traces / "zeek__Traces_llc.pcap")
    assert list(source.chunks(Layout())) == []
    assert source.counts() == {"packets_read": 1333, "packets": 0, "skipped_linktype_10": 1333}


@pytest.fixture(scope="session")
def mix_keys(traces) -> np.ndarray:
    """Rows of (family, source, destination, protocol, ports) of the mixed capture's IP packets."""
    found = []
    for chunk in open_capture(traces / MIX).chunks(Layout()):
        rows = chunk.vectors[(chunk.vectors[:, W_HEADERS] & IP) != 0]
        found.append(rows[:, W_FAMILY : W_L4_DPORT + 1])
    return np.concatenate(found)


def test_the_mixed_capture_has_the_ip_packets_that_others_count(mix_keys):
    assert len(mix_keys) == 660_075


def test_its_lru_miss_ratios_are_libcachesims(mix_keys):
    """Bidirectional 5-tuples of the parsed rows through an LRU: .2382 at 64 entries, .1540 at 1,024."""
    a, b = mix_keys[:, [1, 2, 6]], mix_keys[:, [3, 4, 7]]
    swap = np.zeros(len(a), bool)
    for column in (2, 1, 0):
        swap = np.where(a[:, column] == b[:, column], swap, a[:, column] > b[:, column])
    low, high = np.where(swap[:, None], b, a), np.where(swap[:, None], a, b)
    keys = np.ascontiguousarray(np.hstack([mix_keys[:, [0, 5]], low, high]))
    _, ids = np.unique(keys.view(np.dtype((np.void, keys.shape[1] * 8)))[:, 0], return_inverse=True)
    assert abs((ids.max() + 1) / len(ids) - 0.1424) < 0.0005
    for size, expected in ((64, 0.2382), (1024, 0.1540)):
        held: OrderedDict[int, None] = OrderedDict()
        misses = 0
        for ident in ids.tolist():
            if ident in held:
                held.move_to_end(ident)
                continue
            misses += 1
            held[ident] = None
            if len(held) > size:
                held.popitem(last=False)
        assert abs(misses / len(ids) - expected) < 0.0005, size


@pytest.fixture(scope="session")
def scapy_layers():
    """scapy's layers by what they are to this test."""
    pytest.importorskip("scapy")
    logging.getLogger("scapy").setLevel(logging.ERROR)
    from scapy.contrib.mpls import MPLS
    from scapy.layers import inet, inet6, l2, ppp, sctp

    return {
        "start": {1: l2.Ether, 113: l2.CookedLinux},
        "link": (l2.Ether, l2.CookedLinux, l2.Dot1Q, l2.Dot1AD, MPLS, ppp.PPPoE, ppp.PPP),
        "vlan": (l2.Dot1Q, l2.Dot1AD),
        "mpls": MPLS,
        "ipv4": inet.IP,
        "ipv6": inet6.IPv6,
        "extension": (
            inet6.IPv6ExtHdrHopByHop, inet6.IPv6ExtHdrRouting, inet6.IPv6ExtHdrFragment, inet6.IPv6ExtHdrDestOpt,
        ),
        "tcp": inet.TCP,
        "ports": (inet.TCP, inet.UDP, sctp.SCTP),
    }  # fmt: skip


def outside_view(frame: bytes, linktype: int, layers) -> dict[str, int] | None:
    """What scapy reads down to the outermost packet's ports, or None without an IP header."""
    packet = layers["start"][linktype](frame)
    view: dict[str, int] = {}
    while isinstance(packet, layers["link"]):
        if isinstance(packet, layers["vlan"]) and "qinq.id" not in view:
            view["qinq.id" if "vlan.id" in view else "vlan.id"] = packet.vlan
        if isinstance(packet, layers["mpls"]):
            view.setdefault("mpls.label", packet.label)
        packet = packet.payload
    if isinstance(packet, layers["ipv4"]):
        view |= {
            "ipv4.ttl": packet.ttl,
            "ipv4.id": packet.id,
            "ipv4.tos": packet.tos,
            "ip.proto": packet.proto,
        }
        view |= {"ipv4.ihl": packet.ihl, "ipv4.frag_offset": packet.frag, "ip.family": 4}
    elif isinstance(packet, layers["ipv6"]):
        view |= {
            "ipv6.hop_limit": packet.hlim,
            "ipv6.flow_label": packet.fl,
            "ip.proto": packet.nh,
            "ip.family": 6,
        }
    else:
        return None
    for name, text in (("src", packet.src), ("dst", packet.dst)):
        address = ipaddress.ip_address(text)
        view[name] = int(address) | (IPV4_MAPPED if address.version == 4 else 0)
    packet = packet.payload
    while isinstance(packet, layers["extension"]):
        view["ip.proto"] = packet.nh
        packet = packet.payload
    if isinstance(packet, layers["ports"]):
        view |= {"l4.sport": packet.sport, "l4.dport": packet.dport}
    if isinstance(packet, layers["tcp"]):
        view |= {"tcp.flags": int(packet.flags), "tcp.seq": packet.seq, "tcp.window": packet.window}
    return view


def test_an_outside_parser_reads_the_same_headers(traces, manifest, everything, scapy_layers, full):
    """Every field that scapy shows of a sample of each capture, where our parser saw nothing wrong."""
    compared, wrong = Counter(), []
    for entry in manifest:
        linktype = int(entry["format/linktype"].split("/")[1])
        if linktype == 10:
            continue
        step = max(1, int(entry["packets"]) // (5000 if full else 1500 if entry["#file"] == MIX else 60))
        for chunk in open_capture(traces / entry["#file"]).chunks(everything):
            numbers = chunk.vectors[:, 15]
            for i in np.flatnonzero(numbers % step == 0):
                row = chunk.vectors[i]
                if int(row[W_STATUS]) & 0xFF:
                    continue
                start, size = int(chunk.offsets[i]), int(chunk.captured[i])
                view = outside_view(chunk.data[start : start + size].tobytes(), linktype, scapy_layers)
                is_ip = bool(row[W_HEADERS] & IP)
                if view is None or not is_ip:
                    # LLC/SNAP is the one road to IP that is deliberately not taken.
                    assert is_ip is (view is not None), (entry["#file"], int(numbers[i]))
                    compared["not IP"] += 1
                    continue
                row = row.tolist()
                ours = {name: row[everything.word_of[name]] for name in view if "." in name}
                ours |= {
                    "src": row[W_IP_SRC] << 64 | row[W_IP_SRC + 1],
                    "dst": row[W_IP_DST] << 64 | row[W_IP_DST + 1],
                }
                if (
                    "l4.sport" not in view
                    and row[W_HEADERS] >> Header.L4_PORTS & 1
                    and row[W_IP_PROTO] != 136
                ):
                    wrong.append((entry["#file"], int(numbers[i]), "ports that scapy lacks", row[W_L4_SPORT]))
                if ours != view:
                    wrong.append(
                        (
                            entry["#file"],
                            int(numbers[i]),
                            {k: (ours[k], v) for k, v in view.items() if ours[k] != v},
                        )
                    )
                compared.update(view.keys())
    assert not wrong[:10]
    assert (
        min(
            compared[name]
            for name in ("src", "l4.sport", "tcp.flags", "vlan.id", "mpls.label", "ipv6.hop_limit")
        )
        > 50
    )
    assert compared["qinq.id"] > 10


def test_an_outside_parser_reads_the_same_quoted_packets(traces, everything, scapy_layers):
    """The flow of an ICMP error is that of the packet it quotes, reversed."""
    from scapy.layers.inet import IPerror, TCPerror, UDPerror
    from scapy.layers.l2 import Ether

    compared = Counter()
    for name in (
        "packet-captures__amp.UDP.snmp.src161.pcapng",
        "nDPI__pcap_gnutella.pcap",
        "nDPI__pcap_zoom.pcap",
    ):
        for chunk in open_capture(traces / name).chunks(everything):
            for i in np.flatnonzero(chunk.vectors[:, W_HEADERS] & np.uint64(1 << Header.INNER_L4)):
                start, size = int(chunk.offsets[i]), int(chunk.captured[i])
                quoted = Ether(chunk.data[start : start + size].tobytes())[IPerror]
                layer = TCPerror if TCPerror in quoted else UDPerror
                row = chunk.vectors[i].tolist()
                ours = [row[everything.word_of[f"flow.{name}"]] for name in ("proto", "dport", "sport")]
                assert ours == [quoted.proto, quoted[layer].sport, quoted[layer].dport]
                addresses = [row[everything.word_of[f"flow.{name}"] + 1] for name in ("dst", "src")]
                mapped = [int(ipaddress.ip_address(text)) | IPV4_MAPPED for text in (quoted.src, quoted.dst)]
                assert addresses == mapped
                compared[layer.__name__] += 1
    assert min(compared.values()) > 50
    assert sum(compared.values()) == 294 + 8 + 3


def test_formats_are_told_apart(traces):
    assert open_capture(traces / "nDPI__pcap_zoom.pcap").format == PcapngWalker.format
    assert open_capture(traces / "libtrace__traces_100_packetsns.pcap").format == "pcap-ns"
    assert PcapWalker.format == ""

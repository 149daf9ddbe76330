"""Generated traffic: correct TCP as an outside parser sees it, promised shares, seeds, and bounded memory."""

from __future__ import annotations

import csv
import itertools
import json
import math
import shutil
import subprocess
from collections import Counter, defaultdict

import numpy as np
import pytest

from oppcache.opp.errors import InputError
from oppcache.opp.fields import (
    W_IN_PORT,
    W_IP_DST,
    W_IP_PROTO,
    W_IP_SRC,
    W_L4_DPORT,
    W_L4_SPORT,
    W_LENGTH,
    W_NOW,
    W_STATUS,
    W_TCP_FLAGS,
    Layout,
    layout_for,
)
from oppcache.opp.yaml_source import parse_yaml
from oppcache.traffic import (
    Mixture,
    PacketSource,
    generator_parameters,
    make_generator,
    open_capture,
    write_pcap,
)
from oppcache.traffic.generator import CHUNK_PACKETS

FIN, SYN, RST, ACK = 1, 2, 4, 16
MODELS = [
    {"model": "caida-like", "flows": 60},
    {"model": "caida-like", "flows": 60, "zipf": 1.0},
    {"model": "caida-like", "flows": 60, "zipf": 1.0, "new_ports": True, "rst_share": "50%"},
    {"model": "zipf", "flows": 60},
    {"model": "syn-flood", "flows": 60, "attack_share": 0.3},
]
IDS = ["come-and-go", "popular", "popular-new-ports", "independent", "flood"]


def rows_of(source, layout=None) -> np.ndarray:
    return np.concatenate([chunk.vectors.copy() for chunk in source.chunks(layout or Layout())])


def tuples(rows: np.ndarray) -> list[tuple[int, ...]]:
    """Directional 5-tuples as (protocol, source, port, destination, port)."""
    columns = [W_IP_PROTO, W_IP_SRC + 1, W_L4_SPORT, W_IP_DST + 1, W_L4_DPORT]
    return [tuple(row) for row in rows[:, columns].tolist()]


def inside(address: int) -> bool:
    return address >> 24 & 0xFF == 10


@pytest.mark.parametrize("parameters", MODELS, ids=IDS)
def test_same_seed_same_packets(parameters, everything):
    source = make_generator(parameters, 5, 9000)
    assert isinstance(source, PacketSource)
    rows = rows_of(source, everything)
    assert len(rows) == 9000 == source.counts()["packets"]
    assert np.array_equal(rows, rows_of(source, everything)), "a second pass differs"
    assert (np.diff(rows[:, W_NOW].astype(np.int64)) >= 0).all()
    rows = np.delete(rows[:, :16], W_STATUS, axis=1)  # which tells checksums only to those who ask

    def core(seed: int, packets: int) -> np.ndarray:
        return np.delete(rows_of(make_generator(parameters, seed, packets)), W_STATUS, axis=1)

    assert np.array_equal(rows, core(5, 9000)), "the layout changes packets"
    assert np.array_equal(rows[:5000], core(5, 5000)), "fewer packets are no prefix"
    assert not np.array_equal(rows, core(6, 9000))


@pytest.mark.parametrize("parameters", MODELS, ids=IDS)
def test_rows_are_what_the_parser_makes_of_the_rendered_frames(tmp_path, parameters, everything):
    source = make_generator(parameters, 3, 6000)
    write_pcap(tmp_path / "g.pcap", source)
    capture = open_capture(tmp_path / "g.pcap")
    parsed, made = rows_of(capture, everything), rows_of(source, everything)
    made[:, W_IN_PORT] = 0  # a pcap file has one interface
    assert np.array_equal(parsed, made)
    assert capture.counts() == {"packets_read": 6000, "packets": 6000}


def dissected(path):
    """(source, destination, protocol, layer 4 object, frame) of each frame of a pcap file by dpkt."""
    dpkt = pytest.importorskip("dpkt")
    with open(path, "rb") as file:
        for _, frame in dpkt.pcap.UniversalReader(file):
            ip = dpkt.ethernet.Ethernet(frame).data
            yield ip.src, ip.dst, ip.p, ip.data, frame


def internet_sum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


class Side:
    """What a TCP receiver expects of its peer."""

    def __init__(self) -> None:
        self.next: int | None = None
        self.acked: int | None = None


def check_connection(segments) -> str:
    """Check one connection's (from initiator, TCP) segments in order; return how it ended."""
    sides = {True: Side(), False: Side()}
    closed = set()
    for number, (first, segment) in enumerate(segments):
        flags, own, peer = segment.flags, sides[first], sides[not first]
        size = len(segment.data) + bool(flags & SYN) + bool(flags & FIN)
        if number == 0:
            assert (first, flags) == (True, SYN)
        elif number == 1 and flags & RST:
            assert not first
            assert segment.ack == peer.next
            return "refused"
        elif number == 1:
            assert (first, flags) == (False, SYN | ACK)
        elif number == 2 and not flags & RST:
            assert (first, flags, len(segment.data)) == (True, ACK, 0)
        else:
            assert not flags & SYN
        if own.next is not None:
            assert segment.seq == own.next, "a gap or an overlap"
        own.next = (segment.seq + size) % 2**32
        if number:
            assert segment.ack == peer.next, "acknowledges something else than all that was sent"
            if size == 0 and number > 2 and not flags & RST:
                assert own.acked != segment.ack, "a duplicate ACK"
            own.acked = segment.ack
            if peer.acked is not None:
                assert (own.next - peer.acked) % 2**32 <= 65535, "beyond the window"
        if flags & RST:
            assert number == len(segments) - 1
            return "reset"
        if closed == {True, False}:
            assert number == len(segments) - 1
            assert flags == ACK
            return "closed"
        assert first not in closed, "data after FIN"
        if flags & FIN:
            closed.add(first)
    return "open"


@pytest.mark.parametrize("parameters", [MODELS[0], MODELS[1], MODELS[2]], ids=IDS[:3])
def test_tcp_is_correct_as_an_outside_parser_sees_it(tmp_path, parameters):
    """Checksums, handshake first, FIN or RST last, and sequence numbers without gaps, by dpkt."""
    path = tmp_path / "g.pcap"
    write_pcap(path, make_generator(parameters, 11, 15_000))
    live: dict[tuple, list] = {}
    ends: Counter[str] = Counter()
    lengths = Counter()
    for src, dst, proto, inner, frame in dissected(path):
        layer4 = frame[34 : 14 + int.from_bytes(frame[16:18], "big")]
        assert internet_sum(frame[14:34]) == 0xFFFF
        assert internet_sum(src + dst + bytes([0, proto]) + len(layer4).to_bytes(2, "big") + layer4) == 0xFFFF
        if proto != 6:
            continue
        key, reverse = (src, inner.sport, dst, inner.dport), (dst, inner.dport, src, inner.sport)
        if inner.flags == SYN:
            if key in live:
                ends[check_connection(live.pop(key))] += 1
            live[key] = []
        first = key in live
        live[key if first else reverse].append((first, inner))
        lengths[len(inner.data)] += 1
    for segments in live.values():
        ends[check_connection(segments)] += 1
    assert min(ends[kind] for kind in ("closed", "reset", "refused", "open")) > 5
    assert ends["closed"] > 2 * ends["reset"] or parameters.get("rst_share")
    assert lengths[1460] > 4000
    assert lengths[0] > 4000


def test_no_malformed_packets_for_tshark(tmp_path):
    """tshark's own expert analysis finds nothing wrong."""
    if shutil.which("tshark") is None:
        pytest.skip("no tshark: its analysis of generated traffic is not run")
    path = tmp_path / "g.pcap"
    write_pcap(path, make_generator({"model": "caida-like", "flows": 50}, 2, 20_000))
    wrong = "_ws.malformed || tcp.analysis.flags || ip.checksum.status == 0 || tcp.checksum.status == 0"
    # The payloads are zeros, which no application's dissector likes.
    options = ["-d", "tcp.port==1-65535,data", "-d", "udp.port==1-65535,data"]
    for proto in ("ip", "tcp", "udp"):
        options += ["-o", f"{proto}.check_checksum:TRUE"]
    done = subprocess.run(
        ["tshark", "-r", path, *options, "-Y", wrong], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""


def test_directions_and_shares():
    rows = rows_of(make_generator({"model": "caida-like", "flows": 3000, "zipf": 0.3}, 1, 60_000))
    seen: dict[frozenset, tuple] = {}
    for proto, src, sport, dst, dport in tuples(rows):
        seen.setdefault(frozenset([(src, sport), (dst, dport)]), (proto, src, dst))
    assert all(inside(src) != inside(dst) for _, src, dst in seen.values()), "one end is inside"
    tcp = [flow for flow in seen.values() if flow[0] == 6]
    assert abs(len(tcp) / len(seen) - 0.85) < 0.03
    assert abs(sum(inside(src) for _, src, _ in seen.values()) / len(seen) - 0.9) < 0.03
    from_inside = np.array([inside(int(a)) for a in rows[:, W_IP_SRC + 1]])
    assert np.array_equal(rows[:, W_IN_PORT], np.where(from_inside, 0, 1))
    assert rows[:, W_LENGTH].min() >= 60
    assert rows[:, W_LENGTH].max() == 1514
    assert abs(int(rows[-1, W_NOW]) / 60e6 - 1) < 0.03, "1 Mpps"


def test_flows_of_a_population_have_their_own_tuples():
    rows = rows_of(make_generator({"model": "zipf", "flows": 20_000, "zipf": 0, "clients": 50}, 4, 300_000))
    flows = {frozenset([(src, sport), (dst, dport)]) for _, src, sport, dst, dport in tuples(rows)}
    assert len(flows) == 20_000
    clients = Counter(src for _, src, _, dst, _ in set(tuples(rows)) if inside(src))
    assert len(clients) == 50


def test_popularity_is_zipfs():
    """Shares of the most popular flows are those of the law, and packets are independent draws."""
    flows, exponent, packets = 1000, 1.1, 400_000
    got = tuples(rows_of(make_generator({"model": "zipf", "flows": flows, "zipf": exponent}, 9, packets)))
    weights = np.arange(1, flows + 1) ** -exponent
    expected = weights / weights.sum() * packets
    counts = np.array([count for _, count in Counter(got).most_common()])
    assert len(counts) == flows
    assert (np.abs(counts[:20] - expected[:20]) < 5 * np.sqrt(expected[:20])).all()
    repeats = sum(a == b for a, b in itertools.pairwise(got)) / packets
    assert abs(repeats - ((weights / weights.sum()) ** 2).sum()) < 0.003


def test_gaps_are_exponential():
    stamps = rows_of(make_generator({"model": "zipf", "rate": "1kpps"}, 1, 50_000))[:, W_NOW].astype(
        np.float64
    )
    gaps = np.diff(stamps) / 1e6
    assert abs(gaps.mean() - 1) < 0.02
    assert abs(gaps.std() - 1) < 0.03
    assert abs((gaps > 1).mean() - math.exp(-1)) < 0.01


def test_a_flood_is_spoofed_sources_each_seen_once():
    rows = rows_of(
        make_generator(
            {"model": "syn-flood", "flows": 200, "zipf": 1.0, "attack_share": 0.4, "victims": 3}, 1, 80_000
        )
    )
    flood = (rows[:, W_IP_SRC + 1] & 0xE0000000) == 0x40000000
    attack = rows[flood]
    assert abs(flood.mean() - 0.4) < 0.01
    assert len(np.unique(attack[:, W_IP_SRC + 1])) == len(attack)
    assert len(np.unique(attack[:, W_IP_DST + 1])) == 3
    assert (attack[:, W_TCP_FLAGS] == SYN).all()


@pytest.fixture
def agh(shared):
    return shared / "workloads" / "all-length-flows.json"


def test_agh_lengths_reproduce_the_published_admission_table(shared, agh):
    """Offloading after the k-th packet: share of flows inserted, share of packets covered."""
    mixture = make_generator({"model": "agh", "mixture": str(agh)}, 1, 10).workload.lengths
    lengths = mixture.draw(np.random.Generator(np.random.Philox(7)), 4_000_000)
    assert abs(lengths.mean() / mixture.mean() - 1) < 0.05
    for k, inserted, covered in (
        (1, 0.522, 0.987),
        (8, 0.159, 0.962),
        (64, 0.035, 0.916),
        (1024, 0.0054, 0.786),
    ):
        longer = lengths[lengths > k]
        assert abs(len(longer) / len(lengths) - inserted) < 0.002
        assert abs((longer - k).sum() / lengths.sum() - covered) < 0.02
    with open(shared / "workloads" / "threshold-length.csv", newline="") as file:
        assert len(list(csv.reader(file))) > 10


def test_agh_flows_have_the_lengths_that_were_drawn(agh):
    source = make_generator(
        {"model": "agh", "mixture": "all-length-flows.json", "flows": 200}, 1, 200_000, agh.parent
    )
    assert source.inputs() == [agh]
    flows: dict[frozenset, int] = defaultdict(int)
    for _, src, sport, dst, dport in tuples(rows_of(source)):
        flows[frozenset([(src, sport), (dst, dport)])] += 1
    counts = source.counts()
    assert len(flows) == counts["opened"], "each flow has a tuple of its own"
    assert counts["closed"] > 0.85 * counts["opened"]
    assert "blocked" not in counts
    expected = source.workload.lengths.draw(np.random.Generator(np.random.Philox(1)), 1_000_000)
    mice = sum(size <= 8 for size in flows.values()) / len(flows)
    assert abs(mice - (expected <= 8).mean()) < 0.04


def test_about_as_many_flows_are_active_as_asked_for():
    rows = rows_of(make_generator({"model": "caida-like", "flows": 300}, 2, 200_000))
    first, last = {}, {}
    for i, (_, src, sport, dst, dport) in enumerate(tuples(rows)):
        key = frozenset([(src, sport), (dst, dport)])
        first.setdefault(key, i)
        last[key] = i
    middle = sum(first[key] <= 120_000 <= last[key] for key in first)
    assert 150 < middle < 450


def test_memory_does_not_grow_with_the_number_of_packets():
    """Chunks come out of one array of rows, however many there are."""
    source = make_generator({"model": "caida-like", "flows": 500}, 1, 400_000)
    places = {(chunk.vectors.ctypes.data, chunk.vectors.dtype) for chunk in source.chunks(Layout())}
    assert len(places) == 1


def test_without_a_number_of_packets_there_is_no_end():
    chunks = make_generator({"model": "zipf", "flows": 10}, 1).chunks(layout_for(["udp.length"]))
    assert sum(len(next(chunks)) for _ in range(5)) == 5 * CHUNK_PACKETS


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("model: caida_lik", 1, "did you mean 'caida-like'"),
        ("flows: 10", 1, "needs a model"),
        ("model: zipf\nflow: 10", 2, "did you mean 'flows'"),
        ("model: zipf\nflows: -1", 2, "flows: got -1"),
        ("model: zipf\nflows: 0", 2, "flows: got 0, expected 1 to"),
        ("model: zipf\nzipf: big", 2, "zipf: got 'big', expected a number"),
        ("model: caida-like\ntcp_share: 2", 2, "tcp_share: got 2"),
        ("model: caida-like\nnew_ports: 1", 2, "new_ports: got 1, expected true or false"),
        ("model: caida-like\nrate: 10", 2, "rate: got 10, expected a packet rate"),
        ("model: zipf\nrate: 0.1pps", 2, "rate: got 0.1, expected at least 1pps"),
        ("model: zipf\nflows: 1M\nclients: 2", 3, "clients: got 2, expected at least 36"),
        ("model: syn-flood\nattack_share: 100%", 2, "expected less than 1"),
        ("model: agh", 1, "needs a mixture"),
        ("model: agh\nmixture: nowhere.json", 0, "no such file"),
    ],
)
def test_wrong_parameters_say_where_and_what_was_expected(text, line, says):
    with pytest.raises(InputError) as caught:
        make_generator(parse_yaml(text, "x.yaml"), 1, 10)
    problem = caught.value.problems[0]
    assert says in str(problem)
    assert line in (0, problem.mark.line)


def test_all_wrong_parameters_at_once():
    with pytest.raises(InputError) as caught:
        make_generator({"model": "zipf", "flows": -1, "flwos": 2, "rate": True}, 1, 10)
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    "document",
    [
        "{",
        "[]",
        '{"mix": []}',
        '{"mix": [[1, "gauss", [1, 2]]]}',
        '{"mix": [[1, "uniform", [0, NaN]]]}',
        '{"mix": [[0, "uniform", [0, 1]]]}',
    ],
)
def test_wrong_mixture_files(tmp_path, document):
    (tmp_path / "m.json").write_text(document)
    with pytest.raises(InputError, match=r"m\.json"):
        make_generator({"model": "agh", "mixture": "m.json"}, 1, 10, tmp_path)


def test_parameters_are_documented():
    described = generator_parameters()
    assert set(described) == {"agh", "caida-like", "syn-flood", "zipf"}
    for parameters in described.values():
        for name, (kind, _, doc) in parameters.items():
            assert kind in ("count", "share", "number", "rate", "flag", "path"), name
            assert doc


def test_mean_of_a_mixture():
    mixture = Mixture(((1.0, "uniform", (0.0, 3.0)), (2.0, "lognorm", (1.0, 0.0, 50.0))))
    drawn = mixture.draw(np.random.Generator(np.random.Philox(1)), 1_000_000)
    assert abs(drawn.mean() / mixture.mean() - 1) < 0.01
    assert json.loads(json.dumps(mixture.parts))[0][1] == "uniform"

"""Packet generation: header vectors of TCP-correct traffic, on one core.

scapy crafts frames one by one, which is how traffic is scripted without a generator; it has a small sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from oppcache.opp.fields import Layout, layout_for
from oppcache.traffic import make_generator
from oppcache.traffic.generator import Generator

TITLE = "header vectors of generated traffic (TCP handshakes, data both ways, closes; UDP)"
UNIT = "packets"
EXCLUDES = "imports, kernel compilation"
PEERS = ("scapy",)

MODELS: dict[str, tuple[dict[str, object], Layout]] = {
    "oppcache caida-like, zipf": ({"model": "caida-like", "flows": 100_000, "zipf": 1.1}, Layout()),
    "the same with tcp.seq, tcp.ack": (
        {"model": "caida-like", "flows": 100_000, "zipf": 1.1},
        layout_for(["tcp.seq", "tcp.ack"]),
    ),
    "oppcache caida-like": ({"model": "caida-like", "flows": 10_000}, Layout()),
    "oppcache zipf": ({"model": "zipf", "flows": 100_000}, Layout()),
}


@contextmanager
def candidates(quick: bool) -> Iterator[dict[str, Callable[[], int]]]:
    """Workload models, and scapy where it is installed."""
    packets = 20_000 if quick else 1_000_000
    found: dict[str, Callable[[], int]] = {}
    for name, (parameters, layout) in MODELS.items():
        found[name] = _pass(make_generator(parameters, 0, packets), layout)
    craft = _scapy(200 if quick else 2_000)
    if craft is not None:
        found["scapy"] = craft
    yield found


def _pass(source: Generator, layout: Layout) -> Callable[[], int]:
    def run() -> int:
        return sum(len(chunk) for chunk in source.chunks(layout))

    return run


def _scapy(packets: int) -> Callable[[], int] | None:
    try:
        from scapy.layers.inet import IP, TCP
        from scapy.layers.l2 import Ether
    except ImportError:
        return None

    def run() -> int:
        for i in range(packets):
            bytes(
                Ether()
                / IP(src="10.0.0.1", dst="130.0.0.1")
                / TCP(sport=32768 + i, dport=443, seq=i, flags="A")
            )
        return packets

    return run

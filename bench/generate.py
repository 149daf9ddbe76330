"""Packet generation: header vectors of TCP-correct traffic, on one core.

Candidates are the workload models; ``scapy`` crafts frames one by one, which is how traffic is scripted without
a generator. Outside the time: imports, compiling, and making the population (part of a pass, but once).
"""

from __future__ import annotations

from collections.abc import Callable

from oppcache.opp.fields import Layout, layout_for
from oppcache.traffic import make_generator
from oppcache.traffic.generator import Generator

PACKETS = 1_000_000
SCAPY_PACKETS = 2_000
MODELS: dict[str, dict[str, object]] = {
    "oppcache": {"model": "caida-like", "flows": 100_000, "zipf": 1.1},
    "oppcache, flows that come and go": {"model": "caida-like", "flows": 10_000},
    "oppcache, independent references": {"model": "zipf", "flows": 100_000},
}


def _run(source: Generator, layout: Layout) -> Callable[[], int]:
    def run() -> int:
        return sum(len(chunk) for chunk in source.chunks(layout))

    return run


def candidates(packets: int = PACKETS) -> dict[str, Callable[[], int]]:
    """Name → a call that generates its packets once and returns how many; scapy is left out where missing."""
    found: dict[str, Callable[[], int]] = {}
    for name, parameters in MODELS.items():
        _run(make_generator(parameters, 1, 1000), Layout())()  # compiles
        found[name] = _run(make_generator(parameters, 1, packets), Layout())
    layout = layout_for(["tcp.seq", "tcp.ack"])
    found["oppcache, with tcp.seq and tcp.ack"] = _run(make_generator(MODELS["oppcache"], 1, packets), layout)
    try:
        from scapy.layers.inet import IP, TCP
        from scapy.layers.l2 import Ether
    except ImportError:
        return found

    def run_scapy() -> int:
        for i in range(SCAPY_PACKETS):
            bytes(
                Ether()
                / IP(src="10.0.0.1", dst="130.0.0.1")
                / TCP(sport=32768 + i, dport=443, seq=i, flags="A")
            )
        return SCAPY_PACKETS

    found["scapy"] = run_scapy
    return found

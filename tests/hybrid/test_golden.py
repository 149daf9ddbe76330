"""Golden miss ratios of the development mix: libCacheSim's, to four digits, and our own counts exactly.

The ratios were measured outside, with libCacheSim on the symmetric 5-tuples of the capture's 660,075 IP packets.
The counts are this project's: a change of one of them that is not meant is a change of results.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from oppcache.hybrid import Setup, simulate
from oppcache.opp import load_program
from oppcache.opp.lower import lower
from oppcache.traffic import open_capture

PACKETS, IP_PACKETS, FLOWS = 698_008, 660_075, 94_005
SIZES = (64, 256, 1024, 4096)
MISS_RATIOS = {
    "lru": (0.2382, 0.1934, 0.1540, 0.1478),
    "fifo": (0.2530, 0.1992, 0.1575, 0.1489),
    "sieve": (0.2377, 0.1937, 0.1537, 0.1481),
    "belady": (0.1960, 0.1596, 0.1449, 0.1424),
}
MISSES = {
    "lru": (157_228, 127_657, 101_639, 97_551),
    "fifo": (166_971, 131_481, 103_942, 98_254),
    "sieve": (156_856, 127_879, 101_427, 97_760),
    "belady": (129_383, 105_357, 95_645, 94_005),
}


@pytest.fixture(scope="module")
def mix(traces: Path) -> np.ndarray:
    """Header vectors of the whole mix."""
    layout = lower(load_program("nf:stateful-firewall")).layout
    source = open_capture(traces / "mix-dev.pcap.gz")
    return np.concatenate([chunk.vectors.copy() for chunk in source.chunks(layout)])


@pytest.mark.parametrize("eviction", MISS_RATIOS)
def test_the_mix_misses_as_often_as_it_should(
    eviction: str, mix: np.ndarray, random_programs: ModuleType
) -> None:
    program = load_program("nf:stateful-firewall")
    for contexts, ratio, misses in zip(SIZES, MISS_RATIOS[eviction], MISSES[eviction], strict=True):
        source = random_programs.MemorySource(mix, 1 << 16)
        metrics = simulate(Setup(program, source, contexts, eviction)).metrics
        assert metrics["packets"] == PACKETS
        assert metrics["punts"] == misses == metrics["promotions"]
        assert metrics["context_hits"] == IP_PACKETS - misses
        assert 1 - metrics["context_hit_rate"] == pytest.approx(ratio, abs=0.0005)
        assert metrics["flows"] == FLOWS
        assert metrics["evictions"] == misses - min(contexts, FLOWS)

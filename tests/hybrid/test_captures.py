"""Real packets: every capture through NIC and CPU gives the reference's verdicts and final contexts."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from oppcache.hybrid import Setup, simulate
from oppcache.opp import Layout, load_program
from oppcache.opp.errors import InputError
from oppcache.opp.fields import W_ID
from oppcache.opp.lower import lower
from oppcache.traffic import open_capture

PROGRAMS = ("nf:stateful-firewall", "nf:stateful-firewall-2stage")
# (NIC contexts, eviction, admission) for every program and capture.
NICS = ((64, "lru", "always"), (3, "sieve", {"packet": 2}))
WINDOWS = 3


def vectors_of(path: Path, layout: Layout) -> np.ndarray:
    """All header vectors of a capture."""
    parts = [chunk.vectors.copy() for chunk in open_capture(path).chunks(layout)]
    return np.concatenate([*parts, np.zeros((0, layout.words), np.uint64)])


def sampled(vectors: np.ndarray, packets: int) -> np.ndarray:
    """A few windows of consecutive packets, from the beginning to the end, numbered anew."""
    if len(vectors) <= packets:
        return vectors
    size = packets // WINDOWS
    starts = np.linspace(0, len(vectors) - size, WINDOWS).astype(int)
    out = np.concatenate([vectors[start : start + size] for start in starts])
    out[:, W_ID] = np.arange(len(out))
    return out


def captures(folder: Path) -> list[Path]:
    """Every file of the folder that is a capture."""
    out = []
    for path in sorted(folder.iterdir()):
        try:
            open_capture(path)
        except InputError:
            continue
        out.append(path)
    return out


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_capture_comes_out_as_the_reference_says(
    name: str, traces: Path, full: bool, random_programs: ModuleType
) -> None:
    program = load_program(name)
    layout = lower(program).layout
    packets = lookups = 0
    paths = captures(traces)
    assert len(paths) > 30
    for path in paths:
        most = 10**9 if full else 6_000 if path.stem.startswith("mix") else 1_500
        vectors = sampled(vectors_of(path, layout), most)
        expected = random_programs.Expected(program, layout, vectors)
        packets += len(vectors)
        made = sum(map(len, expected.lookups))
        lookups += made
        for contexts, eviction, admission in NICS:
            source = random_programs.MemorySource(vectors, 977)
            observed = random_programs.Observed()
            setup = Setup(program, source, contexts, eviction, admission, poison=True)
            outcome = simulate(setup, observe=observed)
            try:
                observed.check(expected, outcome)
            except AssertionError as error:
                pytest.fail(f"{path.name}, {contexts} contexts, {eviction}: {error}")
            hits = outcome.metrics["context_hits"]
            assert outcome.metrics["context_hit_rate"] == (hits / made if made else None)
    assert lookups > 0.7 * packets

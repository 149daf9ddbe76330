"""Random streams: keyed by seed and component, and the kernels' generator."""

from __future__ import annotations

import numpy as np

from oppcache.opp.kernel_random import mix, next_exponential, next_normal, next_unit, next_word
from oppcache.opp.random_streams import kernel_state, stream

FIRST = [2751329123029796919, 2191588883237143411, 3054548484746669898, 721278365150153875]


def test_a_stream_depends_on_its_key_alone():
    first = stream(1, "traffic").integers(0, 1 << 62, 4).tolist()
    stream(1, "cache").random(100)
    assert stream(1, "traffic").integers(0, 1 << 62, 4).tolist() == first
    others = [stream(2, "traffic"), stream(1, "traffi"), stream(1, "traffic.lengths")]
    assert all(other.integers(0, 1 << 62, 4).tolist() != first for other in others)
    # Other numbers than these would change every result of every user.
    assert first == FIRST


def test_splitmix_is_the_published_generator():
    """First outputs for seed 1234567, as in the reference implementation's test vector."""
    state = np.array([1234567], np.uint64)
    with np.errstate(over="ignore"):
        got = [int(next_word(state)) for _ in range(3)]
    assert got == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_kernel_distributions():
    state = kernel_state(1, "test")
    with np.errstate(over="ignore"):
        units = np.array([next_unit(state) for _ in range(20_000)])
        gaps = np.array([next_exponential(state, 3.0) for _ in range(20_000)])
        normals = np.array([next_normal(state) for _ in range(20_000)])
        assert len({int(mix(np.uint64(i))) for i in range(1000)}) == 1000
    assert 0 <= units.min() < units.max() < 1
    assert abs(units.mean() - 0.5) < 0.01
    assert abs(gaps.mean() - 3) < 0.1
    assert abs(normals.mean()) < 0.03
    assert abs(normals.std() - 1) < 0.03

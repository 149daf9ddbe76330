"""Random streams keyed by (seed, component), so that no component's draws shift another's.

A stream depends on nothing else: not on the place in a sweep, the number of workers or the order of calls.
"""

from __future__ import annotations

import hashlib

import numpy as np


def stream(seed: int, component: str) -> np.random.Generator:
    """Return the generator of one component's random numbers.

    Args:
        seed: the run's seed, not negative.
        component: its name, such as ``traffic`` or ``cache.admission``.
    """
    digest = hashlib.sha256(component.encode()).digest()
    words = [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4)]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, *words])))


def kernel_state(seed: int, component: str) -> np.ndarray:
    """Return the state of a generator inside kernels: ``uint64[1]``, see :func:`~.kernel_random.next_word`."""
    return stream(seed, component).integers(0, 1 << 64, size=1, dtype=np.uint64)

"""Random numbers inside kernels: SplitMix64 on a ``uint64[1]`` state (Steele, Lea, Flood, OOPSLA 2014).

Seed the state by :func:`oppcache.opp.random_streams.kernel_state`. Without JIT compilation NumPy warns of the
wanted overflow: call kernels under ``numpy.errstate(over="ignore")``.
"""

# Kernels are untyped: their argument types are in their docstrings.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math

import numpy as np

from oppcache._jit import kernel

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S11, _S27, _S30, _S31 = np.uint64(11), np.uint64(27), np.uint64(30), np.uint64(31)
_UNIT = 1.0 / 9007199254740992.0  # 2^-53


@kernel
def mix(word):
    """A bijection of 64-bit words that scatters neighbours; a hash of a counter or identifier."""
    word = (word ^ (word >> _S30)) * _MIX_1
    word = (word ^ (word >> _S27)) * _MIX_2
    return word ^ (word >> _S31)


@kernel
def next_word(state):
    """Advance ``state`` (uint64[1]) and return 64 random bits."""
    state[0] = state[0] + _GAMMA
    return mix(state[0])


@kernel
def unit(word):
    """The high 53 bits of a word as a float in [0, 1)."""
    return float(word >> _S11) * _UNIT


@kernel
def next_unit(state):
    """A float in [0, 1)."""
    return unit(next_word(state))


@kernel
def next_exponential(state, mean):
    """An exponentially distributed float."""
    return -mean * math.log(1.0 - next_unit(state))


@kernel
def next_normal(state):
    """A standard normal float (Box and Muller 1958)."""
    radius = math.sqrt(-2.0 * math.log(1.0 - next_unit(state)))
    return radius * math.cos(2.0 * math.pi * next_unit(state))

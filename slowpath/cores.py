"""The CPU's cores: who is busy until when, and how long a packet takes.

A core serves one queue. What it does to a packet takes effect when the service ends. Times are ``int64`` picoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from oppcache._jit import kernel
from oppcache.opp.contexts import splitmix64
from oppcache.opp.random_streams import kernel_state

IDLE = -1
DOWN = -2

CORE_DTYPE = np.dtype(
    [
        ("current", np.int64),  # what it works on, IDLE for nothing, DOWN: it cannot
        ("done", np.int64),  # when that is finished
        ("busy", np.int64),  # time spent working
        ("served", np.int64),  # services begun
        ("batch", np.int64),  # packets of the present batch still to be served
    ],
    align=True,
)


class Law(IntEnum):
    """How service times are distributed."""

    FIXED = 0
    EXPONENTIAL = 1
    UNIFORM = 2  # from 0 to twice the mean


@dataclass(frozen=True)
class Service:
    """How long a core works on a packet.

    Attributes:
        time: mean time of a visit, ps (a packet that comes twice pays twice).
        stage: mean time of each stage run, ps, on top of that.
        batch: time that begins a batch, ps.
        batch_packets: packets that a core takes from its queue at a time, at most.
        law: distribution around the means.
    """

    time: int
    stage: int = 0
    batch: int = 0
    batch_packets: int = 1
    law: Law = Law.FIXED


# Words of the service's array, as kernels take it.
V_TIME, V_STAGE, V_BATCH, V_BATCH_PACKETS, V_LAW, V_STATE = range(6)

_FIXED, _EXPONENTIAL = int(Law.FIXED), int(Law.EXPONENTIAL)
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_11 = np.uint64(11)


@kernel
def draw(service, mean):
    """A service time around a mean, ps."""
    if service[V_LAW] == _FIXED or mean == 0:
        return mean
    state = np.uint64(service[V_STATE]) + _GAMMA
    service[V_STATE] = np.int64(state)
    uniform = (np.float64(splitmix64(state) >> _11) + 0.5) / 9007199254740992.0
    if service[V_LAW] == _EXPONENTIAL:
        return np.int64(-np.log(uniform) * mean)
    return np.int64(2.0 * uniform * mean)


def make_cores(count: int) -> np.ndarray:
    """Return ``count`` idle cores."""
    cores = np.zeros(count, CORE_DTYPE)
    cores["current"] = IDLE
    return cores


def make_service(service: Service, seed: int) -> np.ndarray:
    """Return a service as the kernels take it; its random times depend on the run's seed."""
    state = kernel_state(seed, "cpu.service").astype(np.uint64).view(np.int64)[0]
    values = (service.time, service.stage, service.batch, service.batch_packets, int(service.law), state)
    return np.array(values, np.int64)

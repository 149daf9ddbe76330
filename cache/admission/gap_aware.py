"""Admit a flow when what its slot will earn outweighs the moves that it takes to get there: ``{gap-aware: k}``, eight unless given.

A promotion by compare-and-swap succeeds only if no packet of the flow comes within the control channel's round trip T:
with Poisson arrivals at rate λ with probability e**(−λT), so that 1 / e**(−λT) tries are to be expected. Flow sizes are
heavy-tailed: a flow that has sent n packets will send about as many again, which is what a slot earns. A try
costs as much as k packets on the CPU. So the flow is admitted once n · e**(−λT) ≥ k: a slow flow at its k-th packet, a fast one
later, and one that leaves no gaps of T not before it slows down. T is 10 µs unless the run tells its own.

State: k, T in ns.
"""

import math

DEFAULT = 8


def state_size(capacity, keys):
    return 2


def init(state, capacity):
    state[0] = DEFAULT
    state[1] = 10_000


def configure(state, value):
    state[0] = value


def control(state, rtt):
    state[1] = rtt


def admit(state, key, packets, rate, now):
    succeeds = math.exp(-rate * state[1] / 1e9)
    return 1 if packets * succeeds >= state[0] else 0

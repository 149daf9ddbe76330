"""Admit by the toss of a coin at each packet: ``{probability: p}``, the sampling that keeps small flows out.

A flow of n packets is admitted with 1 − (1 − p)**n (Estan and Varghese, SIGCOMM 2002: sample and hold). The draws are
those of a multiplicative congruential generator (Park and Miller, CACM 31(10), 1988), seeded by the run's seed.
"""

SHARE = True
_MODULUS, _MULTIPLIER = 2**31 - 1, 48271


def state_size(capacity, keys):
    return 2


def init(state, capacity):
    state[0] = 1
    state[1] = 0


def seed(state, number):
    state[0] = number


def configure(state, value):
    state[1] = value


def admit(state, key, packets, rate, now):
    state[0] = state[0] * _MULTIPLIER % _MODULUS
    return 1 if state[0] <= state[1] else 0

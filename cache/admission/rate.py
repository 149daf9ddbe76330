"""Admit a flow while it sends at least so many packets/s: ``{rate: 10kpps}``."""


def state_size(capacity, keys):
    return 1


def init(state, capacity):
    state[0] = 0


def configure(state, value):
    state[0] = value


def admit(state, key, packets, rate, now):
    return 1 if packets > 1 and rate >= state[0] else 0

"""Admit a flow while it sends at least 1,000 packets/s, but never at its first packet."""

LEAST_RATE = 1000


def state_size(capacity, keys):
    return 0


def init(state, capacity):
    pass


def admit(state, key, packets, rate, now):
    if packets > 1 and rate >= LEAST_RATE:
        return 1
    return 0

"""Admit a context once its flow's k-th packet has been processed: ``{packet: k}``."""


def state_size(capacity, keys):
    return 1


def init(state, capacity):
    state[0] = 1


def configure(state, value):
    state[0] = value


def admit(state, key, packets, rate, now):
    if packets >= state[0]:
        return 1
    return 0

"""Admit every context at its first packet."""


def state_size(capacity, keys):
    return 1


def init(state, capacity):
    pass


def admit(state, key, packets, rate, now):
    return 1

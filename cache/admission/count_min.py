"""Admit a flow when a count-min sketch has seen it k times of late: ``{count-min: k}``, eight unless given.

What ``{packet: k}`` does with a counter for every flow, in the memory that a NIC has: sixteen counters of 15 bits a slot.
They are raised conservatively and halved after sixteen packets a slot, so that a flow must be frequent, not only old.
"""

from oppcache.cache.sketch import sketch_count, sketch_init, sketch_tick, sketch_use, sketch_words

DEFAULT = 8
_COUNTERS, _SAMPLE = 16, 16  # a slot


def state_size(capacity, keys):
    return 1 + sketch_words(_COUNTERS * capacity)


def init(state, capacity):
    state[0] = DEFAULT
    sketch_init(state, 1, _COUNTERS * capacity, _SAMPLE * capacity)


def configure(state, value):
    state[0] = value


def admit(state, key, packets, rate, now):
    count = sketch_count(state, 1, key)
    sketch_use(state, 1, key, count)
    sketch_tick(state, 1)
    return 1 if count + 1 >= state[0] else 0

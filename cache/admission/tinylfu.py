"""TinyLFU (Einziger, Friedman, Manes, ACM TOS 13(4), 2017): a newcomer takes the victim's slot only if it comes more often.

A count-min sketch counts every lookup, on whichever side, conservatively: sixteen counters of 15 bits a slot. It is halved after
ten lookups a slot, the paper's sample of ten times the cache, so that it tells what is frequent of late. While there is a free
slot anyone may have it; once the table is full, whoever eviction would give up stays unless the newcomer was seen more
often. (The paper's doorkeeper, a Bloom filter for what came once, saves memory and is left out.)
"""

from oppcache.cache.sketch import sketch_count, sketch_init, sketch_tick, sketch_use, sketch_words

_COUNTERS, _SAMPLE = 16, 10  # a slot


def state_size(capacity, keys):
    return sketch_words(_COUNTERS * capacity)


def init(state, capacity):
    sketch_init(state, 0, _COUNTERS * capacity, _SAMPLE * capacity)


def note(state, key, now):
    sketch_use(state, 0, key, sketch_count(state, 0, key))
    sketch_tick(state, 0)


def admit(state, key, packets, rate, now):
    return 1


def prefer(state, key, loser):
    return 1 if sketch_count(state, 0, key) > sketch_count(state, 0, loser) else 0

"""Evict the context whose register R0 is highest (FlowBlaze, NSDI 2019, lets the program's registers choose).

What R0 means is the program's: with packets counted in it, the largest flow leaves, as where small ones are worth more.
All else is as in ``lowest-r0``, whose functions these are.
"""

from oppcache.cache.eviction.lowest_r0 import hit, init, insert, remove, state_size, victim
from oppcache.cache.heap import heap_rank

__all__ = ["hit", "init", "insert", "observe", "remove", "state_size", "victim"]


def observe(state, slot, label, r0, now):
    heap_rank(state, 0, slot, -r0)

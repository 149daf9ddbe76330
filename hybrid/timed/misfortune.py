"""Making the arrays of a run's faults, and enlarging them with the store."""

from __future__ import annotations

import numpy as np

from oppcache.consistency.vocabulary import CPU, NIC
from oppcache.opp.random_streams import kernel_state
from oppcache.slowpath.queues import FOREVER

from ..faults import Faults
from . import state as S

_STREAMS = ("faults.control", "faults.ring", "faults.nic", "faults.cpu")
PATIENCE = 10_000


def make_faults(faults: Faults, checkpoint_interval: int, seed: int) -> S.Faults:
    """The arrays of a run's faults, without rows for contexts yet.

    Args:
        checkpoint_interval: ns between checkpoints of the CPU's contexts.
        seed: the run's.
    """
    shares = np.zeros(S.FAULT_SHARES)
    control = faults.control
    shares[: S.FAULT_SHARES] = control.loss, control.duplicate, control.reorder, faults.ring_drop
    crashes = [(1000 * time, NIC) for time in faults.nic_reset_at]
    crashes += [(1000 * time, CPU) for time in faults.cpu_crash_at]
    clock = np.zeros(S.F_WORDS, np.int64)
    clock[[S.F_RESTART, S.F_SUSPECT, S.F_CHECKPOINT]] = FOREVER
    clock[[S.F_RANDOM + NIC, S.F_RANDOM + CPU]] = FOREVER
    clock[S.F_INTERVAL], clock[S.F_DELAY] = 1000 * checkpoint_interval, 1000 * control.delay
    clock[S.F_DOWN] = 1000 * faults.restart_after
    if faults.cpu_crashes:
        clock[S.F_CHECKPOINT] = clock[S.F_INTERVAL]
    random = np.array([kernel_state(seed, name) for name in _STREAMS])
    for side, rate in ((NIC, faults.nic_reset_rate), (CPU, faults.cpu_crash_rate)):
        if rate > 0:
            clock[S.F_MEAN + side] = int(1e12 / rate)
            first = np.random.default_rng(random[S.STREAM_NIC + side]).exponential(1e9 / rate)
            clock[S.F_RANDOM + side] = 1000 * (1 + int(first))
    width = 1 if faults.cpu_crashes else 0
    return S.Faults(
        shares,
        random,
        clock,
        np.array(sorted(crashes), np.int64).reshape(len(crashes), 2),
        np.zeros(1 if faults.crashes else 0, np.int64),
        np.zeros((width, width), np.uint64),
    )


def begin_faults(world: S.World) -> None:
    """Set the clock to the first fault."""
    faults = world.faults
    times = [int(faults.clock[at]) for at in (S.F_CHECKPOINT, S.F_RANDOM + NIC, S.F_RANDOM + CPU)]
    times += [int(time) for time in faults.schedule[:1, 0]]
    world.clock[S.T_FAULT] = min(times)


def place_faults(world: S.World, old_at: np.ndarray, first: np.ndarray) -> S.Faults:
    """Give every record of a (grown) store its rows.

    Args:
        old_at, first: ``int64`` per table (and the end): rows at which its records began, and begin now.
    """
    faults = world.faults
    total, known = int(first[-1]), len(world.tally.flows)
    fallen, copies = faults.fallen, faults.copies
    if len(fallen):
        fallen = np.zeros(total, np.int64)
    if len(copies):
        copies = np.zeros((total, int(world.program.tables["stride"].max(initial=1))), np.uint64)
    for table in range(len(old_at)):
        used = int(world.store.tables["used"][table]) if known else 0
        source = slice(int(old_at[table]), int(old_at[table]) + used)
        target = slice(int(first[table]), int(first[table]) + used)
        if len(fallen):
            fallen[target] = faults.fallen[source]
        if len(copies) and used:
            copies[target] = faults.copies[source]
    return faults._replace(fallen=fallen, copies=copies)


def begin_patience(world: S.World, patience: int) -> None:
    """The packets are used up: what does not come to rest by itself is stopped in the end.

    Args:
        patience: timers that may still run out, and so many for each context; 0: no end of it.
    """
    if patience:
        world.clock[S.T_PATIENCE] = patience * (1 + int(world.store.tables["used"].sum()))

"""The same-flow hazard: a packet that reads a context before the one ahead of it has written it back.

A stage reads a context when a packet enters it and writes it back some cycles later. FlowBlaze stalls the packet in a
short queue, and with it all behind it (NSDI'19 4.3); without that, the packet reads what was there before.
"""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.slowpath.queues import pass_through

from .state import (
    HAZARD_STALL,
    IMAGES,
    P_CYCLE,
    P_HAZARD,
    P_HAZARD_WINDOW,
    P_STAGE_CYCLES,
    Q_RX,
    T_STALL,
)


@kernel
def wait_for_hazard(w, stage, row, now, delay, cycles):
    """Let a packet wait at a stage while its context is being written back.

    Args:
        now: when it entered the pipeline; ``delay``: what it has waited since.

    Returns:
        the delay now; −1 if the stage's queue is full.
    """
    reached = now + delay + stage * w.knobs[P_STAGE_CYCLES] * w.knobs[P_CYCLE]
    begins = max(reached, w.plan["clear"][stage])
    if w.knobs[P_HAZARD] == HAZARD_STALL:
        begins = max(begins, w.rows.marks["hazard"][row])
    if begins > reached:
        queue = Q_RX + 2 * w.cores.shape[0] + stage
        if not pass_through(w.queues, queue, reached, begins):
            return np.int64(-1)
        w.clock[T_STALL] += begins - reached
    w.plan["clear"][stage] = begins + cycles * w.knobs[P_CYCLE]
    w.rows.marks["hazard"][row] = begins + w.knobs[P_HAZARD_WINDOW]
    return delay + begins - reached


@kernel
def see_stale(w, table, stage, row, base, now, delay):
    """Let a packet see its context as the pipeline's memory has it: without what is still being written back.

    The newest result written back by now is what it sees; with none of the packets in flight that far, what the first
    of them saw. Its own result will replace theirs.

    Returns:
        where to :func:`remember` what it makes of it.
    """
    reads = now + delay + stage * w.knobs[P_STAGE_CYCLES] * w.knobs[P_CYCLE]
    words = w.program.tables["stride"][table]
    newest, oldest = np.int64(-1), np.int64(-1)
    flying = False
    for i in range(IMAGES):
        if w.image_of[stage, i, 0] != row + 1:
            continue
        written = w.image_of[stage, i, 1]
        if written > reads:
            flying = True
            if oldest < 0 or written < w.image_of[stage, oldest, 1]:
                oldest = np.int64(i)
        elif newest < 0 or written > w.image_of[stage, newest, 1]:
            newest = np.int64(i)
    if flying:
        first = np.int64(0) if newest < 0 else words
        source = oldest if newest < 0 else newest
        for j in range(words):
            w.store.memory[base + j] = w.images[stage, source, first + j]
    at = w.image_of[stage, IMAGES, 0]
    w.image_of[stage, IMAGES, 0] = (at + 1) % IMAGES
    w.image_of[stage, at, 0] = row + 1
    w.image_of[stage, at, 1] = reads + w.knobs[P_HAZARD_WINDOW]
    for j in range(words):
        w.images[stage, at, j] = w.store.memory[base + j]
    return at


@kernel
def remember(w, table, stage, base, at):
    """Keep what a packet made of its context, for those that come before it is written back."""
    words = w.program.tables["stride"][table]
    for j in range(words):
        w.images[stage, at, words + j] = w.store.memory[base + j]

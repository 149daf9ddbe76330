"""Everything that a timed run is made of, as arrays that kernels take: one named tuple, :class:`World`.

Times are ``int64`` picoseconds since the first packet.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from oppcache.cache.hooks import Hooks
from oppcache.consistency.lower import ProtocolArrays
from oppcache.consistency.vocabulary import TIMERS
from oppcache.fastpath.tables import Tables
from oppcache.opp import arrays as A
from oppcache.slowpath.queues import Queues

from ..account import Tally
from ..release import Release
from .calls import Calls


def _dtype(*names: str) -> np.dtype:
    return np.dtype([(name, np.int64) for name in names], align=True)


# What is under way: a packet, a marker in a ring or a control message. Item 0 is the packet that is just entering.
ITEM_DTYPE = _dtype(
    "kind",  # PACKET, or a message's event code + 1
    "id",  # W_ID of the packet
    "ingress",
    "length",
    "stage",  # where it goes on
    "flags",
    "seen",  # bit per stage: its lookup has been counted
    "applied",  # bit per stage: it has been run on that stage's context
    "verdict",
    "port",
    "leaver",  # row of its flow and direction in World.lines, −1: none
    "core",
    "next",  # in a buffer of held packets, NOBODY at its end
    "touched",  # rows in World.touched
    "before",  # in its flow's line, see .order; 0: nobody
    "behind",
    "going",  # it was held at this row (+ 1) on the CPU, and has not been at another since
)
PACKET = 0
NOBODY = -1

# Flags of an item besides LOOKED_UP and CROSSED.
# OWNED: it was held, and is to be run on the context of the side that held it.
# LINED: it is in its flow's line. AWAY: it is in an RX ring or on the CPU. PARKED: it waits for older ones of its flow.
# DOOMED: it is about to be lost in a crash.
DELAYED, MEASURED, BOUNCED, OWNED, LINED, AWAY, PARKED, DOOMED = 4, 8, 16, 32, 64, 128, 256, 512


class Pool(NamedTuple):
    """Room for what is under way."""

    items: np.ndarray  # ITEM_DTYPE
    message: np.ndarray  # int64[items, MESSAGE_WORDS]: the message, or the packet's tag
    vectors: np.ndarray  # uint64[items, words]: header vector, or the context that a message carries
    free: np.ndarray  # int64: a stack


# One row for each record of a table: what the engine knows of its context, besides the two copies.
MARK_DTYPE = np.dtype(  # 64 bytes, which is a line of the processor's cache
    [
        ("applied", np.int64),  # packets applied to it, on either side
        ("lost", np.int64),  # of these, those that the surviving copies lack
        ("newest", np.int64),  # number of the newest packet applied, + 1
        ("hazard", np.int64),  # until when the pipeline has not written it back
        ("since", np.int64),  # when its promotion began, −1: none is under way
        ("slot", np.int32),  # NIC slot + 1 of its tenancy, 0: none
        ("away", np.int32),  # its packets that have left the NIC for the CPU and not come out of it again
        ("again", np.int32),  # its packets that were held and are to be run before any other
        (
            "heir",
            np.int32,
        ),  # another context's WATCH, or INSTALL of a fetch, that waits for its slot, 0: none
        ("queued", np.int32),  # the item that asks for its insertion and waits for the rate, 0: none
        ("wanted", np.int8),  # the policy wants it on the NIC
        ("resent", np.int8),  # whether a resend timer has run out since its state last changed
        ("standing", np.int8),  # of the NIC's state, see .standing
        ("stalled", np.int8),  # packets wait at the NIC for the outputs kept back before them, see .keeping
    ],
    align=True,
)

# Per stage of the program.
PLAN_DTYPE = _dtype(
    "runs",  # whether the NIC can run it
    "not_v4",  # 1: not for IPv4 packets
    "not_v6",
    "ordered",  # whether its table's contexts are of one connection each
    "clear",  # hazard: when the newest packet in it has read its context
    "globals",  # whether it reads or writes globals whose order matters
)


class Rows(NamedTuple):
    """One row a record, all tables; a table's rows begin at ``tally.flow_at``."""

    marks: np.ndarray  # MARK_DTYPE
    nic: np.ndarray  # int64[rows, ENTRY_WORDS]: the protocol's entries
    cpu: np.ndarray
    sides: np.ndarray  # int64[rows, SIDE_WORDS]: first, last held packet on the NIC, on the CPU; see RUNS_OUT
    waits: np.ndarray  # int64[rows, W_WORDS]: see .fences; no rows where the program has one table
    next_use: np.ndarray  # int64[rows]: see .future; no rows where no policy asks


class Policies(NamedTuple):
    """States of the policies; those of table t stand at [t], [t + 1] of the offsets."""

    eviction: np.ndarray
    eviction_at: np.ndarray
    eviction_words: np.ndarray  # of a slot, if the state lies in order of slots: only a hint
    admission: np.ndarray
    admission_at: np.ndarray
    candidates: np.ndarray
    hooks: Hooks
    release: Release
    lets_go: int  # 1: there may be slots to give up at a lookup, see .watching
    looks: int  # 1: a context is looked at after it was run
    next_uses: (
        np.ndarray
    )  # int64 per lookup, and per packet its first one's number: see ..rehearsal; empty where no policy asks
    first_lookup: np.ndarray


class Departures(NamedTuple):
    """Packets that have left, for an observer; without rows, nothing is kept."""

    vectors: np.ndarray  # uint64[n, words]
    fate: np.ndarray  # int64[n, 5]: number, verdict (−1: lost), port, flags, time


class Faults(NamedTuple):
    """What goes wrong in a run: see :mod:`.faulty` and :mod:`.crash`."""

    shares: np.ndarray  # float64[FAULT_SHARES]: how often each kind of small fault happens
    random: np.ndarray  # uint64[FAULT_STREAMS, 1]: their random streams
    clock: np.ndarray  # int64[F_WORDS]
    schedule: np.ndarray  # int64[n, 2]: time and side of each crash, in order of time
    fallen: (
        np.ndarray
    )  # int64[rows]: packets applied when a crash last set a context back, + 1; without crashes no rows
    copies: (
        np.ndarray
    )  # uint64[rows, words]: the last checkpoint of each context; without CPU crashes no rows


class Records(NamedTuple):
    """Histograms and sums of a run."""

    latency: np.ndarray  # int64[LATENCIES, BUCKETS]
    latency_sum: np.ndarray  # float64[LATENCIES], ps
    migration: np.ndarray  # int64[1, BUCKETS]


# A row of Rows.waits: packets that were run on the context and are still on the CPU, the number of the BFENCE that has not
# come back yet, then first and last of what waits to be sent, and of the packets that wait.
W_PENDING, W_BOUNCED, W_FENCES, W_BEHIND, W_WORDS = 0, 1, 2, 4, 6

# In a row of Rows.sides: when the NIC's timer runs out, the CPU's, BFENCE's; NOBODY: none runs.
RUNS_OUT, SIDE_WORDS = 4, 8

# A row of World.lines: first and last item of the line, 0: nobody, see .order; the newest packet that has left, + 1; a
# word unused, so that both directions of a flow stand in one line of the processor's cache.
L_FIRST, L_LAST, L_LEFT, L_WORDS = 0, 1, 2, 4

IMAGES = 16  # of contexts in a stage that are remembered while they are written back
DEFERRED = 64  # commands of one packet's visit
LATENCIES = 3  # hit, delayed, miss

# The clock: what time it is, and until when things are busy; counts; and T_UNCHANGED, 1 while the table is asked about a
# packet that has changed nothing (.keeping).
(
    T_NOW, T_ORIGIN, T_PIPELINE, T_EXIT, T_RX, T_TX, T_CONTROL_IN, T_CONTROL_OUT, T_TOKENS, T_NEXT, T_NEXT_KIND,
    T_FREE, T_STOP, T_HELD, T_HELD_PEAK, T_LEFT, T_INSERTER, T_STALL, T_FINAL, T_MEASURED, T_SAMPLES, T_SAMPLE_AT,
    T_WINDOW, T_BOUNCES, T_FAULT, T_NIC_UP, T_CPU_UP, T_PATIENCE, T_LOGGED, T_UNCHANGED, T_WORDS,
) = range(31)  # fmt: skip
# Why the kernel came back.
STOP_STORE, STOP_POOL, STOP_QUEUE, STOP_DEPARTURES, STOP_FAULT, STOP_SAMPLES = 1, 2, 4, 8, 16, 32
STOP_STUCK, STOP_LOG = 64, 128

# A sample: the time, sums since counting began, then how full things are (the fullest of several).
(
    M_TIME, M_PACKETS, M_LOOKUPS, M_HITS, M_DROPS, M_MOVES, M_FAILURES, M_CONTEXTS,
    M_NIC, M_RX, M_CPU, M_TX, M_CONTROL, SAMPLE_WORDS,
) = range(14)  # fmt: skip

# What a run is given, all in ps, bytes and counts.
(
    P_CYCLE, P_BUS, P_LATENCY, P_STAGE_CYCLES, P_HAZARD, P_HAZARD_WINDOW,
    P_RX, P_TX, P_BANDWIDTH, P_CONTROL, P_CONTROL_BANDWIDTH, P_INSERT, P_BURST, P_MOVE,
    P_HOLD, P_RETRIES, P_RESERVE, P_FIRST_TABLE, P_INSTANT, P_POISON, P_TAG_BYTES, P_CONTEXT_BYTES,
    P_ORDERED, P_PACED, P_FIXED, P_SHORT_CYCLES, P_SHORT_BYTES, P_SEVERAL, P_EGRESS, P_FENCED,
    P_EVICTS, P_TAKES, P_ALONE, P_CONTROL_FAULTS, P_RING_FAULTS, P_KEEPS, P_FETCHES, P_BUS_SHIFT, P_TIMER,
) = range(39)  # fmt: skip
HAZARD_NONE, HAZARD_STALL, HAZARD_STALE = range(3)

# Queues, by number: the NIC's input, the ring to it, messages to it, inserts, messages to the CPU, timers, control
# messages that a fault has made late; then a ring and a waiting line for each core.
Q_INPUT, Q_TX, Q_TO_NIC, Q_INSERT, Q_TO_CPU, Q_TIMER = range(6)
TIMER_AGAIN = len(TIMERS)  # a resend timer that runs again: a line for each length
TIMER_KINDS = len(TIMERS) + 1  # the first is no timer
BFENCE_TIMER = 2  # beside the two sides' own
Q_LATE = Q_TIMER + TIMER_KINDS
Q_RX = Q_LATE + 1  # of core c: + 2 c; its waiting line: + 2 c + 1; then a line for each stage
P_WORDS = P_TIMER + TIMER_KINDS  # the length of each kind of timer, 0: it never runs


# Small faults: their shares, and the random streams of everything that is drawn.
FAULT_LOSS, FAULT_DUPLICATE, FAULT_REORDER, FAULT_RING, FAULT_SHARES = range(5)
STREAM_CONTROL, STREAM_RING, STREAM_NIC, STREAM_CPU, FAULT_STREAMS = range(5)
# The faults' own clock: the next row of the schedule, when the CPU's cores go on, when the CPU hears of a NIC reset, the
# next checkpoint; then, in ps, what a run is given; then, per side, the time of the next random crash and the mean gap.
(
    F_AT, F_RESTART, F_SUSPECT, F_CHECKPOINT, F_INTERVAL, F_DELAY, F_DOWN, F_RANDOM, F_MEAN, F_WORDS,
) = (0, 1, 2, 3, 4, 5, 6, 7, 9, 11)  # fmt: skip

# A row of the log of what happens to contexts, for an observer: see :mod:`.log`.
LOG_WORDS = 8


class World(NamedTuple):
    """A timed run."""

    calls: Calls
    program: A.ProgramArrays
    store: A.Store
    variables: np.ndarray
    tables: Tables
    protocol: ProtocolArrays
    standings: np.ndarray  # int8 per state of the NIC: see .standing
    policies: Policies
    tally: Tally
    rows: Rows
    pool: Pool
    touched: np.ndarray  # int64[items, stages]: keys of contexts that the CPU ran the packet on
    lines: np.ndarray  # int64[flows and directions, L_WORDS]: see L_FIRST
    queues: Queues
    again: np.ndarray  # int64[1 + cores, 2]: packets to be run before any other, on the NIC and on each core
    cores: np.ndarray
    service: np.ndarray
    plan: np.ndarray  # PLAN_DTYPE
    grouped: np.ndarray  # uint8[tables]: whether their contexts are all at home on the first core
    images: np.ndarray  # uint64[stages, IMAGES, 2 * words]: what a packet saw and what it made of it
    image_of: (
        np.ndarray
    )  # int64[stages, IMAGES + 1, 2]: row + 1, when it is written back; then the next place
    runnable: (
        np.ndarray
    )  # uint8[entries + stages]: whether the NIC can run each entry, and none in each stage
    taken: np.ndarray  # int64[2, entries + stages]: packets that took each on the NIC, and on the CPU
    clock: np.ndarray
    knobs: np.ndarray
    records: Records
    departures: Departures
    faults: Faults
    log: np.ndarray  # int64[n, LOG_WORDS]; without rows, nothing is kept
    samples: np.ndarray  # int64[n, SAMPLE_WORDS]: how things stood at the end of each window
    node: np.ndarray  # int64[2, NODE_WORDS]
    commands: np.ndarray  # int64[COMMANDS_MAX, COMMAND_WORDS]
    deferred: (
        np.ndarray
    )  # int64[1 + cores, 1 + DEFERRED, COMMAND_WORDS + 1]: commands that wait for a packet to leave
    message: np.ndarray  # int64[MESSAGE_WORDS]: that of the event being handled
    scratch: np.ndarray

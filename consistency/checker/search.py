"""The search itself: breadth first from the first state, then backwards for liveness."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from oppcache._jit import kernel

from ..interpreter import reset_entry
from ..lower import ProtocolArrays, lower_with_places
from ..table import Protocol
from ..vocabulary import COMMAND_WORDS, COMMANDS_MAX, CPU, EV_BFENCE, MESSAGE_WORDS, NIC, PROPERTIES, PROPERTY
from .analysis import FIELDS, Analysis, analyse, oversteps
from .canonical import canonicalise, sort_messages
from .flows import renumber_packets
from .ghosts import DISABLED, LIMITS, ONE_OWNER, OVERFLOW, is_quiet, two_owners
from .layout import (
    KEY_WORDS,
    S_CPU,
    S_CPU_CRASHES,
    S_DEMOTIONS,
    S_DROPS,
    S_KEYS,
    S_NIC,
    S_NIC_CRASHES,
    S_PROMOTIONS,
    S_UNTAGGED,
    STORED_MAX,
    WORDS,
    copy_state,
    hash_of,
    pack,
    unpack,
)
from .liveness import first_stuck
from .model import P_FLOWS, P_KEYS, P_LOSSY, Model
from .moves import IDLE, MOVE_WORDS, MOVES_MAX, is_own_step, list_moves, look, make
from .store import (
    MAX_LOAD_PERCENT,
    N_DEPTH,
    N_EDGES,
    N_FIRST,
    N_LEVEL_END,
    N_NEXT,
    N_SEEN,
    N_STATES,
    N_TRANSITIONS,
    N_WORDS,
    Store,
    find_or_add,
    grown,
    has_room,
    make_store,
    warm,
)
from .verdict import Verdict

BATCH = 50_000
DONE, MORE, STOPPED, TOO_LARGE = range(4)
Progress = Callable[[int, int, int], None]


class System(NamedTuple):
    """A protocol with its bounds, as the kernels take it."""

    parameters: np.ndarray
    analysis: Analysis
    protocol: ProtocolArrays
    facts: np.ndarray
    oversteps: np.ndarray


class Scratch(NamedTuple):
    """Arrays that the kernels work in."""

    s: np.ndarray
    t: np.ndarray
    words: np.ndarray
    moves: np.ndarray
    message: np.ndarray
    out: np.ndarray
    fired: np.ndarray
    found: np.ndarray  # uint32[MOVES_MAX, STORED_MAX], short forms of one state's successors
    lengths: np.ndarray
    hashes: np.ndarray
    own: np.ndarray  # whether a quiet system takes the step


def make_system(protocol: Protocol, model: Model) -> System:
    """Lower and analyse a protocol for a model."""
    arrays, places = lower_with_places(protocol)
    analysis = analyse(protocol, arrays.states.shape[1])
    if model.untagged:
        # Read by no row, but by the rule around the tables.
        analysis.reads[EV_BFENCE, FIELDS.index("n")] = analysis.reads[
            EV_BFENCE, FIELDS.index("incarnation")
        ] = 1
    return System(
        model.parameters(protocol), analysis, arrays, facts_read(arrays), oversteps(protocol, places)
    )


def facts_read(arrays: ProtocolArrays) -> np.ndarray:
    """int64[role, state, event]: the facts that a cell's rows look at."""
    from ..vocabulary import FACTS

    found = np.zeros(arrays.cells.shape, np.int64)
    for place in np.ndindex(*arrays.cells.shape):
        first, rows = arrays.cells[place]
        for row in range(first, first + max(rows, 0)):
            found[place] |= int(arrays.rows["mask"][row]) & FACTS
    return found


def make_scratch(system: System) -> Scratch:
    """Scratch arrays for a system."""
    return Scratch(
        np.zeros(WORDS, np.int64),
        np.zeros(WORDS, np.int64),
        np.zeros(STORED_MAX, np.uint32),
        np.zeros((MOVES_MAX, MOVE_WORDS), np.int64),
        np.zeros(MESSAGE_WORDS, np.int64),
        np.zeros((COMMANDS_MAX, COMMAND_WORDS), np.int64),
        np.zeros(max(1, len(system.protocol.rows)), np.uint8),
        np.zeros((MOVES_MAX, STORED_MAX), np.uint32),
        np.zeros(MOVES_MAX, np.int64),
        np.zeros(MOVES_MAX, np.uint64),
        np.zeros(MOVES_MAX, np.uint8),
    )


def first_state(system: System, model: Model) -> np.ndarray:
    """The working vector of the first state: nothing has entered, the CPU owns."""
    s = np.zeros(WORDS, np.int64)
    s[S_NIC] = s[S_CPU] = 1
    s[S_PROMOTIONS], s[S_DEMOTIONS] = model.promotions, model.demotions
    s[S_NIC_CRASHES], s[S_CPU_CRASHES] = model.nic_crashes, model.cpu_crashes
    s[S_DROPS], s[S_UNTAGGED] = model.ring_drops, model.untagged
    for key in range(model.keys):
        b = S_KEYS + key * KEY_WORDS
        reset_entry(system.protocol, NIC, s[b : b + 8], False)
        reset_entry(system.protocol, CPU, s[b + 8 : b + 16], False)
    canonicalise(s, model.keys, False, system.analysis)
    return s


@kernel
def next_state(system, scratch, move):
    """Make a move from ``scratch.s`` into ``scratch.t``; returns violations, DISABLED or OVERFLOW.

    In ``scratch.t`` packets keep their numbers; :func:`number_packets` makes it the one form.
    """
    s, t = scratch.s, scratch.t
    parameters, analysis, protocol = system.parameters, system.analysis, system.protocol
    row = look(parameters, protocol, s, move, scratch.message, scratch.fired)
    if row == IDLE:
        return DISABLED
    copy_state(s, t, parameters[P_KEYS])
    wrong = make(parameters, analysis, protocol, t, move, row, scratch.message, scratch.out)
    if wrong & DISABLED:
        return DISABLED
    if row >= 0 and system.oversteps[row]:
        wrong |= LIMITS
    if not canonicalise(t, parameters[P_KEYS], parameters[P_LOSSY] > 0, analysis):
        wrong |= OVERFLOW
    if two_owners(protocol, t, parameters[P_KEYS]):
        wrong |= ONE_OWNER
    return wrong


@kernel
def number_packets(system, t):
    """Where a key has several flows, bring a state's packets into their one numbering."""
    if system.parameters[P_FLOWS] > 1:
        renumber_packets(system.parameters, t)
        if system.parameters[P_LOSSY]:
            sort_messages(t)


@kernel
def find_successors(system, store, scratch, number, stop):
    """Short forms of all successors of ``scratch.s``; returns how many, or -STOPPED or -TOO_LARGE."""
    count = list_moves(system.parameters, system.protocol, scratch.s, system.facts, scratch.moves)
    found = 0
    for m in range(count):
        wrong = next_state(system, scratch, scratch.moves[m])
        if wrong & OVERFLOW:
            return -TOO_LARGE
        if wrong & DISABLED:
            continue
        if wrong & ~store.counters[N_SEEN]:
            note(store, wrong & ~store.counters[N_SEEN], number)
            if wrong & stop:
                return -STOPPED
        number_packets(system, scratch.t)
        length = pack(scratch.t, system.parameters[P_KEYS], scratch.found[found])
        scratch.lengths[found] = length
        scratch.hashes[found] = hash_of(scratch.found[found], 0, length)
        scratch.own[found] = np.uint8(1 if is_own_step(scratch.moves[m]) else 0)
        found += 1
    return found


@kernel(forceinline=False)
def expand(system, store, scratch, batch, stop):
    """Expand up to ``batch`` states; returns DONE, MORE (room or patience ran out), STOPPED or TOO_LARGE."""
    counters, keys = store.counters, system.parameters[P_KEYS]
    liveness = len(store.quiet) > 0
    for _ in range(batch):
        number = counters[N_NEXT]
        if number >= counters[N_STATES]:
            return DONE
        if not has_room(store):
            return MORE
        if number == counters[N_LEVEL_END]:
            counters[N_DEPTH] += 1
            counters[N_LEVEL_END] = counters[N_STATES]
        unpack(store.arena, store.starts[number - counters[N_FIRST]], keys, scratch.s)
        if liveness:
            store.quiet[number] = np.uint8(
                1 if is_quiet(system.parameters, system.protocol, scratch.s) else 0
            )
            store.edge_starts[number] = counters[N_EDGES]
        successors = find_successors(system, store, scratch, number, stop)
        if successors < 0:
            return -successors
        warm(store, scratch, successors)
        for i in range(successors):
            target = find_or_add(store, scratch.found[i], scratch.lengths[i], scratch.hashes[i], number)
            if target != number:
                counters[N_TRANSITIONS] += 1
                if liveness and scratch.own[i]:
                    store.edges[counters[N_EDGES]] = np.uint32(target)
                    counters[N_EDGES] += 1
        counters[N_NEXT] = number + 1
        if liveness:
            store.edge_starts[number + 1] = counters[N_EDGES]
    return MORE


@kernel(forceinline=False)
def add_first(store, words, length):
    """Store the first state."""
    find_or_add(store, words, length, hash_of(words, 0, length), 0)


@kernel
def note(store, wrong, number):
    """Remember where each property was violated first."""
    store.counters[N_SEEN] |= wrong
    for i in range(len(store.first)):
        if wrong >> i & 1:
            store.first[i] = number


def forget_expanded(store: Store) -> None:
    """With hash compaction: drop the short forms of the states that have been expanded."""
    counters = store.counters
    done = int(counters[N_NEXT] - counters[N_FIRST])
    window = int(counters[N_STATES] - counters[N_FIRST])
    start, end = int(store.starts[done]), int(counters[N_WORDS])
    if start < end // 2:
        return
    store.arena[: end - start] = store.arena[start:end].copy()
    store.starts[: window - done + 1] = store.starts[done : window + 1] - start
    counters[N_FIRST] += done
    counters[N_WORDS] = end - start


def check(
    protocol: Protocol,
    model: Model,
    *,
    properties: Iterable[str] | None = None,
    to_the_end: bool = False,
    compact: bool = False,
    states_max: int | None = None,
    memory: int | None = None,
    progress: Progress | None = None,
) -> Verdict:
    """Check a protocol within a model's bounds.

    Args:
        properties: those that count; all but ``output-commit`` unless given.
        to_the_end: go on after a violation, until the first of every property is known.
        compact: keep hashes of states instead of states.
        states_max: give up after so many states (undecided).
        memory: give up at so many bytes; three quarters of what is free unless given.
        progress: called now and then with states, states still to expand, and depth.

    Raises:
        InputError: bounds that do not fit a stored state.
    """
    model.check()
    wanted = (
        [p.name for p in PROPERTIES if p.name != "output-commit"] if properties is None else list(properties)
    )
    mask = sum(1 << PROPERTY[name] for name in wanted)
    system, began = make_system(protocol, model), time.perf_counter()
    scratch = make_scratch(system)
    liveness = model.liveness and "liveness" in wanted
    memory = memory or free_memory() * 3 // 4
    store = make_store(liveness, compact)
    length = pack(first_state(system, model), model.keys, scratch.words)
    add_first(store, scratch.words, length)
    status = MORE
    while status == MORE:
        store = grown(store, memory)
        status = expand(system, store, scratch, BATCH, 0 if to_the_end else mask)
        if compact:
            forget_expanded(store)
        if progress is not None:
            states = int(store.counters[N_STATES])
            progress(states, states - int(store.counters[N_NEXT]), int(store.counters[N_DEPTH]))
        if status == MORE and (over(store, states_max) or in_use(store) > memory):
            break
    stuck = -1
    if liveness and status == DONE:
        stuck = first_stuck(store)
    return Verdict(
        protocol, model, system, store, scratch.fired, wanted, status == DONE or status == STOPPED,
        status == TOO_LARGE, stuck, compact, time.perf_counter() - began,
    )  # fmt: skip


def over(store: Store, states_max: int | None) -> bool:
    """Whether the limit of states is reached."""
    return states_max is not None and int(store.counters[N_STATES]) > states_max


def in_use(store: Store) -> int:
    """Bytes of a store that have been touched, and of the larger table where it is about to grow."""
    states, words, edges = (int(store.counters[i]) for i in (N_STATES, N_WORDS, N_EDGES))
    each = 12 + (8 if len(store.hashes) else 0) + (9 if len(store.quiet) else 0)
    grows = states * 100 > len(store.table) * (MAX_LOAD_PERCENT - 2)
    return 4 * words + each * states + 4 * edges + store.table.nbytes * (3 if grows else 1)


def free_memory() -> int:
    """Bytes of memory that are free, as the system tells; 4 GiB where it does not."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 4 << 30

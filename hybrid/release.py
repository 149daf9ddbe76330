"""Giving NIC slots up without a newcomer: what was idle too long, and what is about to end (``cache.release``).

Both engines keep it beside the policies and whatever these are: a table's slots by their last use, and what tells that
a connection closes. A context whose label, or whose connection's last packets, say so is released and gets no slot again
until a SYN begins a new connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from oppcache._jit import kernel
from oppcache.cache.ageing import age_begin, age_due, age_end, age_init, age_use, age_words
from oppcache.opp import arrays as A
from oppcache.opp.errors import InputError, Mark, Problem, near_miss
from oppcache.opp.fields import W_HEADERS, W_TCP_FLAGS, Header
from oppcache.opp.program import Program

TCP_FLAGS = {"FIN": 1, "RST": 4}
_SYN = np.uint64(2)
_LABEL = np.uint64(A.STATE_MASK)
_TCP = np.uint64(1 << int(Header.TCP))
_ZERO = np.uint64(0)
_MOST_LABELS = 1 << 16  # by number


@dataclass(frozen=True)
class ReleaseSettings:
    """When a context gives its slot up without a newcomer.

    Attributes:
        idle: ns without a lookup on the NIC after which it does; 0: never.
        states: state labels, by name or number, in which it does.
        flags: TCP flags, of :data:`TCP_FLAGS`, after a packet with one of which it does.
    """

    idle: int = 0
    states: tuple[str | int, ...] = ()
    flags: tuple[str, ...] = ()


class Release(NamedTuple):
    """The same for kernels; ages of table t stand at [t], [t + 1] of the offsets."""

    idle: int
    flags: int  # TCP flags; 0: none
    ends: int  # 1 if labels or flags are looked at
    closing: np.ndarray  # uint8[tables, labels]: 1 where a context with the label is to go
    ages: np.ndarray  # int64 states of all tables
    ages_at: np.ndarray  # int64[tables + 1]


def make_release(
    settings: ReleaseSettings, program: Program, capacities: list[int], mark: Mark | None = None
) -> Release:
    """The arrays of a run.

    Args:
        settings: of ``cache.release``.
        program: whose labels the settings name.
        capacities: slots of each table.
        mark: where the settings stand, for messages.

    Raises:
        InputError: no table has a label of that name.
    """
    sizes = [int(age_words(n)) if settings.idle and n else 0 for n in capacities]
    at = np.cumsum([0, *sizes]).astype(np.int64)
    ages = np.zeros(int(at[-1]), np.int64)
    for table, size in enumerate(sizes):
        if size:
            age_init(ages[at[table] : at[table + 1]])
    mask = 0
    for flag in settings.flags:
        mask |= TCP_FLAGS[flag]
    closing = closing_labels(program, settings.states, mark)
    return Release(settings.idle, mask, int(bool(mask or settings.states)), closing, ages, at)


def closing_labels(program: Program, states: tuple[str | int, ...], mark: Mark | None = None) -> np.ndarray:
    """``uint8[tables, labels]``: 1 where a table has one of these labels, by name or number."""
    names = sorted({name for table in program.tables for name in table.states})
    numbers = [[*table.states] for table in program.tables]
    width = max([len(row) for row in numbers] + [s + 1 for s in states if isinstance(s, int)], default=0)
    if width > _MOST_LABELS:
        message = f"cache.release.states: got label {width - 1}, expected a number below {_MOST_LABELS}"
        raise InputError(message, mark or Mark(""))
    closing = np.zeros((len(numbers), width), np.uint8)
    for state in states:
        if isinstance(state, int):
            closing[:, state] = 1
        elif state in names:
            for table, row in enumerate(numbers):
                if state in row:
                    closing[table, row.index(state)] = 1
        else:
            known = ", ".join(names) or "none"
            message = (
                f"cache.release.states: got {state!r}, expected a state label of the program; it has: {known}"
            )
            raise InputError(Problem(message, mark or Mark(""), near_miss(str(state), names)))
    return closing


@kernel
def slot_used(release, table, slot, now):
    """A lookup found its context in a slot."""
    if release.idle > 0:
        age_use(release.ages[release.ages_at[table] : release.ages_at[table + 1]], slot, now)


@kernel
def slot_taken(release, table, slot, now):
    """A context was put into a slot."""
    if release.idle > 0:
        age_begin(release.ages[release.ages_at[table] : release.ages_at[table + 1]], slot, now)


@kernel
def slot_emptied(release, table, slot):
    """A slot was emptied."""
    if release.idle > 0:
        age_end(release.ages[release.ages_at[table] : release.ages_at[table + 1]], slot)


@kernel
def slot_idle(release, table, now):
    """A slot of a table that has been idle too long, −1 for none."""
    if release.idle == 0:
        return np.int64(-1)
    return age_due(release.ages[release.ages_at[table] : release.ages_at[table + 1]], now, release.idle)


@kernel
def slot_to_release(release, hooks, state, table, now):
    """A slot of a table that has been idle too long, or that its eviction policy gives up, −1 for none."""
    slot = slot_idle(release, table, now)
    if slot < 0 and hooks.releases and state.shape[0] > 0:
        slot = hooks.release(state, now)
    return slot


@kernel
def note_flags(release, vector, flows, row):
    """Note in a flow's row whether its connection closes or begins, after a packet of it."""
    if release.flags == 0 or vector[W_HEADERS] & _TCP == _ZERO:
        return
    flags = vector[W_TCP_FLAGS]
    if flags & np.uint64(release.flags) != _ZERO:
        flows["closing"][row] = 1
    elif flags & _SYN != _ZERO:
        flows["closing"][row] = 0


@kernel
def is_closing(release, memory, base, table, flows, row):
    """Whether the context at a word is to have no slot."""
    label = np.int64(memory[base + A.C_STATE] & _LABEL)
    if label < release.closing.shape[1] and release.closing[table, label] == 1:
        return True
    return flows["closing"][row] == 1


@kernel
def first_register(program, memory, base, table):
    """Register R0 of the context at a word, as a signed number; 0 where the table has none."""
    if program.tables["registers"][table] == 0:
        return np.int64(0)
    return np.int64(memory[base + A.C_HEADER_WORDS + program.tables["key_words"][table]])


@kernel
def label_of(memory, base):
    """State label of the context at a word."""
    return np.int64(memory[base + A.C_STATE] & _LABEL)

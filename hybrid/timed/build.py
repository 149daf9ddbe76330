"""Making a timed run's arrays from its setup, and enlarging them on the way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oppcache._memory import full, joined, zeros
from oppcache.cache import Admission, Eviction
from oppcache.cache.hooks import hooks_of
from oppcache.cache.loading import make_state
from oppcache.consistency import Protocol
from oppcache.consistency.interpreter import reset_entry
from oppcache.consistency.vocabulary import (
    COMMAND_WORDS,
    COMMANDS_MAX,
    CPU,
    E_STATE,
    ENTRY_WORDS,
    EVENT,
    MESSAGE_WORDS,
    N_INCARNATION,
    NIC,
    NODE_WORDS,
    TIMERS,
)
from oppcache.fastpath import Profile
from oppcache.fastpath.organisations import organisation_of
from oppcache.fastpath.tables import Tables, candidates_most, make_tables
from oppcache.opp import arrays as A
from oppcache.opp.contexts import make_store
from oppcache.opp.errors import InputError
from oppcache.opp.lower import Lowered
from oppcache.opp.program import Program
from oppcache.slowpath.cores import make_cores, make_service
from oppcache.slowpath.queues import FOREVER, make_queues
from oppcache.traffic import make_generator

from ..account import FLOW_DTYPE, Tally, make_tally
from ..flows import counts_flows
from ..placement import Placement
from ..rehearsal import nothing_rehearsed, rehearse
from ..release import make_release
from ..setup import Setup
from . import state as S
from .calls import no_calls
from .misfortune import begin_faults, make_faults, place_faults
from .parts import Parts, gather
from .records import BUCKETS
from .series import ROWS as SAMPLE_ROWS
from .standing import standings

_FIRST_ITEMS = 4096
_TIMERS = 1 << 12  # a line for so many, which grows
_MESSAGES = 1 << 16  # control messages under way, each way
_INPUT_FRAMES = 512
_RESEND_AGAIN = 8  # times as long as the first time
_TAG_BYTES = 32  # tag, metadata and descriptor beside a packet in a ring; a control message
HAZARDS = ("none", "stall", "stale")


def build(setup: Setup, parts: Parts) -> S.World:
    """Make the arrays of a run, with nothing under way.

    Raises:
        InputError: the profile's numbers do not fit together.
    """
    lowered, profile, placement = parts.lowered, parts.profile, parts.placement
    arrays = lowered.arrays
    tables = _tables(setup, arrays, profile, placement)
    most = int(tables.rows["contexts"].max(initial=0))
    store = make_store(arrays, most, capacity=setup.records)
    words = max(lowered.layout.words, int(arrays.tables["stride"].max(initial=1)))
    stages, cores = len(arrays.stages), setup.cpu.cores
    world = S.World(
        calls=no_calls(),
        program=arrays,
        store=store,
        variables=arrays.globals.copy(),
        tables=tables,
        protocol=parts.table,
        standings=standings(parts.table),
        policies=_policies(setup, lowered, parts.eviction, parts.admission, tables),
        tally=make_tally(len(arrays.tables)),
        rows=_rows(0, False, False),
        pool=_pool(_FIRST_ITEMS, words),
        touched=np.zeros((_FIRST_ITEMS, max(stages, 1)), np.int64),
        lines=np.zeros((1, S.L_WORDS), np.int64),
        queues=make_queues(_limits(setup, profile, stages), range(S.Q_TIMER, S.Q_RX)),
        again=np.full((1 + cores, 2), S.NOBODY, np.int64),
        cores=make_cores(cores),
        service=make_service(setup.cpu.service, setup.seed),
        plan=_plan(setup, lowered, placement, parts.protocol),
        grouped=_grouped(lowered, placement),
        images=zeros((stages, S.IMAGES, 2 * words), np.uint64),
        image_of=np.zeros((stages, S.IMAGES + 1, 2), np.int64),
        runnable=np.concatenate([placement.entries[: len(arrays.entries)], np.ones(stages, np.uint8)]),
        taken=np.zeros((2, len(arrays.entries) + stages), np.int64),
        clock=np.zeros(S.T_WORDS, np.int64),
        knobs=_knobs(setup, lowered, profile, parts.protocol, placement),
        records=S.Records(
            np.zeros((S.LATENCIES, BUCKETS), np.int64),
            np.zeros(S.LATENCIES, np.float64),
            np.zeros(BUCKETS, np.int64),
        ),
        departures=S.Departures(np.zeros((0, 1), np.uint64), np.zeros((0, 5), np.int64)),
        faults=make_faults(setup.faults, setup.migration.checkpoint_interval, setup.seed),
        log=np.zeros((0, S.LOG_WORDS), np.int64),
        samples=np.zeros((SAMPLE_ROWS, S.SAMPLE_WORDS), np.int64),
        node=np.zeros((2, NODE_WORDS), np.int64),
        commands=np.zeros((COMMANDS_MAX, COMMAND_WORDS), np.int64),
        deferred=np.zeros((1 + cores, 1 + S.DEFERRED, COMMAND_WORDS + 1), np.int64),
        message=np.zeros(MESSAGE_WORDS, np.int64),
        scratch=np.zeros(A.S_WORDS, np.uint64),
    )
    world.node[:, N_INCARNATION] = 1
    world.clock[S.T_FREE] = _FIRST_ITEMS - 1
    world.clock[S.T_NEXT] = world.clock[S.T_PATIENCE] = FOREVER
    begin_faults(world)
    return place_rows(world)


def _tables(setup: Setup, arrays: A.ProgramArrays, profile: Profile, placement: Placement) -> Tables:
    """The NIC's context tables; those of stages that do not run there have no places."""
    places = [setup.contexts] * len(arrays.tables)
    for stage, runs in zip(arrays.stages, placement.stages, strict=True):
        if stage["table"] >= 0 and not runs:
            places[int(stage["table"])] = 0
    return make_tables(organisation_of(profile, setup.organisation), places, setup.seed)


def _policies(
    setup: Setup, lowered: Lowered, eviction: Eviction, admission: Admission, tables: Tables
) -> S.Policies:
    future = nothing_rehearsed(len(tables.rows))
    if eviction.needs_keys or admission.needs_keys or eviction.needs_next_use:
        chunks = (chunk.vectors for chunk in setup.source.chunks(lowered.layout))
        future = rehearse(lowered, chunks, setup.seed, next_uses=eviction.needs_next_use)
    found: list[list[np.ndarray]] = []
    for kind, policy in (("eviction", eviction), ("admission", admission)):
        found.append(
            [
                make_state(
                    policy,
                    int(tables.rows["contexts"][t]),
                    int(future.keys[t]),
                    seed=setup.seed,
                    component=f"cache.{kind}.{t}",
                    rtt_ns=setup.control.rtt,
                )
                for t in range(len(tables.rows))
            ]
        )
    flat = [joined(parts, np.int64) for parts in found]
    at = [np.cumsum([0] + [len(part) for part in parts]).astype(np.int64) for parts in found]
    candidates = np.zeros(candidates_most(tables), np.int64)
    hooks = hooks_of(eviction, admission)
    release = make_release(setup.release, setup.program, [int(n) for n in tables.rows["contexts"]])
    lets_go, looks = int(hooks.releases or release.idle > 0), int(hooks.observes or release.ends)
    return S.Policies(
        flat[0],
        at[0],
        np.diff(at[0]) // np.maximum(tables.rows["contexts"], 1),
        flat[1],
        at[1],
        candidates,
        hooks,
        release,
        lets_go,
        looks,
        future.next_uses,
        future.first,
    )


def _plan(setup: Setup, lowered: Lowered, placement: Placement, protocol: Protocol) -> np.ndarray:
    plan = np.zeros(max(len(placement.stages), 1), S.PLAN_DTYPE)
    for row, runs, punted, ordered in zip(
        plan, placement.stages, placement.punted, placement.ordered, strict=False
    ):
        row["runs"], row["ordered"] = runs, ordered
        row["not_v4"], row["not_v6"] = 4 in punted, 6 in punted
    for stage, _ in placement.globals:
        plan["globals"][stage] = 1
    if "fetch" in protocol.sent("nic") and not setup.contexts:
        # There is nowhere to fetch contexts to.
        plan["runs"][: len(placement.stages)] &= lowered.arrays.stages["table"] < 0
    return plan


def _grouped(lowered: Lowered, placement: Placement) -> np.ndarray:
    grouped = np.zeros(max(len(lowered.table_names), 1), np.uint8)
    for table, name in enumerate(lowered.table_names):
        grouped[table] = name in placement.grouped
    return grouped


def _limits(setup: Setup, profile: Profile, stages: int) -> list[int]:
    """How much goes into each queue, in the order of :mod:`.state`."""
    limits = [_INPUT_FRAMES, setup.link.ring, _MESSAGES, setup.control.queue, _MESSAGES]
    limits += [_TIMERS] * (S.Q_RX - S.Q_TIMER)
    limits += [setup.link.ring, setup.cpu.queue] * setup.cpu.cores
    return limits + [profile.number("timing.hazard_queue") or 20] * stages


def _picoseconds(profile: Profile) -> int:
    """Length of a cycle; 0 for a NIC that takes no time."""
    clock = profile.value("timing.clock")
    return round(1e12 / float(clock)) if isinstance(clock, int | float) else 0


def _knobs(
    setup: Setup, lowered: Lowered, profile: Profile, protocol: Protocol, placement: Placement
) -> np.ndarray:
    instant = protocol.instantaneous
    knobs = np.zeros(S.P_WORDS, np.int64)
    cycle, stages = _picoseconds(profile), len(lowered.arrays.stages)
    stage_cycles = (profile.number("pipeline.stage_cycles") or 0) if cycle else 0
    stride = int(lowered.arrays.tables["stride"].max(initial=0))
    migration, control = setup.migration, setup.control
    bus = (profile.number("timing.bus_bits") or 256) // 8
    values = {
        S.P_CYCLE: cycle,
        S.P_BUS: bus,
        S.P_BUS_SHIFT: bus.bit_length() - 1 if bus.bit_count() == 1 else -1,  # most buses need no division
        S.P_LATENCY: cycle * stage_cycles * stages,
        S.P_STAGE_CYCLES: stage_cycles,
        S.P_HAZARD: HAZARDS.index(hazard_of(setup, profile)),
        S.P_HAZARD_WINDOW: cycle * (profile.number("timing.hazard_cycles") or 0),
        S.P_RX: setup.link.rx * 1000,
        # A packet that comes back is parsed and steered to its stage before it enters the pipeline.
        S.P_TX: setup.link.tx * 1000 + cycle * (profile.number("timing.reentry_cycles") or 0),
        S.P_FIXED: _thousandfold(profile, "timing.fixed_latency") if cycle else 0,
        S.P_SHORT_CYCLES: profile.number("timing.short_cycles") or 1,
        S.P_SHORT_BYTES: profile.number("timing.short_bytes") or 0,
        S.P_BANDWIDTH: int(setup.link.bandwidth),
        S.P_CONTROL: control.rtt * 500,
        S.P_CONTROL_BANDWIDTH: int(control.bandwidth),
        S.P_INSERT: int(1e12 / control.inserts) if control.inserts else 0,
        S.P_BURST: control.burst,
        S.P_MOVE: 0 if instant else _thousandfold(profile, "contexts.move_time"),
        S.P_HOLD: migration.hold,
        S.P_RETRIES: migration.retries,
        S.P_RESERVE: 0 if instant else min(8, setup.contexts // 16),
        S.P_FIRST_TABLE: next((int(t) for t in lowered.arrays.stages["table"] if t >= 0), -1),
        S.P_EVICTS: protocol.evicts,
        S.P_TAKES: "clear-context" in protocol.used("nic"),
        S.P_ALONE: "process" not in protocol.used("cpu"),
        S.P_KEEPS: "process-keep" in protocol.used("nic"),
        S.P_FETCHES: "fetch" in protocol.sent("nic"),
        S.P_ORDERED: counts_flows(setup.program),
        S.P_SEVERAL: int(np.count_nonzero(lowered.arrays.stages["table"] >= 0) > 1),
        S.P_EGRESS: (placement.may_overtake or setup.rules.algorithm != "")
        and "none" not in protocol.matrix.get("egress-order", ()),
        S.P_INSTANT: instant,
        S.P_POISON: setup.poison,
        S.P_PACED: EVENT["watch" if "watch" in protocol.sent("cpu") else "install"],
        S.P_TAG_BYTES: _TAG_BYTES,
        S.P_CONTROL_FAULTS: bool(setup.faults.control),
        S.P_RING_FAULTS: setup.faults.ring_drop > 0,
        S.P_CONTEXT_BYTES: 8 * stride,
    }
    values[S.P_FENCED] = bool(values[S.P_SEVERAL]) and "none" not in protocol.matrix.get("order", ())
    for place_, value in values.items():
        knobs[place_] = value
    for kind, name in enumerate(TIMERS[1:], 1):
        knobs[S.P_TIMER + kind] = 1000 * int(getattr(migration, name))
    knobs[S.P_TIMER + S.TIMER_AGAIN] = _RESEND_AGAIN * 1000 * migration.resend
    return knobs


def _thousandfold(profile: Profile, key: str) -> int:
    """A time of a profile in ps; 0 where it has none."""
    value = profile.value(key)
    return round(1000 * value) if isinstance(value, int | float) else 0


def hazard_of(setup: Setup, profile: Profile) -> str:
    """What a run's pipeline does about the same-flow hazard."""
    if setup.hazard and setup.hazard not in HAZARDS:
        raise InputError(f"hazard: got {setup.hazard!r}, expected {', '.join(HAZARDS)}")
    takes_time = _picoseconds(profile) > 0 and (profile.number("timing.hazard_cycles") or 0) > 0
    return (setup.hazard or str(profile.value("timing.hazard") or "none")) if takes_time else "none"


def _pool(count: int, words: int) -> S.Pool:
    return S.Pool(
        zeros(count, S.ITEM_DTYPE),
        full((count, MESSAGE_WORDS), -1, np.int64),
        zeros((count, words), np.uint64),
        np.arange(count)[::-1].astype(np.int64).copy(),
    )


def _rows(count: int, several: bool, foreseen: bool) -> S.Rows:
    marks = zeros(count, S.MARK_DTYPE)
    marks["since"] = S.NOBODY
    waits = full((count if several else 0, S.W_WORDS), S.NOBODY, np.int64)
    waits[:, : S.W_FENCES] = 0
    return S.Rows(
        marks,
        zeros((count, ENTRY_WORDS), np.int64),
        zeros((count, ENTRY_WORDS), np.int64),
        full((count, S.SIDE_WORDS), S.NOBODY, np.int64),
        waits,
        np.full(count if foreseen else 0, -1, np.int64),
    )


def place_rows(world: S.World) -> S.World:
    """Give every record of a (grown) store its rows."""
    capacity = world.store.tables["capacity"]
    first = np.concatenate([[0], np.cumsum(capacity)]).astype(np.int64)
    total = int(first[-1])
    several = bool(world.knobs[S.P_SEVERAL])
    foreseen = len(world.policies.next_uses) > 0
    flows, rows = zeros(total, FLOW_DTYPE), _rows(total, several, foreseen)
    for role, entries in ((NIC, rows.nic), (CPU, rows.cpu)):
        fresh = np.zeros(ENTRY_WORDS, np.int64)
        reset_entry(world.protocol, role, fresh, False)
        entries[:] = fresh
        if role == NIC:
            rows.marks["standing"] = world.standings[fresh[E_STATE]]
    old_at = world.tally.flow_at
    for table in range(len(capacity)):
        used = int(world.store.tables["used"][table]) if len(world.tally.flows) else 0
        source = slice(int(old_at[table]), int(old_at[table]) + used)
        target = slice(int(first[table]), int(first[table]) + used)
        flows[target] = world.tally.flows[source]
        for new, old in zip(rows, world.rows, strict=True):
            if len(new):
                new[target] = old[source]
    tally = Tally(*world.tally[:4], flows, first[:-1].copy())
    lines = world.lines
    ordered = int(world.knobs[S.P_FIRST_TABLE]) if world.knobs[S.P_ORDERED] else -1
    if ordered >= 0:
        lines = enlarged(lines, 2 * int(capacity[ordered]))
    faults = place_faults(world, old_at, first)
    return world._replace(tally=tally, rows=rows, lines=lines, faults=faults)


def enlarged(array: np.ndarray, length: int) -> np.ndarray:
    """Return an array with zeros behind it, at least so long."""
    if len(array) >= length:
        return array
    longer = zeros((length, *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    return longer


def larger_pool(world: S.World) -> S.World:
    """Return the world with twice the room for what is under way."""
    old = world.pool
    count = len(old.items)
    pool = _pool(2 * count, old.vectors.shape[1])
    for new, before in zip(pool[:3], old[:3], strict=True):
        new[:count] = before
    free = int(world.clock[S.T_FREE])
    pool.free[:free] = old.free[:free]
    pool.free[free : free + count] = np.arange(count, 2 * count)[::-1]
    world.clock[S.T_FREE] = free + count
    return world._replace(pool=pool, touched=enlarged(world.touched, 2 * count))


def full_lines(world: S.World) -> Sequence[int]:
    """Lines without a limit of their own that are nearly full."""
    rows = world.queues.rows
    used = rows["tail"] - np.minimum(rows["head"], rows["gone"])
    return [k for k in range(S.Q_TIMER, S.Q_RX) if used[k] * 2 > rows["mask"][k]]


def example_world() -> S.World:
    """A small world, for its type."""
    program = Program("none")
    setup = Setup(program, make_generator({"model": "zipf", "flows": 1}, 0, 0), contexts=1, profile="ideal")
    return build(setup, gather(setup))

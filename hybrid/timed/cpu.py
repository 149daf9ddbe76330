"""The CPU: cores that take packets from their rings and run the stages whose contexts the CPU has."""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.consistency.vocabulary import (
    C_BOUNCE,
    CPU,
    E_STATE,
    EV_BFENCE,
    EV_UNTAGGED,
    M_KEY,
    M_KIND,
)
from oppcache.opp import arrays as A
from oppcache.opp.fields import W_NOW
from oppcache.opp.step import carry_out, choose, find_context
from oppcache.slowpath.cores import IDLE, V_BATCH, V_BATCH_PACKETS, V_STAGE, V_TIME, draw
from oppcache.slowpath.queues import join, serve, waiting

from ..account import rate
from ..counters import Count
from .arriving import make_room
from .contexts import cpu_base, exists
from .fences import bounce_returned, has_run, left_cpu, note_ran
from .handover import GONE, RUN
from .leaving import depart, lose, send_out
from .link import home_of, insertions_full
from .log import note_choices
from .nic import apply, look, may_run, note_away, resume, suspend
from .pool import clear_tag, free_item, pull, push
from .signals import do_deferred, react, want_promote
from .standing import nic_owns
from .state import NOBODY, OWNED, P_INSTANT, P_SEVERAL, PACKET, Q_RX, T_CPU_UP, W_BEHIND, W_BOUNCED
from .watching import closes_on_cpu
from .written import note_others

_QUEUE = int(Count.DROPS_QUEUE)
_REJECTED = int(Count.INSERTS_REJECTED)
_TAGS = np.int64(EV_UNTAGGED)


@kernel
def line_of(core):
    """The waiting line of a core."""
    return Q_RX + 2 * core + 1


@kernel
def arrive(w, item, core, now):
    """An item has come over a core's RX ring."""
    marker = w.pool.items["kind"][item] != PACKET  # a few bytes beside the packets: there is room for it
    if not join(w.queues, line_of(core), now, item, marker):
        if marker:
            free_item(w, item)
        else:
            w.tally.counts[_QUEUE] += 1
            lose(w, item, now)
        return
    if w.cores["current"][core] == IDLE:
        start(w, core, now)


@kernel
def start(w, core, now):
    """Let a core begin with the next thing that waits for it, if there is one."""
    item = pull(w, w.again, 1 + core, 0)
    if item == NOBODY:
        if waiting(w.queues, line_of(core)) == 0:
            w.cores["current"][core] = IDLE
            return
        item = serve(w.queues, line_of(core), now)
    time = np.int64(0)
    if w.pool.items["kind"][item] == PACKET:
        time = draw(w.service, w.service[V_TIME]) + draw(w.service, w.service[V_STAGE])
        if w.cores["batch"][core] == 0:
            time += w.service[V_BATCH]
            w.cores["batch"][core] = min(waiting(w.queues, line_of(core)) + 1, w.service[V_BATCH_PACKETS])
        w.cores["batch"][core] -= 1
        w.cores["served"][core] += 1
    w.cores["current"][core] = item
    w.cores["done"][core] = now + time
    w.cores["busy"][core] += time


@kernel(forceinline=False)
def cpu_message(w, item, now):
    """A control message or a marker has reached the CPU."""
    if now < w.clock[T_CPU_UP]:
        free_item(w, item)
        return
    key = w.pool.message[item, M_KEY]
    for i in range(w.message.shape[0]):
        w.message[i] = w.pool.message[item, i]
    table, record = key >> np.int64(32), key & np.int64(0xFFFF_FFFF)
    kind = w.pool.message[item, M_KIND]
    if kind == EV_BFENCE:
        bounce_returned(w, item, table, record, w.tally.flow_at[table] + record, now)
    else:
        react(w, np.int64(CPU), kind, table, record, item, np.int64(-1), now)
    free_item(w, item)
    home = home_of(w, table, record)
    if w.again[1 + home, 0] != NOBODY and w.cores["current"][home] == IDLE:
        start(w, home, now)


@kernel(forceinline=False)
def finish(w, core, now, seed):
    """A core's service has ended: what it did takes effect, and it goes on with the next."""
    item = w.cores["current"][core]
    if w.pool.items["kind"][item] != PACKET:
        cpu_message(w, item, now)
    elif run_on_cpu(w, item, core, now, seed):
        # The next stage's time; what the protocol has to send waits until the packet has left.
        time = draw(w.service, w.service[V_STAGE])
        w.cores["done"][core] = now + time
        w.cores["busy"][core] += time
        return
    do_deferred(w, np.int64(CPU), core, now)
    start(w, core, now)


@kernel
def run_on_cpu(w, item, core, now, seed):
    """Run a packet's stages from where it is, as far as the CPU can.

    Returns:
        whether the core goes on with the same packet, at a further stage.
    """
    items = w.pool.items
    vector = w.pool.vectors[item]
    stages = w.program.stages.shape[0]
    resume(w, item, vector, seed)
    stage = items["stage"][item]
    while stage < stages:
        record = find_context(w.program, w.store, stage, vector, w.scratch)
        table, row, base = np.int64(-1), np.int64(0), np.int64(-1)
        if record >= 0:
            table = w.program.stages["table"][stage]
            home = home_of(w, table, record)
            if home != core:
                items["stage"][item] = stage
                suspend(w, item)
                _forward(w, item, home, now)
                return False
            row = look(w, item, stage, table, record, vector)
            note_away(w, item, table, record)
            if _ask(w, item, table, record, core, stage, now) != RUN:
                return False
            note_ran(w, item, table, record, row)
            base = cpu_base(w, table, record)
        entry = choose(w.program, w.store, w.variables, stage, record, base, vector, w.scratch)
        w.taken[CPU, entry if entry >= 0 else w.program.entries.shape[0] + stage] += 1
        if record >= 0:
            apply(w, item, stage, row, base)
        ran = stage
        stage = carry_out(w.program, w.store, w.variables, stage, entry, record, base, vector, w.scratch)
        if w.log.shape[0] > 0 and w.scratch[A.S_CHOICES] > np.uint64(0):
            note_choices(w, item, np.int64(CPU), ran)
        note_others(w, item, np.int64(CPU), ran, entry)
        if w.policies.release.ends and record >= 0 and closes_on_cpu(w, table, record, row, vector):
            w.rows.marks["wanted"][row] = 0
        elif record >= 0 and exists(w, base):
            _consider(w, ran, table, record, row, vector, now)
        if w.service[V_STAGE] > 0 and stage < stages:
            items["stage"][item] = stage
            suspend(w, item)
            return True
    suspend(w, item)
    items["stage"][item] = stages
    if items["verdict"][item] == A.VERDICT_DROP:
        settle_wishes(w, item, now)
        left_cpu(w, item, now)
        depart(w, item, vector, np.int64(A.VERDICT_DROP), now)
        return False
    send_out(w, item, now)
    return False


@kernel
def _forward(w, item, home, now):
    """Hand a packet to the core at which its next context is at home."""
    if not join(w.queues, line_of(home), now, item, np.bool_(False)):
        w.tally.counts[_QUEUE] += 1
        lose(w, item, now)
    elif w.cores["current"][home] == IDLE:
        start(w, home, now)


@kernel
def _ask(w, item, table, record, core, stage, now):
    """Let the protocol say what becomes of a packet at a context on the CPU: RUN, or it is on its way elsewhere."""
    items = w.pool.items
    items["stage"][item] = stage
    suspend(w, item)
    row = w.tally.flow_at[table] + record
    if items["flags"][item] & OWNED:
        items["flags"][item] &= ~np.int64(OWNED)
        w.rows.marks["again"][row] -= 1
        items["going"][item] = row + 1
        clear_tag(w, item)
        if w.protocol.states["owns"][CPU, w.rows.cpu[row, E_STATE]] == 1:
            return np.int64(RUN)
    elif has_run(w, item, table, record):
        clear_tag(w, item)
        return np.int64(RUN)
    elif items["going"][item] == row + 1:
        pass  # it is the one that has been let go, in a later stage on the same context
    elif w.rows.marks["again"][row] > 0:
        # It was being served when those held before it were let go: it comes behind them.
        push(w, w.again, 1 + core, 0, item)
        return np.int64(GONE)
    key = (np.int64(table) << np.int64(32)) | record
    for i in range(w.message.shape[0]):
        w.message[i] = w.pool.message[item, i]
    event = w.message[M_KIND]
    if event < 0 or w.message[M_KEY] != key:
        event = _TAGS
    if event == _TAGS and w.knobs[P_SEVERAL] and _must_wait(w, row):
        push(w, w.rows.waits, row, W_BEHIND, item)
        return np.int64(GONE)
    answer = react(w, np.int64(CPU), event, table, record, item, core, now)
    if answer == RUN:
        clear_tag(w, item)
    return answer


@kernel
def _must_wait(w, row):
    """Whether a packet that comes without a tag must wait for bounced ones to come back, or for those that do."""
    waits = w.rows.waits
    if waits[row, W_BEHIND] != NOBODY:
        return True
    return waits[row, W_BOUNCED] > 0 and not _is_bounced(w, w.rows.cpu[row, E_STATE])


@kernel
def _is_bounced(w, state):
    """Whether the CPU sends a packet that comes without a tag back to the NIC in a state, whatever the guards say.

    See also handover._stranded.
    """
    rows = w.protocol.cells["rows"][CPU, state, _TAGS]
    if rows <= 0:
        return w.protocol.states["owns"][CPU, state] == 0
    first = w.protocol.cells["first"][CPU, state, _TAGS]
    for row in range(first, first + rows):
        at = w.protocol.rows["first"][row]
        if w.protocol.rows["actions"][row] == 0 or w.protocol.actions[at] != C_BOUNCE:
            return False
    return True


@kernel
def _consider(w, stage, table, record, row, vector, now):
    """Ask the admission policy about a context that the CPU has just used; pass the wish on to the protocol."""
    if w.tables.rows["contexts"][table] == 0 or not may_run(w, stage, vector):
        return
    if w.rows.cpu[row, E_STATE] != w.protocol.roles["start"][CPU]:
        return
    state = w.policies.admission[w.policies.admission_at[table] : w.policies.admission_at[table + 1]]
    packets = w.tally.flows["packets"][row]
    if w.calls.admit(state, record, packets, rate(w.tally, row), np.int64(vector[W_NOW])) == 0:
        return
    w.tally.flows["admitted"][row] = 1
    if w.knobs[P_INSTANT]:
        w.rows.marks["wanted"][row] = 1
    elif insertions_full(w, now):
        w.tally.counts[_REJECTED] += 1
    else:
        want_promote(w, table, record, now)


@kernel(forceinline=False)
def settle_wishes(w, item, now):
    """For ``instant``: promote the contexts that a packet used on the CPU and that none else is under way to.

    A promotion that takes no time must not overtake packets, so it waits for the moment when there are none.
    """
    if w.knobs[P_INSTANT] == 0:
        return
    for i in range(w.pool.items["touched"][item]):
        key = w.touched[item, i]
        table, record = key >> np.int64(32), key & np.int64(0xFFFF_FFFF)
        row = w.tally.flow_at[table] + record
        if w.rows.marks["wanted"][row] == 0 or w.rows.marks["away"][row] != 1:
            continue
        w.rows.marks["wanted"][row] = 0
        if nic_owns(w, row):
            continue
        if not exists(w, cpu_base(w, table, record)):
            continue
        if make_room(w, table, record, row, now) > 0:
            want_promote(w, table, record, now)

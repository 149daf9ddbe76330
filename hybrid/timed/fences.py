"""Markers that keep a context's packets in order where a program has several tables.

A packet that the CPU has run on one context may stay there, for another core or another table. What the CPU puts
into the TX ring to say that the outputs of a context's packets are out (EFENCE, or the context itself) waits until they
are, and so does the INSTALL that goes with it.

Behind each packet that the CPU sends back to run a stage on the NIC (a bounce) it puts BFENCE, which the NIC reflects.
Until that has come back the bounced packet may do so too, so later ones that reach the stage on the CPU wait.
"""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.consistency.vocabulary import (
    C_PUT,
    CPU,
    EV_BFENCE,
    M_G,
    M_INCARNATION,
    M_KEY,
    M_KIND,
    M_N,
    M_R,
    N_INCARNATION,
    TIMER_RESEND,
)

from .link import home_of, put_tx, send_to_nic
from .pool import append_list, free_item, new_item, pull
from .state import (
    BFENCE_TIMER,
    NOBODY,
    P_FENCED,
    P_INSTANT,
    P_SEVERAL,
    P_TIMER,
    RUNS_OUT,
    T_BOUNCES,
    W_BEHIND,
    W_BOUNCED,
    W_FENCES,
    W_PENDING,
)
from .timers import start_timer


@kernel
def note_ran(w, item, table, record, row):
    """Note that the CPU runs a packet on a context: markers of the context wait until the packet is off the CPU."""
    if w.knobs[P_SEVERAL] == 0 or w.knobs[P_INSTANT]:
        return
    count = w.pool.items["touched"][item]
    if count < w.touched.shape[1]:
        w.touched[item, count] = (np.int64(table) << np.int64(32)) | record
        w.pool.items["touched"][item] = count + 1
        w.rows.waits[row, W_PENDING] += 1


@kernel
def has_run(w, item, table, record):
    """Whether the CPU has run a packet on a context in an earlier stage: so it does in this one, whatever the table says.

    The context does not go to the NIC before the packet is off the CPU, and later ones would come before it if it went
    to the NIC first.
    """
    if w.knobs[P_SEVERAL] == 0 or w.knobs[P_INSTANT]:
        return False
    key, found = (np.int64(table) << np.int64(32)) | record, False
    for i in range(w.pool.items["touched"][item]):
        found = found or w.touched[item, i] == key
    return found


@kernel(forceinline=False)
def left_cpu(w, item, now):
    """A packet is off the CPU: what waited for that alone goes now."""
    if w.knobs[P_SEVERAL] == 0 or w.knobs[P_INSTANT]:
        return
    count = w.pool.items["touched"][item]
    w.pool.items["touched"][item] = 0
    for i in range(count):
        key = w.touched[item, i]
        row = w.tally.flow_at[key >> np.int64(32)] + (key & np.int64(0xFFFF_FFFF))
        w.rows.waits[row, W_PENDING] -= 1
        send_waiting(w, row, now)


@kernel
def must_wait(w, row):
    """Whether markers of a context, and the context, may not go to the NIC yet."""
    if w.knobs[P_SEVERAL] == 0 or w.knobs[P_INSTANT]:
        return False
    return w.rows.waits[row, W_PENDING] > 0 or w.rows.waits[row, W_BOUNCED] > 0


@kernel
def send_waiting(w, row, now):
    """Send what has waited, if nothing is in its way any more."""
    if must_wait(w, row):
        return
    item = pull(w, w.rows.waits, row, W_FENCES)
    while item != NOBODY:
        if w.pool.items["stage"][item] == C_PUT:
            sent = put_tx(w, item, now)
        else:
            sent = send_to_nic(w, item, w.pool.message[item, M_KIND], now)
        if not sent:
            free_item(w, item)
        item = pull(w, w.rows.waits, row, W_FENCES)


@kernel(forceinline=False)
def fence_bounce(w, table, record, row, now, again):
    """Put BFENCE behind a packet that has been sent back, or ``again`` if none has come back in time."""
    if w.knobs[P_FENCED] == 0:
        return
    w.clock[T_BOUNCES] += 1
    if not again:
        w.rows.waits[row, W_BOUNCED] = w.clock[T_BOUNCES]
    item = new_item(w)
    message = w.pool.message
    w.pool.items["kind"][item] = EV_BFENCE + 1
    message[item, M_KIND] = EV_BFENCE
    message[item, M_KEY] = (np.int64(table) << np.int64(32)) | record
    message[item, M_G] = 0
    message[item, M_R] = 0
    message[item, M_N] = w.clock[T_BOUNCES]
    message[item, M_INCARNATION] = w.node[CPU, N_INCARNATION]
    if not put_tx(w, item, now):
        free_item(w, item)
    if w.rows.sides[row, RUNS_OUT + BFENCE_TIMER] > now or w.knobs[P_TIMER + TIMER_RESEND] == 0:
        return  # it will be sent again in time, or nothing is
    start_timer(w, np.int64(BFENCE_TIMER), np.int64(TIMER_RESEND), table, record, row, now)


@kernel
def bounce_returned(w, item, table, record, row, now):
    """BFENCE has come back to the CPU: the packets before it have too, and those that waited for them go on."""
    outstanding = w.rows.waits[row, W_BOUNCED]
    if outstanding == 0 or w.pool.message[item, M_N] < outstanding:
        return
    w.rows.waits[row, W_BOUNCED] = 0
    w.rows.sides[row, RUNS_OUT + BFENCE_TIMER] = NOBODY
    send_waiting(w, row, now)
    append_list(w, w.rows.waits, row, W_BEHIND, w.again, 1 + home_of(w, table, record))

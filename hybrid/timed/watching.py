"""What policies see of contexts besides lookups, and slots that are given up without a newcomer.

Nothing here is called in a run whose policies define neither ``observe`` nor ``release``, ``note`` nor ``prefer``, and that has
no ``cache.release``.
"""

from __future__ import annotations

from oppcache._jit import kernel
from oppcache.fastpath.tables import is_owned, occupant

from ..counters import Count
from ..release import first_register, is_closing, label_of, note_flags, slot_to_release
from .contexts import cpu_base, exists, nic_base
from .signals import want_evict
from .standing import nic_owns
from .state import STOP_FAULT, T_STOP

_RELEASES, _FAULT = int(Count.RELEASES), int(Count.FAULT)


@kernel(forceinline=False)
def note_lookup(w, table, record, now):
    """Tell the admission policy of a lookup."""
    if w.tables.rows["contexts"][table] == 0:
        return
    state = w.policies.admission[w.policies.admission_at[table] : w.policies.admission_at[table + 1]]
    w.policies.hooks.note(state, record, now // 1000)


@kernel(forceinline=False)
def observe(w, table, record, row, now):
    """Show the eviction policy what is in a slot."""
    base = nic_base(w, table, row)
    r0 = first_register(w.program, w.store.memory, base, table)
    state = w.policies.eviction[w.policies.eviction_at[table] : w.policies.eviction_at[table + 1]]
    slot = w.rows.marks["slot"][row] - 1
    w.policies.hooks.observe(state, slot, label_of(w.store.memory, base), r0, now // 1000)


@kernel(forceinline=False)
def prefers(w, table, record, loser):
    """Whether the admission policy would rather have a context on the NIC than the one that eviction chose."""
    state = w.policies.admission[w.policies.admission_at[table] : w.policies.admission_at[table + 1]]
    return w.policies.hooks.prefer(state, record, loser) != 0


@kernel
def _give_up(w, table, record, now):
    """Begin to move a context off the NIC; return whether the NIC owns it no longer.

    One that has packets which the NIC held and is to run before any other stays until they are through.
    """
    row = w.tally.flow_at[table] + record
    if w.rows.marks["again"][row] > 0:
        return False
    want_evict(w, table, record, now)
    gone = not nic_owns(w, row)
    if gone:
        w.tally.counts[_RELEASES] += 1
    return gone


@kernel(forceinline=False)
def release_due(w, table, now):
    """Give up the slots of a table that its policy releases or that were idle too long; return whether there were any."""
    any_gone = False
    state = w.policies.eviction[w.policies.eviction_at[table] : w.policies.eviction_at[table + 1]]
    while True:
        slot = slot_to_release(w.policies.release, w.policies.hooks, state, table, now // 1000)
        if slot == -1:
            return any_gone
        if not is_owned(w.tables, table, slot):
            w.tally.counts[_FAULT] = slot + 1 if slot >= 0 else slot
            w.clock[T_STOP] |= STOP_FAULT
            return True
        any_gone = True
        if not _give_up(w, table, occupant(w.tables, table, slot), now):
            return True


@kernel(forceinline=False)
def show(w, table, record, row, vector, now):
    """After the NIC has run a packet on a context, show it to those who ask; return whether it went."""
    base = nic_base(w, table, row)
    if not exists(w, base):
        return False
    if closes(w, table, row, vector, base):
        return _give_up(w, table, record, now)
    if w.policies.hooks.observes:
        observe(w, table, record, row, now)
    return False


@kernel
def closes(w, table, row, vector, base):
    """Whether a context is to have no slot, after a packet was run on the copy at a word."""
    if w.policies.release.ends == 0:
        return False
    note_flags(w.policies.release, vector, w.tally.flows, row)
    return is_closing(w.policies.release, w.store.memory, base, table, w.tally.flows, row)


@kernel(forceinline=False)
def closes_on_cpu(w, table, record, row, vector):
    """The same of a context that the CPU has."""
    return closes(w, table, row, vector, cpu_base(w, table, record))

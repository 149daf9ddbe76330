"""Reading a store back: every existing context in plain Python values, for comparison and inspection."""

from __future__ import annotations

from collections.abc import Iterator

from . import arrays as A
from .arrays import Store
from .lower import Lowered

ContextValue = tuple[int, tuple[int, ...], tuple[int, int, int, int, int]]
Snapshot = dict[str, dict[tuple[object, ...], ContextValue]]


def snapshot(lowered: Lowered, store: Store) -> Snapshot:
    """Return ``{table: {key: (state, registers, timers)}}`` of the contexts that exist.

    A key has one element a part, in the extractor's order: ints, and (family, value) for joint addresses.
    Timers are (idle timeout ns, hard deadline ns, idle rollback, hard rollback, last use ns): 0 for no timer,
    rollback −1 for deletion and where there is no timer. A context that the NIC holds is read from its slot.
    """
    out: Snapshot = {}
    for t, name in enumerate(lowered.table_names):
        out[name] = {}
        for _, words in records(lowered, store, t):
            if words[A.C_STATE] & A.CONTEXT_EXISTS:
                out[name][read_key(lowered, name, words[A.C_HEADER_WORDS :])] = _value(lowered, t, words)
    return out


def records(lowered: Lowered, store: Store, table: int) -> Iterator[tuple[int, list[int]]]:
    """Every record of a table, by number, with its words: those of its NIC slot where it has one."""
    stride = int(lowered.arrays.tables["stride"][table])
    for record in range(int(store.tables["used"][table])):
        at = int(store.tables["base"][table]) + record * stride
        place = int(store.memory[at + A.C_PLACE])
        if place:
            at = int(store.tables["nic_base"][table]) + (place - 1) * stride
        yield record, [int(word) for word in store.memory[at : at + stride]]


def read_key(lowered: Lowered, table: str, words: list[int]) -> tuple[object, ...]:
    """Unpack a key's words into its parts."""
    fields, family_at = lowered.key_fields[table]
    family = (words[family_at[0]] >> family_at[1]) & 0xFF if family_at else 0
    out: list[object] = []
    for field in fields:
        if field.bits == 128:
            value = words[field.word] << 64 | words[field.word + 1]
            if field.is_address:
                out.append((family, value & 0xFFFF_FFFF if family == 4 else value))
            else:
                out.append(value)
        else:
            out.append((words[field.word] >> field.shift) & ((1 << field.bits) - 1))
    return tuple(out)


def _value(lowered: Lowered, table: int, words: list[int]) -> ContextValue:
    arrays = lowered.arrays.tables
    first = A.C_HEADER_WORDS + int(arrays["key_words"][table])
    registers = tuple(words[first : first + int(arrays["registers"][table])])
    idle, hard = words[A.C_IDLE], words[A.C_HARD]
    idle_to, hard_to = words[A.C_ROLLBACK] & 0xFFFF_FFFF, words[A.C_ROLLBACK] >> 32
    timers = (
        idle,
        hard,
        -1 if not idle or idle_to == A.ROLLBACK_DELETE else idle_to,
        -1 if not hard or hard_to == A.ROLLBACK_DELETE else hard_to,
        words[A.C_LAST],
    )
    return words[A.C_STATE] & A.STATE_MASK, registers, timers

"""Reading and writing what a running machine holds: whole contexts, by table and key, and how keys are named.

A key is given as its fields, as a packet would have them (``{"ip.src": "10.0.0.1", ...}``; a symmetric key is put
in order as a packet's would be), or as a sequence of values, one a part, that is taken as it stands. Parts are those
of the first key that the pipeline names the table by.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, NamedTuple

import numpy as np

from oppcache._jit import kernel

from . import arrays as A
from .arrays import Store
from .contexts import find, hash_key, insert, location
from .errors import InputError, near_miss
from .fields import FIELD_BY_NAME, IPV4_MAPPED
from .lower import Lowered
from .lower_operands import KeyField
from .program import MAX_STATE, MAX_TIMEOUT_NS, Key, Operand, Table
from .snapshot import read_key
from .syntax import SyntaxProblem, parse_number, parse_pattern
from .validate import partner

KeyValues = Mapping[str, Any] | Sequence[Any]
_ALL_64 = 2**64 - 1


@dataclass(frozen=True)
class Context:
    """One flow context, whole.

    Attributes:
        state: label, by its name where it has one; either will do to write.
        registers: by name; to write, those left out take the table's defaults.
        idle_ns: idle timeout, 0: none.
        idle_to: label that it rolls back to, None: it deletes the context.
        hard_ns: hard deadline, an absolute time, 0: none.
        hard_to: as ``idle_to``.
        last_used_ns: time of last use; None, only to write: the time of the machine's last packet.
    """

    state: str | int = 0
    registers: Mapping[str, int] = field(default_factory=dict)
    idle_ns: int = 0
    idle_to: str | int | None = None
    hard_ns: int = 0
    hard_to: str | int | None = None
    last_used_ns: int | None = None


class Named(NamedTuple):
    """A table of a lowered program, as its users name it: its number, declaration, key, and the key's parts."""

    number: int
    table: Table
    key: Key
    names: tuple[str, ...]
    fields: tuple[KeyField, ...]
    family_at: tuple[int, int] | None


def named(lowered: Lowered, table: str) -> Named:
    """Look a table up.

    Raises:
        InputError: there is none of that name, or nothing has a key for it.
    """
    if table not in lowered.table_names:
        hint = near_miss(table, lowered.table_names)
        raise InputError(f"the program has no table {table!r} {hint}".strip())
    if table not in lowered.table_keys:
        raise InputError(f"no stage or entry has a key for table {table!r} yet")
    key, (fields, family_at) = lowered.table_keys[table], lowered.key_fields[table]
    names: list[str] = []
    for position, part in enumerate(key.parts):
        name = "const" if part.kind == "const" else str(part)
        names.append(f"{name}#{position}" if part.kind == "const" or name in names else name)
    number = lowered.table_names.index(table)
    return Named(number, lowered.program.tables[number], key, tuple(names), fields, family_at)


# Keys


def key_words(one: Named, words: int, key: KeyValues) -> np.ndarray:
    """Pack a key given by users into ``uint64[words]``.

    Raises:
        InputError: parts that are missing, unknown, too wide or of two IP versions.
    """
    values = _values(one, key)
    packed = np.zeros(words, np.uint64)
    family = 0
    for part, value in zip(one.fields, values, strict=True):
        number = value
        if isinstance(value, tuple):
            version, number = value
            if family not in (0, version):
                raise InputError(f"key of table {one.table.name!r}: addresses of IPv4 and IPv6 in one key")
            family = version
            number |= IPV4_MAPPED if version == 4 else 0
        if part.bits == 128:
            packed[part.word], packed[part.word + 1] = number >> 64, number & _ALL_64
        else:
            packed[part.word] |= np.uint64(number << part.shift)
    if one.family_at is not None:
        word, shift = one.family_at
        packed[word] |= np.uint64(family << shift)
    return packed


def _values(one: Named, key: KeyValues) -> list[Any]:
    """One value a part: ints, and (family, value) for joint addresses."""
    what = f"key of table {one.table.name!r}"
    if not isinstance(key, Mapping):
        if isinstance(key, str) or len(key) != len(one.names):
            raise InputError(f"{what}: got {key!r}, expected {', '.join(one.names)}")
        return [_value(p, f, v, what) for p, f, v in zip(one.key.parts, one.fields, key, strict=True)]
    for name in key:
        if name not in one.names:
            hint = near_miss(str(name), one.names) or f"it has {', '.join(one.names)}"
            raise InputError(f"{what}: no part {name!r}, {hint}")
    values = []
    for name, part, place in zip(one.names, one.key.parts, one.fields, strict=True):
        if name not in key and part.kind != "const":
            raise InputError(f"{what}: {name} is missing")
        values.append(_value(part, place, key.get(name, part.value), what))
    return _in_order(one, values) if one.key.symmetric else values


def _in_order(one: Named, values: list[Any]) -> list[Any]:
    """A symmetric key's values as the lookup of a packet with these would order them."""
    at = {part.name: i for i, part in enumerate(one.key.parts) if part.kind == "field"}
    pairs = []
    for name in at:
        other = partner(name)
        if other is not None and name.rpartition(".")[2] in ("src", "sport"):
            pairs.append((at[name], at[other]))
    pairs.sort(key=min)
    if [values[src] for src, _ in pairs] > [values[dst] for _, dst in pairs]:
        for src, dst in pairs:
            values[src], values[dst] = values[dst], values[src]
    return values


def _value(part: Operand, place: KeyField, value: Any, what: str) -> Any:
    known = FIELD_BY_NAME.get(part.name) if part.kind == "field" else None
    try:
        if isinstance(value, IPv4Address | IPv6Address):
            value = str(value)
        if place.is_address:
            if isinstance(value, str):
                address = ip_address(value)
                return address.version, int(address)
            if isinstance(value, tuple) and len(value) == 2 and value[0] in (4, 6):
                family, number = value
                if 0 <= number < (1 << (32 if family == 4 else 128)):
                    return family, number
            raise SyntaxProblem(f"got {value!r}, expected an address such as 10.0.0.1")
        if isinstance(value, str) and known is not None:
            pattern = parse_pattern(value, place.bits, known)
            if pattern.high is not None or pattern.mask != (1 << place.bits) - 1:
                raise SyntaxProblem(f"got {value!r}, expected one value")
            return pattern.value
        number = int(value) if isinstance(value, np.integer) else parse_number(value)
        if number >= 1 << place.bits:
            raise SyntaxProblem(f"got {value!r}, expected at most {(1 << place.bits) - 1}")
        return number
    except ValueError as error:
        raise InputError(f"{what}: {part}: {error}") from None


def key_as_fields(lowered: Lowered, one: Named, store: Store, base: int) -> dict[str, Any]:
    """The key of the context at a word of the memory, by part: addresses as text, all else as numbers."""
    first = base + A.C_HEADER_WORDS
    words = [
        int(w) for w in store.memory[first : first + int(lowered.arrays.tables["key_words"][one.number])]
    ]
    out: dict[str, Any] = {}
    values = read_key(lowered, one.table.name, words)
    for name, part, value in zip(one.names, one.key.parts, values, strict=True):
        if isinstance(value, tuple):
            family, number = value
            out[name] = str(IPv4Address(number) if family == 4 else IPv6Address(number))
        elif part.kind == "field" and part.name.endswith((".src", ".dst")) and "ipv" in part.name:
            out[name] = str(IPv4Address(value) if "ipv4" in part.name else IPv6Address(value))
        else:
            out[name] = value
    return out


# Contexts


@kernel
def place_of(program, store, table, words, create):
    """The word in the store's memory at which the context of a key stands now, or -1.

    Args:
        words: ``uint64`` packed key.
        create: whether to append a record for a key that has none; the caller has made room.
    """
    h = hash_key(words, 0, program.tables["key_words"][table])
    record = find(program, store, table, words, 0, h)
    if record < 0:
        if not create:
            return np.int64(-1)
        record = insert(program, store, table, words, 0, h)
    return location(program, store, table, record)


def read(lowered: Lowered, one: Named, store: Store, base: int) -> Context | None:
    """The context at a word of the store's memory, or None if it does not exist."""
    size = int(lowered.arrays.tables["stride"][one.number])
    words = [int(w) for w in store.memory[base : base + size]]
    if not words[A.C_STATE] & A.CONTEXT_EXISTS:
        return None
    registers = words[A.C_HEADER_WORDS + int(lowered.arrays.tables["key_words"][one.number]) :]
    idle_to, hard_to = words[A.C_ROLLBACK] & A.STATE_MASK, words[A.C_ROLLBACK] >> 32
    return Context(
        state=_label(one.table, words[A.C_STATE] & A.STATE_MASK),
        registers={r.name: value for r, value in zip(one.table.registers, registers, strict=False)},
        idle_ns=words[A.C_IDLE],
        idle_to=_rollback(one.table, words[A.C_IDLE], idle_to),
        hard_ns=words[A.C_HARD],
        hard_to=_rollback(one.table, words[A.C_HARD], hard_to),
        last_used_ns=words[A.C_LAST],
    )


def _label(table: Table, number: int) -> str | int:
    return table.states[number] if number < len(table.states) else number


def _rollback(table: Table, timer: int, label: int) -> str | int | None:
    return None if not timer or label == A.ROLLBACK_DELETE else _label(table, label)


def context_of(context: Context | Mapping[str, Any]) -> Context:
    """The context that a mapping of its attributes stands for."""
    if isinstance(context, Context):
        return context
    known = [f.name for f in fields(Context)]
    for name in context:
        if name not in known:
            hint = near_miss(str(name), known) or f"known: {', '.join(known)}"
            raise InputError(f"a context has no {name!r}, {hint}")
    return Context(**context)


def words_of(lowered: Lowered, one: Named, context: Context, now_ns: int) -> dict[int, int]:
    """What a context is in its record: word → value, key, version and place left out.

    Raises:
        InputError: a state, register, value or timer that the table cannot hold.
    """
    table = one.table
    what = f"context of table {table.name!r}"
    state = _number(table, context.state, what)
    rollback = 0
    for name, timer, to, most, shift in (
        ("idle", context.idle_ns, context.idle_to, MAX_TIMEOUT_NS, 0),
        ("hard", context.hard_ns, context.hard_to, _ALL_64, 32),
    ):
        check_range(timer, most, f"{what}: {name}_ns")
        if timer:
            rollback |= (A.ROLLBACK_DELETE if to is None else _number(table, to, what)) << shift
        elif to is not None:
            raise InputError(f"{what}: {name}_to without a timer")
    last = now_ns if context.last_used_ns is None else context.last_used_ns
    check_range(last, _ALL_64, f"{what}: last_used_ns")
    first = int(lowered.arrays.tables["first_register"][one.number])
    at = A.C_HEADER_WORDS + int(lowered.arrays.tables["key_words"][one.number])
    known = [r.name for r in table.registers]
    for name in context.registers:
        if name not in known:
            hint = near_miss(name, known) or f"known: {', '.join(known) or 'none'}"
            raise InputError(f"table {table.name!r} has no register {name!r}, {hint}")
    out = {
        A.C_STATE: A.CONTEXT_EXISTS | state,
        A.C_LAST: last,
        A.C_HARD: context.hard_ns,
        A.C_IDLE: context.idle_ns,
        A.C_ROLLBACK: rollback,
    }
    for i, register in enumerate(table.registers):
        value = context.registers.get(register.name, register.initial)
        check_range(value, int(lowered.arrays.register_masks[first + i]), f"{what}: register {register.name}")
        out[at + i] = value
    return out


def _number(table: Table, state: str | int, what: str) -> int:
    if isinstance(state, str) and state in table.states:
        return table.states.index(state)
    if isinstance(state, int) and not isinstance(state, bool) and 0 <= state <= MAX_STATE:
        return state
    known = ", ".join(table.states) or "numbers only"
    hint = near_miss(str(state), table.states)
    raise InputError(f"{what}: unknown state {state!r}, known: {known} {hint}".strip())


def check_range(value: int, most: int, what: str) -> None:
    """Refuse what is not a whole number from 0 to ``most``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value <= most:
        raise InputError(f"{what}: got {value!r}, expected a whole number from 0 to {most}")


def places(lowered: Lowered, one: Named, store: Store) -> Iterator[int]:
    """The words at which the contexts of a table stand now, in order of their keys' first sight."""
    stride = int(lowered.arrays.tables["stride"][one.number])
    base, nic_base = (int(store.tables[name][one.number]) for name in ("base", "nic_base"))
    for record in range(int(store.tables["used"][one.number])):
        at = base + record * stride
        place = int(store.memory[at + A.C_PLACE])
        yield nic_base + (place - 1) * stride if place else at

"""Readers of the experiment file's values that are no plain names or numbers: mappings and lists of free form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oppcache.opp import units
from oppcache.opp.errors import near_miss

from .quantities import positive

PROGRAM_KINDS = ("nf", "opp", "iptables")


class Misplaced(ValueError):
    """A value error inside a free-form mapping: ``path`` leads from the field to the wrong value.

    ``at_key`` says that the key, not its value, is what is wrong.
    """

    def __init__(
        self, message: str, path: tuple[Any, ...] = (), hint: str = "", at_key: bool = False
    ) -> None:
        super().__init__(message)
        self.path = path
        self.hint = hint
        self.at_key = at_key


def read_program(value: Any) -> dict[str, Any]:
    expected = "a mapping with one of nf, opp, iptables, such as {nf: stateful-firewall}"
    if not isinstance(value, Mapping):
        raise ValueError(f"got {value!r}, expected {expected}")
    kinds = [kind for kind in PROGRAM_KINDS if kind in value]
    if len(kinds) != 1:
        got = " and ".join(kinds) or ", ".join(map(str, value)) or "an empty mapping"
        hint = (
            next(filter(None, (near_miss(str(key), PROGRAM_KINDS) for key in value)), "") if not kinds else ""
        )
        raise Misplaced(f"got {got}, expected {expected}", hint=hint)
    _text_at(value, kinds[0])
    for key in value:
        if not isinstance(key, str):
            raise Misplaced(f"got {key!r}, expected the name of a parameter", (key,), at_key=True)
    return dict(value)


def read_generator(value: Any) -> dict[str, Any]:
    expected = "a mapping with the model and its parameters, such as {model: caida-like, flows: 100k}"
    if not isinstance(value, Mapping):
        raise ValueError(f"got {value!r}, expected {expected}")
    if "model" not in value:
        raise Misplaced(f"got no model, expected {expected}")
    _text_at(value, "model")
    return dict(value)


def _text_at(value: Mapping[str, Any], key: str) -> None:
    if not isinstance(value[key], str) or not value[key]:
        raise Misplaced(f"got {value[key]!r}, expected a name or path", (key,))


ADMISSION_PARAMETERS = {
    "packet": positive(units.parse_count),
    "probability": units.parse_fraction,
    "rate": lambda value: max(round(units.parse_packets_per_second(value)), 1),
    "count-min": positive(units.parse_count),
    "spacesaving": positive(units.parse_count),
    "heavykeeper": positive(units.parse_count),
    "gap-aware": positive(units.parse_count),
}


def read_admission(value: Any) -> str | dict[str, Any]:
    expected = "always, {packet: 8}, {probability: 10%}, {rate: 10kpps}, a policy's name or a file"
    if isinstance(value, str) and value:
        return value
    if not isinstance(value, Mapping) or len(value) != 1:
        raise ValueError(f"got {value!r}, expected {expected}")
    key, given = next(iter(value.items()))
    if key not in ADMISSION_PARAMETERS:
        hint = near_miss(str(key), ADMISSION_PARAMETERS)
        raise Misplaced(f"got {key!r}, expected {expected}", (key,), hint, at_key=True)
    try:
        return {key: ADMISSION_PARAMETERS[key](given)}
    except ValueError as error:
        raise Misplaced(str(error), (key,)) from None


def read_seeds(value: Any) -> tuple[int, ...]:
    expected = "a number of seeds such as 5, or a list such as [0, 7]"
    if not isinstance(value, list | tuple):
        try:
            return tuple(range(positive(units.parse_count)(value)))
        except ValueError:
            raise ValueError(f"got {value!r}, expected {expected}, more than 0") from None
    if not value:
        raise ValueError(f"got an empty list, expected {expected}")
    for index, seed in enumerate(value):
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise Misplaced(f"got {seed!r}, expected a whole number from 0", (index,))
        if seed in value[:index]:
            raise Misplaced(f"got seed {seed} twice, expected each once", (index,))
    return tuple(value)


def read_times(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"got {value!r}, expected a list of times such as [1.5s]")
    times = []
    for index, item in enumerate(value):
        try:
            times.append(units.parse_time_ns(item))
        except ValueError as error:
            raise Misplaced(str(error), (index,)) from None
    return tuple(times)


def read_labels(value: Any) -> tuple[str | int, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"got {value!r}, expected a list of state labels such as [CLOSED]")
    for index, item in enumerate(value):
        number = isinstance(item, int) and not isinstance(item, bool) and item >= 0
        if not number and (not isinstance(item, str) or not item):
            raise Misplaced(f"got {item!r}, expected the name or number of a state label", (index,))
    return tuple(value)


def read_sweep(value: Any) -> dict[str, list[Any]]:
    if not isinstance(value, Mapping):
        raise ValueError(f"got {value!r}, expected a mapping of dotted keys to lists of values")
    for key, items in value.items():
        if not isinstance(key, str):
            raise Misplaced(f"got {key!r}, expected a dotted key such as nic.contexts", (key,), at_key=True)
        if not isinstance(items, list) or not items:
            raise Misplaced(f"got {items!r}, expected a list of values", (key,))
    return {str(key): list(items) for key, items in value.items()}


def read_draw(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"got {value!r}, expected a mapping of dotted keys to lists or {{from: A, to: B}}")
    for key, items in value.items():
        if not isinstance(key, str):
            raise Misplaced(f"got {key!r}, expected a dotted key such as nic.contexts", (key,), at_key=True)
        if not (
            (isinstance(items, list) and items)
            or (isinstance(items, Mapping) and set(items) == {"from", "to"})
        ):
            raise Misplaced(f"got {items!r}, expected a list of values or {{from: A, to: B}}", (key,))
    return dict(value)


def read_rate(value: Any) -> str:
    """Keep the text: the traffic room parses it, :mod:`.checks` asks it to."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"got {value!r}, expected as-captured, 40Gbps, 10Mpps or x2.5")
    return str(value)


def read_by(value: Any) -> tuple[str, ...]:
    keys = [value] if isinstance(value, str) else value
    if not isinstance(keys, list | tuple) or not all(isinstance(key, str) for key in keys):
        raise ValueError(f"got {value!r}, expected a swept key or a list of them")
    return tuple(keys)

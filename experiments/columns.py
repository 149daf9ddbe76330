"""What stands in a swept key's column of ``results.csv``: plain numbers in base units, else text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from oppcache.opp import units

from .paths import quantity
from .schema import Experiment

Value = int | float | str


def column_value(key: str, experiment: Experiment) -> Value:
    """Return the value that ``experiment`` has at a dotted key, as its column shows it."""
    value = value_at(key, experiment)
    known = quantity(key)
    if known is not None and value is not None:
        return known.base(value)
    if key == "traffic.rate":
        return _rate(str(value))[1]
    if key.startswith("traffic.generator."):
        return _number(value)
    return text(value)


def same_kind(key: str, experiments: Sequence[Experiment]) -> list[Value]:
    """Return a key's column for several experiments; rates in different units stay text."""
    if key == "traffic.rate":
        rates = [str(value_at(key, experiment)) for experiment in experiments]
        if len({_rate(rate)[0] for rate in rates}) > 1:
            return list(rates)
    return [column_value(key, experiment) for experiment in experiments]


def value_at(key: str, experiment: Experiment) -> Any:
    """Return the parsed value at a dotted key; None where a free-form mapping lacks it."""
    node: Any = experiment
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else getattr(node, part, None)
    return node


def rate_unit(rate: Value) -> str:
    """Return the unit of a rate as the file gives it: ``bit/s``, ``packets/s``, ``x`` or ``""``."""
    return _rate(str(rate))[0]


def _rate(rate: str) -> tuple[str, Value]:
    parsers = (("bit/s", units.parse_bits_per_second), ("packets/s", units.parse_packets_per_second))
    for unit, parse in parsers:
        try:
            return unit, parse(rate)
        except ValueError:
            continue
    if rate.startswith("x"):
        try:
            return "x", float(rate[1:])
        except ValueError:
            pass
    return "", rate


def _number(value: Any) -> Value:
    """Return a generator parameter as a number where it is one, with whatever unit it has."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    for parse in (units.parse_count, _seconds, units.parse_bits_per_second, units.parse_packets_per_second):
        try:
            return parse(value)
        except ValueError:
            continue
    try:
        return units.parse_fraction(value) if str(value).endswith("%") else text(value)
    except ValueError:
        return text(value)


def _seconds(value: Any) -> float:
    return units.parse_time_ns(value) / 1e9


def text(value: Any) -> str:
    """Return a name, list or mapping as one piece of text without commas: ``packet=8``, ``a b``."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return " ".join(f"{key}={text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return " ".join(text(item) for item in value)
    return str(value)

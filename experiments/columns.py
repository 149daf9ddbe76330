"""What stands in a swept key's column of ``results.csv``: plain numbers in base units, else text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
        return _generator_number(key, value, experiment)
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
    from oppcache.traffic import parse_rate

    parsed = parse_rate(rate)
    unit = {"bits": "bit/s", "packets": "packets/s", "factor": "x"}.get(parsed.kind, "")
    return unit, parsed.value if unit else rate


_GENERATOR_PARSERS: dict[str, Callable[[Any], int | float]] = {
    "count": units.parse_count,
    "share": units.parse_fraction,
    "rate": units.parse_packets_per_second,
    "number": float,
}


def generator_parameter(key: str, model: str) -> Any:
    """Return the traffic room's description of ``traffic.generator.NAME``: (type, default, doc), or None."""
    from oppcache.traffic import generator_parameters

    return generator_parameters().get(model, {}).get(key.rpartition(".")[2])


def _generator_number(key: str, value: Any, experiment: Experiment) -> Value:
    """Return a generator's parameter in the unit that its model declares."""
    known = generator_parameter(key, str((experiment.traffic.generator or {}).get("model")))
    parse = _GENERATOR_PARSERS.get(known.type) if known else None
    return text(value) if parse is None or value is None else parse(value)


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

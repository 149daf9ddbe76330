"""Quantities of an experiment file as pydantic types: parsed by :mod:`oppcache.opp.units`, written back as text.

A parsed value is a plain number in the unit that the simulator uses (times are whole nanoseconds); a value in
``results.csv`` is in base units (:attr:`Quantity.base`); a value in ``manifest.json`` is text that parses to
the same value again, so that a manifest's configuration can be run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from oppcache.opp import units

_NUMBER = r"[+]?(\d[\d_]*(\.\d*)?|\.\d+)([eE][-+]?\d+)?\s*"
_NONE_A_SECOND = re.compile(r"\s*[+]?0+([.]0*)?\s*/s\s*")
_SCALE = r"(k|K|M|G|T|Ki|Mi|Gi|Ti)?"


@dataclass(frozen=True)
class Quantity:
    """What a number measures: marks a field of the schema and tells how results and axes show it.

    Attributes:
        unit: base unit, as ``s``, ``packets/s``, ``bit/s``, ``B``, ``1`` for a share, ``""`` for a count.
        base: turns the parsed value into base units.
    """

    unit: str
    base: Callable[[Any], int | float]


def _text(scales: tuple[tuple[str, float], ...], suffix: str) -> Callable[[Any], str]:
    """Return a writer that takes the largest scale which divides the value exactly."""

    def write(value: float) -> str:
        for name, scale in scales:
            if value >= scale and value % scale == 0:
                return f"{int(value // scale)}{name}{suffix}"
        return f"{value!r}{suffix}"

    return write


_TIMES = (("s", 1e9), ("ms", 1e6), ("us", 1e3), ("ns", 1))
_DECIMAL = (("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1))


def _identity(value: Any) -> Any:
    return value


def _seconds(nanoseconds: int) -> float:
    return nanoseconds / 1e9


def positive(parse: Callable[[Any], int]) -> Callable[[Any], int]:
    """Return a parser that also refuses 0."""

    def parse_positive(value: Any) -> int:
        number = parse(value)
        if number == 0:
            raise ValueError(f"got {value!r}, expected more than 0")
        return number

    return parse_positive


def or_zero(parse: Callable[[Any], float]) -> Callable[[Any], float]:
    """Return a parser of rates that also takes 0/s."""

    def parse_or_zero(value: Any) -> float:
        return 0.0 if _NONE_A_SECOND.fullmatch(str(value)) else parse(value)

    return parse_or_zero


def below_one(parse: Callable[[Any], float]) -> Callable[[Any], float]:
    """Return a parser of shares that also refuses the whole."""

    def parse_below_one(value: Any) -> float:
        number = parse(value)
        if number >= 1:
            raise ValueError(f"got {value!r}, expected a share such as 10% or 0.1, below 1")
        return number

    return parse_below_one


def _type(
    parse: Callable[[Any], Any],
    quantity: Quantity,
    schema: dict[str, Any],
    write: Callable[[Any], Any] = _identity,
) -> tuple[Any, ...]:
    optional = _optional(write)
    return (
        PlainValidator(parse),
        PlainSerializer(optional, when_used="json"),
        WithJsonSchema(schema),
        quantity,
    )


def _optional(write: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def write_if_given(value: Any) -> Any:
        return None if value is None else write(value)

    return write_if_given


def _schema(minimum: int | None, pattern: str, description: str, example: Any) -> dict[str, Any]:
    """A JSON Schema that takes a number (where a bare one will do) or text with a unit."""
    texts = {"type": "string", "pattern": f"^\\s*{_NUMBER}{pattern}\\s*$"}
    described = {"description": description, "examples": [example]}
    if minimum is None:
        return texts | described
    return {"anyOf": [{"type": "number", "minimum": minimum}, texts], **described}


_COUNT = _schema(0, _SCALE, "a whole number; k, M, G, T are decimal, Ki, Mi, Gi, Ti binary", "64k")
_POSITIVE = _schema(
    1, _SCALE, "a whole number above 0; k, M, G, T are decimal, Ki, Mi, Gi, Ti binary", "4096"
)
_DURATION = _schema(None, "(ns|us|µs|ms|s|min|h|d)", "a duration with its unit", "2us")
_SHARE = {
    "anyOf": [
        {"type": "number", "minimum": 0, "maximum": 1},
        {"type": "string", "pattern": f"^\\s*{_NUMBER}%?\\s*$"},
    ],
    "description": "a share from 0 to 1, or a percentage",
    "examples": ["10%"],
}
_BANDWIDTH = _schema(None, _SCALE + "(bps|bit/s)", "bits per second", "31.5Gbps")
_PACKET_RATE = _schema(None, _SCALE + "(pps|p/s)", "packets per second", "10Mpps")
_EVENT_RATE = _schema(None, _SCALE + "/s", "events per second", "200k/s")

write_time = _text(_TIMES, "")

COUNT = _type(units.parse_count, Quantity("", _identity), _COUNT)
POSITIVE = _type(positive(units.parse_count), Quantity("", _identity), _POSITIVE)
DURATION = _type(units.parse_time_ns, Quantity("s", _seconds), _DURATION, write_time)
SPAN = _type(positive(units.parse_time_ns), Quantity("s", _seconds), _DURATION, write_time)
SHARE = _type(units.parse_fraction, Quantity("1", _identity), _SHARE)
SHARE_BELOW_ONE = _type(below_one(units.parse_fraction), Quantity("1", _identity), _SHARE)
BANDWIDTH = _type(
    units.parse_bits_per_second, Quantity("bit/s", _identity), _BANDWIDTH, _text(_DECIMAL, "bps")
)
PACKET_RATE = _type(
    units.parse_packets_per_second, Quantity("packets/s", _identity), _PACKET_RATE, _text(_DECIMAL, "pps")
)
EVENT_RATE = _type(
    units.parse_events_per_second, Quantity("1/s", _identity), _EVENT_RATE, _text(_DECIMAL, "/s")
)
EVENT_RATE_OR_ZERO = _type(
    or_zero(units.parse_events_per_second), Quantity("1/s", _identity), _EVENT_RATE, _text(_DECIMAL, "/s")
)

Count = Annotated[int, *COUNT]
PositiveCount = Annotated[int, *POSITIVE]
Nanoseconds = Annotated[int, *DURATION]
PositiveNanoseconds = Annotated[int, *SPAN]
Share = Annotated[float, *SHARE]
ShareBelowOne = Annotated[float, *SHARE_BELOW_ONE]
BitsPerSecond = Annotated[float, *BANDWIDTH]
PacketsPerSecond = Annotated[float, *PACKET_RATE]
EventsPerSecond = Annotated[float, *EVENT_RATE]
EventsPerSecondOrZero = Annotated[float, *EVENT_RATE_OR_ZERO]
OptionalPositiveCount = Annotated[int | None, *POSITIVE]
OptionalPositiveNanoseconds = Annotated[int | None, *SPAN]

"""Quantities with units, as users write them: ``64k``, ``2us``, ``40Gbps``, ``10Mpps``, ``5%``.

Values carry the units, keys do not. ``k M G T`` are decimal, ``Ki Mi Gi Ti`` binary. Every parser returns
plain numbers in base units (counts, seconds or integer nanoseconds, bits per second, packets per second,
bytes, fractions) and raises :class:`ValueError` with what was got and what was expected.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

_NUMBER = re.compile(r"^\s*([-+]?(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-zµ/%]*)\s*$")
_MAX_EXPONENT = 30  # whole numbers of a billion digits take a while
_SCALES = {
    "": Decimal(1),
    "k": Decimal(10) ** 3,
    "K": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "Ki": Decimal(2) ** 10,
    "Mi": Decimal(2) ** 20,
    "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40,
}
_TIMES_NS = {
    "ns": Decimal(1),
    "us": Decimal(10) ** 3,
    "µs": Decimal(10) ** 3,
    "ms": Decimal(10) ** 6,
    "s": Decimal(10) ** 9,
    "min": Decimal(60) * 10**9,
    "h": Decimal(3600) * 10**9,
    "d": Decimal(86400) * 10**9,
}


def _split(value: Any, expected: str) -> tuple[Decimal, str]:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"got {value!r}, expected {expected}")
    found = _NUMBER.match(str(value))
    if not found:
        raise ValueError(f"got {value!r}, expected {expected}")
    number = Decimal(found.group(1).replace("_", ""))
    if number.adjusted() > _MAX_EXPONENT:
        raise ValueError(f"got {value!r}, expected {expected}, below 1e{_MAX_EXPONENT + 1}")
    return number, found.group(2)


def _scaled(value: Any, suffixes: tuple[str, ...], expected: str, *, bare: bool) -> Decimal:
    """Parse NUMBER [scale] suffix; ``bare`` says whether a plain number without the suffix will do."""
    number, unit = _split(value, expected)
    for suffix in suffixes:
        if unit.endswith(suffix) and unit[: len(unit) - len(suffix)] in _SCALES:
            return number * _SCALES[unit[: len(unit) - len(suffix)]]
    if bare and unit in _SCALES:
        return number * _SCALES[unit]
    raise ValueError(f"got {value!r}, expected {expected}")


def parse_count(value: Any) -> int:
    """A non-negative whole number, such as ``4096``, ``64k`` or ``1Mi``."""
    expected = "a whole number such as 4096, 64k or 1Mi"
    number = _scaled(value, (), expected, bare=True)
    if number < 0 or number != number.to_integral_value():
        raise ValueError(f"got {value!r}, expected {expected}, not negative")
    return int(number)


def parse_time_ns(value: Any) -> int:
    """A duration such as ``850ns``, ``2us``, ``1.5s``; returns whole nanoseconds. A unit is required."""
    expected = "a duration with a unit, such as 850ns, 2us, 10ms or 1.5s"
    number, unit = _split(value, expected)
    if unit not in _TIMES_NS and number == 0 and unit == "":
        return 0
    if unit not in _TIMES_NS:
        raise ValueError(f"got {value!r}, expected {expected}")
    if number < 0:
        raise ValueError(f"got {value!r}, expected {expected}, not negative")
    return int((number * _TIMES_NS[unit]).to_integral_value())


def parse_bits_per_second(value: Any) -> float:
    """A bandwidth such as ``31.5Gbps``; returns bits per second. A unit is required."""
    return _positive(value, ("bps", "bit/s"), "a bandwidth such as 40Gbps or 31.5Gbps")


def parse_packets_per_second(value: Any) -> float:
    """A packet rate such as ``10Mpps``; returns packets per second. A unit is required."""
    return _positive(value, ("pps", "p/s"), "a packet rate such as 10Mpps or 50kpps")


def parse_events_per_second(value: Any) -> float:
    """An event rate such as ``200k/s``; returns events per second. A unit is required."""
    return _positive(value, ("/s",), "a rate such as 200k/s")


def parse_bytes(value: Any) -> int:
    """A size such as ``64KiB`` or ``2MB``; a plain number is bytes."""
    expected = "a size such as 1500, 64KiB or 2MB"
    number = _scaled(value, ("B",), expected, bare=True)
    if number < 0 or number != number.to_integral_value():
        raise ValueError(f"got {value!r}, expected {expected}, not negative")
    return int(number)


def parse_fraction(value: Any) -> float:
    """A share such as ``10%`` or ``0.1``; returns a number from 0 to 1."""
    expected = "a share such as 10% or 0.1, from 0 to 1"
    number, unit = _split(value, expected)
    if unit == "%":
        number /= 100
    elif unit:
        raise ValueError(f"got {value!r}, expected {expected}")
    if not 0 <= number <= 1:
        raise ValueError(f"got {value!r}, expected {expected}")
    return float(number)


def _positive(value: Any, suffixes: tuple[str, ...], expected: str) -> float:
    number = _scaled(value, suffixes, expected, bare=False)
    if number <= 0:
        raise ValueError(f"got {value!r}, expected {expected}, more than 0")
    return float(number)

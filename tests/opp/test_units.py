"""Quantities as users write them; every refusal says what was got and what was expected."""

from __future__ import annotations

from typing import Any

import pytest

from oppcache.opp import units


@pytest.mark.parametrize(
    ("parse", "value", "number"),
    [
        (units.parse_count, 4096, 4096),
        (units.parse_count, "64k", 64_000),
        (units.parse_count, "1.5k", 1500),
        (units.parse_count, "1Mi", 1 << 20),
        (units.parse_count, "1_000", 1000),
        (units.parse_count, "2G", 2_000_000_000),
        (units.parse_count, " 7 ", 7),
        (units.parse_count, "1e3", 1000),
        (units.parse_time_ns, "850ns", 850),
        (units.parse_time_ns, "2us", 2000),
        (units.parse_time_ns, "2µs", 2000),
        (units.parse_time_ns, "1.5s", 1_500_000_000),
        (units.parse_time_ns, "5 min", 300_000_000_000),
        (units.parse_time_ns, "5d", 432_000_000_000_000),
        (units.parse_time_ns, 0, 0),
        (units.parse_time_ns, "0.1ns", 0),
        (units.parse_bits_per_second, "40Gbps", 40e9),
        (units.parse_bits_per_second, "31.5Gbit/s", 31.5e9),
        (units.parse_packets_per_second, "10Mpps", 10e6),
        (units.parse_packets_per_second, "5p/s", 5.0),
        (units.parse_events_per_second, "200k/s", 200e3),
        (units.parse_bytes, "64KiB", 65536),
        (units.parse_bytes, "2MB", 2_000_000),
        (units.parse_bytes, 1500, 1500),
        (units.parse_fraction, "10%", 0.1),
        (units.parse_fraction, 0.25, 0.25),
        (units.parse_fraction, "100%", 1.0),
        (units.parse_fraction, 0, 0.0),
    ],
)
def test_values(parse: Any, value: Any, number: float) -> None:
    assert parse(value) == number


@pytest.mark.parametrize(
    ("parse", "value"),
    [
        (units.parse_count, -1),
        (units.parse_count, 1.5),
        (units.parse_count, "64kB"),
        (units.parse_count, True),
        (units.parse_count, None),
        (units.parse_count, ""),
        (units.parse_count, "k"),
        (units.parse_count, "0x10"),
        (units.parse_count, float("nan")),
        (units.parse_count, float("inf")),
        (units.parse_count, [1]),
        (units.parse_count, "1e999999999"),
        (units.parse_bytes, "1e31GB"),
        (units.parse_time_ns, "1e99999999999s"),
        (units.parse_time_ns, 5),
        (units.parse_time_ns, "5"),
        (units.parse_time_ns, "-5s"),
        (units.parse_time_ns, "5S"),
        (units.parse_time_ns, "5Mbps"),
        (units.parse_bits_per_second, "40"),
        (units.parse_bits_per_second, "40Gpps"),
        (units.parse_bits_per_second, "0bps"),
        (units.parse_bits_per_second, "-1bps"),
        (units.parse_packets_per_second, 10),
        (units.parse_events_per_second, "5"),
        (units.parse_bytes, "-1B"),
        (units.parse_bytes, "0.5B"),
        (units.parse_fraction, "101%"),
        (units.parse_fraction, 1.01),
        (units.parse_fraction, -0.1),
        (units.parse_fraction, "1k"),
    ],
)
def test_refusals_say_what_was_got_and_expected(parse: Any, value: Any) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        parse(value)
    assert repr(value) in str(caught.value)

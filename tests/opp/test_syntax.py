"""Operands, constants and match patterns: what a pattern covers is what it says, whatever form it is lowered to."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oppcache.opp.fields import FIELD_BY_NAME
from oppcache.opp.program import Operand, Pattern
from oppcache.opp.syntax import (
    SyntaxProblem,
    alternatives,
    mapped,
    parse_number,
    parse_operand,
    parse_pattern,
    range_to_ternary,
)

FULL = 2**16 - 1


@st.composite
def ranges(draw: st.DrawFn, bits: int) -> tuple[int, int]:
    low, high = sorted(draw(st.tuples(*[st.integers(0, 2**bits - 1)] * 2)))
    return low, high


@settings(max_examples=300, derandomize=True, deadline=None)
@given(bounds=ranges(8))
def test_a_range_covers_exactly_its_numbers_each_once(bounds: tuple[int, int]) -> None:
    rows = range_to_ternary(*bounds, 8)
    for value in range(256):
        assert sum(value & mask == row for row, mask in rows) == (bounds[0] <= value <= bounds[1])
    assert len(rows) <= 14


@settings(max_examples=300, derandomize=True, deadline=None)
@given(data=st.data(), bits=st.sampled_from([1, 9, 16, 32, 48, 64, 128]))
def test_wide_ranges_cover_their_ends_and_not_their_neighbours(data: st.DataObject, bits: int) -> None:
    low, high = data.draw(ranges(bits))
    rows = range_to_ternary(low, high, bits)
    assert len(rows) <= max(2 * bits - 2, 1)
    assert sum(2**bits - mask for _, mask in rows) == high - low + 1
    inside = [low, high, (low + high) // 2, data.draw(st.integers(low, high))]
    outside = [value for value in (low - 1, high + 1, 0, 2**bits - 1) if not low <= value <= high]
    for value in inside + [v for v in outside if 0 <= v < 2**bits]:
        assert any(value & mask == row for row, mask in rows) == (low <= value <= high)


@pytest.mark.parametrize(
    ("low", "high", "rows"),
    [
        (0, FULL, [(0, 0)]),
        (0, 0, [(0, FULL)]),
        (FULL, FULL, [(FULL, FULL)]),
        (1024, 2047, [(1024, FULL & ~1023)]),
        (1, FULL - 1, None),
    ],
)
def test_ranges_take_the_fewest_prefixes(low: int, high: int, rows: list[tuple[int, int]] | None) -> None:
    got = range_to_ternary(low, high, 16)
    assert got == rows if rows is not None else len(got) == 30


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0, 0),
        (80, 80),
        ("0x1f", 31),
        ("0X1F", 31),
        ("0b11", 3),
        ("64k", 64_000),
        ("1Ki", 1024),
        ("10.0.0.1", 0x0A000001),
        ("aa:bb:cc:00:11:22", 0xAABBCC001122),
        (" 7 ", 7),
    ],
)
def test_constants(value: Any, number: int) -> None:
    assert parse_number(value) == number


@pytest.mark.parametrize(
    "value", [-1, "", "x", "1.5", "10.0.0.256", "1.2.3", "aa:bb", True, None, [], "0x", "5s"]
)
def test_what_is_no_constant(value: Any) -> None:
    with pytest.raises(SyntaxProblem):
        parse_number(value)


@pytest.mark.parametrize(
    ("text", "operand"),
    [
        ("R.n", Operand("register", "n")),
        ("W.n", Operand("written", "n")),
        ("G.g.n", Operand("global", "g.n")),
        ("T.t", Operand("temporary", "t")),
        ("metadata.m", Operand("metadata", "m")),
        ("now", Operand("now", "now")),
        ("now_ms", Operand("now", "now_ms")),
        ("direction", Operand("direction", "direction")),
        ("random", Operand("random", "random")),
        ("ip.proto", Operand("field", "ip.proto")),
        ("0x10", Operand("const", value=16)),
        (7, Operand("const", value=7)),
    ],
)
def test_operands(text: Any, operand: Operand) -> None:
    assert parse_operand(text) == operand


@pytest.mark.parametrize(
    ("text", "hint"),
    [("now_ns", "did you mean 'now"), ("ip.sorc", "did you mean 'ip.src'?"), ("C.x", ""), ("R.", "")],
)
def test_unknown_operands_get_a_near_miss(text: str, hint: str) -> None:
    with pytest.raises(SyntaxProblem, match="unknown operand or field") as caught:
        parse_operand(text)
    assert caught.value.hint.startswith(hint)


@pytest.mark.parametrize("value", [True, None, 1.5, [], {}])
def test_operands_are_text_or_whole_numbers(value: Any) -> None:
    with pytest.raises(SyntaxProblem):
        parse_operand(value)


def pattern(value: Any, name: str | None = None, bits: int = 16) -> Pattern:
    field = FIELD_BY_NAME[name] if name else None
    return parse_pattern(value, field.bits if field else bits, field)


@pytest.mark.parametrize(
    ("value", "name", "expected"),
    [
        (80, "l4.sport", Pattern(80, FULL)),
        ("0x50/0xf0", "l4.sport", Pattern(0x50, 0xF0)),
        ("0x5f/0xf0", "l4.sport", Pattern(0x50, 0xF0)),  # what the mask hides does not count
        ("1-1023", "l4.sport", Pattern(1, FULL, 1023)),
        (" 1 - 1k ", "l4.sport", Pattern(1, FULL, 1000)),
        ("S", "tcp.flags", Pattern(2, 0x1FF)),
        ("SA", "tcp.flags", Pattern(0x12, 0x1FF)),
        ("S/SA", "tcp.flags", Pattern(2, 0x12)),
        (2, "tcp.flags", Pattern(2, 0x1FF)),
        ("10.0.0.0/8", "ip.src", Pattern(0x0A000000, 0xFF000000, family=4)),
        ("10.1.2.3", "ip.src", Pattern(0x0A010203, 2**32 - 1, family=4)),
        ("::/0", "ip.src", Pattern(0, 0, family=6)),
        ("fe80::/10", "ip.dst", Pattern(0xFE80 << 112, 0xFFC0 << 112, family=6)),
        ("10.0.0.0/8", "ipv4.src", Pattern(0x0A000000, 0xFF000000)),
        ("::1", "ipv6.src", Pattern(1, 2**128 - 1)),
        ("aa:bb:cc:dd:ee:ff", "eth.src", Pattern(0xAABBCCDDEEFF, 2**48 - 1)),
    ],
)
def test_patterns(value: Any, name: str, expected: Pattern) -> None:
    assert pattern(value, name) == expected


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (65536, "l4.sport"),
        ("1-65536", "l4.sport"),
        ("1/65536", "l4.sport"),
        ("9-1", "l4.sport"),
        ("1-2-3", "l4.sport"),
        (-1, "l4.sport"),
        (True, "l4.sport"),
        (1.5, "l4.sport"),
        ("Z", "tcp.flags"),
        ("S/A", "tcp.flags"),
        ("10.0.0.1/8", "ip.src"),
        ("fe80::1/10", "ip.src"),
        ("10.0.0.0/33", "ip.src"),
        ("10.0.0.0/8", "ipv6.src"),
        ("::/0", "ipv4.src"),
        (None, "ip.src"),
        ("", "l4.sport"),
    ],
)
def test_what_is_no_pattern(value: Any, name: str) -> None:
    with pytest.raises(SyntaxProblem):
        pattern(value, name)


def test_flags_of_one_bit_may_be_booleans() -> None:
    assert parse_pattern(True, 1, None) == Pattern(1, 1)
    assert parse_pattern(0, 1, None) == Pattern(0, 1)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(prefix=st.integers(0, 32), network=st.integers(0, 2**32 - 1), address=st.integers(0, 2**32 - 1))
def test_an_ipv4_prefix_covers_its_network_in_mapped_form(prefix: int, network: int, address: int) -> None:
    net = ipaddress.ip_network((network >> (32 - prefix) << (32 - prefix), prefix))
    value, mask = mapped(pattern(str(net), "ip.src"))
    assert ((address | 0xFFFF << 32) & mask == value) == (ipaddress.IPv4Address(address) in net)
    assert address & mask != value  # as an IPv6 address ::a.b.c.d it is another one


def test_alternatives_of_a_plain_pattern_are_itself() -> None:
    assert alternatives(Pattern(5, 7), 16) == [(5, 7)]
    assert len(alternatives(Pattern(1, FULL, 6), 3)) == 4

"""The small text forms inside a program file: operands, match patterns, update targets.

====================  =========================================================
``R.x`` ``W.x``       register of the looked-up / of the written context
``G.group.x``         global variable
``T.x`` ``C.x``       temporary; condition (in a match)
``metadata.x``        metadata word
``now now_us …``      ingress time, in ns, µs, ms, s
``direction random``  virtual fields of the stage
``ip.src`` …          a field of the header vector
``80 0x1f 64k``       a constant
====================  =========================================================
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from .errors import near_miss
from .fields import FIELD_BY_NAME, Field, field_names
from .program import NOW_UNITS_NS, Operand, Pattern
from .units import parse_count

_PREFIXES = {"R": "register", "W": "written", "G": "global", "T": "temporary", "metadata": "metadata"}
_TCP_FLAGS = {letter: 1 << bit for bit, letter in enumerate("FSRPAUECN")}
_RANGE = re.compile(r"^\s*(\w+)\s*-\s*(\w+)\s*$")
_ALL_128 = 2**128 - 1


class SyntaxProblem(ValueError):
    """What was got and what was expected; ``hint`` suggests a near miss."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def parse_number(value: Any) -> int:
    """A non-negative constant: an int, ``0x1f``, ``64k`` or an IPv4/MAC address as a number."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise SyntaxProblem(f"got {value}, expected a constant that is not negative")
        return value
    text = str(value).strip()
    if re.fullmatch(r"0[xX][0-9a-fA-F_]+|0[bB][01_]+", text):
        return int(text, 0)
    if re.fullmatch(r"(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}", text):
        return int(text.replace(":", ""), 16)
    if re.fullmatch(r"\d+\.\d+\.\d+\.\d+", text):
        try:
            return int(ipaddress.IPv4Address(text))
        except ValueError as error:
            raise SyntaxProblem(f"got {text!r}: {error}") from None
    try:
        return parse_count(value)
    except ValueError as error:
        raise SyntaxProblem(str(error)) from None


def parse_operand(value: Any) -> Operand:
    """Read one operand.

    Raises:
        SyntaxProblem: no such kind of operand or field.
    """
    if not isinstance(value, str):
        if isinstance(value, bool) or not isinstance(value, int):
            raise SyntaxProblem(f"got {value!r}, expected an operand such as R.count, ip.proto or 80")
        return Operand("const", value=parse_number(value))
    text = value.strip()
    head, _, rest = text.partition(".")
    if head in _PREFIXES and rest:
        return Operand(_PREFIXES[head], rest)
    if text in NOW_UNITS_NS:
        return Operand("now", text)
    if text in ("direction", "random"):
        return Operand(text, text)
    if text in FIELD_BY_NAME:
        return Operand("field", text)
    if text[:1].isdigit():
        return Operand("const", value=parse_number(text))
    known = [*field_names(), *NOW_UNITS_NS, "direction", "random", "R.", "W.", "G.", "T.", "metadata."]
    raise SyntaxProblem(f"unknown operand or field {text!r}", near_miss(text, known))


def parse_address(value: Any) -> Operand | None:
    """An IPv4 or IPv6 address as an operand that a 128-bit field can be set to; None for any other text."""
    try:
        address = ipaddress.ip_address(str(value).strip())
    except ValueError:
        return None
    return None if isinstance(value, int) else Operand("address", str(address), int(address))


def parse_pattern(value: Any, bits: int, field: Field | None) -> Pattern:
    """Read one alternative of a match term on a subject of ``bits`` bits.

    Forms: a number; ``value/mask``; ``low-high``; for addresses ``10.0.0.0/8`` or ``fc00::/7``; for
    ``tcp.flags`` letters, ``S/SA`` meaning S set and A clear.

    Raises:
        SyntaxProblem: not such a form, or wider than the subject.
    """
    full = (1 << bits) - 1
    if field is not None and (
        field.is_address or field.bits == 128 or field.name.endswith(("ipv4.src", "ipv4.dst"))
    ):
        return _address_pattern(value, field)
    if field is not None and field.name == "tcp.flags" and isinstance(value, str) and value[:1].isalpha():
        return _flags_pattern(value)
    if isinstance(value, str):
        text = value.strip()
        if "/" in text:
            left, _, right = text.partition("/")
            return _fits(Pattern(parse_number(left) & parse_number(right), parse_number(right)), full, value)
        found = _RANGE.match(text)
        if found:
            low, high = parse_number(found.group(1)), parse_number(found.group(2))
            if low > high:
                raise SyntaxProblem(f"got the range {text!r}, expected the low end first")
            return _fits(Pattern(low, full, high), full, value)
    if isinstance(value, bool):
        if bits != 1:
            raise SyntaxProblem(f"got {value!r}, expected a number")
        return Pattern(int(value), 1)
    return _fits(Pattern(parse_number(value), full), full, value)


def _fits(pattern: Pattern, full: int, got: Any) -> Pattern:
    if pattern.value > full or pattern.mask > full or (pattern.high or 0) > full:
        raise SyntaxProblem(f"got {got!r}, expected at most {full} ({full:#x})")
    return pattern


def _flags_pattern(text: str) -> Pattern:
    left, slash, right = text.strip().partition("/")
    unknown = sorted(set(left + right) - set(_TCP_FLAGS))
    if unknown:
        raise SyntaxProblem(f"unknown TCP flag {unknown[0]!r} in {text!r}, expected letters of FSRPAUECN")
    value = sum(_TCP_FLAGS[letter] for letter in set(left))
    mask = sum(_TCP_FLAGS[letter] for letter in set(right)) if slash else 0x1FF
    if value & ~mask:
        raise SyntaxProblem(f"got {text!r}, expected the flags before / to be among those after it")
    return Pattern(value, mask)


def _address_pattern(value: Any, field: Field) -> Pattern:
    text = str(value).strip()
    try:
        network = ipaddress.ip_network(text, strict=True)
    except ValueError:
        try:
            loose = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise SyntaxProblem(f"got {text!r}, expected an address or prefix such as 10.0.0.0/8") from None
        raise SyntaxProblem(
            f"got {text!r}, which has bits set behind its prefix", f"did you mean {loose}?"
        ) from None
    value_number, mask = int(network.network_address), int(network.netmask)
    if field.is_address:
        return Pattern(value_number, mask, family=network.version)
    if (network.version == 4) != (field.bits == 32):
        raise SyntaxProblem(f"got the IPv{network.version} prefix {text!r} for {field.name}")
    return Pattern(value_number, mask)


def mapped(pattern: Pattern) -> tuple[int, int]:
    """Value and mask of an address pattern over 128 bits, IPv4 as IPv4-mapped."""
    if pattern.family == 4:
        return pattern.value | (0xFFFF << 32), pattern.mask | (_ALL_128 >> 32 << 32)
    return pattern.value, pattern.mask


def range_to_ternary(low: int, high: int, bits: int) -> list[tuple[int, int]]:
    """Cover the inclusive range with the fewest prefixes: (value, mask) pairs, at most 2·bits − 2.

    >>> range_to_ternary(1, 6, 3)
    [(1, 7), (2, 6), (4, 6), (6, 7)]
    """
    full = (1 << bits) - 1
    out = []
    while low <= high:
        size = low & -low if low else 1 << bits
        while low + size - 1 > high:
            size >>= 1
        out.append((low, full & ~(size - 1)))
        low += size
    return out


def alternatives(pattern: Pattern, bits: int) -> list[tuple[int, int]]:
    """The pattern as (value, mask) pairs; one unless it is a range."""
    if pattern.high is None:
        return [(pattern.value, pattern.mask)]
    return range_to_ternary(pattern.value, pattern.high, bits)

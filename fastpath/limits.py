"""The vocabulary of NIC profiles: every limit, its unit and its meaning, in one table."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from oppcache.opp.errors import Mark, Problems, near_miss
from oppcache.opp.program import CONDITION_OPS
from oppcache.opp.units import parse_bits_per_second, parse_bytes, parse_count, parse_fraction
from oppcache.opp.yaml_source import mark_of

Value = int | float | bool | str | tuple[str, ...]

KINDS = ("read", "derived", "assumed", "given")
UNLIMITED = "unlimited"
OPERANDS = (
    "const",
    "field",
    "metadata",
    "register",
    "written",
    "global",
    "temporary",
    "now",
    "direction",
    "random",
)
HEADERS = (
    "eth",
    "vlan",
    "qinq",
    "mpls",
    "pppoe",
    "arp",
    "ipv4",
    "ipv6",
    "fragment",
    "tcp",
    "tcp-options",
    "udp",
    "udplite",
    "sctp",
    "icmp",
    "icmpv6",
    "inner",
    "flow",
    "checksums",
)
ACTIONS = ("set", "output", "drop", "to_controller", "dec_ttl", "generate", "alloc")
HAZARDS = ("none", "stall", "stale")
TABLE_ORGANISATIONS = ("fully-associative", "direct-mapped", "set-associative", "d-left", "cuckoo")
OPERATIONS = (
    *("mov", "add", "sub", "mul", "div", "mod", "and", "or", "xor", "shl", "shr", "min", "max"),
    *("ewma", "avg", "var", "fadd", "fsub", "fmul", "fdiv"),
)


@dataclass(frozen=True)
class Spec:
    """One key of a profile: how its value is written, and what it means."""

    unit: str
    meaning: str
    names: tuple[str, ...] = ()


_TABLE: dict[str, dict[str, Spec]] = {
    "pipeline": {
        "stages": Spec("count", "stages of a program that run on the NIC"),
        "stage_cycles": Spec("cycles", "latency of a stage"),
        "word_bits": Spec("bits", "widest operation of an ALU or a comparison"),
        "temporaries": Spec("count", "temporaries of a stage"),
        "metadata_bits": Spec("bits", "metadata that moves from stage to stage"),
        "goto": Spec("flag", "whether an entry may name the next stage"),
    },
    "contexts": {
        "organisation": Spec("name", "how contexts are found", TABLE_ORGANISATIONS),
        "choices": Spec("count", "sub-tables, in each of which a key has one bucket"),
        "ways": Spec("count", "places of a bucket"),
        "stash": Spec("count", "contexts that wait for a place"),
        "moves": Spec("count", "contexts that one insertion may move"),
        "kick_back": Spec("flag", "whether a context that lost its place may take it back at once"),
        "load": Spec("share", "of the places that can be filled"),
        "move_time": Spec("time", "moving one context to another of its places"),
        "key_bits": Spec("bits", "widest key"),
        "symmetric_keys": Spec("flag", "whether a key may be symmetric"),
        "label_bits": Spec("bits", "state label"),
        "registers": Spec("count", "registers of a context"),
        "register_bits": Spec("bits", "a register"),
        "flag_bits": Spec("bits", "what a slot holds besides key, label and registers"),
        "protocol_bits": Spec("bits", "what a consistency protocol keeps in a slot"),
        "per_table": Spec("count", "contexts of one table"),
        "total": Spec("count", "contexts over all stages"),
        "one_stage_build": Spec("count", "contexts of the published build with one stage"),
        "public_rtl": Spec("count", "contexts of a stage in the public RTL"),
        "memory_bits": Spec("bits", "memory for contexts, shared evenly by a program's tables"),
        "shared_tables": Spec("flag", "whether several stages may use one table"),
    },
    "efsm": {
        "entries": Spec("count", "ternary entries of a stage, ranges and lists expanded"),
        "width_bits": Spec("bits", "a ternary entry"),
        "write_cycles": Spec("cycles", "writing one ternary entry, as every shift does"),
        "conditions": Spec("count", "conditions of a stage"),
        "comparisons": Spec("names", "what a condition can be", CONDITION_OPS),
        "condition_operands": Spec("names", "what a condition can compare", OPERANDS),
    },
    "updates": {
        "per_entry": Spec("count", "updates of an entry: one ALU each"),
        "operations": Spec("names", "what an update can compute", OPERATIONS),
        "operands": Spec("names", "what an update can read", OPERANDS),
        "shift_by": Spec("names", "what a shift can shift by", OPERANDS),
        "globals": Spec("count", "globals of a stage"),
        "global_bits": Spec("bits", "a global"),
        "shared_globals": Spec("flag", "whether several stages may use one global"),
    },
    "writes": {
        "per_entry": Spec("count", "contexts that an entry writes"),
        "keys": Spec("names", "which contexts an entry writes", ("lookup", "update", "other")),
        "other_tables": Spec("flag", "whether an entry may write another table than its stage's"),
        "delete": Spec("flag", "whether an entry may delete its context"),
        "timers": Spec("names", "which timers an entry may set", ("idle", "hard")),
    },
    "actions": {
        "kinds": Spec("names", "what an entry can do to a packet", ACTIONS),
        "operands": Spec("names", "what an action can read", OPERANDS),
        "set_bits": Spec("bits", "widest field that can be set"),
    },
    "parser": {"headers": Spec("names", "headers whose fields can be read", HEADERS)},
    "timing": {
        "clock": Spec("frequency", "of the pipeline"),
        "bus_bits": Spec("bits", "a packet takes max(1, ceil(its bits / this)) cycles"),
        "line_rate": Spec("rate", "of all ports together"),
        "frame_min": Spec("bytes", "shortest frame, without FCS"),
        "wire_overhead": Spec("bytes", "FCS, preamble and gap, which a frame takes on the wire"),
        "fixed_latency": Spec("time", "through MACs, parser and queues, without any stage"),
        "short_cycles": Spec("cycles", "a packet of at most short_bytes takes, if that is more"),
        "short_bytes": Spec("bytes", "longest packet that short_cycles are for, without FCS"),
        "reentry_cycles": Spec(
            "cycles", "a packet from the CPU takes to its stage, beyond the stages it passes"
        ),
        "counter_read": Spec("time", "reading one context or counter from the host"),
        "hazard": Spec("name", "what is done about packets of one flow close together", HAZARDS),
        "hazard_cycles": Spec("cycles", "from reading a context to having written it back"),
        "hazard_queue": Spec("count", "packets that wait while one of the same hash is in flight"),
        "hazard_stall_max": Spec("time", "longest wait in that queue"),
    },
    "control": {"inserts": Spec("count", "contexts or entries that the host can insert in a second")},
}
SPECS: dict[str, Spec] = {
    f"{section}.{name}": spec for section, keys in _TABLE.items() for name, spec in keys.items()
}
SECTIONS: tuple[str, ...] = tuple(_TABLE)


@dataclass(frozen=True)
class Limit:
    """One limit of a profile.

    Attributes:
        value: in base units (counts, bits, bytes, cycles, ns, Hz, bit/s); None: no limit.
        kind: ``read`` in a source, ``derived`` from what was read, ``assumed``, or ``given`` without a word.
        source: where it was read, or how it was derived.
    """

    value: Value | None
    kind: str = "given"
    source: str = ""


def read_section(section: str, node: Any, problems: Problems, mark: Mark) -> dict[str, Limit]:
    """Read one section of a profile; what is wrong goes to ``problems``."""
    known = _TABLE[section]
    if not isinstance(node, dict):
        problems.add(f"{section}: got {node!r}, expected a mapping", mark)
        return {}
    limits = {}
    for name, item in node.items():
        if name not in known:
            hint = near_miss(str(name), known) or f"known: {', '.join(known)}"
            problems.add(f"{section} has no key {name!r}", mark_of(node, name, at_key=True), hint)
            continue
        limits[f"{section}.{name}"] = _limit(f"{section}.{name}", node, name, item, problems)
    return limits


def _limit(key: str, node: dict[str, Any], name: str, item: Any, problems: Problems) -> Limit:
    mark, kind, source = mark_of(node, name), "given", ""
    value, at = item, mark
    if isinstance(item, dict):
        for part in item:
            if part not in ("value", "kind", "source"):
                hint = near_miss(str(part), ("value", "kind", "source")) or "known: value, kind, source"
                problems.add(f"{key}: a limit has no key {part!r}", mark_of(item, part, at_key=True), hint)
        if "value" not in item:
            problems.add(f"{key}: 'value' is missing", mark)
            return Limit(None)
        value, at = item["value"], mark_of(item, "value")
        kind, source = item.get("kind", "given"), item.get("source", "")
        if kind not in KINDS:
            problems.add(
                f"{key}: got kind {kind!r}, expected {', '.join(KINDS)}",
                mark_of(item, "kind"),
                near_miss(str(kind), KINDS),
            )
        if not isinstance(source, str):
            problems.add(f"{key}: got source {source!r}, expected text", mark_of(item, "source"))
        elif kind in ("read", "derived") and not source:
            problems.add(f"{key}: is {kind}, so it needs a source", mark)
    if value == UNLIMITED:
        return Limit(None, str(kind), str(source))
    return Limit(_value(key, value, at, problems), str(kind), str(source))


def _value(key: str, value: Any, mark: Mark, problems: Problems) -> Value | None:
    spec = SPECS[key]
    if spec.unit == "names":
        return _names(key, value, spec.names, mark, problems)
    if spec.unit == "flag":
        if not isinstance(value, bool):
            problems.add(f"{key}: got {value!r}, expected true or false", mark)
        return value is True
    if spec.unit == "name":
        if value not in spec.names:
            expected = ", ".join(spec.names)
            problems.add(
                f"{key}: got {value!r}, expected {expected}", mark, near_miss(str(value), spec.names)
            )
        return str(value)
    try:
        return _PARSERS[spec.unit](value)
    except ValueError as error:
        problems.add(f"{key}: {error}", mark)
        return None


def _names(
    key: str, value: Any, known: Sequence[str], mark: Mark, problems: Problems
) -> tuple[str, ...] | None:
    if not isinstance(value, list):
        problems.add(f"{key}: got {value!r}, expected a list", mark)
        return None
    for i, name in enumerate(value):
        if name not in known:
            hint = near_miss(str(name), known) or f"known: {', '.join(known)}"
            problems.add(f"{key}: unknown name {name!r}", mark_of(value, i), hint)
    return tuple(str(name) for name in value)


_QUANTITY = re.compile(r"^\s*(\d+(?:\.\d*)?)\s*([A-Za-zµ]+)\s*$")
_NS = {"ns": 1.0, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9}
_HZ = {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9}


def _quantity(value: Any, units: dict[str, float], expected: str) -> float:
    found = _QUANTITY.match(value) if isinstance(value, str) else None
    if found is None or found.group(2) not in units or not float(found.group(1)):
        raise ValueError(f"got {value!r}, expected {expected}")
    return float(found.group(1)) * units[found.group(2)]


def _time_ns(value: Any) -> float:
    return _quantity(value, _NS, "a duration with a unit, such as 6.4ns")


def _frequency(value: Any) -> float:
    return _quantity(value, _HZ, "a frequency with a unit, such as 156.25MHz")


_PARSERS: dict[str, Callable[[Any], Value]] = {
    "count": parse_count,
    "bits": parse_count,
    "cycles": parse_count,
    "bytes": parse_bytes,
    "share": parse_fraction,
    "time": _time_ns,
    "frequency": _frequency,
    "rate": parse_bits_per_second,
}

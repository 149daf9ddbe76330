"""Random programs and packets, over everything that this version of the machine can do.

Not a test module: tests get it through the fixture ``random_programs``. Everything is drawn from a
``random.Random``, so the same code serves Hypothesis (``st.randoms(use_true_random=False)``), which can then
shrink what fails, and plain seeds where Hypothesis is too slow. Values come from small pools, so that keys
collide, states evolve and timers pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from pprint import pformat
from random import Random
from typing import Any

import numpy as np

from oppcache.opp import InputError, Machine, Program, load_program
from oppcache.opp.arrays import C_PLACE, C_STATE, CONTEXT_EXISTS
from oppcache.opp.fields import (
    CORE_WORDS,
    FIELD_BY_NAME,
    W_FAMILY,
    W_HEADERS,
    W_ID,
    W_IP_DST,
    W_IP_PROTO,
    W_IP_SRC,
    W_L4_DPORT,
    W_L4_SPORT,
    W_LENGTH,
    W_NOW,
    Header,
    Layout,
)
from oppcache.opp.lower import lower
from oppcache.opp.program import CONDITION_OPS, FLOAT_OPS, INTEGER_OPS, OPERATIONS
from oppcache.opp.reference import Packet, Reference
from oppcache.traffic.source import Chunk

Document = dict[str, Any]

CORNERS_32 = (0, 1, 2, 3, 7, 8, 31, 32, 33, 63, 64, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
CORNERS_SINGLE = (
    0x3F800000,
    0xC2C80000,
    0x7F800000,
    0xFF800000,
    0x7FC00001,
    0x00000001,
    0x00800000,
    0x7F7FFFFF,
)
CORNERS_64 = (2**32, 2**32 + 1, 2**63 - 1, 2**63, 2**64 - 1)

# Parts of keys by class: parts of one class are as wide as each other, so they may stand for each other.
PAIRS = {
    "address": (("ip.src", "ip.dst"), ("flow.src", "flow.dst")),
    128: (("ipv6.src", "ipv6.dst"),),
    48: (("eth.src", "eth.dst"),),
    32: (("ipv4.src", "ipv4.dst"),),
    16: (("l4.sport", "l4.dport"), ("tcp.sport", "tcp.dport"), ("flow.sport", "flow.dport")),
}
SINGLES = {
    48: ("arp.sha", "arp.tha"),
    32: ("tcp.seq", "tcp.ack", "arp.spa", "packet_length"),
    16: ("in_port", "tcp.window", "tcp.mss"),
    12: ("vlan.id",),
    8: ("ip.proto", "ip.family", "ipv4.ttl", "flow.proto"),
}
READABLE = [
    "packet_length",
    "in_port",
    "ip.family",
    "ip.proto",
    "l4.sport",
    "l4.dport",
    "tcp.flags",
    "tcp.seq",
    "tcp.window",
    "ipv4.ttl",
    "ipv4.src",
    "eth.src",
    "vlan.id",
    "arp.op",
    "arp.sha",
    "ipv6.hop_limit",
    "ipv6.flow_label",
    "flow.sport",
    "l4.csum_ok",
    "tcp.mss",
    "inner.l4.sport",
    *(
        "flow.dport",
        "tcp.dport",
        "udp.sport",
        "ipv4.dst",
        "ipv4.tos",
        "ipv4.dscp",
        "ipv6.tclass",
        "icmp.rest",
    ),
    *("ip.src.high", "ip.src.low", "ip.dst.low", "icmp.id", "inner.icmp.id", "inner.ipv4.src"),
]
SETTABLE = [
    *("l4.sport", "l4.dport", "tcp.sport", "tcp.dport", "udp.sport", "udplite.dport", "sctp.sport"),
    *("ipv4.src", "ipv4.dst", "ip.src", "ip.dst", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst"),
    *("tcp.seq", "tcp.window", "tcp.flags", "tcp.mss", "ipv4.id", "ipv4.ttl", "ipv6.flow_label"),
    *("ipv4.tos", "ipv4.dscp", "ipv4.ecn", "ipv6.tclass", "ipv6.dscp", "ipv6.ecn"),
    *("icmp.id", "icmp.seq", "icmpv6.id", "eth.src", "vlan.id"),
    *("inner.ipv4.src", "inner.ipv6.dst", "inner.l4.sport", "inner.l4.dport", "inner.icmp.id"),
]
MADE = ("packet_length", "in_port", "icmp.type", "icmp.rest", "arp.op", "arp.spa", "arp.tha")
WIDE = ("ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "flow.src", "flow.dst", "inner.ipv6.src")
HEADERS = [
    "vlan",
    "arp",
    "ipv4",
    "ipv6",
    "ip",
    "tcp",
    "eth",
    "inner_l4",
    "fragment",
    "l4_ports",
    "icmp_query",
    "udp",
]
V4 = ("10.0.0.1", "10.0.0.2", "192.0.2.7")
V6 = ("::a00:1", "fe80::1", "fe80::2", "::ffff:10.0.0.1")
TIMEOUTS = ("3ns", "5ns", "1us", "2ms", "4s")
JUMPS = (0, 0, 0, 1, 2, 3, 4, 5, 6, 999, 1000, 1001, 2_000_000, 2_000_001, 4_000_000_000, 4_000_000_001)
STATES = ("idle", "busy", "done")


class Draw:
    """Small choices; the first option is the simplest one, towards which Hypothesis shrinks."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng

    def number(self, below: int) -> int:
        return self.rng.randrange(below)

    def chance(self, one_in: int) -> bool:
        """True once in so many times; false is the simple answer."""
        return self.rng.randrange(one_in) == one_in - 1

    def pick(self, options: Sequence[Any]) -> Any:
        return options[self.rng.randrange(len(options))]

    def some(self, options: Sequence[Any], most: int) -> list[Any]:
        """Up to ``most`` distinct options."""
        left, out = list(options), []
        for _ in range(min(self.number(most + 1), len(left))):
            out.append(left.pop(self.number(len(left))))
        return out


class ProgramMaker:
    """Draws one program document; what it gives passes validation, up to rare accidents."""

    def __init__(self, rng: Random) -> None:
        self.d = Draw(rng)
        self.word = self.d.pick((32, 64))
        self.tables: dict[str, dict[str, Any]] = {}
        self.bits: dict[str, dict[str, int]] = {}  # of each table's registers
        self.shapes: dict[str, list[Any]] = {}
        self.globals: dict[str, int] = {}
        self.metadata: list[str] = []
        self.names: list[str] = []  # of stages

    def document(self) -> Document:
        d = self.d
        self.metadata = [f"m{i}" for i in range(d.number(3))]
        for i in range(1 + d.number(2) if not d.chance(12) else 0):
            self.table(f"t{i}")
        groups = {f"g{i}": self.registers(f"g{i}.", self.globals) for i in range(d.number(3))}
        names = self.names = [f"s{i}" for i in range(1 + d.number(4))]
        stages = [self.stage(name, names[i + 1 :], commit=False) for i, name in enumerate(names)]
        for name, table in self.tables.items():
            if d.chance(3):
                table["expiry"] = self.expiry(name)
        if d.chance(3):
            stages += [self.stage(f"c{t}", [], commit=True, table=t) for t in self.tables]
        return {
            "program": "random",
            "word_bits": self.word,
            "metadata": self.metadata,
            "tables": self.tables,
            "globals": groups,
            "stages": stages,
        }

    def registers(self, prefix: str, bits_of: dict[str, int]) -> list[Any]:
        out = []
        for i in range(self.d.number(4)):
            bits = self.d.pick((32, 64))
            bits_of[f"{prefix}r{i}"] = max(bits, self.word)
            initial = self.d.pick(CORNERS_32 + CORNERS_SINGLE + (CORNERS_64 if bits == 64 else ()))
            out.append({"name": f"r{i}", "bits": bits, "initial": initial})
        return out

    def table(self, name: str) -> None:
        d = self.d
        self.bits[name] = {}
        self.tables[name] = {"registers": self.registers("", self.bits[name]), "states": list(STATES)}
        if d.chance(3):
            self.tables[name]["initial"] = d.pick(("busy", 7, 2**32 - 2))
        shape: list[Any] = []
        kinds = ["address", 16, "address", 16, 48, 32, 128]
        for kind in dict.fromkeys(d.pick(kinds) for _ in range(d.number(3))):
            shape += [kind, kind]
        shape += d.some([8, 16, 32, "word", "word", 12, 48, "wide"], 3)
        d.rng.shuffle(shape)
        self.shapes[name] = shape or [16]

    def expiry(self, table: str) -> Any:
        """The packet that tells of a passed timer."""
        d = self.d
        state = {"registers": self.bits[table], "temporaries": {}, "event": True}
        out: dict[str, Any] = {"stage": d.pick(self.names), "set": self.sets(state)}
        if d.chance(2):
            out["timers"] = d.pick((["idle"], ["hard"], ["idle", "hard"]))
        return out

    # Keys

    def key(self, table: str, temporaries: dict[str, int]) -> Any:
        shape = self.shapes[table]
        pairs = [kind for kind in PAIRS if shape.count(kind) >= 2]
        if pairs and self.d.chance(2):
            return {"fields": self.symmetric(shape, pairs), "symmetric": True}
        return [self.part(kind, temporaries) for kind in shape]

    def symmetric(self, shape: list[Any], pairs: list[Any]) -> list[Any]:
        """Fill two places of a class with a pair, in either order, and the others with lone fields."""
        waiting = {kind: list(self.d.pick(PAIRS[kind])) for kind in pairs}
        for pair in waiting.values():
            if self.d.chance(2):
                pair.reverse()
        used: set[str] = set()
        out: list[Any] = []
        for kind in shape:
            if waiting.get(kind):
                out.append(waiting[kind].pop(0))
                continue
            lone = [p for p in SINGLES.get(kind, ()) if p not in used]
            part = self.d.pick(lone) if lone else self.constant(kind)
            used.add(str(part))
            out.append(part)
        return out

    def part(self, kind: Any, temporaries: dict[str, int]) -> Any:
        d = self.d
        width = {"word": self.word, "wide": 64}.get(kind, kind)
        fields = [f for pair in PAIRS.get(kind, ()) for f in pair] + list(SINGLES.get(kind, ()))
        if kind in ("word", "wide", 32):
            named = [f"T.{t}" for t, bits in temporaries.items() if bits == width]
            if width == self.word:
                named += [f"metadata.{m}" for m in self.metadata]
            if not fields or (named and d.chance(2)):
                return d.pick(named) if named else self.constant(kind)
        return d.pick(fields)

    def constant(self, kind: Any) -> int:
        """A constant that is as wide as its class, ``word`` or ``wide``; what fields there are serve the others."""
        return int(self.d.pick(CORNERS_64 if kind == "wide" else (5, 6)))

    # Values

    def operand(self, stage: dict[str, Any], *, written: str | None = None, below: int = 2**64) -> Any:
        d = self.d
        kinds = ["const", "field", "now"] + ([] if stage.get("event") else ["direction", "random"])
        if self.metadata:
            kinds += ["metadata"] * 2
        if stage["registers"]:
            kinds += ["register"] * 3
        if written and self.bits[written]:
            kinds += ["written"] * 3
        if self.globals:
            kinds += ["global"] * 2
        if stage["temporaries"]:
            kinds += ["temporary"] * 2
        kind = d.pick(kinds)
        if kind == "const":
            return d.pick([c for c in CORNERS_32 + CORNERS_SINGLE + CORNERS_64 if c < below])
        if kind == "field":
            return d.pick(READABLE)
        if kind == "now":
            return d.pick(("now", "now_us", "now_ms", "now_s"))
        if kind in ("direction", "random"):
            return kind
        named = {
            "metadata": ("metadata", self.metadata),
            "register": ("R", list(stage["registers"])),
            "written": ("W", list(self.bits[written]) if written else []),
            "global": ("G", list(self.globals)),
            "temporary": ("T", list(stage["temporaries"])),
        }
        prefix, names = named[kind]
        return f"{prefix}.{d.pick(names)}"

    def operation(self, stage: dict[str, Any], ops: tuple[str, ...], **more: Any) -> dict[str, Any]:
        op = self.d.pick(ops)
        args = [self.operand(stage, **more) for _ in range(1 if op == "mov" else 2)]
        return {"op": op, "args": args, **({"k": self.d.number(9)} if op == "ewma" else {})}

    # Stages

    def stage(self, name: str, later: list[str], *, commit: bool, table: str | None = None) -> Document:
        d = self.d
        if table is None and self.tables and not d.chance(5):
            table = d.pick(list(self.tables))
        state: dict[str, Any] = {"registers": self.bits.get(table or "", {}), "temporaries": {}}
        out: Document = {"name": name}
        if table:
            out |= {"table": table, "key": self.key(table, {})}
            if d.chance(3):
                out["create"] = "on-write"
        if commit:
            out["commit"] = True
        temporaries = []
        for i in range(d.number(3)):
            bits = d.pick((32, 64))
            temporaries.append(
                {"name": f"x{i}", "bits": bits, **self.operation(state, INTEGER_OPS + FLOAT_OPS)}
            )
            state["temporaries"][f"x{i}"] = max(bits, self.word)
        conditions = {
            f"c{i}": [self.operand(state), d.pick(CONDITION_OPS), self.operand(state)]
            for i in range(d.number(3))
        }
        if table and d.chance(3):
            out["update_key"] = self.key(table, state["temporaries"])
        state |= {"table": table, "conditions": list(conditions), "later": later, "commit": commit}
        state["update"] = "update_key" in out
        out |= {"temporaries": temporaries, "conditions": conditions}
        out["entries"] = [
            {"name": f"e{i}", "match": self.match(state), **self.entry(state)} for i in range(d.number(5))
        ]
        if out["entries"] and d.chance(3):
            ranks = list(range(len(out["entries"])))
            d.rng.shuffle(ranks)
            for entry, rank in zip(out["entries"], ranks, strict=True):
                entry["priority"] = rank
        if d.chance(2):
            out["default"] = self.entry(state)
        return out

    def match(self, state: dict[str, Any]) -> dict[str, Any]:
        d = self.d
        subjects = [("field", f) for f in ("ip.src", "ipv6.src", "ipv4.src", "l4.sport", *READABLE)]
        kinds = ["field", "valid"]
        if state["table"]:
            kinds += ["state", "state", "direction"]
        if state["conditions"]:
            kinds += ["condition"] * 2
        if self.metadata:
            kinds.append("metadata")
        out: dict[str, Any] = {}
        for _ in range(d.number(3)):
            kind = d.pick(kinds)
            if kind == "state":
                out["state"] = d.pick(("idle", "busy", "none", ["idle", "done"], 7, ["busy", 2**32 - 2]))
            elif kind == "direction":
                out["direction"] = d.number(2)
            elif kind == "condition":
                out[f"C.{d.pick(state['conditions'])}"] = d.pick((True, False, 1, 0))
            elif kind == "valid":
                out[f"valid.{d.pick(HEADERS)}"] = d.pick((True, False))
            elif kind == "metadata":
                out[f"metadata.{d.pick(self.metadata)}"] = self.pattern(32)
            else:
                name = d.pick(subjects)[1]
                out[name] = [self.field_pattern(name) for _ in range(1 + d.number(2))]
        return out

    def field_pattern(self, name: str) -> Any:
        d = self.d
        if name == "tcp.flags":
            return d.pick(("S", "SA/SA", "S/SA", "F/F", "2/3"))
        if name == "ip.src":
            return d.pick((*V4, *V6, "10.0.0.0/8", "0.0.0.0/0", "::/0", "fe80::/10", "::ffff:0:0/96"))
        if name.endswith(("ipv4.src", "ipv4.dst")):
            return d.pick((*V4, "10.0.0.0/31"))
        if name == "ipv6.src":
            return d.pick((*V6, "fe80::/64", "fe80::/127"))
        return self.pattern(FIELD_BY_NAME[name].bits)

    def pattern(self, bits: int) -> Any:
        d = self.d
        full = (1 << bits) - 1
        form = d.number(3)
        low, high = sorted(min(d.pick((0, 1, 2, 5, 6, 7, 80, 2**31, full)), full) for _ in range(2))
        if form == 0:
            return low
        return f"{low}/{d.pick((full, 1, 3, full - 1))}" if form == 1 else f"{low}-{high}"

    def entry(self, state: dict[str, Any]) -> Document:
        d = self.d
        out: Document = {"actions": [self.action(state) for _ in range(d.number(3))]}
        targets: set[Any] = set()
        if state["table"] and d.chance(2):
            out |= self.write(state["table"], state, targets, ("own", not state["update"]))
        writes = []
        keys = [repr("lookup" if not state["update"] else "update")] if len(out) > 1 else []
        for _ in range(d.number(3) if self.tables and d.chance(2) else 0):
            table = d.pick(list(self.tables))
            key: Any = d.pick(("lookup", "update")) if state["table"] == table and d.chance(2) else None
            named = key if key is None or state["update"] else "lookup"
            if key is None:
                key = named = self.key(table, state["temporaries"])
            if repr(named) in keys:
                continue
            keys.append(repr(named))
            writes.append({"table": table, "key": key, **self.write(table, state, targets, repr(named))})
        if writes:
            out["writes"] = writes
        if not state["commit"] and d.chance(5):
            out["goto"] = d.pick((*state["later"], "end"))
        return out

    def action(self, state: dict[str, Any]) -> Any:
        d = self.d
        kinds = ("output", "set", "set", "set", "alloc", "dec_ttl", "to_controller", "drop", "generate")
        kind = d.pick(kinds)
        if kind == "generate":
            return self.generate(state)
        if kind == "alloc":
            return self.alloc(state) or "dec_ttl"
        if kind == "output":
            return {"output": self.operand(state, below=2**32)}
        if kind != "set":
            return kind if kind != "drop" or d.chance(3) else "dec_ttl"
        target = d.pick([*SETTABLE, *[f"metadata.{m}" for m in self.metadata] * 4])
        return {"set": {target: self.value(target, state)}}

    def value(self, target: str, state: dict[str, Any]) -> Any:
        """What a field or metadata word is set to."""
        bits = self.word if target.startswith("metadata") else FIELD_BY_NAME[target].bits
        return self.wide(target, state) if bits == 128 else self.operand(state, below=1 << bits)

    def sets(self, state: dict[str, Any]) -> dict[str, Any]:
        """A few fields of a packet that is made."""
        targets = [*SETTABLE, *MADE, *[f"metadata.{m}" for m in self.metadata] * 4]
        return {target: self.value(target, state) for target in self.d.some(targets, 4)}

    def generate(self, state: dict[str, Any]) -> Any:
        """A packet to generate."""
        d = self.d
        out: dict[str, Any] = {"stage": d.pick(self.names), "set": self.sets(state)}
        if d.chance(3):
            out["from"] = "nothing"
        if "from" in out or d.chance(2):
            layer3 = d.pick(("ipv4", "ipv6", "arp"))
            icmp = "icmpv6" if layer3 == "ipv6" else "icmp"
            layer4 = d.pick((["tcp"], ["udp"], [icmp], [icmp, "icmp_query"], [])) if layer3 != "arp" else []
            out["headers"] = [*d.pick((["eth"], ["eth", "vlan"], [])), layer3, *layer4]
        if d.chance(3):
            out["quote"] = True
            if "headers" in out:
                out["headers"] = ["eth", *d.pick((("ipv4", "icmp"), ("ipv6", "icmpv6")))]
        return {"generate": out}

    def alloc(self, state: dict[str, Any]) -> Any:
        """An allocation of one part of some table's key, from few values; None where there is no such part."""
        d = self.d
        table = d.pick(list(self.tables)) if self.tables else ""  # which nothing may have a key for, rarely
        places = [i for i, kind in enumerate(self.shapes.get(table, [])) if kind in (16, "word")]
        if not places:
            return None
        parts = [self.part(kind, state["temporaries"]) for kind in self.shapes[table]]
        place = d.pick(places)
        names = [f"metadata.{m}" for m in self.metadata]
        if self.shapes[table][place] == 16:
            names = ["l4.sport", "l4.dport", "tcp.sport", "udp.dport", "tcp.window"]
        if not names:
            return None
        target = d.pick(names)
        if target.startswith("metadata"):
            parts = [5 if part == target else part for part in parts]
        else:  # no other name of a port, not even of the other one
            parts = ["in_port" if str(part).endswith(("port", "tcp.window")) else part for part in parts]
        parts[place] = target
        low = d.number(7)
        fixed = [low, low + d.number(4)]
        bounds = [self.operand(state, below=2**16) for _ in range(2)] if d.chance(4) else fixed
        out = {
            "set": parts[place],
            "table": table,
            "key": parts,
            "range": bounds,
            "tries": d.pick((4, 1, 2, 300)),
        }
        if d.chance(2):
            out["start"] = self.operand(state, below=2**16)
        if self.metadata and d.chance(2):
            out["found"] = f"metadata.{d.pick(self.metadata)}"
        if "found" not in out or d.chance(2):
            out["else"] = "drop"
        return {"alloc": out}

    def wide(self, target: str, state: dict[str, Any]) -> Any:
        """What a 128-bit field is set to."""
        d = self.d
        form = d.number(3)
        if form == 0:
            return d.pick(V6[1:3] if target.startswith(("ipv6", "inner")) else V4 + V6[1:3])
        return d.pick(WIDE) if form == 1 else [self.operand(state), self.operand(state)]

    def write(self, table: str, state: dict[str, Any], targets: set[Any], where: Any) -> Document:
        d = self.d
        out: Document = {"updates": []}
        if d.chance(2):
            out["next_state"] = d.pick((*STATES, 7, "delete", 2**32 - 2))
        for timer in ("idle", "hard"):
            if d.chance(3):
                after = d.pick(TIMEOUTS)
                out[timer] = d.pick((after, {"after": after, "to": d.pick(STATES)}, "off"))
        for _ in range(d.number(4)):
            own = bool(self.bits[table]) and not d.chance(3)
            if not own and not self.globals:
                continue
            name = d.pick(list(self.bits[table] if own else self.globals))
            spot = (table, where, name) if own else name
            if spot in targets:
                continue
            targets.add(spot)
            width = self.bits[table][name] if own else self.globals[name]
            operation = self.operation(state, OPERATIONS, written=table, below=1 << width)
            out["updates"].append({"set": f"R.{name}" if own else f"G.{name}", **operation})
        return out


def make_document(rng: Random) -> Document:
    """Draw a program document."""
    return ProgramMaker(rng).document()


HALVES = ("ip.src.high", "ip.src.low", "ip.dst.high", "ip.dst.low")  # of words that are drawn whole
ADDRESSES = {4: (0x0A000001, 0x0A000002, 0xC0000207), 6: (0x0A000001, 0xFE80 << 112 | 1, 0xFE80 << 112 | 2)}


def make_vectors(rng: Random, layout: Layout, count: int) -> np.ndarray:
    """Draw ``uint64[count, layout.words]`` header vectors: few distinct values, absent headers, time that jumps."""
    d = Draw(rng)
    rows = np.zeros((count, layout.words), np.uint64)
    now = d.pick((0, 1, 1_700_000_000_123_456_789))
    shapes = [_headers(d) for _ in range(1 + d.number(4))]
    numbers = [5, *d.some((6, 0, 1, 2**64 - 1), 2)]
    addresses = {version: [pool[0], *d.some(pool[1:], 2)] for version, pool in ADDRESSES.items()}
    # The definition takes the later of the packet's stamp and the context's, though sources never run backwards.
    jumps = (*JUMPS, -1, -3, -1000) if d.chance(3) else JUMPS
    for number in range(count):
        now = max(now + d.pick(jumps), 0)
        family, present = d.pick(shapes)
        row = rows[number]
        row[W_HEADERS] = sum(1 << h for h in present)
        row[W_NOW], row[W_ID], row[W_FAMILY] = now, number, family
        for name, word in layout.word_of.items():
            field = FIELD_BY_NAME[name]
            if (
                word == W_FAMILY
                or name in HALVES
                or (field.header is not None and field.header not in present)
            ):
                continue
            if field.words == 2:
                value = d.pick(addresses[family if field.is_address else 6])
                if field.is_address and family == 4:
                    value |= 0xFFFF << 32
                row[word], row[word + 1] = value >> 64, value & (2**64 - 1)
            elif name in ("ipv4.src", "ipv4.dst"):
                row[word] = d.pick(addresses[4])
            else:
                full = (1 << field.bits) - 1
                row[word] = min(d.pick(numbers), full)
    return rows


def _headers(d: Draw) -> tuple[int, set[Header]]:
    """A kind of packet: its IP family (0: none) and the headers that are there."""
    family = d.pick((4, 6, 4, 6, 4, 0))
    present = {Header.ETH} if not d.chance(5) else set()
    present |= {h for h in (Header.VLAN, Header.ARP, Header.FRAGMENT) if d.chance(2)}
    if not family:
        return family, present
    present |= {Header.IP, Header.IPV4 if family == 4 else Header.IPV6}
    transport = d.pick((Header.TCP, Header.TCP, Header.TCP, Header.UDP, Header.UDPLITE, Header.SCTP, None))
    if transport is not None:
        return family, present | {transport, Header.L4_PORTS}
    if d.chance(2):
        return family, present
    present.add(Header.ICMP if family == 4 else Header.ICMPV6)
    if d.chance(2):
        return family, present | {Header.ICMP_QUERY}
    inner = Header.INNER_IPV4 if d.chance(2) == (family == 6) else Header.INNER_IPV6
    quoted = d.pick(((Header.INNER_L4, Header.INNER_PORTS), (Header.INNER_L4, Header.INNER_QUERY), ()))
    present |= {inner, Header.INNER_IP, *quoted} if not d.chance(3) else set()
    return family, present


def expected_row(before: np.ndarray, packet: Packet, layout: Layout) -> np.ndarray:
    """The header vector as the reference left the packet: present fields and metadata over what was there."""
    row = before.copy()
    for name, value in packet.fields.items():
        word = layout.word_of[name]
        if FIELD_BY_NAME[name].words == 1:
            row[word] = value
            continue
        number = value if isinstance(value, int) else value[1] | (0xFFFF << 32 if value[0] == 4 else 0)
        row[word], row[word + 1] = number >> 64, number & (2**64 - 1)
    row[layout.metadata_word :] = packet.metadata
    return row


class Expected:
    """What the reference makes of header vectors.

    Attributes:
        verdicts: (verdict, port) of each packet.
        rows: the header vectors afterwards.
        reference: with its final contexts and globals.
        lookups: of each packet.
    """

    def __init__(
        self,
        program: Program,
        layout: Layout,
        vectors: np.ndarray,
        seed: int = 0,
        sweeps: dict[int, int] | None = None,
    ) -> None:
        self.reference = Reference(program, seed)
        self.verdicts: list[tuple[int, int]] = []
        self.made: list[Any] = []
        self.lookups: list[list[Any]] = []
        self.rows = vectors.copy()
        for i, row in enumerate(vectors):
            if sweeps and i in sweeps:
                self.made += self.reference.sweep(sweeps[i])
            packet = Packet.from_vector(row, layout)
            result = self.reference.process(packet)
            self.made += result.made
            self.verdicts.append((int(result.verdict), result.port))
            self.lookups.append(result.lookups)
            self.rows[i] = expected_row(row, packet, layout)

    def check(self, verdicts: Any, ports: Any, rows: np.ndarray, contexts: Any, variables: Any) -> None:
        """Compare everything that the machine shows with what the reference says."""
        got = list(zip(map(int, verdicts), map(int, ports), strict=True))
        assert got == self.verdicts, "verdict or port"
        different = np.argwhere(rows != self.rows)
        assert not len(different), f"packet, word: {different[:5].tolist()}"
        assert contexts == self.reference.canonical_contexts(), "contexts"
        assert variables == self.reference.globals, "globals"


def vectors_of_flows(flows: Sequence[int], gaps_ns: Sequence[int] | int = 1_000) -> np.ndarray:
    """A TCP packet of 100 bytes for each flow number, from a host inside of that number, ``gaps_ns`` apart.

    The header vectors have the core words only, which is all that ``nf:stateful-firewall`` reads.
    """
    rows = np.zeros((len(flows), CORE_WORDS), np.uint64)
    rows[:, W_HEADERS] = 1 << Header.IP | 1 << Header.IPV4 | 1 << Header.TCP | 1 << Header.L4_PORTS
    rows[:, W_NOW] = np.cumsum(np.broadcast_to(gaps_ns, len(flows)))
    rows[:, W_ID] = np.arange(len(flows))
    rows[:, W_FAMILY] = 4
    rows[:, W_LENGTH] = 100
    rows[:, W_IP_SRC + 1] = np.asarray(flows, np.uint64) + (0xFFFF << 32 | 0x0A000000)
    rows[:, W_IP_DST + 1] = 0xFFFF << 32 | 0xC0000201
    rows[:, W_IP_PROTO], rows[:, W_L4_SPORT], rows[:, W_L4_DPORT] = 6, 1000, 80
    return rows


class MemorySource:
    """Header vectors in memory as a packet source; chunks are copies, since programs rewrite them."""

    def __init__(self, vectors: np.ndarray, chunk_packets: int = 7) -> None:
        self.vectors = vectors
        self.chunk_packets = chunk_packets

    def chunks(self, layout: Layout) -> Iterator[Chunk]:
        for first in range(0, len(self.vectors), self.chunk_packets):
            rows = self.vectors[first : first + self.chunk_packets, : layout.words]
            yield Chunk(np.array(rows, order="C"))

    def counts(self) -> dict[str, int]:
        return {"packets_read": len(self.vectors), "packets": len(self.vectors)}

    def describe(self) -> dict[str, Any]:
        return {"kind": "memory", "packets": len(self.vectors)}

    def inputs(self) -> list[Path]:
        return []


class Observed:
    """What a hybrid run shows of its packets: an observer for ``simulate``."""

    def __init__(self) -> None:
        self.rows: list[np.ndarray] = []
        self.verdicts: list[int] = []
        self.ports: list[int] = []
        self.flags: list[int] = []

    def __call__(self, vectors: np.ndarray, outcomes: Any) -> None:
        self.rows.append(vectors.copy())
        self.verdicts += outcomes.verdict.tolist()
        self.ports += outcomes.port.tolist()
        self.flags += outcomes.flags.tolist()

    def check(self, expected: Expected, outcome: Any) -> None:
        rows = np.concatenate(self.rows) if self.rows else expected.rows
        expected.check(self.verdicts, self.ports, rows, outcome.contexts(), outcome.globals)


def check_made(machine: Machine, expected: Expected, layout: Layout) -> None:
    """Compare the packets that a program made."""
    got = []
    for made in machine.made():
        for i, row in enumerate(made.vectors):
            packet = Packet.from_vector(row, layout)
            numbers = (int(made.parent[i]), int(made.nth[i]), bool(made.event[i]))
            got.append((packet, *numbers, (int(made.verdict[i]), int(made.port[i]))))
    wanted = []
    for one in expected.made:
        fields = {name: value for name, value in one.packet.fields.items() if name in layout.word_of}
        packet = Packet(fields, one.packet.headers, one.packet.now, one.packet.number, one.packet.metadata)
        result = (int(one.result.verdict), one.result.port)
        wanted.append((packet, one.parent, one.nth, one.event, result))
    for ours, theirs in zip(got, wanted, strict=False):
        assert ours == theirs, "a packet that was made"
    assert len(got) == len(wanted), "packets that were made"


def without_made(document: Document) -> Document:
    """The document without what makes packets, for drivers that refuse it."""
    for table in document["tables"].values():
        table.pop("expiry", None)
    for stage in document["stages"]:
        for entry in (*stage["entries"], stage.get("default", {})):
            actions = entry.get("actions", [])
            actions[:] = [a for a in actions if not (isinstance(a, dict) and "generate" in a)]
    return document


def draw(rng: Random, packets: int) -> tuple[Program, np.ndarray, Expected] | None:
    """A program, packets for it and what the reference says; None where the program is not valid after all."""
    try:
        program = load_program(without_made(make_document(rng)))
    except InputError:
        return None
    layout = lower(program).layout
    vectors = make_vectors(rng, layout, packets)
    return program, vectors, Expected(program, layout, vectors, seed=packets)


@contextmanager
def shown(program: Program, vectors: np.ndarray) -> Iterator[None]:
    """Show the program where a check fails."""
    try:
        yield
    except AssertionError as error:
        error.add_note(f"{len(vectors)} packets through {pformat(program, width=110)}")
        raise


def check_machine(rng: Random, packets: int = 40) -> bool:
    """Hold the compiled machine against the reference on one drawn program; whether it was a valid one."""
    try:
        program = load_program(make_document(rng))
    except InputError:
        return False
    machine = Machine(program, seed=packets)
    vectors = make_vectors(rng, machine.layout, packets)
    cut = rng.randrange(packets)  # a batch's end must not matter
    now = int(vectors[cut, W_NOW])
    sweeps = {cut: max(now - rng.choice((0, 1, 1000)), 0)} if rng.randrange(2) else {}
    expected = Expected(program, machine.layout, vectors, packets, sweeps)
    results = [machine.process(vectors[:cut])]
    if sweeps:
        machine.sweep(sweeps[cut])
    results.append(machine.process(vectors[cut:]))
    verdicts, ports = (np.concatenate(parts) for parts in zip(*results, strict=True))
    with shown(program, vectors):
        expected.check(verdicts, ports, vectors, machine.contexts(), machine.global_values())
        assert counted(machine) == counted_by(expected.reference), "counters of entries"
        check_made(machine, expected, machine.layout)
    return True


Counted = dict[str, dict[str, tuple[int, int, int | None]]]


def counted(machine: Machine) -> Counted:
    """Counters of a machine's entries as plain tuples."""
    return {s: {e: tuple(c) for e, c in entries.items()} for s, entries in machine.entry_counts().items()}


def counted_by(reference: Reference) -> Counted:
    """The same of the reference."""
    return {
        s: {e: (c.packets, c.bytes, c.last_hit_ns) for e, c in entries.items()}
        for s, entries in reference.counts.items()
    }


POLICIES = ("lru", "fifo", "sieve", "belady")
ADMISSIONS: tuple[Any, ...] = ("always", {"packet": 2}, {"packet": 3})


def check_hybrid(rng: Random, capacities: Sequence[int], packets: int = 40) -> bool:
    """Hold the hybrid at each capacity against the reference, with the copies left behind poisoned."""
    from oppcache.hybrid import Setup
    from oppcache.hybrid.simulation import ContextRun

    drawn = draw(rng, packets)
    if drawn is None:
        return False
    program, vectors, expected = drawn
    d = Draw(rng)
    for contexts in capacities:
        source = MemorySource(vectors, d.pick((1, 7, 13, packets)))
        setup = Setup(
            program, source, contexts, d.pick(POLICIES), d.pick(ADMISSIONS), seed=packets, poison=True
        )
        observed, run = Observed(), ContextRun(setup)
        with shown(program, vectors):
            observed.check(expected, run.run(None, observed))
            check_slots(run)
    return True


def check_slots(run: Any) -> None:
    """Slots and records name each other, and every slot that is taken holds a context that exists."""
    store, slots = run.store, run.cache.slots
    for t, row in enumerate(run.lowered.arrays.tables):
        stride, capacity = int(row["stride"]), int(slots.tables["capacity"][t])
        first = int(slots.tables["first"][t])
        fresh, freed = int(slots.tables["fresh"][t]), int(slots.tables["freed"][t])
        on_nic = {}
        for record in range(int(store.tables["used"][t])):
            place = int(store.memory[int(store.tables["base"][t]) + record * stride + C_PLACE])
            if place:
                on_nic[place - 1] = record
        taken = {s: int(slots.record[first + s]) for s in range(capacity) if slots.record[first + s] >= 0}
        assert taken == on_nic, "slots and records"
        free = slots.free[first : first + freed].tolist()
        assert sorted([*taken, *free]) == list(range(fresh)), "free slots"
        for slot, record in taken.items():
            at = int(store.tables["nic_base"][t]) + slot * stride
            assert int(store.memory[at + C_PLACE]) == record + 1, "a slot's record"
            assert int(store.memory[at + C_STATE]) & CONTEXT_EXISTS, "a slot without a context"


assert CORE_WORDS == 16, "make_vectors fills the core by field names"

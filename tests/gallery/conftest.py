"""The gallery's bench: packets by their fields, run on the machine and on the plain reference alike."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import numpy as np
import pytest

from oppcache.opp import Machine, Program, load_program
from oppcache.opp.declared import full_names, shown
from oppcache.opp.fields import (
    FIELD_BY_NAME,
    IPV4_MAPPED,
    W_FAMILY,
    W_HEADERS,
    W_ID,
    W_IN_PORT,
    W_LENGTH,
    W_NOW,
    Header,
    Layout,
)
from oppcache.opp.program import Entry
from oppcache.opp.reference import Packet, Reference, Result

FLAGS = {letter: 1 << bit for bit, letter in enumerate("FSRPAUECN")}
TRANSPORT = {6: "tcp", 17: "udp", 132: "sctp"}
Outcome = int | str | None  # output port, "drop", "controller", or None where nothing was decided


@dataclass
class Sent:
    """A packet to come: when (ns), where, how long (bytes), its fields and headers."""

    at: int
    in_port: int
    length: int
    fields: dict[str, int]
    headers: set[Header]

    def row(self, layout: Layout, number: int) -> np.ndarray:
        """Its header vector."""
        row = np.zeros(layout.words, np.uint64)
        names = full_names(layout.headers)
        declared = {FIELD_BY_NAME[names[name]].header for name in self.fields if name in names}
        row[W_HEADERS] = sum(1 << int(h) for h in {*self.headers, *declared} if h is not None)
        row[W_NOW], row[W_ID], row[W_LENGTH], row[W_IN_PORT] = self.at, number, self.length, self.in_port
        row[W_FAMILY] = self.fields.get("ip.family", 0)
        for name, value in self.fields.items():
            name = names.get(name, name)
            word = layout.word_of.get(name)
            if word is not None and FIELD_BY_NAME[name].words == 2:
                row[word], row[word + 1] = value >> 64, value & (2**64 - 1)
            elif word is not None:
                row[word] = value
        return row


@dataclass
class Run:
    """What became of a workload; the machine and the reference agreed on all of it.

    Attributes:
        outcomes: of each packet: the output port, "drop", "controller", or None.
        after: fields of each packet as the program left them, those that it reads or sets.
        taken: how often each (stage, entry) was taken.
    """

    program: Program
    reference: Reference
    outcomes: list[Outcome] = field(default_factory=list)
    after: list[dict[str, Any]] = field(default_factory=list)
    taken: Counter[tuple[str, str]] = field(default_factory=Counter)

    def untaken(self) -> set[tuple[str, str]]:
        """Entries, default ones included, that no packet took."""
        stages = self.program.stages
        every = {(s.name, e.name) for s in stages for e in (*s.entries, *((s.default,) if s.default else ()))}
        return every - set(self.taken)

    def contexts(self, table: str) -> dict[Any, tuple[str, dict[str, int]]]:
        """Key -> (label, registers by name); keys of one part stand alone, addresses as text."""
        labels = self.program.table(table).states or ("0",)
        return {
            _plain(key): (labels[context.state], dict(context.registers))
            for key, context in self.reference.contexts[table].items()
        }

    @property
    def globals(self) -> dict[str, int]:
        return self.reference.globals


def _plain(key: tuple[Any, ...]) -> Any:
    parts = tuple(str(ip_address(p[1])) if isinstance(p, tuple) else p for p in key)
    return parts[0] if len(parts) == 1 else parts


class Watched(Reference):
    """A reference that notes which entries it takes."""

    def __init__(self, program: Program, taken: Counter[tuple[str, str]]) -> None:
        super().__init__(program)
        self.taken = taken

    def _run(self, entry: Entry, visit: Any, result: Result) -> None:
        self.taken[visit.stage.name, entry.name] += 1
        super()._run(entry, visit, result)


class Gallery:
    """Makes packets and runs programs; ``S``, ``MS``, ``US`` are nanoseconds."""

    S, MS, US = 10**9, 10**6, 10**3

    @staticmethod
    def packet(
        src: str,
        dst: str,
        proto: int = 17,
        sport: int = 1000,
        dport: int = 2000,
        *,
        at: int = 0,
        in_port: int = 1,
        length: int = 100,
        flags: str = "A",
        fields: dict[str, int] | None = None,
        headers: tuple[Header, ...] = (),
    ) -> Sent:
        """An IP packet in Ethernet; ``flags`` are those of TCP, ``fields`` further ones of present headers."""
        a, b = ip_address(src), ip_address(dst)
        prefix = f"ipv{a.version}"
        joint = IPV4_MAPPED if a.version == 4 else 0
        values = {
            "ip.family": a.version,
            "ip.src": int(a) | joint,
            "ip.dst": int(b) | joint,
            "ip.proto": proto,
            f"{prefix}.src": int(a),
            f"{prefix}.dst": int(b),
        }
        present = {Header.ETH, Header.IP, Header[prefix.upper()], *headers}
        if proto in TRANSPORT:
            name = TRANSPORT[proto]
            present |= {Header.L4_PORTS, Header[name.upper()]}
            ports = {"sport": sport, "dport": dport}
            values |= {f"{p}.{which}": n for p in ("l4", name) for which, n in ports.items()}
        if proto == 6:
            values["tcp.flags"] = sum(FLAGS[f] for f in flags)
        return Sent(at, in_port, length, values | (fields or {}), present)

    @classmethod
    def tcp(
        cls, src: str, dst: str, sport: int = 1000, dport: int = 80, flags: str = "A", **more: Any
    ) -> Sent:
        return cls.packet(src, dst, 6, sport, dport, flags=flags, **more)

    @classmethod
    def udp(cls, src: str, dst: str, sport: int = 1000, dport: int = 53, **more: Any) -> Sent:
        return cls.packet(src, dst, 17, sport, dport, **more)

    @staticmethod
    def frame(src: int, dst: int, in_port: int, at: int = 0) -> Sent:
        """A frame that is not IP."""
        return Sent(at, in_port, 60, {"eth.src": src, "eth.dst": dst}, {Header.ETH})

    @staticmethod
    def run(name: str, packets: list[Sent], **parameters: Any) -> Run:
        """Run a shipped program over packets in order of time, on both machines, which must agree."""
        program = load_program(f"nf:{name}", parameters)
        machine = Machine(program)
        run = Run(program, Reference(program))
        run.reference = Watched(program, run.taken)
        rows = np.array([p.row(machine.layout, i) for i, p in enumerate(packets)], np.uint64, order="C")
        for row in rows:
            packet = Packet.from_vector(row, machine.layout)
            result = run.reference.process(packet)
            run.outcomes.append((None, result.port, "drop", "controller")[result.verdict])
            run.after.append({shown(name): value for name, value in packet.fields.items()})
        got = machine.process(rows)
        kernel = zip(got.verdict.tolist(), got.port.tolist(), strict=True)
        assert [(None, port, "drop", "controller")[v] for v, port in kernel] == run.outcomes
        after = [Packet.from_vector(row, machine.layout).fields for row in rows]
        assert [{shown(name): value for name, value in fields.items()} for fields in after] == run.after
        assert machine.contexts() == run.reference.canonical_contexts()
        assert machine.global_values() == run.reference.globals
        return run


@pytest.fixture(scope="session")
def gallery() -> type[Gallery]:
    """Packets and runs for the conformance gallery."""
    return Gallery

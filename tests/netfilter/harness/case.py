"""A case: a ruleset, a topology and packets, as the record format's page lays them out in files."""

from __future__ import annotations

import csv
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COLUMNS = ("i", "iface", "t", "patch", "reply_to", "relax", "note")


@dataclass(frozen=True)
class Packet:
    """One frame to send, and what the sidecar says of it."""

    frame: bytes
    iface: str
    t: float
    patch: dict[str, str] = field(default_factory=dict)
    reply_to: int | None = None
    relax: dict[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Case:
    """A ruleset, the router it is loaded into, and the packets."""

    name: str
    rules: str
    topology: dict[str, Any]
    packets: Sequence[Packet]
    tags: Sequence[str] = ()
    about: str = ""


def read_case(folder: Path) -> Case:
    """A case from its files (``rules.v4``, ``topology.json``, ``packets.pcap``, ``packets.csv``)."""
    frames = read_pcap(folder / "packets.pcap")
    packets = []
    with (folder / "packets.csv").open(newline="") as file:
        for row, frame in zip(csv.DictReader(file), frames, strict=True):
            packets.append(
                Packet(
                    frame,
                    row["iface"],
                    float(row["t"]),
                    json.loads(row["patch"] or "{}"),
                    int(row["reply_to"]) if row["reply_to"] else None,
                    json.loads(row["relax"] or "{}"),
                    row["note"] or "",
                )
            )
    return Case(
        folder.name,
        (folder / "rules.v4").read_text(),
        json.loads((folder / "topology.json").read_text()),
        packets,
    )


def write_case(case: Case, folder: Path) -> None:
    """The four files of a case."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rules.v4").write_text(case.rules)
    (folder / "topology.json").write_text(json.dumps(case.topology, indent=1) + "\n")
    write_pcap(folder / "packets.pcap", [(p.t, p.frame) for p in case.packets])
    with (folder / "packets.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for i, p in enumerate(case.packets):
            patch, relax = (json.dumps(x, separators=(",", ":")) if x else "" for x in (p.patch, p.relax))
            reply_to = "" if p.reply_to is None else p.reply_to
            writer.writerow([i, p.iface, f"{p.t:.6f}", patch, reply_to, relax, p.note])


def read_pcap(path: Path) -> list[bytes]:
    """Frames of a little-endian Ethernet capture."""
    raw = path.read_bytes()
    assert raw[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1"), f"{path}: not a little-endian pcap file"
    at, found = 24, []
    while at + 16 <= len(raw):
        length = struct.unpack("<I", raw[at + 8 : at + 12])[0]
        found.append(raw[at + 16 : at + 16 + length])
        at += 16 + length
    return found


def write_pcap(path: Path, packets: Sequence[tuple[float, bytes]]) -> None:
    """An Ethernet capture with microseconds."""
    parts = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)]
    for t, frame in packets:
        microseconds = round(t * 1e6)
        parts.append(struct.pack("<IIII", *divmod(microseconds, 10**6), len(frame), len(frame)) + frame)
    path.write_bytes(b"".join(parts))

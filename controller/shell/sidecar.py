"""A case's packets: frames of a capture, and what the sidecar says of each."""

from __future__ import annotations

import csv
import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oppcache.opp.errors import InputError, Mark, Problems, near_miss
from oppcache.opp.fields import Layout
from oppcache.traffic import open_capture

from .packets import ICMP, SCTP, TCP, UDP, UDPLITE, checksum, pseudo_header, with_header_checksum
from .record import sctp_crc

LOCAL = "@local"
COLUMNS = ("i", "iface", "t", "patch", "reply_to", "relax", "note")
PATCHES = ("src", "dst", "sport", "dport", "icmp_id")
_CHECKSUM_AT = {TCP: 16, UDP: 6, UDPLITE: 6, ICMP: 2}


@dataclass(frozen=True)
class Sent:
    """One packet to send.

    Attributes:
        frame: from the Ethernet header on.
        iface: where it enters, or ``@local``.
        t: seconds.
        patch: field → ``"3.sport"``: that field of the first output of packet 3.
        reply_to: number of the packet on whose egress interface it enters.
    """

    frame: bytes
    iface: str
    t: float
    patch: Mapping[str, str] = field(default_factory=dict)
    reply_to: int | None = None


def load_packets(capture: str | Path, sidecar: str | Path, interfaces: Iterable[str]) -> list[Sent]:
    """Read a case's packets.

    Raises:
        InputError: a file cannot be read, or a row cannot be used; every bad row at once.
    """
    frames = list(_frames(capture))
    known = [LOCAL, *interfaces]
    problems, sent = Problems(), []
    rows = _rows(sidecar)
    for number, row in enumerate(rows):
        mark = Mark(str(sidecar), number + 2)
        one = _row(row, frames[number] if number < len(frames) else b"", number, known, mark, problems)
        if one is not None:
            sent.append(one)
    if len(rows) != len(frames):
        problems.add(f"got {len(rows)} rows for the {len(frames)} packets of {capture}", Mark(str(sidecar)))
    problems.raise_if_any()
    return sent


def _frames(capture: str | Path) -> Iterable[bytes]:
    for chunk in open_capture(capture).chunks(Layout()):
        assert chunk.data is not None
        assert chunk.offsets is not None
        assert chunk.captured is not None
        for offset, size in zip(chunk.offsets, chunk.captured, strict=True):
            yield chunk.data[offset : offset + size].tobytes()


def _rows(sidecar: str | Path) -> list[dict[str, str]]:
    mark = Mark(str(sidecar))
    try:
        with open(sidecar, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", mark) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"is not a CSV file: {error}", mark) from None
    missing = [c for c in ("i", "iface", "t") if c not in (reader.fieldnames or ())]
    if missing:
        raise InputError(f"has no column {', '.join(missing)}, expected {', '.join(COLUMNS)}", mark)
    return rows


def _row(
    row: Mapping[str, str | None], frame: bytes, number: int, known: list[str], mark: Mark, problems: Problems
) -> Sent | None:
    iface = (row.get("iface") or "").strip()
    if (row.get("i") or "").strip() != str(number):
        problems.add(f"i: got {row.get('i')!r}, expected {number}", mark)
    if iface not in known:
        problems.add(
            f"iface: got {iface!r}, expected one of {', '.join(known)}", mark, near_miss(iface, known)
        )
    try:
        t = float(row.get("t") or "")
    except ValueError:
        problems.add(f"t: got {row.get('t')!r}, expected seconds", mark)
        return None
    patch = _patch(row.get("patch") or "", mark, problems)
    reply = (row.get("reply_to") or "").strip()
    if reply and not (reply.isdigit() and int(reply) < number):
        problems.add(f"reply_to: got {reply!r}, expected the number of an earlier packet", mark)
        return None
    return Sent(frame, iface, t, patch, int(reply) if reply else None)


def _patch(text: str, mark: Mark, problems: Problems) -> dict[str, str]:
    if not text:
        return {}
    try:
        patch = json.loads(text)
    except json.JSONDecodeError as error:
        problems.add(f"patch: not JSON: {error.msg}", mark)
        return {}
    good: dict[str, str] = {}
    for name, reference in patch.items() if isinstance(patch, dict) else ():
        number, _, wanted = str(reference).partition(".")
        if name.removeprefix("inner.") not in PATCHES:
            problems.add(f"patch: unknown field {name!r}", mark, near_miss(name, PATCHES))
        elif not number.isdigit() or not wanted:
            problems.add(f'patch: got {reference!r}, expected such as "3.sport"', mark)
        else:
            good[name] = str(reference)
    return good


def patched(packet: bytes, patch: Mapping[str, str], firsts: Mapping[int, Mapping[str, Any]]) -> bytes:
    """The packet with fields set from earlier outputs, and its checksums recomputed.

    Args:
        packet: from the IPv4 header on.
        firsts: number of a packet → fields of its first output.
    """
    for name, reference in patch.items():
        number, _, wanted = reference.partition(".")
        value = firsts.get(int(number), {}).get(wanted)
        if value is None:
            continue
        if name.startswith("inner."):
            at = (packet[0] & 15) * 4 + 8
            packet = packet[:at] + with_header_checksum(_set(packet[at:], name[6:], value))
        else:
            packet = _set(packet, name, value)
    return _with_checksums(packet)


def _set(packet: bytes, name: str, value: Any) -> bytes:
    ihl = (packet[0] & 15) * 4
    at = {"src": 12, "dst": 16, "sport": ihl, "dport": ihl + 2, "icmp_id": ihl + 4}[name]
    raw = bytes(map(int, value.split("."))) if name in ("src", "dst") else struct.pack("!H", int(value))
    return packet[:at] + raw + packet[at + len(raw) :]


def _with_checksums(packet: bytes) -> bytes:
    packet = with_header_checksum(packet)
    ihl, length = (packet[0] & 15) * 4, struct.unpack("!H", packet[2:4])[0]
    body, protocol = packet[ihl:length], packet[9]
    if struct.unpack("!H", packet[6:8])[0] & 0x3FFF:
        return packet
    at = _CHECKSUM_AT.get(protocol)
    if protocol == SCTP and len(body) >= 12:
        body = body[:8] + sctp_crc(body) + body[12:]
    elif at is not None and len(body) >= at + 2:
        body = body[:at] + b"\0\0" + body[at + 2 :]
        value = checksum((b"" if protocol == ICMP else pseudo_header(packet, len(body))) + body)
        if value == 0 and protocol == UDP:
            value = 0xFFFF
        body = body[:at] + struct.pack("!H", value) + body[at + 2 :]
    return packet[:ihl] + body + packet[length:]

"""Files through a shell: the packets of a case in, its records out."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from oppcache.opp.errors import InputError, Mark

from .packets import ETHERNET_BYTES, ETHERTYPE_IPV4
from .record import fields, summary
from .router import Handled, Left, Shell
from .sidecar import LOCAL, Sent, patched

_PCAP_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)
Inspect = Callable[[Sent, Handled], Mapping[str, Any]]


def replay(
    shell: Shell, packets: Sequence[Sent], inspect: Inspect | None = None
) -> Iterator[tuple[dict[str, Any], Handled]]:
    """Send packets one by one, and yield each one's record and what it caused.

    Args:
        shell: fresh.
        packets: in order; a time that goes back counts as the latest before it.
        inspect: adds to the record what only the program's tables know (``ct``, ``ct_n``, ``hits``).
    """
    firsts: dict[int, dict[str, Any]] = {}
    now = 0.0
    for i, sent in enumerate(packets):
        now = max(now, sent.t)
        frame, iface = sent.frame, sent.iface
        if sent.patch:
            frame = frame[:ETHERNET_BYTES] + patched(frame[ETHERNET_BYTES:], sent.patch, firsts)
        if sent.reply_to is not None:
            iface = firsts.get(sent.reply_to, {}).get("iface") or iface
            if iface != sent.iface:  # it came out elsewhere than the sidecar foresaw
                frame = shell.topology.by_name[iface].mac.to_bytes(6, "big") + frame[6:]
        if iface == LOCAL:
            handled = shell.send(frame[ETHERNET_BYTES:], now)
        else:
            handled = shell.receive(frame, iface, now)
        record: dict[str, Any] = {
            "i": i,
            "in": iface,
            "t": sent.t,
            "pkt": summary(fields(frame[ETHERNET_BYTES:])),
            "verdict": handled.verdict,
        }
        for part in ("out", "local", "emitted"):
            found = [_described(left) for left in getattr(handled, part)]
            if found:
                record[part] = found
        first = (record.get("out") or record.get("local") or [None])[0]
        if first is not None:
            firsts[i] = first
        if inspect is not None:
            record |= inspect(sent, handled)
        yield record, handled


def _described(left: Left) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if left.kind:
        found["kind"] = left.kind
    if left.iface is not None:
        found["iface"] = left.iface
    found |= fields(left.packet)
    found["mark"] = left.mark
    if left.iface not in (None, "lo"):
        found["dmac"] = ":".join(f"{b:02x}" for b in left.frame[:6])
    return found


def write_records(
    path: str | Path,
    answers: Iterable[tuple[Mapping[str, Any], Handled]],
    capture: str | Path | None = None,
) -> int:
    """Write records as JSON lines, and what left or was delivered as a capture; return how many records.

    Raises:
        InputError: a file cannot be written.
    """
    count = 0
    frames: list[bytes] = []
    try:
        with open(path, "w", encoding="utf-8") as file:
            for record, handled in answers:
                file.write(json.dumps(record, separators=(",", ":")) + "\n")
                count += 1
                if capture is not None:
                    frames.extend(_captured(record["t"], handled))
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", Mark(str(path))) from None
    if capture is not None:
        try:
            Path(capture).write_bytes(_PCAP_HEADER + b"".join(frames))
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror or error}", Mark(str(capture))) from None
    return count


def _captured(t: float, handled: Handled) -> Iterator[bytes]:
    for left in (*handled.out, *handled.local, *handled.emitted):
        frame = left.frame if len(left.frame) >= ETHERNET_BYTES else bytes(12) + ETHERTYPE_IPV4
        seconds, microseconds = divmod(round(t * 1e6), 10**6)
        yield struct.pack("<IIII", seconds, microseconds, len(frame), len(frame)) + frame

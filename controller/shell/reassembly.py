"""Reassembly of IPv4 fragments, as Linux does before connection tracking (``net/ipv4/ip_fragment.c``)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from .packets import DF, MF, header, with_header_checksum

TIMEOUT_S = 30.0  # net.ipv4.ipfrag_time
MAX_LENGTH = 65535
# Code point of a datagram from those of its fragments (RFC 3168, 5.3); None: the datagram is dropped.
_NOT_ECT, _ECT1, _ECT0, _CE = range(4)


class Whole(NamedTuple):
    """A packet as it goes on.

    Attributes:
        packet: without fragment flags.
        largest: bytes of the largest fragment with its header; 0 if the packet came whole.
        df: whether fragments of it carry DF again.
        sizes: bytes of payload of each fragment, in order.
    """

    packet: bytes
    largest: int = 0
    df: bool = False
    sizes: tuple[int, ...] = ()


@dataclass
class _Queue:
    began: float
    pieces: dict[int, bytes] = field(default_factory=dict)  # payload by its offset
    head: bytes = b""  # the header of the first fragment
    end: int = -1  # bytes of payload in all, once the last fragment is there
    largest: int = 0
    largest_df: int = 0
    ecn: set[int] = field(default_factory=set)


class Reassembler:
    """Fragments that wait for the rest, by (source, destination, identification, protocol, where)."""

    def __init__(self) -> None:
        self._queues: dict[tuple[object, ...], _Queue] = {}

    def add(self, packet: bytes, now: float, where: object = None) -> Whole | str:
        """Take a packet: a whole one back, ``"held"``, or ``"dropped"``.

        Args:
            packet: well formed.
            now: seconds.
            where: keeps fragments apart that meet at different places.
        """
        h = header(packet)
        if not h.is_fragment:
            return Whole(packet)
        key = (h.source, h.destination, h.id, h.protocol, where)
        queue = self._queues.get(key)
        if queue is None or now - queue.began > TIMEOUT_S:
            queue = self._queues[key] = _Queue(now)
        verdict = self._insert(queue, packet)
        if verdict == "kill":
            # An overlap: the whole datagram is given up (RFC 5722, which Linux follows for IPv4 too).
            del self._queues[key]
            return "dropped"
        if verdict != "held":
            return verdict
        if queue.end < 0 or not queue.head or sum(map(len, queue.pieces.values())) != queue.end:
            return "held"
        del self._queues[key]
        return _joined(queue)

    def _insert(self, queue: _Queue, packet: bytes) -> str:
        h = header(packet)
        payload, offset, more = packet[h.ihl :], h.offset, bool(h.fragment & MF)
        if more:
            payload = payload[: len(payload) & ~7]
        end = offset + len(payload)
        known = max((o + len(p) for o, p in queue.pieces.items()), default=0)
        if not more:
            if end < known or (queue.end >= 0 and end != queue.end):
                return "kill"
        elif queue.end >= 0 and end > queue.end:
            return "kill"
        if not payload:
            return "kill"
        if end + h.ihl > MAX_LENGTH:
            return "kill"
        for start, piece in queue.pieces.items():
            if start < end and offset < start + len(piece):
                # An exact or contained repeat is dropped alone.
                return "dropped" if start <= offset and end <= start + len(piece) else "kill"
        if not more:
            queue.end = end
        queue.pieces[offset] = payload
        queue.ecn.add(h.tos & 3)
        size = len(payload) + h.ihl
        queue.largest = max(queue.largest, size)
        if h.fragment & DF:
            queue.largest_df = max(queue.largest_df, size)
        if offset == 0:
            queue.head = packet[: h.ihl]
        return "held"


def _joined(queue: _Queue) -> Whole | str:
    ecn = _code_point(queue.ecn)
    if ecn is None:
        return "dropped"
    offsets = sorted(queue.pieces)
    body = b"".join(queue.pieces[o] for o in offsets)
    head = queue.head
    length = len(head) + len(body)
    if length > MAX_LENGTH:
        return "dropped"
    head = head[:1] + bytes([head[1] | ecn]) + length.to_bytes(2, "big") + head[4:6] + b"\0\0" + head[8:]
    df = queue.largest_df == queue.largest
    sizes = tuple(len(queue.pieces[o]) for o in offsets)
    return Whole(with_header_checksum(head + body), max(queue.largest, queue.largest_df), df, sizes)


def _code_point(seen: set[int]) -> int | None:
    if _NOT_ECT in seen and _CE in seen:
        return None
    if _NOT_ECT in seen:
        return None if len(seen) > 1 else 0
    if _CE in seen:
        return _CE
    return 0

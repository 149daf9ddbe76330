"""Fragments of a packet that leaves, as Linux cuts them (``ip_do_fragment``)."""

from __future__ import annotations

from .packets import DF, MF, MINIMUM_HEADER, header, with_header_checksum
from .reassembly import Whole

_COPIED = 0x80  # an option's flag: goes into every fragment (RFC 791, 3.1)


class TooBig(Exception):
    """The packet may not be fragmented; ``mtu`` is what the answer says."""

    def __init__(self, mtu: int) -> None:
        super().__init__(f"needs fragments of {mtu} bytes")
        self.mtu = mtu


def fragments(packet: bytes, mtu: int, came: Whole | None = None) -> list[bytes]:
    """The packet in pieces of at most ``mtu`` bytes; a reassembled one in pieces as it came, where they fit.

    Args:
        packet: as it leaves; flags DF and no offset, or itself a fragment.
        mtu: of the egress interface.
        came: what reassembly said of it.

    Raises:
        TooBig: it has DF and was not cut by its sender into pieces that fit.
    """
    largest = came.largest if came is not None else 0
    if len(packet) <= mtu and not largest:
        return [packet]
    h = header(packet)
    df = bool(came is not None and came.df)
    if (h.fragment & DF or df) and (not largest or largest > mtu):
        raise TooBig(mtu)
    if largest:
        mtu = min(mtu, largest)
    room = (mtu - h.ihl) & ~7
    sizes = list(came.sizes) if came is not None else []
    body = packet[h.ihl :]
    if _fit(sizes, mtu - h.ihl, len(body)):
        df = False  # Linux's fast path, over the fragments as they came, forgets it
    else:
        sizes = []
        left = len(body)
        while left:
            take = left if left <= mtu - h.ihl else room
            sizes.append(take)
            left -= take
    return _cut(packet, sizes, df)


def _fit(sizes: list[int], room: int, length: int) -> bool:
    """Whether the pieces of the packet as it came may be used again."""
    if not sizes or sum(sizes) != length:
        return False
    return all(s <= room for s in sizes) and all(s % 8 == 0 for s in sizes[:-1])


def _cut(packet: bytes, sizes: list[int], df: bool) -> list[bytes]:
    h = header(packet)
    base, body, out, at = h.fragment & ~DF, packet[h.ihl :], [], 0
    head = packet[: h.ihl]
    later = head[:MINIMUM_HEADER] + _copied(head[MINIMUM_HEADER:])
    for k, size in enumerate(sizes):
        last = k == len(sizes) - 1
        flags = (base & ~MF) + at // 8
        if not last or base & MF:
            flags |= MF
        if df:
            flags |= DF
        use = head if k == 0 else later
        piece = use[:2] + (len(use) + size).to_bytes(2, "big") + use[4:6] + flags.to_bytes(2, "big") + use[8:]
        out.append(with_header_checksum(piece + body[at : at + size]))
        at += size
    return out


def _copied(options: bytes) -> bytes:
    """Options of later fragments: Linux keeps their length and blanks those that are not copied."""
    out, at = bytearray(options), 0
    while at < len(options):
        kind = options[at]
        if kind == 0:
            break
        if kind == 1:
            at += 1
            continue
        size = options[at + 1] if at + 1 < len(options) else 0
        if size < 2:
            break
        if not kind & _COPIED:
            out[at : at + size] = b"\x01" * size
        at += size
    return bytes(out)

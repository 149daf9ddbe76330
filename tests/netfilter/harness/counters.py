"""Rule counters of the legacy back end, read through its socket options, without a process for each packet."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Iterable

from .namespaces import LIBC

GET_INFO, GET_ENTRIES = 64, 65
ENTRY_BYTES, ENTRIES_AT = 112, 40
HOOKS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")


def counters(control: socket.socket, tables: Iterable[str]) -> dict[str, int]:
    """Packets that each rule has counted: ``table/chain/number``, ``table/chain/P`` for a chain's policy.

    Args:
        control: a raw socket of the router's namespace.
        tables: names of the tables that are loaded.
    """
    found: dict[str, int] = {}
    for table in tables:
        name = table.encode().ljust(32, b"\0")
        info = _option(control, GET_INFO, name, 84)
        valid, *places = struct.unpack("=I5I5I", info[32:76])
        size = struct.unpack("=I", info[80:84])[0]
        blob = _option(control, GET_ENTRIES, name + struct.pack("=I", size), ENTRIES_AT + size)[ENTRIES_AT:]
        heads = {places[k]: HOOKS[k] for k in range(5) if valid >> k & 1}
        policies = {places[5 + k] for k in range(5) if valid >> k & 1}
        found.update(_walk(table, blob, heads, policies))
    return found


def _walk(table: str, blob: bytes, heads: dict[int, str], policies: set[int]) -> dict[str, int]:
    found, at, chain, number = {}, 0, "", 0
    while at < len(blob):
        target, following = struct.unpack("=HH", blob[at + 88 : at + 92])
        packets = struct.unpack("=Q", blob[at + 96 : at + 104])[0]
        kind = blob[at + target + 2 : at + target + 31].split(b"\0")[0]
        if kind == b"ERROR":
            chain, number = blob[at + target + 32 : at + target + 62].split(b"\0")[0].decode(), 0
        else:
            if at in heads:
                chain, number = heads[at], 0
            number += 1
            if at in policies:
                found[f"{table}/{chain}/P"] = packets
            elif at + following < len(blob) and chain not in HOOKS and _ends_chain(blob, at + following):
                pass  # a user chain's implicit RETURN is no rule
            else:
                found[f"{table}/{chain}/{number}"] = packets
        at += following
    return found


def _ends_chain(blob: bytes, at: int) -> bool:
    """Whether the entry there opens another chain, so that the one before it is the end of a user chain."""
    target = struct.unpack("=H", blob[at + 88 : at + 90])[0]
    return blob[at + target + 2 : at + target + 7] == b"ERROR"


def _option(control: socket.socket, option: int, given: bytes, size: int) -> bytes:
    buffer = ctypes.create_string_buffer(given.ljust(size, b"\0"), size)
    length = ctypes.c_uint32(size)
    if LIBC.getsockopt(control.fileno(), socket.IPPROTO_IP, option, buffer, ctypes.byref(length)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot read the counters: {os.strerror(number)}")
    return buffer.raw[: length.value]

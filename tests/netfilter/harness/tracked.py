"""The router's connection tracking table, from its text file, and a packet's entry in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import wire

ANSWERS = {0: 8, 14: 13, 16: 15, 18: 17, 8: 0, 13: 14, 15: 16, 17: 18}


def table() -> list[dict[str, Any]]:
    """The table of this thread's namespace, in the record format's terms."""
    text = Path("/proc/thread-self/net/nf_conntrack").read_text()
    return [_entry(line.split()) for line in text.splitlines()]


def _entry(words: list[str]) -> dict[str, Any]:
    # ipv4 2 tcp 6 431999 ESTABLISHED src=… dst=… sport=… dport=… [UNREPLIED] src=… … [ASSURED] mark=0 zone=0 use=2
    number = int(words[3])
    entry: dict[str, Any] = {"l4": number, "state": None, "orig": {}, "reply": {}, "flags": [], "mark": 0}
    timeout = None
    side: dict[str, Any] | None = None
    for word in words[4:]:
        name, equals, value = word.partition("=")
        if word.startswith("["):
            if word[1:-1] in ("UNREPLIED", "ASSURED"):
                entry["flags"].append(word[1:-1])
        elif not equals:
            if side is None and word.isdigit() and timeout is None:
                timeout = int(word)
            elif side is None:
                entry["state"] = word
        elif name == "src":
            side = entry["reply"] if entry["orig"] else entry["orig"]
            side["src"] = value
        elif name == "dst" and side is not None:
            side[name] = value
        elif name in ("sport", "dport", "type", "code", "id", "packets") and side is not None:
            side[name] = int(value, 0)
        elif name == "mark":
            entry["mark"] = int(value)
        elif name == "zone" and value != "0":
            entry["zone"] = int(value)
    if timeout is not None:
        entry["timeout"] = timeout
    return entry


def entry_of(packet: bytes, entries: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The entry that a packet (as it arrived) belongs to, with ``dir``; None if there is none."""
    f = wire.fields(packet)
    if "bad" in f:
        return None
    if f.get("icmp_type") in wire.ERRORS and "inner" in f:
        if "bad" in f["inner"]:
            return None
        f = _answered(f["inner"])
    found = _find(f, entries)
    return None if found is None else {**found[0], "dir": found[1]}


def _answered(f: dict[str, Any]) -> dict[str, Any]:
    """The fields of an answer to a packet."""
    turned = {"src": f["dst"], "dst": f["src"], "proto": f["proto"]}
    if "sport" in f:
        turned |= {"sport": f["dport"], "dport": f["sport"]}
    if "icmp_id" in f:
        turned |= {"icmp_type": ANSWERS[f["icmp_type"]], "icmp_id": f["icmp_id"]}
    return turned


def _find(f: dict[str, Any], entries: list[dict[str, Any]]) -> tuple[dict[str, Any], str] | None:
    for direction in ("orig", "reply"):
        for entry in entries:
            side = entry[direction]
            if entry["l4"] != f["proto"] or side.get("src") != f["src"] or side.get("dst") != f["dst"]:
                continue
            if "sport" in side and f["proto"] != 47:
                if (side["sport"], side["dport"]) != (f.get("sport"), f.get("dport")):
                    continue
            if "type" in side and (side["type"], side["id"]) != (f.get("icmp_type"), f.get("icmp_id")):
                continue
            return entry, direction
    return None

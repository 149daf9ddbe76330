"""Stages with many entries: the classifier chooses what the plain reference chooses."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from oppcache.opp import Machine, load_program
from oppcache.opp.fields import (
    W_FAMILY,
    W_HEADERS,
    W_IP_DST,
    W_IP_PROTO,
    W_IP_SRC,
    W_L4_DPORT,
    W_L4_SPORT,
    Header,
)
from oppcache.opp.reference import Packet, Reference

PORTS = ("0-65535", "1024-65535", "0-1023", "80", "5-9", "1000-1007", "0x50/0xfff0")


def rules(rng: random.Random, count: int, stateful: bool) -> list[dict[str, Any]]:
    """Random overlapping rules: prefixes of a few networks, ranges, lists, masks, validity, states, conditions."""
    out = []
    for i in range(count):
        match: dict[str, Any] = {}
        for name in ("ip.src", "ip.dst"):
            if rng.random() < 0.9:
                if rng.random() < 0.1:
                    match[name] = "2001:db8::/32"
                else:
                    length = rng.choice((12, 16, 24, 28, 32, 32))
                    value = (
                        10 << 24 | rng.randrange(4) << 16 | rng.randrange(4) << 8 | rng.randrange(8)
                    ) >> (32 - length)
                    value <<= 32 - length
                    match[name] = ".".join(str(value >> s & 255) for s in (24, 16, 8, 0)) + f"/{length}"
        for name in ("l4.sport", "l4.dport"):
            if rng.random() < 0.5:
                match[name] = rng.choice((*PORTS, [80, 443, "8000-8100"]))
        if rng.random() < 0.6:
            match["ip.proto"] = rng.choice((6, 17, "0x06/0x0f", [6, 17]))
        if rng.random() < 0.1:
            match["valid.tcp"] = rng.random() < 0.5
        if rng.random() < 0.1:
            match["metadata.m"] = rng.randrange(3)
        if rng.random() < 0.1:
            match["C.late"] = rng.random() < 0.5
        if stateful and rng.random() < 0.5:
            match["state"] = rng.choice(("none", "idle", "busy", ["idle", "busy"]))
        if stateful and rng.random() < 0.2:
            match["direction"] = rng.randrange(2)
        entry: dict[str, Any] = {"match": match, "actions": [{"output": i + 1}]}
        if stateful and match.get("state") != "none" and rng.random() < 0.3:
            entry["next_state"] = rng.choice(("idle", "busy"))
        out.append(entry)
    # The narrow ones first, or the wide ones would leave them nothing.
    out.sort(key=lambda entry: -len(entry["match"]))
    return out


def document(rng: random.Random, count: int) -> dict[str, Any]:
    stateful = rng.random() < 0.5
    stage: dict[str, Any] = {
        "name": "many",
        "conditions": {"late": ["now", "gt", 50]},
        "entries": rules(rng, count, stateful),
        "default": {"actions": [{"output": 0}]},
    }
    if stateful:
        stage |= {"table": "t", "key": {"fields": ["ip.src", "ip.dst"], "symmetric": True}}
    first = {
        "name": "mark",
        "entries": [{"match": {"l4.sport": "0-79"}, "actions": [{"set": {"metadata.m": 1}}]}],
    }
    return {
        "program": "rules",
        "metadata": ["m"],
        "tables": {"t": {"states": ["idle", "busy"]}} if stateful else {},
        "stages": [first, stage],
    }


def packets(rng: random.Random, words: int, count: int) -> np.ndarray:
    rows = np.zeros((count, words), np.uint64)
    for i, row in enumerate(rows):
        if rng.random() < 0.05:
            row[W_HEADERS] = 1 << Header.ETH
            continue
        proto = rng.choice((6, 17, 1))
        headers = 1 << Header.ETH | 1 << Header.IP | (1 << Header.TCP if proto == 6 else 0)
        if rng.random() < 0.1:
            row[W_FAMILY], headers = 6, headers | 1 << Header.IPV6
            row[W_IP_SRC] = 0x20010DB8_00000000
            row[W_IP_DST] = rng.choice((0x20010DB8_00000000, 0x20010DB9_00000000))
        else:
            row[W_FAMILY], headers = 4, headers | 1 << Header.IPV4
            for word in (W_IP_SRC, W_IP_DST):
                row[word + 1] = (
                    0xFFFF_0A00_0000 | rng.randrange(5) << 16 | rng.randrange(5) << 8 | rng.randrange(9)
                )
        row[W_HEADERS], row[W_IP_PROTO] = headers, proto
        row[W_L4_SPORT], row[W_L4_DPORT] = (
            rng.choice((0, 5, 7, 79, 80, 443, 1003, 1024, 8050, 65535)) for _ in "sd"
        )
        row[2], row[15] = i, i
    return rows


@pytest.mark.parametrize("count", [1, 7, 40, 300])
def test_many_rules_mean_what_the_reference_says(count: int, full: bool) -> None:
    for seed in range(400 if full else 12):
        rng = random.Random(f"{count} {seed}")
        program = load_program(document(rng, count))
        machine, reference = Machine(program), Reference(program)
        rows = packets(rng, machine.layout.words, 150)
        expected = [reference.process(Packet.from_vector(row.tolist(), machine.layout)) for row in rows]
        got = machine.process(rows)
        assert got.port.tolist() == [result.port for result in expected], seed
        assert machine.contexts() == reference.canonical_contexts(), seed


def test_the_reference_does_take_many_different_rules() -> None:
    rng = random.Random("300 0")
    program = load_program(document(rng, 300))
    machine = Machine(program)
    ports = machine.process(packets(rng, machine.layout.words, 2000)).port
    assert len(set(ports.tolist())) > 30, "the packets hardly meet the rules"

"""The project's cases: one ``cases/NAME.case`` each, and the answers that the kernel gave (``golden/NAME.json.xz``).

A file has a head of ``key: value`` lines (``about``, ``tags``, ``topology``, ``sysctl``, ``realtime``, ``routes``,
``ip_rules``, ``mtu``), then rules and packets behind lines of dashes::

    about: a stateful firewall
    topology: lan-wan
    --- rules
    *filter FORWARD=DROP
    -A FORWARD -i lan0 -j ACCEPT
    --- packets
    lan0 tcp 10.0.1.2:1025>198.51.100.10:80 S
    answer 0 SA

Rules are iptables-save text without its chain lines, which are added: user chains by ``-N``, policies as above.
"""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .case import Case
from .craft import Writer

ROOT = Path(__file__).resolve().parent.parent
CASES, GOLDEN = ROOT / "cases", ROOT / "golden"
BUILTIN = {
    "raw": "PREROUTING OUTPUT",
    "mangle": "PREROUTING INPUT FORWARD OUTPUT POSTROUTING",
    "nat": "PREROUTING INPUT OUTPUT POSTROUTING",
    "filter": "INPUT FORWARD OUTPUT",
}


def _interface(number: int, name: str, *addresses: str, mtu: int = 1500) -> dict[str, Any]:
    mac = f"02:ff:00:00:00:{number:02x}"
    return {"name": name, "role": name.rstrip("0123456789"), "addr": list(addresses), "mac": mac, "mtu": mtu}


LAN = _interface(1, "lan0", "10.0.1.1/24")
DMZ = _interface(3, "dmz0", "10.0.2.1/24")
WAN = _interface(2, "wan0", "203.0.113.1/24")
DEFAULT = [{"dst": "0.0.0.0/0", "via": "203.0.113.254", "dev": "wan0"}]
TOPOLOGIES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "lan-wan": ([LAN, WAN], DEFAULT),
    "lan-dmz": ([LAN, DMZ], []),
    "lan-dmz-wan": ([LAN, DMZ, WAN], DEFAULT),
    "two-lans": ([LAN, _interface(4, "lan1", "10.0.3.1/24"), WAN], DEFAULT),
    "addresses": (
        [LAN, _interface(2, "wan0", "203.0.113.1/24", "203.0.113.2/24", "203.0.113.3/24")],
        DEFAULT,
    ),
    "host": (
        [_interface(1, "eth0", "192.0.2.10/24")],
        [{"dst": "0.0.0.0/0", "via": "192.0.2.1", "dev": "eth0"}],
    ),
    "containers": (
        [
            _interface(1, "eth0", "192.0.2.10/24"),
            _interface(2, "docker0", "172.17.0.1/16"),
            _interface(3, "br-app", "172.18.0.1/16"),
        ],
        [{"dst": "0.0.0.0/0", "via": "192.0.2.1", "dev": "eth0"}],
    ),
    "uplinks": (
        [LAN, WAN, _interface(5, "wan1", "198.18.0.1/24")],
        [
            *DEFAULT,
            {"dst": "0.0.0.0/0", "via": "198.18.0.254", "dev": "wan1", "table": 100},
        ],
    ),
}


def names() -> list[str]:
    """Every case's name, sorted."""
    return sorted(p.stem for p in CASES.glob("*.case"))


def load(name: str) -> Case:
    """A case of this folder."""
    return parse(name, (CASES / f"{name}.case").read_text())


def parse(name: str, text: str) -> Case:
    """A case from its text."""
    head, rules, packets = re.split(r"^--- \w+\n", text, maxsplit=2, flags=re.MULTILINE)
    facts = dict(line.split(": ", 1) for line in head.splitlines() if line and not line.startswith("#"))
    topology = topology_of(facts)
    writer = Writer(topology)
    for number, line in enumerate(packets.splitlines(), 1):
        line = line.split(" # ")[0].strip()
        if line and not line.startswith("#"):
            try:
                writer.line(line)
            except (AssertionError, LookupError, ValueError) as error:
                raise ValueError(f"{name}: packet line {number}: {line}: {error!r}") from error
    return Case(
        name, save_text(rules), topology, writer.packets, facts.get("tags", "").split(), facts["about"]
    )


def topology_of(facts: dict[str, str]) -> dict[str, Any]:
    """The topology that a case's head describes."""
    interfaces, routes = TOPOLOGIES[facts.get("topology", "lan-wan")]
    interfaces = [dict(i) for i in interfaces]
    for word in facts.get("mtu", "").split():
        interface, mtu = word.split("=")
        next(i for i in interfaces if i["name"] == interface)["mtu"] = int(mtu)
    topology: dict[str, Any] = {
        "interfaces": interfaces,
        "routes": [*routes, *json.loads(facts.get("routes", "[]"))],
        "sysctl": dict(word.split("=") for word in facts.get("sysctl", "").split()),
        "realtime": "realtime" in facts,
        "local_stack": "mute",
    }
    if "ip_rules" in facts:
        topology["ip_rules"] = json.loads(facts["ip_rules"])
    return topology


def save_text(rules: str) -> str:
    """Rules with the chain lines that an iptables-save file has."""
    out = []
    for block in re.split(r"^(?=\*)", rules, flags=re.MULTILINE):
        lines = [x.strip() for x in block.splitlines() if x.strip() and not x.startswith("#")]
        if not lines:
            continue
        table, *policies = lines[0][1:].split()
        policy = dict(word.split("=") for word in policies)
        out.append(f"*{table}")
        out += [f":{chain} {policy.get(chain, 'ACCEPT')} [0:0]" for chain in BUILTIN[table].split()]
        out += [f":{line.split()[1]} - [0:0]" for line in lines if line.startswith("-N ")]
        out += [line for line in lines[1:] if not line.startswith("-N ") and line != "COMMIT"]
        out.append("COMMIT")
    return "\n".join(out) + "\n"


def golden(name: str) -> list[dict[str, Any]]:
    """What the kernel answered when the case was recorded."""
    return [
        json.loads(line) for line in lzma.decompress((GOLDEN / f"{name}.jsonl.xz").read_bytes()).splitlines()
    ]


def write_golden(name: str, records: list[dict[str, Any]]) -> None:
    """Keep what the kernel answered."""
    GOLDEN.mkdir(exist_ok=True)
    text = "".join(json.dumps(r, separators=(",", ":")) + "\n" for r in records)
    (GOLDEN / f"{name}.jsonl.xz").write_bytes(lzma.compress(text.encode(), preset=9))


def all_cases() -> Iterator[Case]:
    """Every case of this folder."""
    return map(load, names())

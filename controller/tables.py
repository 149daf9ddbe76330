"""What a running machine's connection tables say, as /proc/net/nf_conntrack would."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from oppcache.opp.contents import Context

from .tracking import ASSURED, LABELS, OPEN, SEEN_REPLY, TUPLE

if TYPE_CHECKING:
    from .shell import Handled, Sent
    from .translate import Translation

_SECOND = 1_000_000_000
_ICMP = 1
_WITH_PORTS = (6, 17, 132, 136)


class Reads(Protocol):
    """Anything whose contexts can be read, such as a machine."""

    def read_context(self, table: str, key: Any) -> Context | None:
        """The context of a key, or None."""
        ...


class Tables:
    """Looks up the connections of a translated program.

    Args:
        translation: what runs.
        contexts: where.
    """

    def __init__(self, translation: Translation, contexts: Reads) -> None:
        self.contexts = contexts
        self.linux = translation.conntrack == "linux"
        self.words = {name: i for i, name in enumerate(translation.program.metadata)}
        self.zones = "ozone" in self.words
        self._now_ns = 0

    def inspect(self, sent: Sent, handled: Handled) -> Mapping[str, Any]:
        """The key ``ct`` of a packet's record: its connection after it, or None."""
        self._now_ns = max(self._now_ns, round(sent.t * _SECOND))
        if not self.linux or handled.outcome is None:
            return {}
        metadata = handled.outcome.metadata
        read = {name: metadata[i] for name, i in self.words.items()}
        if not read["tproto"] or _is_fragment(sent.frame):
            return {"ct": None}
        return {"ct": self.connection(read)}

    def connection(self, words: Mapping[str, int]) -> dict[str, Any] | None:
        """The connection of a packet's tuple."""
        zone = [words["ozone"]] if self.zones else []
        own = [words["tproto"], *(words[f"t{part}"] for part in TUPLE), *zone]
        direction = self.contexts.read_context("xlat", own)
        if direction is None:
            return None
        original = [words["tproto"], *(direction.registers[f"o{part}"] for part in TUPLE)]
        found = self.contexts.read_context("conn", [*original, *zone])
        if found is None or (found.hard_ns and self._now_ns > found.hard_ns):
            return None
        reply = [found.registers[f"r{part}"] for part in TUPLE]
        if direction.state == "reply" and reply != own[1:5]:
            return None
        return self._record(found, original, reply, str(direction.state), zone)

    def _record(
        self, found: Context, original: list[int], reply: list[int], direction: str, zone: list[int]
    ) -> dict[str, Any]:
        number, *sides = original
        label = LABELS.index(found.state) if isinstance(found.state, str) else int(found.state)
        status = found.registers["status"]
        flags = [] if status & SEEN_REPLY else ["UNREPLIED"]
        flags += ["ASSURED"] if status & ASSURED else []
        out: dict[str, Any] = {
            "l4": number,
            "state": None if label == OPEN else LABELS[label].removeprefix("SCTP_"),
            "orig": _side(number, sides, True),
            "reply": _side(number, reply, False),
            "flags": flags,
            "mark": found.registers["mark"],
            "timeout": max(found.hard_ns - self._now_ns, 0) // _SECOND,
            "dir": direction,
        }
        if zone and zone[0]:
            out["zone"] = zone[0]
        if "opackets" in found.registers:
            out["orig"]["packets"] = found.registers["opackets"]
            out["reply"]["packets"] = found.registers["rpackets"]
        return out


def _is_fragment(frame: bytes) -> bool:
    """Whether a frame is a fragment, which has no ports to look up."""
    return len(frame) >= 22 and bool(int.from_bytes(frame[20:22], "big") & 0x3FFF)


def _side(number: int, parts: list[int], original: bool) -> dict[str, Any]:
    source, target, sport, dport = parts
    out: dict[str, Any] = {
        "src": str(ipaddress.IPv4Address(source)),
        "dst": str(ipaddress.IPv4Address(target)),
    }
    if number in _WITH_PORTS:
        out |= {"sport": sport, "dport": dport}
    elif number == _ICMP:
        what, identifier = (dport, sport) if original else (sport, dport)
        out |= {"type": what >> 8, "code": what & 0xFF, "id": identifier}
    return out

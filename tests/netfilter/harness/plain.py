"""A runner for the shell that is no OPP program: plain forwarding, and filter rules of the simplest kind.

It is written from Linux's ``ip_forward`` and knows no connections, so that the shell can be held against the kernel
by itself: routing, time to live, sizes, fragments, answers.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Sequence

from oppcache.controller import ENTRY, LOCAL_PORT, METADATA, REJECTS, Topology
from oppcache.controller.shell.packets import header, with_header_checksum
from oppcache.controller.shell.routing import Routes
from oppcache.controller.shell.runner import Outcome

WORD = {name: k for k, name in enumerate(METADATA)}
RULE = re.compile(r"^-A (\w+)((?: (?:-p|--dport) \w+)*) -j (ACCEPT|DROP|REJECT)(?: --reject-with (\S+))?$")
PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1}


class PlainRunner:
    """Forwards; drops and rejects by protocol and destination port. Stateless."""

    def __init__(self, topology: Topology, rules: str = "") -> None:
        self.topology = topology
        self.routes = Routes(topology)
        self.rules: dict[str, list[tuple[int | None, int | None, str]]] = {
            "INPUT": [],
            "FORWARD": [],
            "OUTPUT": [],
        }
        for line in rules.splitlines():
            if not line.startswith("-A"):
                continue
            found = RULE.match(line)
            assert found is not None, f"too much for the plain runner: {line}"
            words = found[2].split()
            given = dict(zip(words[::2], words[1::2], strict=True))
            protocol = given.get("-p")
            number = None if protocol is None else PROTOCOLS.get(protocol) or int(protocol)
            port = int(given["--dport"]) if "--dport" in given else None
            verdict = (found[4] or "icmp-port-unreachable") if found[3] == "REJECT" else found[3]
            self.rules[found[1]].append((number, port, verdict))

    def run(self, frame: bytes, in_port: int, now_ns: int, metadata: Sequence[int]) -> Outcome:
        words = [*metadata]
        packet = frame[14:]
        own = words[WORD["entry"]] in (ENTRY.LOCAL, ENTRY.ANSWER)
        if own and not self._passes("OUTPUT", packet, words):
            return self._end(frame, packet, words)
        h = header(packet)
        local = self.routes.is_local(h.destination) or self.routes.is_broadcast(h.destination)
        if local and own and self.routes.is_local(h.destination):
            return self._end(frame, packet, words, 1)
        if local and not own:
            if not self._passes("INPUT", packet, words):
                return self._end(frame, packet, words)
            return self._end(frame, packet, words, LOCAL_PORT)
        if not own and self.routes.is_local(h.source):
            return self._end(frame, packet, words)  # a martian
        route = self.routes.route(h.destination)
        if not own and h.ttl <= 1 and route is not None:
            words[WORD["reject"]] = REJECTS.index("icmp-time-exceeded")
            return self._end(frame, packet, words)
        if route is None:
            words[WORD["reject"]] = 0 if own else REJECTS.index("icmp-no-route")
            return self._end(frame, packet, words)
        device = self.routes.device(route)
        assert device is not None
        if not own:
            if len(packet) > device.mtu and h.fragment & 0x4000:
                words[WORD["reject"]], words[WORD["mtu"]] = REJECTS.index("icmp-frag-needed"), device.mtu
                return self._end(frame, packet, words)
            packet = with_header_checksum(packet[:8] + bytes([h.ttl - 1]) + packet[9:])
            if not self._passes("FORWARD", packet, words):
                return self._end(frame, packet, words)
        if route.via is not None:
            words[WORD["nexthop"]] = int(ipaddress.IPv4Address(route.via))
        return self._end(frame, packet, words, device.number)

    def _passes(self, chain: str, packet: bytes, words: list[int]) -> bool:
        h = header(packet)
        ports = packet[h.ihl : h.ihl + 4]
        port = (
            struct.unpack("!HH", ports)[1]
            if h.protocol in (6, 17) and len(ports) == 4 and not h.offset
            else None
        )
        for protocol, wanted, verdict in self.rules[chain]:
            if protocol not in (None, h.protocol) or wanted not in (None, port):
                continue
            if verdict == "ACCEPT":
                return True
            words[WORD["reject"]] = 0 if verdict == "DROP" else REJECTS.index(verdict)
            return False
        return True

    @staticmethod
    def _end(frame: bytes, packet: bytes, words: list[int], port: int = -1) -> Outcome:
        return Outcome(port >= 0, max(port, 0), frame[:14] + packet, tuple(words))

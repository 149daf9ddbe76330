"""A packet's whole way through the router: into the program, out of it, and what the router answers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ..interface import ENTRY, LOCAL_PORT, METADATA, PKTTYPE, reject_name
from ..topology import LOOPBACK, Interface, Topology
from . import answers
from .fragments import TooBig, fragments
from .mss import with_mss
from .packets import (
    ETHERNET_BYTES,
    ETHERTYPE_IPV4,
    MINIMUM_HEADER,
    header,
    is_multicast,
    mac_of_host,
    multicast_mac,
    well_formed,
    with_header_checksum,
)
from .reassembly import Reassembler, Whole
from .routing import Routes
from .runner import Outcome, Runner

NO_ETHERNET = bytes(12) + ETHERTYPE_IPV4
_OWN = (ENTRY.LOCAL, ENTRY.ANSWER)
MOST_PASSES = 8  # of one packet and its answers through the program
WORD = {name: k for k, name in enumerate(METADATA)}
_KIND_OF = {"icmp-no-route": "icmp-net-unreachable"}


class Left(NamedTuple):
    """A packet that left, or was delivered (``iface`` None)."""

    iface: str | None
    frame: bytes
    mark: int
    kind: str = ""  # of an answer

    @property
    def packet(self) -> bytes:
        """From the IPv4 header on."""
        return self.frame[ETHERNET_BYTES:]


@dataclass
class Handled:
    """What one packet caused.

    Attributes:
        packet: as it entered the program, from the IPv4 header on; reassembled.
        outcome: of its last pass through the program; None if it never entered.
        held: it is a fragment that waits.
    """

    packet: bytes
    out: list[Left] = field(default_factory=list)
    local: list[Left] = field(default_factory=list)
    emitted: list[Left] = field(default_factory=list)
    held: bool = False
    outcome: Outcome | None = None

    @property
    def verdict(self) -> str:
        """In one word, as records have it."""
        if self.out:
            return "forwarded"
        if self.local:
            return "local"
        if self.emitted:
            return "rejected"
        return "held" if self.held else "dropped"


class Shell:
    """The router around one program.

    Args:
        topology: its interfaces and addresses.
        runner: of the program.
        reassemble: whether fragments are put together before the program.
    """

    def __init__(self, topology: Topology, runner: Runner, reassemble: bool = True) -> None:
        self.topology = topology
        self.runner = runner
        self.reassemble = reassemble
        self.routes = Routes(topology)
        self._fragments = Reassembler()
        self._default_ttl = topology.setting("net.ipv4.ip_default_ttl", 64)
        self._by_number = {i.number: i for i in topology.interfaces}
        self._idents = 0

    def receive(self, frame: bytes, iface: str, now_s: float) -> Handled:
        """A frame from a wire."""
        interface = self.topology.by_name[iface]
        packet = well_formed(frame[ETHERNET_BYTES:])
        handled = Handled(packet or frame[ETHERNET_BYTES:])
        pkttype = _packet_type(frame, interface)
        if packet is None or pkttype == PKTTYPE.OTHERHOST or frame[12:14] != ETHERTYPE_IPV4:
            return handled
        whole = self._whole(packet, now_s, handled, PKTTYPE.HOST)
        if whole is not None:
            handled.packet = whole.packet
            words = _words(entry=ENTRY.WIRE, pkttype=pkttype)
            self._pass(frame[:ETHERNET_BYTES], whole, interface.number, words, now_s, handled)
        return handled

    def send(self, packet: bytes, now_s: float, mark: int = 0) -> Handled:
        """A packet of the local stack, from its IPv4 header on; its length and header checksum are set."""
        handled = Handled(packet)
        if len(packet) < MINIMUM_HEADER or not MINIMUM_HEADER <= header(packet).ihl <= len(packet):
            return handled  # EINVAL
        packet = self._as_sent(packet)
        route = self.routes.route(packet[16:20], packet[12:16], mark)
        device = None if route is None else self.routes.device(route)
        if device is not None and route is not None and route.type != "local" and len(packet) > device.mtu:
            return handled  # EMSGSIZE
        whole = self._whole(packet, now_s, handled, "sent")
        if whole is not None:
            handled.packet = whole.packet
            self._pass(NO_ETHERNET, whole, 0, _words(entry=ENTRY.LOCAL, mark=mark), now_s, handled)
        return handled

    def _as_sent(self, packet: bytes) -> bytes:
        source = packet[12:16]
        if source == bytes(4):
            source = self.routes.source_for(packet[16:20]) or source
        ident = packet[4:6] if packet[4:6] != b"\0\0" else self._next_ident().to_bytes(2, "big")
        length = struct.pack("!H", len(packet))
        return with_header_checksum(packet[:2] + length + ident + packet[6:12] + source + packet[16:])

    def _whole(self, packet: bytes, now_s: float, handled: Handled, where: object) -> Whole | None:
        """The packet to go on with: reassembled where connection tracking or delivery would; None: not now."""
        if not header(packet).is_fragment:
            return Whole(packet)
        if not self.reassemble and not self.routes.is_local(packet[16:20]):
            return Whole(packet)
        found = self._fragments.add(packet, now_s, where)
        if isinstance(found, Whole):
            return found
        handled.held = found == "held"
        return None

    def _pass(
        self,
        ethernet: bytes,
        whole: Whole,
        in_port: int,
        words: Sequence[int],
        now_s: float,
        handled: Handled,
        kind: str = "",
        passes: int = 0,
    ) -> None:
        """Run a packet (an answer, if it has a kind) and do with it as the program says."""
        outcome = self.runner.run(ethernet + whole.packet, in_port, round(now_s * 1e9), words)
        if not kind:
            handled.outcome = outcome
        if passes >= MOST_PASSES:
            return
        if not outcome.forwarded:
            code = outcome.metadata[WORD["reject"]]
            if code:
                name = reject_name(code)
                self._answer(_KIND_OF.get(name, name), outcome, now_s, handled, passes)
            return
        mss = outcome.metadata[WORD["mss"]]
        if mss:
            packet = with_mss(outcome.frame[ETHERNET_BYTES:], mss)
            outcome = outcome._replace(frame=outcome.frame[:ETHERNET_BYTES] + packet)
        mark = outcome.metadata[WORD["mark"]]
        if outcome.port == LOCAL_PORT:
            left = Left("lo" if kind else None, outcome.frame, mark, kind)
            (handled.emitted if kind else handled.local).append(left)
        elif outcome.port == LOOPBACK:
            self._loop(outcome, whole, LOOPBACK, PKTTYPE.HOST, now_s, handled, kind, passes)
        else:
            self._leave(outcome, whole, mark, now_s, handled, kind, passes)

    def _loop(
        self,
        outcome: Outcome,
        whole: Whole,
        in_port: int,
        pkttype: PKTTYPE,
        now_s: float,
        handled: Handled,
        kind: str,
        passes: int,
    ) -> None:
        """Take a packet that left as one that arrives."""
        again = list(outcome.metadata)
        again[WORD["entry"]], again[WORD["pkttype"]] = ENTRY.LOOPED, pkttype
        looped = whole._replace(packet=outcome.frame[ETHERNET_BYTES:])
        self._pass(NO_ETHERNET, looped, in_port, again, now_s, handled, kind, passes + 1)

    def _leave(
        self,
        outcome: Outcome,
        whole: Whole,
        mark: int,
        now_s: float,
        handled: Handled,
        kind: str,
        passes: int,
    ) -> None:
        interface = self._by_number[outcome.port]
        packet = outcome.frame[ETHERNET_BYTES:]
        try:
            pieces = fragments(packet, interface.mtu, whole)
        except TooBig as problem:
            if not kind:
                again = list(outcome.metadata)
                again[WORD["mtu"]] = problem.mtu
                refused = outcome._replace(metadata=tuple(again))
                self._answer("icmp-frag-needed", refused, now_s, handled, passes)
            return
        towards = outcome.metadata[WORD["nexthop"]].to_bytes(4, "big")
        target = packet[16:20]
        if towards == bytes(4) or is_multicast(target) or self.routes.is_broadcast(target):
            towards = target
        ethernet = self._mac(towards, interface) + interface.mac.to_bytes(6, "big") + ETHERTYPE_IPV4
        for piece in pieces:
            (handled.emitted if kind else handled.out).append(
                Left(interface.name, ethernet + piece, mark, kind)
            )
        if outcome.metadata[WORD["entry"]] in _OWN and self.routes.is_broadcast(packet[16:20]):
            # The router hears its own broadcasts, on the interface on which they leave.
            self._loop(outcome, whole, interface.number, PKTTYPE.LOOPBACK, now_s, handled, kind, passes)

    def _mac(self, towards: bytes, interface: Interface) -> bytes:
        if is_multicast(towards):
            return multicast_mac(towards)
        return b"\xff" * 6 if self.routes.is_broadcast(towards) else mac_of_host(towards)

    def _answer(self, kind: str, outcome: Outcome, now_s: float, handled: Handled, passes: int) -> None:
        packet = outcome.frame[ETHERNET_BYTES:]
        answer = self.answer(kind, packet, outcome.metadata)
        if answer is None:
            return
        words: Sequence[int] = _words(entry=ENTRY.LOCAL)
        if outcome.metadata[WORD["conn"]]:
            attached = list(outcome.metadata)
            attached[WORD["entry"]], attached[WORD["pkttype"]] = ENTRY.ANSWER, PKTTYPE.HOST
            attached[WORD["mark"]] = 0
            words = attached
        self._pass(NO_ETHERNET, Whole(answer), 0, words, now_s, handled, kind, passes + 1)

    def answer(self, kind: str, packet: bytes, metadata: Sequence[int]) -> bytes | None:
        """The packet that answers another, or None where Linux is silent.

        Args:
            kind: one of :data:`~oppcache.controller.REJECTS`.
            packet: as it was when it was refused.
            metadata: of the packet then.
        """
        h = header(packet)
        if is_multicast(h.destination) or self.routes.is_broadcast(h.destination):
            return None
        if kind == answers.TCP_RESET:
            return answers.reset(packet, self._default_ttl)
        if metadata[WORD["pkttype"]] != PKTTYPE.HOST or not answers.error_wanted(kind, packet):
            return None
        source = h.destination if self.routes.is_local(h.destination) else self.routes.source_for(h.source)
        if source is None:
            return None
        mtu = metadata[WORD["mtu"]] if kind == "icmp-frag-needed" else 0
        return answers.error(kind, packet, source, self._default_ttl, mtu, self._next_ident())

    def _next_ident(self) -> int:
        self._idents = self._idents % 0xFFFF + 1
        return self._idents


def _words(**values: int) -> list[int]:
    words = [0] * len(METADATA)
    for name, value in values.items():
        words[WORD[name]] = int(value)
    return words


def _packet_type(frame: bytes, interface: Interface) -> PKTTYPE:
    target = frame[:6]
    if target == interface.mac.to_bytes(6, "big"):
        return PKTTYPE.HOST
    if target == b"\xff" * 6:
        return PKTTYPE.BROADCAST
    return PKTTYPE.MULTICAST if target[0] & 1 else PKTTYPE.OTHERHOST

"""Flows that speak TCP or UDP correctly, one packet at a time: kernels and their state.

A TCP connection of n packets: n = 1 an unanswered SYN; 2 a SYN refused by RST; 3 to 6 a handshake as far as n
reaches, data, and the initiator's RST; from 7 on handshake, data both ways, and a close by FIN from both sides
and a last ACK, or by RST. Sequence and acknowledgement numbers are those of a path without loss, pure ACKs
acknowledge new data, and no side sends beyond its peer's window. A UDP flow alternates request and response,
or goes one way.
"""

# Kernels are untyped: their argument types are in their docstrings.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math

import numpy as np

from oppcache._jit import kernel
from oppcache.opp.kernel_random import mix, next_normal, next_unit, next_word, unit

from .bytesread import U

FLOW_DTYPE = np.dtype(
    [
        ("initiator", np.uint32),
        ("responder", np.uint32),
        ("length", np.uint32),  # packets of this connection; 0: none open
        ("sent", np.uint32),
        ("seq0", np.uint32),  # next sequence number of the initiator, and of the responder
        ("seq1", np.uint32),
        ("ack0", np.uint32),  # last acknowledgement by the initiator, and by the responder
        ("ack1", np.uint32),
        ("round", np.uint32),  # connections that this flow has had
        ("iport", np.uint16),
        ("rport", np.uint16),
        ("proto", np.uint8),
        ("style", np.uint8),  # STYLE_* bits
        ("hops", np.uint8),  # routers between the outside host and the capture point
    ],
    align=True,
)
STYLE_RST, STYLE_RESPONDER_CLOSES, STYLE_ONE_WAY, STYLE_OUTSIDE = 1, 2, 4, 8
ENDLESS = 0xFFFFFFFF  # length of a flow that never ends

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
WINDOW = 65535
IN_FLIGHT_MAX = 48 * 1024
SEGMENT_MAX = 1460

FIRST_PORT, PORTS = 32768, 28232  # ephemeral ports of initiators (Linux's range)
TCP_PORTS = np.array(
    [443, 443, 443, 443, 443, 443, 443, 80, 80, 80, 22, 25, 993, 8080, 3306, 5222], np.uint16
)
UDP_PORTS = np.array([53, 53, 53, 53, 53, 53, 443, 443, 443, 443, 443, 123, 123, 3478, 500, 1194], np.uint16)

# Numbers of a workload as kernels take them: float64 and int64 arrays.
(N_TCP, N_INSIDE, N_RST, N_ONE_WAY, N_DOWN, N_GAP, N_DURATION, N_FLOOD_GAP) = range(8)
NUMBERS = 8
(K_CLIENTS, K_SERVERS, K_PORTS_EACH, K_NEW_PORTS, K_VICTIMS, K_POPULAR, K_ENDLESS) = range(7)
KNOBS = 7

_M32 = U(0xFFFFFFFF)
_ODD = U(0x9E3779B1)


@kernel
def inside_address(index, key):
    """Host ``index`` of 10.0.0.0/8; distinct for distinct indices below 2^24."""
    return U(0x0A000000) | ((index * _ODD + key) & U(0xFFFFFF))


@kernel
def server_address(index, key):
    """Server ``index`` of 128.0.0.0/3's lower part, 128 to 159; distinct below 2^29."""
    return U(0x80000000) | ((index * _ODD + key) & U(0x1FFFFFFF))


@kernel
def outside_client_address(index, key):
    """Outside initiator ``index`` of 160.0.0.0/5; distinct below 2^27."""
    return U(0xA0000000) | ((index * _ODD + key) & U(0x7FFFFFF))


@kernel
def spoofed_address(index, key):
    """Spoofed source ``index`` of 64.0.0.0/3; distinct below 2^29."""
    return U(0x40000000) | ((index * _ODD + key) & U(0x1FFFFFFF))


@kernel
def name_flow(flows, slot, ident, key, numbers, knobs):
    """Give ``flows[slot]`` the addresses, ports, protocol and style of flow ``ident``, a hash of it and ``key``.

    No two flows share a 5-tuple, in either direction, up to ``clients * PORTS`` of them.
    """
    number = U(ident)
    clients = U(knobs[K_CLIENTS])
    client, turn = number % clients, number // clients
    first, second = mix(key ^ (number + U(1))), mix(key + (number << U(1)))
    style = 0
    tcp = unit(first) < numbers[N_TCP]
    skewed = unit(second)
    skewed = skewed * skewed
    if unit(mix(first)) < numbers[N_INSIDE]:
        flows["initiator"][slot] = np.uint32(inside_address(client, key))
        flows["responder"][slot] = np.uint32(server_address(U(int(skewed * knobs[K_SERVERS])), key))
    else:
        style |= STYLE_OUTSIDE
        flows["initiator"][slot] = np.uint32(outside_client_address(client, key))
        flows["responder"][slot] = np.uint32(inside_address(U(int(skewed * knobs[K_CLIENTS])), key))
    if unit(mix(second)) < numbers[N_ONE_WAY]:
        style |= STYLE_ONE_WAY
    pick = mix(first ^ second)
    turn += mix(client ^ key) % U(PORTS)  # each client counts its ports from a place of its own
    flows["iport"][slot] = np.uint16(U(FIRST_PORT) + turn % U(PORTS))
    flows["rport"][slot] = TCP_PORTS[pick & U(15)] if tcp else UDP_PORTS[pick & U(15)]
    flows["proto"][slot] = np.uint8(6) if tcp else np.uint8(17)
    flows["style"][slot] = np.uint8(style)
    flows["hops"][slot] = np.uint8(U(4) + ((pick >> U(8)) & U(15)))
    flows["length"][slot] = np.uint32(0)
    flows["round"][slot] = np.uint32(0)


@kernel
def open_connection(flows, slot, length, numbers, knobs, state):
    """Begin a connection of ``length`` packets on a named flow."""
    if knobs[K_NEW_PORTS] and flows["round"][slot] > np.uint32(0):
        turn = U(flows["iport"][slot]) - U(FIRST_PORT) + U(knobs[K_PORTS_EACH])
        flows["iport"][slot] = np.uint16(U(FIRST_PORT) + turn % U(PORTS))
    flows["length"][slot] = np.uint32(length)
    flows["sent"][slot] = np.uint32(0)
    flows["round"][slot] = flows["round"][slot] + np.uint32(1)
    if flows["proto"][slot] == np.uint8(6):
        word = next_word(state)
        flows["seq0"][slot] = np.uint32(word & _M32)
        flows["seq1"][slot] = np.uint32(word >> U(32))
        style = int(flows["style"][slot]) & (STYLE_ONE_WAY | STYLE_OUTSIDE)
        if next_unit(state) < numbers[N_RST]:
            style |= STYLE_RST
        elif next_unit(state) < 0.5:
            style |= STYLE_RESPONDER_CLOSES
        flows["style"][slot] = np.uint8(style)


@kernel
def draw_size(sizes, state):
    """Draw from a size table: float64[n, 2] of (cumulative share, bytes)."""
    u = next_unit(state)
    row = 0
    while row + 1 < sizes.shape[0] and u >= sizes[row, 0]:
        row += 1
    return int(sizes[row, 1])


@kernel
def _control(length, sent, style):
    """The (flags, side) of a connection's packet ``sent`` where they are fixed, else (0, 0).

    Side 0 is the initiator.
    """
    closer = 1 if style & STYLE_RESPONDER_CLOSES else 0
    if sent == 0:
        return SYN, 0
    if length == ENDLESS and sent > 2:
        return 0, 0
    if length == 2:
        return RST | ACK, 1
    if sent == 1:
        return SYN | ACK, 1
    if length <= 6:
        if sent == length - 1:
            return RST | ACK, 0
        return (ACK, 0) if sent == 2 else (0, 0)
    if sent == 2:
        return ACK, 0
    if style & STYLE_RST:
        return (RST | ACK, closer) if sent == length - 1 else (0, 0)
    if sent == length - 3:
        return FIN | ACK, closer
    if sent == length - 2:
        return FIN | ACK, 1 - closer
    if sent == length - 1:
        return ACK, closer
    return 0, 0


@kernel
def tcp_packet(flows, slot, numbers, sizes, state):
    """Advance a TCP connection by a packet; return (side, flags, payload bytes, seq, ack), seq and ack uint64."""
    length, sent = int(flows["length"][slot]), int(flows["sent"][slot])
    flags, side = _control(length, sent, int(flows["style"][slot]))
    seq0, seq1 = U(flows["seq0"][slot]), U(flows["seq1"][slot])
    ack0, ack1 = U(flows["ack0"][slot]), U(flows["ack1"][slot])
    payload = 0
    if flags == 0:
        flags = ACK
        flying0, flying1 = int((seq0 - ack1) & _M32), int((seq1 - ack0) & _M32)
        side = 1 if next_unit(state) < numbers[N_DOWN] else 0
        if flying0 + SEGMENT_MAX > IN_FLIGHT_MAX:
            side = 1
        elif flying1 + SEGMENT_MAX > IN_FLIGHT_MAX:
            side = 0
        payload = draw_size(sizes, state)
        flying = flying1 if side == 0 else flying0
        own = flying0 if side == 0 else flying1
        if own + SEGMENT_MAX > IN_FLIGHT_MAX:
            payload = 0
        elif payload == 0 and flying == 0:
            payload = int(sizes[sizes.shape[0] - 1, 1])
        if payload > 0 and payload < SEGMENT_MAX:
            flags |= PSH
    seq, ack = (seq0, seq1) if side == 0 else (seq1, seq0)
    if sent == 0:
        ack = U(0)
    elif sent == 1 and length == 2:
        seq = U(0)
    step = U(payload) + (U(1) if flags & (SYN | FIN) else U(0))
    if side == 0:
        flows["seq0"][slot] = np.uint32((seq0 + step) & _M32)
        if sent > 0:
            flows["ack0"][slot] = np.uint32(ack)
        else:
            flows["ack0"][slot] = np.uint32((seq1 + U(1)) & _M32)
            flows["ack1"][slot] = np.uint32((seq0 + U(1)) & _M32)
    else:
        flows["seq1"][slot] = np.uint32((seq1 + step) & _M32)
        flows["ack1"][slot] = np.uint32(ack)
    return side, flags, payload, seq, ack


@kernel
def udp_packet(flows, slot, sizes, state):
    """Advance a UDP flow by a packet; return (side, payload bytes)."""
    side = int(flows["sent"][slot] & np.uint32(1))
    if flows["style"][slot] & np.uint8(STYLE_ONE_WAY):
        side = 0
    return side, draw_size(sizes, state)


@kernel
def draw_rank(cumulative, guide, u):
    """The first index whose cumulative share exceeds ``u``: inverse-CDF sampling with a guide table.

    ``guide``: int64[g + 1], where to begin for u in the j-th of g equal parts.
    """
    part = int(u * (guide.shape[0] - 1))
    low, high = guide[part], guide[part + 1]
    while low < high:
        middle = (low + high) // 2
        if cumulative[middle] > u:
            high = middle
        else:
            low = middle + 1
    return low


@kernel
def sift_down(times, slots, size):
    """Restore a binary heap of (time, slot) whose root has changed; equal times go by slot."""
    time, slot = times[0], slots[0]
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        other = child + 1
        if other < size and (
            times[other] < times[child] or (times[other] == times[child] and slots[other] < slots[child])
        ):
            child = other
        if times[child] > time or (times[child] == time and slots[child] > slot):
            break
        times[at], slots[at] = times[child], slots[child]
        at = child
    times[at], slots[at] = time, slot


@kernel
def push(times, slots, size, time, slot):
    """Add (time, slot) to a heap of ``size`` entries."""
    at = size
    while at > 0:
        parent = (at - 1) // 2
        if times[parent] < time or (times[parent] == time and slots[parent] < slot):
            break
        times[at], slots[at] = times[parent], slots[parent]
        at = parent
    times[at], slots[at] = time, slot


@kernel
def draw_gap(length, numbers, state):
    """Mean gap of a new flow's packets, ns: a lognormal duration (sigma 1) over its packets."""
    return numbers[N_DURATION] * math.exp(next_normal(state) - 0.5) / max(length - 1, 1)

"""Kernels that turn flows into header vectors: which flow sends next, and its packet's row."""

# Kernels are untyped: their argument types are in their docstrings.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.opp.fields import (
    CORE_WORDS,
    CSUM_OK,
    IPV4_MAPPED,
    STATUS_L3_CSUM_SHIFT,
    STATUS_L4_CSUM_SHIFT,
    W_FAMILY,
    W_HEADERS,
    W_ID,
    W_IN_PORT,
    W_IP_DST,
    W_IP_PROTO,
    W_IP_SRC,
    W_L4_DPORT,
    W_L4_SPORT,
    W_LENGTH,
    W_NOW,
    W_OFFSETS,
    W_STATUS,
    W_TCP_FLAGS,
    Base,
    Header,
)
from oppcache.opp.kernel_random import next_exponential, next_unit, next_word

from .bytesread import U
from .extras import WANT_FLOW, WANT_L3_CSUM, WANT_L4_CSUM, WANT_TCP_OPTIONS, fill_extras
from .flows import (
    ENDLESS,
    K_ENDLESS,
    K_POPULAR,
    K_VICTIMS,
    N_FLOOD_GAP,
    N_GAP,
    SEGMENT_MAX,
    STYLE_OUTSIDE,
    SYN,
    WINDOW,
    draw_gap,
    draw_rank,
    inside_address,
    name_flow,
    open_connection,
    push,
    sift_down,
    spoofed_address,
    tcp_packet,
    udp_packet,
)
from .frames import pseudo_sum, put_ethernet, put_ipv4, put_tcp, put_udp
from .headers import S_CAPTURED_END, S_L4_LENGTH, bit

# Where a generator stands: int64 and float64 arrays.
(X_POOL, X_ACTIVE, X_FREE, X_BLOCKED, X_SERIAL, X_FLOOD, X_ID, X_OPENED, X_CLOSED) = range(9)
CURSORS = 9
(T_NEXT, T_FLOOD) = range(2)  # ns: the next arrival (of a packet, or of a flow), the next flood packet
TIMES = 2

TIME_MAX = float(1 << 62)  # ns

INSIDE_PORT, OUTSIDE_PORT = 0, 1  # in_port of packets that come from inside and from outside
INSIDE_MAC, OUTSIDE_MAC = U(0x020000000001), U(0x020000000002)

_MAPPED = U(IPV4_MAPPED)
_H_TCP = bit(Header.ETH, Header.IPV4, Header.IP, Header.TCP, Header.L4_PORTS)
_H_UDP = bit(Header.ETH, Header.IPV4, Header.IP, Header.UDP, Header.L4_PORTS)
_B_ETH, _B_L3, _B_L4 = int(Base.ETH), int(Base.L3), int(Base.L4)
_L3_OK, _L4_OK = U(CSUM_OK << STATUS_L3_CSUM_SHIFT), U(CSUM_OK << STATUS_L4_CSUM_SHIFT)
_OTHER_WANTS = WANT_FLOW | WANT_TCP_OPTIONS


@kernel
def _row(out, row, number, now, src, dst, sport, dport, proto, flags, payload, inside):
    """Write the core words of an IPv4 packet, zeros behind them; return the bytes of layer 4."""
    tcp = proto == U(6)
    header = U(8)
    if tcp:
        header = U(24) if flags & SYN else U(20)
    size = header + U(payload)
    out[row, W_HEADERS] = _H_TCP if tcp else _H_UDP
    out[row, W_STATUS] = U(0)
    out[row, W_NOW] = now
    out[row, W_LENGTH] = max(U(60), U(34) + size)
    out[row, W_IN_PORT] = U(INSIDE_PORT) if inside else U(OUTSIDE_PORT)
    out[row, W_FAMILY] = U(4)
    out[row, W_IP_SRC] = U(0)
    out[row, W_IP_SRC + 1] = _MAPPED | src
    out[row, W_IP_DST] = U(0)
    out[row, W_IP_DST + 1] = _MAPPED | dst
    out[row, W_IP_PROTO] = proto
    out[row, W_L4_SPORT] = sport
    out[row, W_L4_DPORT] = dport
    out[row, W_TCP_FLAGS] = U(flags)
    out[row, W_OFFSETS] = U(14) | (U(34) << U(16)) | ((U(34) + header) << U(32))
    out[row, W_ID] = U(number)
    for word in range(CORE_WORDS, out.shape[1]):
        out[row, word] = U(0)
    return size


@kernel
def _extras(out, row, size, seq, ack, ident, ttl, inside, extras, want, frame, scratch):
    """Fill the words beyond the core as the parser would, from the packet's headers rendered into ``frame``."""
    src, dst = out[row, W_IP_SRC + 1] & U(0xFFFFFFFF), out[row, W_IP_DST + 1] & U(0xFFFFFFFF)
    sport, dport = out[row, W_L4_SPORT], out[row, W_L4_DPORT]
    flags, start = out[row, W_TCP_FLAGS], U(0)
    if inside:
        put_ethernet(frame, start, OUTSIDE_MAC, INSIDE_MAC)
    else:
        put_ethernet(frame, start, INSIDE_MAC, OUTSIDE_MAC)
    put_ipv4(frame, U(14), src, dst, out[row, W_IP_PROTO], size + U(20), U(0), ident, ttl)
    if out[row, W_IP_PROTO] == U(6):
        mss = U(SEGMENT_MAX) if flags & U(SYN) else U(0)
        put_tcp(frame, U(34), size, sport, dport, seq, ack, flags, U(WINDOW), mss, pseudo_sum(src, dst))
    else:
        put_udp(frame, U(34), size, sport, dport, pseudo_sum(src, dst))
    if want & WANT_L3_CSUM:
        out[row, W_STATUS] |= _L3_OK
    if want & WANT_L4_CSUM:
        out[row, W_STATUS] |= _L4_OK
    scratch[_B_ETH] = start
    scratch[_B_L3] = U(14)
    scratch[_B_L4] = U(34)
    scratch[S_L4_LENGTH] = size
    scratch[S_CAPTURED_END] = U(frame.shape[0])
    fill_extras(frame, extras, want & _OTHER_WANTS, out, row, scratch)


@kernel
def _send(
    out, row, number, now, flows, slot, numbers, tcp_sizes, udp_sizes, state, extras, want, frame, scratch
):
    """Write the next packet of an open flow; return whether it was the connection's last."""
    proto = U(flows["proto"][slot])
    flags, seq, ack = np.int64(0), U(0), U(0)
    if proto == U(6):
        side, flags, payload, seq, ack = tcp_packet(flows, slot, numbers, tcp_sizes, state)
    else:
        side, payload = udp_packet(flows, slot, udp_sizes, state)
    src, dst = U(flows["initiator"][slot]), U(flows["responder"][slot])
    sport, dport = U(flows["iport"][slot]), U(flows["rport"][slot])
    if side == 1:
        src, dst = dst, src
        sport, dport = dport, sport
    inside = (int(flows["style"][slot]) & STYLE_OUTSIDE != 0) == (side == 1)
    size = _row(out, row, number, now, src, dst, sport, dport, proto, flags, payload, inside)
    sent = U(flows["sent"][slot]) + U(1)
    if extras.shape[0]:
        ttl = U(64) if inside else U(64) - U(flows["hops"][slot])
        _extras(out, row, size, seq, ack, sent & U(0xFFFF), ttl, inside, extras, want, frame, scratch)
    flows["sent"][slot] = np.uint32(sent)
    return sent == U(flows["length"][slot])


@kernel
def _flood(out, row, now, key, knobs, cursors, state, extras, want, frame, scratch):
    """Write a SYN from the next spoofed source to one of the victims."""
    number = U(cursors[X_FLOOD])
    cursors[X_FLOOD] += 1
    word = next_word(state)
    victim = (word >> U(16)) % U(knobs[K_VICTIMS])
    src, dst = spoofed_address(number, key), inside_address(victim, key)
    sport = U(1024) + ((word & U(0xFFFF)) % U(64512))
    size = _row(
        out,
        row,
        cursors[X_ID],
        now,
        src,
        dst,
        sport,
        U(80),
        U(6),
        np.int64(SYN),
        np.int64(0),
        np.bool_(False),
    )
    if extras.shape[0]:
        seq = word >> U(32)
        _extras(
            out, row, size, seq, U(0), word & U(0xFFFF), U(48), np.bool_(False), extras, want, frame, scratch
        )


@kernel
def generate(
    out, count, flows, key, numbers, knobs, tcp_sizes, udp_sizes, cumulative, guide, pool,
    heap_times, heap_slots, gaps, free, cursors, times, state, extras, want, frame, scratch,
):  # fmt: skip
    """Write up to ``count`` packets; fewer only when ``pool``, the lengths of connections to come, is used up.

    Popular flows (``knobs[K_POPULAR]``): packets arrive as a Poisson process, each of a flow drawn by
    ``cumulative``. Otherwise flows arrive as a Poisson process, and each sends its packets as one of its own;
    next packets wait in a heap. A flood is a further Poisson process beside either.
    """
    row = np.int64(0)  # a literal would have Numba compile all below twice
    while row < count:
        if cursors[X_POOL] >= pool.shape[0]:
            return row
        now, from_heap = times[T_NEXT], False
        if not knobs[K_POPULAR] and cursors[X_ACTIVE] > 0 and heap_times[0] <= now:
            now, from_heap = heap_times[0], True
        if times[T_FLOOD] < now:
            _flood(
                out,
                row,
                U(int(min(times[T_FLOOD], TIME_MAX))),
                key,
                knobs,
                cursors,
                state,
                extras,
                want,
                frame,
                scratch,
            )
            times[T_FLOOD] += next_exponential(state, numbers[N_FLOOD_GAP])
            cursors[X_ID] += 1
            row += 1
            continue
        if from_heap:
            slot = np.int64(heap_slots[0])
        else:
            times[T_NEXT] = now + next_exponential(state, numbers[N_GAP])
            if knobs[K_POPULAR]:
                slot = draw_rank(cumulative, guide, next_unit(state))
            elif cursors[X_FREE] == 0:
                cursors[X_BLOCKED] += 1
                continue
            else:
                cursors[X_FREE] -= 1
                slot = np.int64(free[cursors[X_FREE]])
                name_flow(flows, slot, cursors[X_SERIAL], key, numbers, knobs)
                cursors[X_SERIAL] += 1
            if flows["length"][slot] == np.uint32(0):
                length = ENDLESS
                if not knobs[K_ENDLESS]:
                    length = pool[cursors[X_POOL]]
                    cursors[X_POOL] += 1
                open_connection(flows, slot, length, numbers, knobs, state)
                cursors[X_OPENED] += 1
                if not knobs[K_POPULAR]:
                    gaps[slot] = draw_gap(length, numbers, state)
        last = _send(
            out, row, cursors[X_ID], U(int(min(now, TIME_MAX))), flows, slot, numbers, tcp_sizes, udp_sizes, state,
            extras, want, frame, scratch,
        )  # fmt: skip
        cursors[X_ID] += 1
        row += 1
        if last:
            flows["length"][slot] = np.uint32(0)
            cursors[X_CLOSED] += 1
        if not knobs[K_POPULAR]:
            _reschedule(now, slot, last, from_heap, heap_times, heap_slots, gaps, free, cursors, state)
    return row


@kernel
def _reschedule(now, slot, last, from_heap, heap_times, heap_slots, gaps, free, cursors, state):
    """After a flow's packet: put its next one into the heap, or free its slot."""
    if last:
        free[cursors[X_FREE]] = np.int32(slot)
        cursors[X_FREE] += 1
    if from_heap:
        if last:
            cursors[X_ACTIVE] -= 1
            heap_times[0], heap_slots[0] = heap_times[cursors[X_ACTIVE]], heap_slots[cursors[X_ACTIVE]]
        else:
            heap_times[0] = now + next_exponential(state, gaps[slot])
        sift_down(heap_times, heap_slots, cursors[X_ACTIVE])
    elif not last:
        push(
            heap_times,
            heap_slots,
            cursors[X_ACTIVE],
            now + next_exponential(state, gaps[slot]),
            np.int32(slot),
        )
        cursors[X_ACTIVE] += 1


@kernel
def name_flows(flows, key, numbers, knobs):
    """Name every flow of a population, by its rank."""
    for slot in range(flows.shape[0]):
        name_flow(flows, slot, slot, key, numbers, knobs)

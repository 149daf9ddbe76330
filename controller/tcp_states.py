"""The states of TCP connections as Linux tracks them, their transitions and timeouts.

Source: ``nf_conntrack_proto_tcp.c`` (Linux 6.x): facts, not code.
"""

from __future__ import annotations

from .clauses import Bits, Clause, Spans, field

NO, SS, SR, ES, FW, CW, LA, TW, CL, S2 = range(10)
IV, IG = -1, -2
SYN, SYNACK, FIN, ACK, RST, NONE = range(6)
# Flags of a side, as Linux numbers them.
WSCALE, SACK_PERM, CLOSE_INIT, LIBERAL, UNACKED, MAXACK_SET, CHALLENGE, SIMULTANEOUS = (
    1 << i for i in range(8)
)
WINDOW_WORDS = ("wack", "wsack", "wseq", "wend")  # what the window stage hands on
MAX_ACK_WINDOW = 66000
MAX_SCALE = 14

# New state by direction, flags and old state (SYN_SENT … SYN_SENT2).
TABLE: dict[tuple[int, int], tuple[int, ...]] = {
    (0, SYN): (SS, IG, IG, IG, IG, IG, SS, SS, S2),
    (0, SYNACK): (IV, SR, IV, IV, IV, IV, IV, IV, SR),
    (0, FIN): (IV, FW, FW, LA, LA, LA, TW, CL, IV),
    (0, ACK): (IV, ES, ES, CW, CW, TW, TW, CL, IV),
    (1, SYN): (S2, IV, IV, IV, IV, IV, SS, IV, S2),
    (1, SYNACK): (SR, IG, IG, IG, IG, IG, IG, IG, SR),
    (1, FIN): (IV, FW, FW, LA, LA, LA, TW, CL, IV),
    (1, ACK): (IG, SR, ES, CW, CW, TW, TW, CL, IG),
}
INDEX_FLAGS: dict[int, Bits] = {
    RST: Bits.of((0x04, 0x04)),
    SYN: Bits.of((0x02, 0x16)),
    SYNACK: Bits.of((0x12, 0x16)),
    FIN: Bits.of((0x01, 0x07)),
    ACK: Bits.of((0x10, 0x17)),
}
DEFAULTS = {
    SS: ("syn_sent", 120),
    SR: ("syn_recv", 60),
    ES: ("established", 432000),
    FW: ("fin_wait", 120),
    CW: ("close_wait", 60),
    LA: ("last_ack", 30),
    TW: ("time_wait", 120),
    CL: ("close", 10),
    S2: ("syn_sent2", 120),
}
INDEX_NAMES = ("syn", "syn-ack", "fin", "ack", "rst", "none")


def old_clause(state: int) -> Clause:
    """Connections in a state."""
    return {("state", ""): Spans.of((state, state))}


def flags_clause(index: int) -> Clause:
    """Segments with some flags."""
    return field("tcp.flags", INDEX_FLAGS[index])

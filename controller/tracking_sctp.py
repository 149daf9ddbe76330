"""SCTP associations as Linux tracks them: a table of states, and verification tags.

Of a packet with several chunks only the first counts here; Linux walks them all, and those behind the first change
nothing but in HEARTBEATs bundled with data.

Source: ``nf_conntrack_proto_sctp.c`` (Linux 6.x): facts, not code.
"""

from __future__ import annotations

from oppcache.opp.program import Update, Write

from .clauses import Bits, Clause, Clauses, Spans, field, metadata, valid
from .flow import Draft, Flow, Label, holds, puts, store
from .tracking import ASSURED, OPEN, SCTP, SEEN_REPLY, Timeouts, accounting, invalid
from .world import World

NAMES = (
    "NONE",
    "CLOSED",
    "COOKIE_WAIT",
    "COOKIE_ECHOED",
    "ESTABLISHED",
    "SHUTDOWN_SENT",
    "SHUTDOWN_RECD",
    "SHUTDOWN_ACK_SENT",
    "HEARTBEAT_SENT",
)
NO, CL, CW, CE, ES, SS, SR, SA, HS = range(9)
IV = -1
# Chunk types by row of the table.
INIT, INIT_ACK, ABORT, SHUTDOWN, SHUTDOWN_ACK, ERROR, COOKIE_ECHO, COOKIE_ACK, COMPLETE, HEARTBEAT, HEARTBEAT_ACK = (
    1, 2, 6, 7, 8, 9, 10, 11, 14, 4, 5,
)  # fmt: skip
# New state by direction, chunk and old state (NONE, CLOSED, …, HEARTBEAT_SENT).
TABLE: dict[tuple[int, int], tuple[int, ...]] = {
    (0, INIT): (CL, CL, CW, CE, ES, CL, CL, SA, CW),
    (0, INIT_ACK): (CL, CL, CW, CE, ES, SS, SR, SA, CL),
    (0, ABORT): (CL, CL, CL, CL, CL, CL, CL, CL, CL),
    (0, SHUTDOWN): (CL, CL, CW, CE, SS, SS, SR, SA, CL),
    (0, SHUTDOWN_ACK): (SA, CL, CW, CE, ES, SA, SA, SA, SA),
    (0, ERROR): (CL, CL, CW, CE, ES, SS, SR, SA, CL),
    (0, COOKIE_ECHO): (CL, CL, CE, CE, ES, SS, SR, SA, CL),
    (0, COOKIE_ACK): (CL, CL, CW, CE, ES, SS, SR, SA, CL),
    (0, COMPLETE): (CL, CL, CW, CE, ES, SS, SR, CL, CL),
    (0, HEARTBEAT): (HS, CL, CW, CE, ES, SS, SR, SA, HS),
    (0, HEARTBEAT_ACK): (CL, CL, CW, CE, ES, SS, SR, SA, HS),
    (1, INIT): (IV, CL, CW, CE, ES, SS, SR, SA, IV),
    (1, INIT_ACK): (IV, CW, CW, CE, ES, SS, SR, SA, IV),
    (1, ABORT): (IV, CL, CL, CL, CL, CL, CL, CL, IV),
    (1, SHUTDOWN): (IV, CL, CW, CE, SR, SS, SR, SA, IV),
    (1, SHUTDOWN_ACK): (IV, CL, CW, CE, ES, SA, SA, SA, IV),
    (1, ERROR): (IV, CL, CW, CL, ES, SS, SR, SA, IV),
    (1, COOKIE_ECHO): (IV, CL, CW, CE, ES, SS, SR, SA, IV),
    (1, COOKIE_ACK): (IV, CL, CW, ES, ES, SS, SR, SA, IV),
    (1, COMPLETE): (IV, CL, CW, CE, ES, SS, SR, CL, IV),
    (1, HEARTBEAT): (IV, CL, CW, CE, ES, SS, SR, SA, HS),
    (1, HEARTBEAT_ACK): (IV, CL, CW, CE, ES, SS, SR, SA, ES),
}
TIMEOUTS = {
    CL: ("closed", 10),
    CW: ("cookie_wait", 3),
    CE: ("cookie_echoed", 3),
    ES: ("established", 210),
    SS: ("shutdown_sent", 3),
    SR: ("shutdown_recd", 3),
    SA: ("shutdown_ack_sent", 3),
    HS: ("heartbeat_sent", 30),
}
REGISTERS = ("vtag0", "vtag1", "heartbeat_failed", "heartbeat_dir")
CHUNKS = tuple(dict.fromkeys(chunk for _, chunk in TABLE))
# Chunks that open nothing.
_STRAY = (ABORT, COMPLETE, COOKIE_ACK)
# Chunks with rules of their own for the verification tag.
_OWN_RULES = (INIT, COMPLETE, COOKIE_ECHO, ABORT, SHUTDOWN_ACK, HEARTBEAT, HEARTBEAT_ACK)


def label(state: int) -> int:
    """The label of a state in table ``conn``."""
    return OPEN + state


def is_chunk(*chunks: int) -> Clause:
    """Packets that begin with such a chunk."""
    return {**valid("sctp"), **field("sctp.chunk_type", Spans.values(chunks))}


def opening(draft: Draft) -> Clauses:
    """Packets that may open an association."""
    untagged = draft.c("untagged", "sctp.vtag", "eq", 0)
    free = [c for c in CHUNKS if c not in _STRAY and c in (SHUTDOWN_ACK, HEARTBEAT, HEARTBEAT_ACK)]
    tagless = [c for c in CHUNKS if c not in _STRAY and c not in free]
    return [is_chunk(*free), {**is_chunk(*tagless), **untagged}]


def emit_sctp(flow: Flow, world: World, starts: list[Label], done: Label) -> None:
    """A stage for each direction."""
    for d in (0, 1):
        flow.here(starts[d])
        _side(flow, world, d, done)


def _side(flow: Flow, world: World, d: int, done: Label) -> None:
    draft = flow.begin(f"sctp {('original', 'reply')[d]}", "conn", world.connection_key())
    timeouts = Timeouts(world)
    mine = draft.c("mine", "sctp.vtag", "eq", f"R.vtag{d}")
    theirs = draft.c("theirs", "sctp.vtag", "eq", f"R.vtag{1 - d}")
    unset = draft.c("unset", f"R.vtag{d}", "eq", 0)
    zero = draft.c("zero", "sctp.vtag", "eq", 0)
    failed = draft.c(
        "failed", draft.both(draft.bit("R.heartbeat_failed", 1), draft.t("xor", "R.heartbeat_dir", d))
    )
    seen = draft.t("or", "R.status", SEEN_REPLY if d else 0)
    status = puts(ctstatus=seen)
    tagged = field("sctp.chunk_flags", Bits.of((1, 1)))
    plain = field("sctp.chunk_flags", Bits.of((0, 1)))
    learn = store(**{f"vtag{1 - d}": "sctp.init_tag"})
    mine_now = store(**{f"vtag{d}": "sctp.vtag"})
    fine = store(heartbeat_failed=0)
    ways: list[tuple[int, Clause, tuple[Update, ...]]] = [
        (INIT, zero, learn),
        (INIT_ACK, mine, learn),
        (ABORT, {**mine, **plain}, ()),
        (ABORT, {**theirs, **tagged}, ()),
        (COMPLETE, {**mine, **plain}, ()),
        (COMPLETE, {**theirs, **tagged}, ()),
        (COOKIE_ECHO, mine, ()),
        (SHUTDOWN_ACK, {}, ()),
        (HEARTBEAT, unset, mine_now),
        (HEARTBEAT, mine, fine),
        (HEARTBEAT_ACK, unset, mine_now),
        (HEARTBEAT_ACK, mine, fine),
        (HEARTBEAT_ACK, failed, (*mine_now, *fine, *store(**{f"vtag{1 - d}": 0}))),
        *((chunk, mine, ()) for chunk in (SHUTDOWN, ERROR, COOKIE_ACK)),
    ]
    for number, (chunk, tag, updates) in enumerate(ways):
        for old, new in enumerate(TABLE[d, chunk]):
            if old == NO:
                continue
            at = {**is_chunk(chunk), **tag, ("state", ""): Spans.values([label(old)])}
            name = f"{number} chunk {chunk} {NAMES[old]}"
            if new == IV:
                flow.entry([at], name, invalid(), goto=done)
                continue
            assured = draft.t("or", seen, ASSURED) if new == ES and old != ES else seen
            timer = timeouts(f"sctp_timeout_{TIMEOUTS[new][0]}", TIMEOUTS[new][1])
            # A repeated INIT does not keep a closed association.
            write = Write(
                "conn",
                "lookup",
                label(new),
                hard=None if new == old == CL else timer,
                updates=(*updates, *store(status=assured), *accounting(draft, world)),
            )
            flow.entry([at], name, puts(ctstatus=assured), (write,), done)
    stray = store(heartbeat_failed=1, heartbeat_dir=d, status=seen)
    flow.entry(
        [is_chunk(HEARTBEAT)], "heartbeat of another", status, (Write("conn", "lookup", updates=stray),), done
    )
    flow.entry([is_chunk(*CHUNKS)], "wrong tag", invalid(), goto=done)
    for state, (name, default) in TIMEOUTS.items():
        at = {**mine, ("state", ""): Spans.values([label(state)])}
        lasts = None if state == CL else timeouts(f"sctp_timeout_{name}", default)
        updates = (*store(status=seen), *accounting(draft, world))
        flow.entry(
            [at],
            f"data {NAMES[state]}",
            status,
            (Write("conn", "lookup", hard=lasts, updates=updates),),
            done,
        )
    flow.otherwise(done, invalid())


def first_states(timeouts: Timeouts) -> list[tuple[str, Clause, Write]]:
    """What the first packet of an association leaves: (name, which, write)."""
    out = []
    for chunk in CHUNKS:
        if chunk in _STRAY:
            continue
        state = TABLE[0, chunk][NO]
        if chunk == INIT:
            tags = store(vtag0=0, vtag1="sctp.init_tag")
        elif chunk in (HEARTBEAT, HEARTBEAT_ACK):
            # An answer to a HEARTBEAT sets both: what it came with, and what is expected.
            both = "sctp.vtag" if chunk == HEARTBEAT_ACK else 0
            tags = store(vtag0="sctp.vtag", vtag1=both)
        else:
            tags = store(vtag0=0, vtag1="sctp.vtag")
        if chunk == INIT_ACK:
            tags = store(vtag0=0, vtag1="sctp.init_tag")
        name, default = TIMEOUTS[state]
        write = Write(
            "conn",
            "lookup",
            label(state),
            hard=timeouts(f"sctp_timeout_{name}", default),
            updates=(*tags, *store(heartbeat_failed=0, heartbeat_dir=0)),
        )
        out.append((f"sctp chunk {chunk}", is_chunk(chunk), write))
    return out


__all__ = ["SCTP", "emit_sctp", "first_states", "holds", "metadata", "opening"]

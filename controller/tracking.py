"""Connection tracking as Linux does it: whose packet this is, what its connection's table says, what it becomes.

A packet's tuple leads through table ``xlat`` to the tuple of its connection's original direction, which is the key of
table ``conn``: the two hashes of the kernel. Nothing is written for a packet that opens a connection until it has
passed every hook (:mod:`.confirm`). ICMP queries have their identifier in place of the port of the side that asks,
type and code in place of the other.

Sources: Linux's ``nf_conntrack_core.c``, ``nf_conntrack_proto*.c`` (6.x): facts, not code.
"""

from __future__ import annotations

from dataclasses import dataclass

from oppcache.opp.program import Action, Operand, Register, Table, Timer, Update, Write

from .clauses import Bits, Clause, Clauses, Spans, both, field, metadata, valid
from .flow import Draft, Flow, Label, key_of, puts, store, update
from .interface import CTSTATE, ENTRY, REJECTS
from .routing import WIRE
from .world import World

# Kinds of packets, by how they are tracked.
TCP, UDP, QUERY, ERROR, OTHER, PORTS, GRE, SCTP = range(1, 9)
# Lives of a packet's connection.
NO_LIFE, KNOWN, NEW, DYING = range(4)
SEEN_REPLY, ASSURED, CONFIRMED, SNAT, DNAT = 2, 4, 8, 0x10, 0x20

TCP_STATES = (
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
)
OPEN = len(TCP_STATES)  # label of a connection of another protocol
SCTP_STATES = (
    *("CLOSED", "COOKIE_WAIT", "COOKIE_ECHOED", "ESTABLISHED"),
    *("SHUTDOWN_SENT", "SHUTDOWN_RECD", "SHUTDOWN_ACK_SENT", "HEARTBEAT_SENT"),
)
LABELS = (*TCP_STATES, "OPEN", *(f"SCTP_{name}" for name in SCTP_STATES))
LAST_LABEL = len(LABELS) - 1

TUPLE = ("src", "dst", "sport", "dport")
WORDS = (
    *(
        "kind",
        "opens",
        "inv",
        "tproto",
        "tsrc",
        "tdst",
        "tsport",
        "tdport",
        "dir",
        "life",
        "ctstatus",
        "ctmark",
    ),
    *("oproto", "osrc", "odst", "osport", "odport", "rsrc", "rdst", "rsport", "rdport", "ns", "rst0"),
    *("csrc", "cdst", "csport", "cdport", "cdir"),
    *("wack", "wsack", "wseq", "wend"),
)
_SIDE = ("end", "maxend", "maxwin", "maxack", "scale", "flags")
TCP_REGISTERS = (
    *(f"s{d}_{name}" for d in (0, 1) for name in _SIDE),
    *("last_index", "last_dir", "last_seq", "last_ack", "last_end", "last_win", "last_wscale", "last_flags"),
    "retrans",
)
SCTP_REGISTERS = ("vtag0", "vtag1", "heartbeat_failed", "heartbeat_dir")
SECOND = 1_000_000_000

_REQUESTS = {8: 0, 13: 14, 15: 16, 17: 18}
_ANSWERS = {answer: request for request, answer in _REQUESTS.items()}
_VALID_FLAGS = Bits.of(*((v, 0x37) for v in (0x02, 0x22, 0x12, 0x04, 0x14, 0x11, 0x31, 0x10, 0x30)))


@dataclass(frozen=True)
class Timeouts:
    """Seconds that a connection lives on, by what it is."""

    world: World

    def __call__(self, name: str, default: int) -> Timer:
        """The timer that a sysctl ``nf_conntrack_NAME`` sets."""
        seconds = self.world.topology.setting(f"net.netfilter.nf_conntrack_{name}", default)
        return Timer(max(seconds, 1) * SECOND)


def declare(world: World) -> None:
    """The tables of connections."""
    registers = [Register(f"{side}{part}") for side in "or" for part in TUPLE]
    registers += [Register("status"), Register("mark"), Register("stream", 64)]
    registers += [Register(name) for name in (*TCP_REGISTERS, *SCTP_REGISTERS)]
    if world.accounting:
        registers += [Register(f"{side}{what}", 64) for side in "or" for what in ("packets", "bytes")]
    registers += [Register(f"limited{number}") for number, _ in world.counted.values()]
    # Extensions may have asked for registers already, but not in what order.
    world.tables["conn"] = Table("conn", tuple(registers), LABELS)
    world.tables["xlat"] = Table("xlat", tuple(Register(f"o{p}") for p in TUPLE), ("none", "orig", "reply"))
    for word in WORDS:
        world.need_word(word)


def words(side: str) -> list[str]:
    """Metadata words of a tuple: ``t`` the packet's, ``o`` and ``r`` its connection's."""
    return [f"metadata.{side}{part}" for part in TUPLE]


def zone_parts(world: World, side: str = "o") -> list[str]:
    """The further part of keys where the ruleset has zones."""
    return [f"metadata.{side}zone"] if world.zones else []


def emit(flow: Flow, world: World) -> None:
    """The block between the tables raw and mangle."""
    done = Label("tracked")
    _attached(flow, world, done)
    _tuple(flow, world, done)
    _lookup(flow, world)
    tcp = [Label("tcp original"), Label("tcp reply")]
    sctp = [Label("sctp original"), Label("sctp reply")]
    _connection(flow, world, done, {TCP: tcp, SCTP: sctp})
    from .tracking_tcp import emit_tcp

    emit_tcp(flow, world, tcp, done)
    from .tracking_sctp import emit_sctp

    emit_sctp(flow, world, sctp, done)
    flow.here(done)


def invalid() -> tuple[Action, ...]:
    """What connection tracking says of a packet that belongs to nothing."""
    return puts(ctstate=int(CTSTATE.INVALID), conn=0, life=NO_LIFE, ctstatus=0, ctmark=0)


def _attached(flow: Flow, world: World, done: Label) -> None:
    """Packets that come with their connection: answers of the router's own, and what comes back over ``lo``."""
    draft = flow.begin("attached", "conn", world.connection_key())
    with_one = metadata("conn", Spans.of((1, 1)))
    looped = {**with_one, **metadata("entry", Spans.values([ENTRY.LOOPED]))}
    flow.entry([looped], "looped", puts(life=KNOWN), goto=done)
    answer = {**with_one, **metadata("entry", Spans.values([ENTRY.ANSWER]))}
    turned = draft.t("xor", "metadata.dir", 1)
    life = draft.choose(draft.same("metadata.life", NEW), DYING, "metadata.life")
    related = puts(ctstate=int(CTSTATE.RELATED), dir=turned, life=life, reject=0)
    reset = metadata("reject", Spans.values([REJECTS.index("tcp-reset")]))
    tracked = {("state", ""): Spans.of((1, OPEN - 1))}
    known = metadata("life", Spans.values([KNOWN]))
    close = (Write("conn", "lookup", next_state=8, hard=Timeouts(world)("tcp_timeout_close", 10)),)
    flow.entry([{**answer, **reset, **tracked, **known}], "reset", (*related, *puts(kind=TCP)), close, done)
    flow.entry([{**answer, **valid("tcp")}], "reset of a new one", (*related, *puts(kind=TCP)), goto=done)
    flow.entry([answer], "answer", (*related, *puts(kind=ERROR)), goto=done)
    untracked = metadata("ctstate", Spans.values([CTSTATE.UNTRACKED]))
    flow.entry([untracked], "untracked", puts(conn=0), goto=done)
    flow.close()


def _tuple(flow: Flow, world: World, done: Label) -> None:
    """What kind of packet this is, and its tuple."""
    draft = flow.begin("tuple")
    length = draft.t("sub", "ipv4.length", draft.t("shl", "ipv4.ihl", 2))
    no = invalid()
    checks = world.topology.setting("net.netfilter.nf_conntrack_checksum", 1)
    if checks:
        wrong = {**WIRE, **field("l4.csum_ok", Spans.values([2]))}
        summed = [valid(name) for name in ("tcp", "udp", "udplite", "icmp", "sctp")]
        with_ports = puts(tsport="l4.sport", tdport="l4.dport")
        flow.entry(
            [{**wrong, **kind} for kind in summed], "wrong checksum", (*_own(0), *with_ports, *no), goto=done
        )
    _tcp_tuple(flow, draft, length, world, done)
    _udp_tuple(flow, draft, length, done)
    _icmp_tuple(flow, draft, done)
    _sctp_tuple(flow, draft)
    _udplite_tuple(flow, draft, length, bool(checks), done)
    for number, name in ((6, "tcp"), (17, "udp"), (132, "sctp"), (136, "udplite"), (1, "icmp")):
        flow.entry([field("ip.proto", Spans.values([number]))], f"cut off {name}", no, goto=done)
    flow.entry([field("ip.proto", Spans.values([47]))], "gre", _own(GRE))
    flow.entry([{}], "other", _own(OTHER))
    flow.close()


def _own(kind: int, opens: int = 1) -> tuple[Action, ...]:
    """The tuple's addresses from the packet's own header."""
    return puts(
        kind=kind,
        opens=opens,
        tproto="ip.proto",
        tsrc="ipv4.src",
        tdst="ipv4.dst",
        tsport=0,
        tdport=0,
        inv=0,
    )


def _tcp_tuple(flow: Flow, draft: Draft, length: Operand, world: World, done: Label) -> None:
    header = draft.t("shl", "tcp.data_offset", 2)
    cut = draft.c("tcp_cut", length, "lt", header)
    short = draft.c("tcp_short", "tcp.data_offset", "lt", 5)
    tcp = valid("tcp")
    ports = puts(tsport="l4.sport", tdport="l4.dport", inv="l4.dport")
    no = (*_own(0), *ports, *invalid())
    flow.entry([{**tcp, **cut}, {**tcp, **short}], "malformed tcp", no, goto=done)
    loose = world.topology.setting("net.netfilter.nf_conntrack_tcp_loose", 1)
    opening = Bits.of((0x02, 0x37), (0x22, 0x37))
    picked = Bits.of((0x10, 0x37), (0x30, 0x37))
    flow.entry([{**tcp, **field("tcp.flags", opening)}], "syn", (*_own(TCP), *ports))
    flow.entry([{**tcp, **field("tcp.flags", picked)}], "ack", (*_own(TCP, 1 if loose else 0), *ports))
    flow.entry([{**tcp, **field("tcp.flags", _VALID_FLAGS)}], "segment", (*_own(TCP, 0), *ports))
    flow.entry([tcp], "flags that make no sense", no, goto=done)


def _udp_tuple(flow: Flow, draft: Draft, length: Operand, done: Label) -> None:
    udp = valid("udp")
    long = draft.c("udp_long", "udp.length", "gt", length)
    short = draft.c("udp_short", "udp.length", "lt", 8)
    flow.entry([{**udp, **long}, {**udp, **short}], "malformed udp", invalid(), goto=done)
    ports = puts(tsport="l4.sport", tdport="l4.dport", inv="l4.dport")
    flow.entry([udp], "udp", (*_own(UDP), *ports))


def _udplite_tuple(flow: Flow, draft: Draft, length: Operand, checks: bool, done: Label) -> None:
    """UDP-Lite must have a checksum, over at least its header (RFC 3828).

    Linux sums it up as if the protocol were UDP, so that what comes from a wire with a right checksum is INVALID.
    """
    lite = valid("udplite")
    if checks:
        flow.entry([{**WIRE, **lite}], "udplite from a wire", invalid(), goto=done)
    covered = field("udplite.coverage", Spans.of((1, 7)))
    long = draft.c("lite_long", "udplite.coverage", "gt", length)
    unsummed = field("udplite.csum", Spans.of((0, 0)))
    wrong = [{**lite, **covered}, {**lite, **long}, {**lite, **unsummed}]
    flow.entry(wrong, "malformed udplite", invalid(), goto=done)
    ports = puts(tsport="l4.sport", tdport="l4.dport", inv="l4.dport")
    flow.entry([lite], "udplite", (*_own(PORTS), *ports))


def _sctp_tuple(flow: Flow, draft: Draft) -> None:
    from .tracking_sctp import opening

    ports = puts(tsport="l4.sport", tdport="l4.dport", inv="l4.dport")
    flow.entry(opening(draft), "sctp that opens", (*_own(SCTP), *ports))
    flow.entry([valid("sctp")], "sctp", (*_own(SCTP, 0), *ports))


def _icmp_tuple(flow: Flow, draft: Draft, done: Label) -> None:
    icmp = valid("icmp")
    both_words = draft.t("or", draft.t("shl", "icmp.type", 8), "icmp.code")
    for request, answer in _REQUESTS.items():
        inverse = draft.t("sub" if request > answer else "add", both_words, abs(request - answer) << 8)
        asked = puts(tsport="icmp.id", tdport=both_words, inv=inverse)
        answered = puts(tsport=both_words, tdport="icmp.id")
        flow.entry([_type(request)], f"icmp {request}", (*_own(QUERY), *asked))
        flow.entry([_type(answer)], f"icmp {answer}", (*_own(QUERY, 0), *answered))
    _quoted(flow, draft, done)
    flow.entry([icmp], "other icmp", invalid(), goto=done)


def _type(number: int) -> Clause:
    return {**valid("icmp"), **field("icmp.type", Spans.values([number]))}


def _quoted(flow: Flow, draft: Draft, done: Label) -> None:
    """ICMP errors: the quoted packet's tuple reversed; they must be addressed to its sender."""
    errors: Clause = {**valid("icmp"), **field("icmp.type", Spans.values([3, 4, 5, 11, 12]))}
    to_sender = draft.c("to_sender", "ipv4.dst", "eq", "inner.ipv4.src")
    first = field("inner.ipv4.frag_offset", Spans.values([0]))
    joined = both({**errors, **to_sender}, {**valid("inner_ipv4"), **first}) or {}
    turned = puts(
        kind=ERROR,
        opens=0,
        tproto="inner.ipv4.proto",
        tsrc="inner.ipv4.dst",
        tdst="inner.ipv4.src",
        tsport=0,
        tdport=0,
    )
    ports = puts(tsport="inner.l4.dport", tdport="inner.l4.sport")
    flow.entry([{**joined, **valid("inner_ports")}], "error about ports", (*turned, *ports))
    quoted = draft.t("or", draft.t("shl", "inner.icmp.type", 8), "inner.icmp.code")
    for request, answer in _REQUESTS.items():
        query = {**joined, **valid("inner_query")}
        down, up = ("sub", "add") if request > answer else ("add", "sub")
        by = abs(request - answer) << 8
        asked = field("inner.icmp.type", Spans.values([request]))
        told = field("inner.icmp.type", Spans.values([answer]))
        flow.entry(
            [{**query, **asked}],
            f"error about icmp {request}",
            (*turned, *puts(tsport=draft.t(down, quoted, by), tdport="inner.icmp.id")),
        )
        flow.entry(
            [{**query, **told}],
            f"error about icmp {answer}",
            (*turned, *puts(tsport="inner.icmp.id", tdport=draft.t(up, quoted, by))),
        )
    with_ports = Spans.values([1, 6, 17, 132, 136])
    plain = {**joined, **field("inner.ipv4.proto", with_ports.complement(255))}
    flow.entry([plain], "error about another protocol", turned)
    # Addressed to another than the quoted packet's sender: INVALID, but its tuple can be looked up.
    astray = (*turned, *ports, *puts(kind=0), *invalid())
    flow.entry([{**errors, **valid("inner_ports")}], "error to another", astray, goto=done)
    flow.entry([errors], "error about nothing known", invalid(), goto=done)


def _lookup(flow: Flow, world: World) -> None:
    """From the packet's tuple to the tuple of its connection's original direction."""
    flow.begin("xlat", "xlat", key_of("metadata.tproto", *words("t"), *zone_parts(world)))
    found = puts(oproto="metadata.tproto", **{f"o{p}": f"R.o{p}" for p in TUPLE})
    own = puts(oproto="metadata.tproto", **{f"o{p}": f"metadata.t{p}" for p in TUPLE})
    flow.entry([{("state", ""): Spans.of((2, 2))}], "reply", (*found, *puts(dir=1)))
    flow.entry([{("state", ""): Spans.of((1, 1))}], "original", (*found, *puts(dir=0)))
    flow.entry([{}], "unknown", (*own, *puts(dir=0)))
    flow.close()


def fresh() -> tuple[Action, ...]:
    """A packet that opens a connection."""
    return puts(
        ctstate=int(CTSTATE.NEW),
        conn=1,
        life=NEW,
        dir=0,
        ctstatus=0,
        ctmark=0,
        **{f"o{p}": f"metadata.t{p}" for p in TUPLE},
        rsrc="metadata.tdst",
        rdst="metadata.tsrc",
        rsport="metadata.inv",
        rdport="metadata.tsport",
    )


def _connection(flow: Flow, world: World, done: Label, stages: dict[int, list[Label]]) -> None:
    """The connection itself: alive, and the one whose reply this is? Other protocols than TCP end here."""
    draft = flow.begin("conn", "conn", world.connection_key())
    differences = [draft.t("xor", f"R.r{p}", f"metadata.t{p}") for p in TUPLE]
    sums = draft.t(
        "or", draft.t("or", differences[0], differences[1]), draft.t("or", differences[2], differences[3])
    )
    fits = draft.c("fits", sums, "eq", 0)
    alive: Clause = {("state", ""): Spans.of((1, LAST_LABEL))}
    forward = metadata("dir", Spans.values([0]))
    back = {**metadata("dir", Spans.values([1])), **fits}
    sides: list[Clause] = [{**alive, **forward}, {**alive, **back}]
    seen = draft.bit("R.status", SEEN_REPLY)
    known = puts(
        conn=1,
        life=KNOWN,
        ctmark="R.mark",
        ctstatus="R.status",
        **{f"r{p}": f"R.r{p}" for p in TUPLE},
        **{f"limited{n}": f"R.limited{n}" for n, _ in world.counted.values()},
    )
    established = puts(ctstate=draft.t("add", draft.t("max", seen, "metadata.dir"), 1))
    error = metadata("kind", Spans.values([ERROR]))
    flow.entry(
        [{**side, **error} for side in sides],
        "related",
        (*known, *puts(ctstate=int(CTSTATE.RELATED))),
        goto=done,
    )
    flow.entry([error], "error about no connection", invalid(), goto=done)
    for kind, labels in stages.items():
        for side, label, name in zip(sides, labels, ("original", "reply"), strict=True):
            at = {**side, **metadata("kind", Spans.values([kind]))}
            flow.entry([at], f"{'tcp' if kind == TCP else 'sctp'} {name}", (*known, *established), goto=label)
    status = draft.t("or", "R.status", draft.t("shl", "metadata.dir", 1))
    for name, clause, timer, more in _lives(draft, Timeouts(world)):
        new_status = draft.t("or", status, more) if more else status
        actions = (*known, *established, *puts(ctstatus=new_status))
        writes = (
            Write(
                "conn", "lookup", hard=timer, updates=(*store(status=new_status), *accounting(draft, world))
            ),
        )
        flow.entry([c for side in sides if (c := both(side, clause))], name, actions, writes, done)
    flow.entry([metadata("opens", Spans.values([1]))], "new", fresh(), goto=done)
    flow.entry([{}], "belongs to nothing", invalid(), goto=done)
    flow.close()


def _lives(draft: Draft, timeouts: Timeouts) -> list[tuple[str, Clause, Timer, int]]:
    """(name, which packets, timer, status bits to add) of protocols other than TCP, in order."""
    replied = draft.c("replied", draft.bit("R.status", SEEN_REPLY))
    lasting = draft.c("lasting", "now", "gt", "R.stream")
    udp, query = metadata("kind", Spans.values([UDP])), metadata("kind", Spans.values([QUERY]))
    gre = metadata("kind", Spans.values([GRE]))
    udplite = {**metadata("kind", Spans.values([PORTS])), **field("ip.proto", Spans.values([136]))}
    short, long = timeouts("udp_timeout", 30), timeouts("udp_timeout_stream", 120)
    return [
        ("udp stream", {**udp, **replied, **lasting}, long, ASSURED),
        ("udp", udp, short, 0),
        ("icmp", query, timeouts("icmp_timeout", 30), 0),
        ("udplite both ways", {**udplite, **replied}, long, ASSURED),
        ("udplite", udplite, short, 0),
        ("gre both ways", {**gre, **replied}, timeouts("gre_timeout_stream", 180), ASSURED),
        ("gre", gre, timeouts("gre_timeout", 30), 0),
        ("generic", {}, timeouts("generic_timeout", 600), 0),
    ]


def accounting(draft: Draft, world: World) -> tuple[Update, ...]:
    """Counts of packets and bytes, where a rule asks for them."""
    if not world.accounting:
        return ()
    reply = draft.t("and", "metadata.dir", 1)
    original = draft.t("xor", reply, 1)
    out: tuple[Update, ...] = ()
    for side, mine in (("o", original), ("r", reply)):
        out += (
            update(f"W.{side}packets", "add", f"R.{side}packets", mine),
            update(f"W.{side}bytes", "add", f"R.{side}bytes", draft.t("mul", mine, "ipv4.length")),
        )
    return out


__all__ = ["Clauses", "declare", "emit"]

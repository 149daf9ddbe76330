"""What is written once a packet has passed every hook: its connection, both tuples, its source's mapping.

This is the kernel's confirmation: the one commit stage of the program. Before it, a packet whose reply tuple is
another connection's already is dropped.
"""

from __future__ import annotations

from dataclasses import replace

from oppcache.opp.program import Key, Operand, Timer, Update, Write

from .clauses import Bits, Clause, Spans, field, metadata
from .flow import DROP, Draft, Flow, Label, key_of, puts, store
from .tcp_states import ACK, ES, LIBERAL, MAXACK_SET, SACK_PERM, SS, SYN
from .tracking import (
    CONFIRMED,
    GRE,
    LAST_LABEL,
    NEW,
    OPEN,
    PORTS,
    QUERY,
    SCTP,
    TCP,
    TUPLE,
    UDP,
    Timeouts,
    words,
    zone_parts,
)
from .tracking_sctp import first_states
from .tracking_tcp import option_flags, segment_end, window_at_least_one
from .world import World

NEW_ONE: Clause = metadata("life", Spans.of((NEW, NEW)))
REPLY_KEY = ("metadata.oproto", *words("r"))


def emit_clash(flow: Flow, world: World) -> None:
    """A new connection whose replies could not be told from another's is dropped."""
    free = Label("no clash")
    emit_probe(flow, world, "clash", REPLY_KEY, free)
    flow.entry([{}], "reply tuple taken", (DROP,))
    flow.here(free)


def emit_probe(flow: Flow, world: World, name: str, key: tuple[str, ...], free: Label) -> None:
    """Two stages: whether a tuple is a living connection's; if not, on at ``free``, else on behind them."""
    flow.begin(name, "xlat", key_of(*key, *zone_parts(world)))
    flow.entry([{("state", ""): Spans.of((0, 0))}], "free", goto=free)
    known = {f"c{part}": f"R.o{part}" for part in TUPLE}
    flow.entry([{("state", ""): Spans.of((1, 1))}], "original of one", puts(**known, cdir=0))
    flow.entry([{}], "reply of one", puts(**known, cdir=1))
    flow.close()
    owner = key_of("metadata.oproto", *words("c"), *zone_parts(world))
    draft = flow.begin(f"{name} owner", "conn", owner)
    pairs = zip(TUPLE, key[1:], strict=True)
    differences = [draft.t("xor", f"R.r{part}", word) for part, word in pairs]
    sums = draft.t(
        "or", draft.t("or", differences[0], differences[1]), draft.t("or", differences[2], differences[3])
    )
    fits = draft.c("fits", sums, "eq", 0)
    alive: Clause = {("state", ""): Spans.of((1, LAST_LABEL))}
    original = metadata("cdir", Spans.values([0]))
    flow.entry([{**alive, **original}, {**alive, **fits}], "living")
    flow.otherwise(free)


def emit_commit(flow: Flow, world: World) -> None:
    """The commit stage."""
    timeouts = Timeouts(world)
    draft = flow.begin("confirm", "conn", world.connection_key(), commit=True)
    common = store(
        **{f"{side}{part}": f"metadata.{side}{part}" for side in "or" for part in TUPLE},
        status=draft.t("or", "metadata.ctstatus", CONFIRMED),
        mark="metadata.ctmark",
        **{f"limited{n}": f"metadata.limited{n}" for n, _ in world.counted.values()},
    )
    if world.accounting:
        common += store(opackets=1, obytes="ipv4.length", rpackets=0, rbytes=0)
    others = (*_tuples(draft, world), *_limits(draft, world))
    tcp = {**NEW_ONE, **metadata("kind", Spans.values([TCP]))}
    for name, clause, label, timer, updates in _tcp(draft, timeouts):
        write = Write("conn", "lookup", label, hard=timer, updates=(*common, *updates))
        flow.entry([{**tcp, **clause}], f"new tcp {name}", (), (write, *others))
    for name, clause, first in first_states(timeouts):
        write = replace(first, updates=(*common, *first.updates))
        flow.entry(
            [{**NEW_ONE, **metadata("kind", Spans.values([SCTP])), **clause}],
            f"new {name}",
            (),
            (write, *others),
        )
    stream = draft.t("add", "now", 2_000_000_000, 64)
    for name, clause, key, default in (
        ("udp", metadata("kind", Spans.values([UDP])), "udp_timeout", 30),
        ("icmp", metadata("kind", Spans.values([QUERY])), "icmp_timeout", 30),
        ("udplite", {**metadata("kind", Spans.values([PORTS])), **field("ip.proto", Spans.values([136]))}, "udp_timeout", 30),
        ("gre", metadata("kind", Spans.values([GRE])), "gre_timeout", 30),
        ("generic", {}, "generic_timeout", 600),
    ):  # fmt: skip
        write = Write(
            "conn", "lookup", OPEN, hard=timeouts(key, default), updates=(*common, *store(stream=stream))
        )
        flow.entry([{**NEW_ONE, **clause}], f"new {name}", (), (write, *others))
    flow.close()


def _tuples(draft: Draft, world: World) -> tuple[Write, ...]:
    """Both directions, and where the source is mapped to."""
    registers = store(**{f"o{p}": f"metadata.o{p}" for p in TUPLE})
    zone = zone_parts(world)
    out = [
        Write("xlat", key_of("metadata.oproto", *words("o"), *zone), 1, updates=registers),
        Write("xlat", key_of(*REPLY_KEY, *zone), 2, updates=registers),
    ]
    if "bysource" in world.tables:
        mapping = store(
            addr="metadata.rdst", port="metadata.rdport", dst="metadata.odst", dport="metadata.odport"
        )
        out.append(Write("bysource", source_key(), 1, updates=mapping))
    return tuple(out)


def source_key() -> Key:
    """The key of ``bysource``: a source's address and port."""
    return key_of("metadata.oproto", "metadata.osrc", "metadata.osport")


def _limits(draft: Draft, world: World) -> tuple[Write, ...]:
    """Every connlimit that this connection was counted by."""
    from .flow import update

    out = []
    for table, (_, word) in world.counted.items():
        counts = draft.t("min", f"metadata.{word}", 1)
        key = draft.t("sub", f"metadata.{word}", 1)
        out.append(Write(table, key_of(key), updates=(update("W.count", "add", "W.count", counts),)))
    return tuple(out)


def _tcp(draft: Draft, timeouts: Timeouts) -> list[tuple[str, Clause, int, Timer, tuple[Update, ...]]]:
    """What a first segment leaves: a SYN, or a segment in the middle of a connection."""
    end, window = segment_end(draft), window_at_least_one(draft)
    flags, scale = option_flags(draft)
    nothing: dict[str, Operand | str | int] = dict.fromkeys(
        ("s0_maxack", "s1_end", "s1_maxwin", "s1_maxack", "s1_scale", "last_seq", "last_ack", "last_end", "last_win",
         "last_wscale", "last_flags", "retrans", "last_dir"),
        0,
    )  # fmt: skip
    syn = store(
        **{
            **nothing,
            "s0_end": end,
            "s0_maxend": end,
            "s0_maxwin": window,
            "s0_scale": scale,
            "s0_flags": flags,
            "s1_maxend": window,
            "s1_flags": 0,
            "last_index": SYN,
        }
    )
    liberal = LIBERAL | SACK_PERM
    picked: dict[str, Operand | str | int] = {
        **nothing,
        "s0_end": end,
        "s0_maxend": draft.t("add", end, window),
        "s0_maxwin": window,
        "s0_scale": 0,
        "s0_flags": liberal,
        "s1_maxend": 0,
        "s1_flags": liberal,
        "last_index": ACK,
    }
    # The window check of the first segment passes only where its acknowledgement is next to 0.
    edge = "tcp.sack_edge"
    near = draft.both(draft.before(edge, 1), draft.before(-66001 & 0xFFFF_FFFF, edge))
    near_zero = draft.c("near_zero", near)
    reach = draft.t("add", edge, "tcp.window")
    checked: dict[str, Operand | str | int] = {
        **picked,
        "s0_maxwin": draft.t("max", window, draft.t("add", "tcp.window", draft.t("sub", edge, "tcp.ack"))),
        "s0_maxack": "tcp.ack",
        "s0_flags": liberal | MAXACK_SET,
        "s1_maxend": draft.t("add", reach, draft.zero("tcp.window")),
        "last_seq": "tcp.seq",
        "last_ack": "tcp.ack",
        "last_end": end,
        "last_win": "tcp.window",
    }
    opening = field("tcp.flags", Bits.of((0x02, 0x02)))
    brief = timeouts("tcp_timeout_unacknowledged", 300)
    return [
        ("syn", opening, SS, timeouts("tcp_timeout_syn_sent", 120), syn),
        ("ack near 0", near_zero, ES, brief, store(**checked)),
        ("ack", {}, ES, brief, store(**picked)),
    ]


__all__ = ["emit_clash", "emit_commit"]

"""How a TCP packet that was let through leaves its connection: the new state, its timeout, or the end."""

from __future__ import annotations

from oppcache.opp.program import Operand, Timer, Update, Write

from .clauses import Clause, Spans, field, metadata
from .flow import Draft, Flow, Label, key_of, puts, store, update
from .tcp_states import (
    CL,
    CLOSE_INIT,
    DEFAULTS,
    ES,
    FW,
    INDEX_FLAGS,
    INDEX_NAMES,
    RST,
    SR,
    SS,
    SYN,
    TW,
    UNACKED,
    flags_clause,
    old_clause,
)
from .tracking import ASSURED, DYING, SEEN_REPLY, TCP_STATES, TUPLE, Timeouts, accounting, zone_parts
from .world import World


def forget(draft: Draft, world: World) -> tuple[Write, ...]:
    """Delete a connection with both its tuples. The keys are read before the actions change the words."""
    old = [draft.t("mov", f"metadata.o{p}") for p in ("proto", *TUPLE)]
    reply = [draft.t("mov", f"R.r{p}") for p in TUPLE]
    zone = zone_parts(world)
    return (
        Write("conn", "lookup", next_state="delete"),
        Write("xlat", key_of(*old, *zone), next_state="delete"),
        Write("xlat", key_of(old[0], *reply, *zone), next_state="delete"),
        *uncount(draft, world),
    )


def uncount(draft: Draft, world: World) -> tuple[Write, ...]:
    """One connection less in every connlimit that counts it."""
    out = []
    for table, (number, _) in world.counted.items():
        counted = draft.t("min", f"R.limited{number}", 1)
        key = draft.t("sub", f"R.limited{number}", 1)
        out.append(Write(table, key_of(key), updates=(update("W.count", "sub", "W.count", counted),)))
    return tuple(out)


def emit_close(flow: Flow, world: World, done: Label) -> None:
    """The last stage: the new state and how long it lasts; a RST without an answer before ends the connection."""
    timeouts = Timeouts(world)
    draft = flow.begin("tcp close", "conn", world.connection_key())
    seen = draft.bit("R.status", SEEN_REPLY)
    answered = draft.c("answered", seen)
    unanswered = {("condition", "answered"): Spans.of((0, 0))}
    dying = puts(life=DYING, ctstatus=draft.t("or", "R.status", draft.t("shl", "metadata.dir", 1)))
    flow.entry([{**flags_clause(RST), **unanswered}], "ended", dying, forget(draft, world), done)
    noted_status = draft.t("or", "R.status", draft.t("shl", "metadata.dir", 1))
    assured_status = draft.t("or", noted_status, ASSURED)
    busy_flags = draft.bit(draft.t("or", "R.s0_flags", "R.s1_flags"), UNACKED)
    most = world.topology.setting("net.netfilter.nf_conntrack_tcp_max_retrans", 3)
    repeats = draft.t("min", draft.t("div", "R.retrans", max(most, 1)), 1)
    zero_window = draft.zero("R.last_win")
    short = draft.c("short", draft.either(busy_flags, repeats, zero_window, draft.no(seen)))
    limits = {state: timeouts(f"tcp_timeout_{name}", default) for state, (name, default) in DEFAULTS.items()}
    shorter = timeouts("tcp_timeout_unacknowledged", 300)
    first = {0: "W.s0_flags", 1: "W.s1_flags"}
    for index, flags in INDEX_FLAGS.items():
        is_index = field("tcp.flags", flags)
        name = INDEX_NAMES[index]
        last = store(last_index=index, last_dir="metadata.dir")
        if index == SYN:
            again = {**is_index, **unanswered, **old_clause(SS), **_new(SS)}
            flow.entry([again], "syn again", (), (Write("conn", "lookup", updates=last),), done)
        for new in DEFAULTS:
            at = {**is_index, **_new(new)}
            where = f"{name} to {TCP_STATES[new]}"
            if new == FW:
                for d in (0, 1):
                    begins = {
                        **at,
                        **metadata("dir", Spans.values([d])),
                        ("state", ""): Spans.values([FW]).complement(0xFF),
                    }
                    note = (update(first[d], "or", f"R.s{d}_flags", CLOSE_INIT),)
                    _settle(
                        flow,
                        draft,
                        world,
                        begins,
                        f"{where} first {d}",
                        new,
                        limits[new],
                        noted_status,
                        (*last, *note),
                        done,
                    )
                _settle(flow, draft, world, at, where, new, limits[new], noted_status, last, done)
            elif index == RST:
                _settle(flow, draft, world, at, where, new, limits[CL], noted_status, last, done)
            elif new == ES:
                _established(
                    flow,
                    draft,
                    world,
                    at,
                    where,
                    (limits[ES], shorter),
                    (noted_status, assured_status),
                    last,
                    done,
                    answered,
                    short,
                )
            else:
                _settle(flow, draft, world, at, where, new, limits[new], noted_status, last, done)
    flow.close()


def _established(
    flow: Flow,
    draft: Draft,
    world: World,
    at: Clause,
    where: str,
    limits: tuple[Timer, Timer],
    statuses: tuple[Operand, Operand],
    last: tuple[Update, ...],
    done: Label,
    answered: Clause,
    short: Clause,
) -> None:
    """ESTABLISHED is assured once both sides were heard, and short-lived while something is not acknowledged."""
    heard = {**at, **answered, ("state", ""): Spans.values([SR, ES])}
    limit, shorter = limits
    brief = min(limit.timeout_ns, shorter.timeout_ns)
    for clause, status, name in ((heard, statuses[1], "assured"), (at, statuses[0], "")):
        what = f"{where} {name}".strip()
        _settle(
            flow, draft, world, {**clause, **short}, f"{what}, busy", ES, Timer(brief), status, last, done
        )
        _settle(flow, draft, world, clause, what, ES, limit, status, last, done)


def _settle(
    flow: Flow,
    draft: Draft,
    world: World,
    at: Clause,
    name: str,
    new: int,
    timer: Timer,
    status: Operand,
    updates: tuple[Update, ...],
    done: Label,
) -> None:
    """Store a new state."""
    closes = new in (TW, CL) and bool(world.counted)
    counted: tuple[Write, ...] = uncount(draft, world) if closes else ()
    cleared = store(**{f"limited{n}": 0 for n, _ in world.counted.values()}) if closes else ()
    write = Write(
        "conn",
        "lookup",
        next_state=new,
        hard=timer,
        updates=(*updates, *store(status=status), *cleared, *accounting(draft, world)),
    )
    flow.entry([at], name, puts(ctstatus=status), (write, *counted), done)


def _new(state: int) -> Clause:
    return metadata("ns", Spans.values([state]))

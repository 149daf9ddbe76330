"""TCP connections as Linux tracks them: its table of states, its windows, its timeouts.

Five stages for each direction and one for both: *state* looks up what the flags make of the old state, *reset* weighs
a RST; *open* takes the sender's first numbers; *window* tells segments that are outside, *update* moves the edges;
*close* stores the new state with its timeout.

Source: ``nf_conntrack_proto_tcp.c`` (Linux 6.x): facts, not code.
"""

from __future__ import annotations

from oppcache.opp.program import Action, Operand, Update, Write

from .clauses import Bits, Clause, Spans, field
from .flow import Draft, Flow, Label, holds, puts, store, update
from .tcp_close import emit_close, forget
from .tcp_states import (
    ACK,
    CHALLENGE,
    CL,
    CLOSE_INIT,
    CW,
    ES,
    FIN,
    FW,
    IG,
    INDEX_NAMES,
    IV,
    LA,
    LIBERAL,
    MAX_ACK_WINDOW,
    MAX_SCALE,
    MAXACK_SET,
    RST,
    S2,
    SACK_PERM,
    SIMULTANEOUS,
    SR,
    SS,
    SYN,
    SYNACK,
    TABLE,
    TW,
    UNACKED,
    WINDOW_WORDS,
    WSCALE,
    flags_clause,
    old_clause,
)
from .tracking import (
    ASSURED,
    SEEN_REPLY,
    TCP_STATES,
    Timeouts,
    fresh,
    invalid,
)
from .world import World


def emit_tcp(flow: Flow, world: World, starts: list[Label], done: Label) -> None:
    """Both directions, then what they share."""
    close = Label("tcp close")
    for d in (0, 1):
        flow.here(starts[d])
        side = _Side(flow, world, d, close, done)
        side.state()
        side.open()
        side.window()
    flow.here(close)
    emit_close(flow, world, done)


def segment_end(draft: Draft) -> Operand:
    """Sequence number behind the segment: SYN and FIN count one each."""
    syn_fin = draft.t(
        "add", draft.t("and", draft.t("shr", "tcp.flags", 1), 1), draft.t("and", "tcp.flags", 1)
    )
    return draft.t("add", draft.t("add", "tcp.seq", "l4.payload_length"), syn_fin)


def window_at_least_one(draft: Draft) -> Operand:
    """The advertised window, 1 where it is closed."""
    return draft.t("max", "tcp.window", 1)


def option_flags(draft: Draft) -> tuple[Operand, Operand]:
    """What a SYN's options say: flags of its side, and its scale."""
    sack = draft.t("and", draft.t("shr", "tcp.options", 4), 1)
    scaled = draft.t("and", draft.t("shr", "tcp.options", 3), 1)
    flags = draft.t("add", scaled, draft.t("shl", sack, 1))
    return flags, draft.t("min", "tcp.wscale", MAX_SCALE)


class _Side:
    """The stages of one direction; s is the sender's side in registers, r the receiver's."""

    def __init__(self, flow: Flow, world: World, d: int, close: Label, done: Label) -> None:
        self.flow = flow
        self.world = world
        self.d = d
        self.close = close
        self.done = done
        self.opening = Label(f"tcp open {d}")
        self.way = ("original", "reply")[d]

    def s(self, name: str) -> str:
        """Register of the sender's side."""
        return f"s{self.d}_{name}"

    def r(self, name: str) -> str:
        """Register of the receiver's side."""
        return f"s{1 - self.d}_{name}"

    def begin(self, name: str) -> Draft:
        return self.flow.begin(f"tcp {name} {self.way}", "conn", self.world.connection_key())

    def settled(self, *updates: Update, **more: object) -> tuple[Write, ...]:
        """A write that also notes that an answer was seen."""
        noted = (update("W.status", "or", "R.status", SEEN_REPLY),) if self.d else ()
        return (Write("conn", "lookup", updates=(*updates, *noted), **more),)  # type: ignore[arg-type]

    def accepted(self) -> tuple[Action, ...]:
        """What rules see of the connection's status after a packet that was let through unexamined."""
        if not self.d:
            return ()
        return puts(ctstatus=self.flow.draft.t("or", "R.status", SEEN_REPLY))

    # Stages 1 and 2: state and reset

    def state(self) -> None:
        resets = Label(f"tcp reset {self.d}")
        draft = self.begin("state")
        self.flow.entry([flags_clause(RST)], "rst", goto=resets)
        end = segment_end(draft)
        last_syn = draft.same("R.last_index", SYN)
        other_way = draft.t("xor", "R.last_dir", self.d)
        acks_last = draft.same("tcp.ack", "R.last_end")
        sync = draft.c("sync", draft.both(last_syn, other_way, acks_last))
        flags = draft.t("or", "R.s0_flags", "R.s1_flags")
        aborted = draft.both(draft.same("R.last_dir", self.d), draft.same("R.last_index", RST))
        reopen = draft.c("reopen", draft.either(draft.bit(flags, CLOSE_INIT), aborted))
        challenged = draft.both(last_syn, other_way, draft.bit("R.last_flags", CHALLENGE))
        challenge = draft.c("challenge", challenged)
        simultaneous = draft.c("simultaneous", draft.bit("R.last_flags", SIMULTANEOUS))
        for (d, index), states in TABLE.items():
            if d != self.d:
                continue
            for old, new in enumerate(states, 1):
                at = {**old_clause(old), **flags_clause(index)}
                name = f"{INDEX_NAMES[index]} {TCP_STATES[old]}"
                if new == SS and old >= TW:
                    self._reopen(draft, {**at, **reopen}, name)
                    self._ignore(draft, at, f"{name} ignored", index, old, end)
                elif new == IG:
                    if index == SYNACK:
                        self._resync(draft, {**at, **sync}, name)
                    self._ignore(draft, at, f"{name} ignored", index, old, end)
                elif new == IV:
                    self.flow.entry([at], f"{name} invalid", invalid(), goto=self.done)
                elif new == TW and old == LA and index == ACK:
                    self._challenge(draft, {**at, **challenge}, name)
                    self._go(at, name, new)
                elif new == S2:
                    note = (update("W.last_flags", "or", "R.last_flags", SIMULTANEOUS),)
                    self._go(at, name, new, note)
                elif new == SR and self.d == 1 and index == ACK:
                    self._go({**at, **simultaneous}, f"{name} simultaneous", ES)
                    self._go(at, name, new)
                else:
                    self._go(at, name, new)
        self.flow.otherwise(self.done, invalid())
        self.flow.here(resets)
        self._reset(self.begin("reset"))
        self.flow.here(self.opening)

    def _go(self, at: Clause, name: str, new: int, updates: tuple[Update, ...] = ()) -> None:
        writes = (Write("conn", "lookup", updates=updates),) if updates else ()
        self.flow.entry([at], name, puts(ns=new, rst0=0), writes, self.opening)

    def _reopen(self, draft: Draft, at: Clause, name: str) -> None:
        """A closed connection makes room for a new one with the same tuple."""
        self.flow.entry([at], f"{name} again", fresh(), forget(draft, self.world), self.done)

    def _resync(self, draft: Draft, at: Clause, name: str) -> None:
        """A SYN-ACK acknowledges a SYN that was ignored: both ends agree, so their numbers count."""
        registers: dict[str, Operand | str | int] = {
            self.r("end"): "R.last_end",
            self.r("maxend"): "R.last_end",
            self.r("maxwin"): draft.t("max", "R.last_win", 1),
            self.r("scale"): "R.last_wscale",
            self.r("flags"): draft.t("and", "R.last_flags", 0xFF ^ CHALLENGE),
            "last_flags": draft.t("and", "R.last_flags", 0xFF ^ CHALLENGE),
            self.s("end"): 0,
            self.s("maxend"): 0,
            self.s("maxwin"): 0,
            self.s("maxack"): 0,
            self.s("scale"): 0,
            self.s("flags"): draft.t("and", f"R.{self.s('flags')}", LIBERAL),
        }
        writes = (Write("conn", "lookup", updates=store(**registers)),)
        self.flow.entry([at], f"{name} in step again", puts(ns=SR, rst0=0), writes, self.opening)

    def _ignore(self, draft: Draft, at: Clause, name: str, index: int, old: int, end: Operand) -> None:
        """Let a packet through that may be answered by a RST or a SYN-ACK, and remember it."""
        updates = store(
            last_index=index, last_dir=self.d, last_seq="tcp.seq", last_end=end, last_win="tcp.window"
        )
        if index == SYN and self.d == 0:
            flags, scale = option_flags(draft)
            if old == LA:
                flags = draft.t("or", flags, CHALLENGE)
            scaled = draft.t("and", draft.t("shr", "tcp.options", 3), 1)
            updates += store(last_flags=flags, last_wscale=draft.t("mul", scale, scaled))
        if index == ACK and old == SS and self.d == 1:
            updates += store(last_ack="tcp.ack")
        self.flow.entry([at], name, self.accepted(), self.settled(*updates), self.done)

    def _challenge(self, draft: Draft, at: Clause, name: str) -> None:
        """A challenge ACK (RFC 5961) does not acknowledge the last FIN."""
        updates = store(last_flags=draft.t("and", "R.last_flags", 0xFF ^ CHALLENGE))
        self.flow.entry([at], f"{name} challenge", self.accepted(), self.settled(*updates), self.done)

    def _reset(self, draft: Draft) -> None:
        """RST: exact, in a train, answering what was let through, or neither."""
        rst = flags_clause(RST)
        closing = {("state", ""): Spans.values([FW, CW, LA, TW, CL])}
        skip = puts(ns=CL, rst0=0)
        self.flow.entry([{**rst, **closing}], "rst when closing", skip, goto=self.close)
        maxack = f"R.{self.r('maxack')}"
        last_syn, last_ack = draft.same("R.last_index", SYN), draft.same("R.last_index", ACK)
        checked = draft.both(draft.bit(f"R.{self.r('flags')}", MAXACK_SET), draft.no(last_syn))
        assured = draft.bit("R.status", ASSURED)
        exact = draft.same("tcp.seq", maxack)
        train = draft.both(last_ack, draft.same("R.last_dir", self.d), draft.same("tcp.seq", "R.last_end"))
        seen = draft.bit("R.status", SEEN_REPLY)
        answers = draft.both(
            draft.either(draft.both(seen, last_syn), draft.both(draft.no(assured), last_ack)),
            draft.same("tcp.ack", "R.last_end"),
        )
        to_challenge = draft.both(last_ack, draft.same("R.last_dir", 1), draft.same("tcp.seq", "R.last_ack"))
        cond = {
            "checked": draft.c("rst_checked", checked),
            "zero": draft.c("rst_zero", "tcp.seq", "eq", 0),
            "assured": draft.c("assured", assured),
            "before": draft.c("rst_before", draft.before("tcp.seq", maxack)),
            "right": draft.c("rst_right", draft.either(exact, train)),
            "answers": draft.c("rst_answers", answers),
            "challenged": draft.c("rst_challenged", to_challenge),
        }
        established = {**old_clause(ES), **cond["assured"]}
        others = [{**rst, **old_clause(ES), **holds("assured", False)}]
        others += [{**rst, **old_clause(old)} for old in (SS, SR, S2)]
        strict = self.world.topology.setting("net.netfilter.nf_conntrack_tcp_ignore_invalid_rst", 0) == 0
        for where in others:
            zero = puts(ns=CL, rst0=1 if where["state", ""] == Spans.of((SS, SS)) else 0)
            self.flow.entry(
                [{**where, **cond["checked"], **cond["zero"]}], "rst zero", zero, goto=self.opening
            )
        if strict:
            stale = {**rst, **cond["checked"], **cond["before"]}
            self.flow.entry([stale], "rst invalid", invalid(), goto=self.done)
        for where in others:
            self.flow.entry([{**where, **cond["checked"]}], "rst", puts(ns=CL, rst0=0), goto=self.opening)
        right = {**rst, **established, **cond["checked"], **cond["right"]}
        self.flow.entry([right], "rst exact", puts(ns=CL, rst0=0), goto=self.opening)
        # Not exact: the connection stays, for the other end may challenge it.
        kept = {**rst, **established, **cond["checked"]}
        self.flow.entry([{**kept, **cond["answers"]}], "rst kept", puts(ns=ES, rst0=0), goto=self.close)
        self.flow.entry([kept], "rst inexact", puts(ns=ES, rst0=0), goto=self.opening)
        self.flow.entry([{**rst, **cond["answers"]}], "rst answers", skip, goto=self.close)
        self.flow.entry(
            [{**rst, **old_clause(SS), **cond["challenged"]}], "rst to a challenge", skip, goto=self.close
        )
        self.flow.entry(
            [{**rst, **old_clause(SS), **cond["zero"]}],
            "rst answers syn",
            puts(ns=CL, rst0=1),
            goto=self.opening,
        )
        self.flow.entry([rst], "rst unchecked", puts(ns=CL, rst0=0), goto=self.opening)

    # Stage 3

    def open(self) -> None:
        """The sender's numbers from its first segment, or from a SYN that begins anew."""
        draft = self.begin("open")
        end = segment_end(draft)
        window = window_at_least_one(draft)
        first = draft.c("first", f"R.{self.s('maxwin')}", "eq", 0)
        newer = draft.c("newer", draft.before(f"R.{self.s('end')}", end))
        renewed = {**newer, ("state", ""): Spans.values([SS, SR])}
        syn = field("tcp.flags", Bits.of((0x02, 0x02)))
        no_ack = field("tcp.flags", Bits.of((0x02, 0x12)))
        with_options = draft.c("with_options", "tcp.data_offset", "gt", 5)
        for name, where in (("first", first), ("renewed", renewed)):
            for options in (True, False):
                begun = {**where, **(with_options if options else holds("with_options", False))}
                writes = (Write("conn", "lookup", updates=self._sender(draft, end, window, options)),)
                what = f"{name} syn" + ("" if options else " without options")
                # A simultaneous SYN has no acknowledgement to compare.
                if name == "first" or self.d == 1:
                    accepted = {**begun, **no_ack}
                    self.flow.entry([accepted], f"{what} alone", (), writes, self.close)
                self.flow.entry([{**begun, **syn}], what, (), writes)
        self._middle(draft, first, end)
        self.flow.close()

    def _sender(self, draft: Draft, end: Operand, window: Operand, options: bool) -> tuple[Update, ...]:
        updates = store(**{self.s("end"): end, self.s("maxend"): end, self.s("maxwin"): window})
        mine, scale = option_flags(draft)
        old = draft.t("and", f"R.{self.s('flags')}", LIBERAL)
        flags = draft.t("or", old, mine) if options else f"R.{self.s('flags')}"
        if options:
            updates += store(**{self.s("flags"): flags})
        scale_now: Operand | str = scale if options else f"R.{self.s('scale')}"
        if self.d == 1:
            # Both sides must offer scaling for either to use it.
            scaled = draft.both(draft.bit(flags, WSCALE), draft.bit(f"R.{self.r('flags')}", WSCALE))
            updates += store(
                **{
                    self.s("scale"): draft.t("mul", scale_now, scaled),
                    self.r("scale"): draft.t("mul", f"R.{self.r('scale')}", scaled),
                }
            )
        elif options:
            updates += store(**{self.s("scale"): scale_now})
        return updates

    def _middle(self, draft: Draft, first: Clause, end: Operand) -> None:
        """A connection that was picked up: its past is not known."""
        scaled = draft.t("max", draft.t("shl", "tcp.window", f"R.{self.s('scale')}"), 1)
        mine = store(
            **{
                self.s("end"): end,
                self.s("maxwin"): scaled,
                self.s("maxend"): draft.t("add", end, scaled),
            }
        )
        sack = self._sack(draft)
        silent = {**first, **draft.c("silent", f"R.{self.r('maxwin')}", "eq", 0)}
        theirs = store(**{self.r("end"): sack, self.r("maxend"): sack})
        self.flow.entry([silent], "picked up", (), (Write("conn", "lookup", updates=(*mine, *theirs)),))
        one_more = draft.t("add", f"R.{self.r('end')}", 1)
        alive = {**first, **draft.c("keepalive", sack, "eq", one_more)}
        theirs = store(**{self.r("end"): one_more})
        self.flow.entry(
            [alive], "answers a keepalive", (), (Write("conn", "lookup", updates=(*mine, *theirs)),)
        )
        self.flow.entry([first], "seen first", (), (Write("conn", "lookup", updates=mine),))

    def _sack(self, draft: Draft) -> Operand:
        """The highest acknowledged edge, selective acknowledgements included where they were agreed."""
        agreed = draft.bit(f"R.{self.r('flags')}", SACK_PERM)
        return draft.choose(agreed, "tcp.sack_edge", "tcp.ack")

    # Stages 4 and 5: window and update

    def window(self) -> None:
        draft = self.begin("window")
        s, r = (lambda n: f"R.{self.s(n)}"), (lambda n: f"R.{self.r(n)}")
        ack_flag = draft.t("and", draft.t("shr", "tcp.flags", 4), 1)
        rst_flag = draft.t("and", draft.t("shr", "tcp.flags", 2), 1)
        pretend = draft.either(draft.no(ack_flag), draft.both(rst_flag, draft.zero("tcp.ack")))
        ack = draft.choose(pretend, r("end"), "tcp.ack")
        sack = draft.choose(pretend, r("end"), self._sack(draft))
        seq = draft.choose(_word("rst0"), s("end"), "tcp.seq")
        end = draft.choose(_word("rst0"), s("end"), segment_end(draft))
        lowest = draft.t("sub", draft.t("sub", r("end"), draft.t("max", s("maxwin"), MAX_ACK_WINDOW)), 1)
        draft.c("seq_ok", draft.before(seq, draft.t("add", s("maxend"), 1)))
        acked_ok = draft.c("acked_ok", draft.before(sack, draft.t("add", r("end"), 1)))
        recent = draft.c("recent", draft.before(lowest, sack))
        left = draft.t("sub", draft.t("sub", s("end"), r("maxwin")), 1)
        inside = draft.c("inside", draft.before(left, end))
        heard = draft.c("heard", r("maxwin"))
        overshot = draft.t("add", draft.t("sub", end, s("maxend")), 1)
        little = draft.c("little", overshot, "le", r("maxwin"))
        liberal_flag = draft.bit(s("flags"), LIBERAL)
        liberal = draft.c("liberal", liberal_flag)
        if self.world.topology.setting("net.netfilter.nf_conntrack_tcp_be_liberal", 0):
            liberal = {}
        over = {**holds("seq_ok", False)}
        more = store(**{self.s("end"): end, self.s("flags"): draft.t("or", s("flags"), UNACKED)})
        tolerated = {**over, **heard, **inside, **recent, **little, **acked_ok}
        self.flow.entry(
            [{**tolerated, **liberal}], "more than allowed, liberal", (), (Write("conn", "lookup", updates=more),),
            self.close,
        )  # fmt: skip
        self.flow.entry([tolerated], "more than allowed", self.accepted(), self.settled(*more), self.done)
        outside = [over, holds("acked_ok", False)]
        self.flow.entry([{**o, **liberal} for o in outside], "outside, liberal", goto=self.close)
        self._invalid(draft, outside)
        late = [{**heard, **holds("inside", False)}, holds("recent", False)]
        self.flow.entry([{**o, **liberal} for o in late], "late, liberal", goto=self.close)
        self.flow.entry(late, "late", self.accepted(), self.settled(), self.done)
        passing = puts(wack=ack, wsack=sack, wseq=seq, wend=end)
        self.flow.entry([{}], "inside", passing)
        self.flow.close()
        self._inside(self.begin("update"))
        self.flow.close()

    def _invalid(self, draft: Draft, outside: list[Clause]) -> None:
        """An INVALID FIN or RST of an assured connection is remembered, and the second shortens its life."""
        assured = draft.c("assured", draft.bit("R.status", ASSURED))
        opposite = draft.both(
            draft.t("xor", "R.last_dir", self.d),
            draft.either(draft.same("R.last_index", FIN), draft.same("R.last_index", RST)),
        )
        both_ends = draft.c("both_ends", opposite)
        timer = Timeouts(self.world)("tcp_timeout_unacknowledged", 300)
        for index in (RST, FIN):
            at = [{**o, **flags_clause(index), **assured} for o in outside]
            shorter = (Write("conn", "lookup", hard=timer),)
            name = INDEX_NAMES[index]
            established = [{**a, **both_ends, **old_clause(ES)} for a in at]
            self.flow.entry(established, f"outside, {name} of both", invalid(), shorter, self.done)
            self.flow.entry(
                [{**a, **both_ends} for a in at], f"outside, {name} again", invalid(), goto=self.done
            )
            noted = (Write("conn", "lookup", updates=store(last_index=index, last_dir=self.d)),)
            self.flow.entry(at, f"outside, {name}", invalid(), noted, self.done)
        self.flow.entry(outside, "outside", invalid(), goto=self.done)

    def _inside(self, draft: Draft) -> None:
        """What the segment makes of both sides."""
        s, r = (lambda n: f"R.{self.s(n)}"), (lambda n: f"R.{self.r(n)}")
        ack, sack, seq, end = (_word(name) for name in WINDOW_WORDS)
        ack_flag = draft.t("and", draft.t("shr", "tcp.flags", 4), 1)
        syn = draft.t("and", draft.t("shr", "tcp.flags", 1), 1)
        window = draft.t("shl", "tcp.window", draft.t("mul", s("scale"), draft.no(syn)))
        wide = draft.t("add", window, draft.t("sub", sack, ack))
        ahead = draft.before(s("end"), end)
        unset = draft.no(draft.bit(s("flags"), MAXACK_SET))
        higher = draft.both(ack_flag, draft.either(unset, draft.before(s("maxack"), ack)))
        flags = draft.t("or", s("flags"), draft.t("shl", ahead, 4))
        flags = draft.t("or", flags, draft.t("shl", ack_flag, 5))
        beyond = draft.both(draft.before(s("maxend"), end), draft.t("min", r("maxwin"), 1))
        edge = draft.t("add", sack, window)
        further = draft.before(draft.t("sub", r("maxend"), 1), edge)
        all_acked = draft.same(ack, r("end"))
        kept = draft.t("xor", r("flags"), draft.t("and", r("flags"), draft.t("shl", all_acked, 4)))
        updates = store(
            **{
                self.s("maxwin"): draft.t("max", s("maxwin"), wide),
                self.s("end"): draft.choose(ahead, end, s("end")),
                self.s("flags"): flags,
                self.s("maxack"): draft.choose(higher, ack, s("maxack")),
                self.r("maxwin"): draft.t(
                    "add", r("maxwin"), draft.t("mul", beyond, draft.t("sub", end, s("maxend")))
                ),
                self.r("maxend"): draft.choose(
                    further, draft.t("add", edge, draft.zero(window)), r("maxend")
                ),
                self.r("flags"): kept,
            }
        )
        repeated = flags_clause(ACK)
        for name, now in (("dir", self.d), ("seq", seq), ("ack", ack), ("end", end), ("win", "tcp.window")):
            repeated = {**repeated, **draft.c(f"same_{name}", f"R.last_{name}", "eq", now)}
        last = store(last_dir=self.d, last_seq=seq, last_ack=ack, last_end=end, last_win="tcp.window")
        again = (*last, *store(retrans=draft.t("add", "R.retrans", 1)))
        for name, at, more in (
            ("inside, repeated", repeated, again),
            ("inside, ack", flags_clause(ACK), (*last, *store(retrans=0))),
        ):
            write = Write("conn", "lookup", updates=(*updates, *more))
            self.flow.entry([at], name, (), (write,), self.close)
        self.flow.entry([{}], "inside", (), (Write("conn", "lookup", updates=updates),), self.close)


def _word(name: str) -> Operand:
    return Operand("metadata", name)

"""The plain reference against small programs worked by hand: if one of these breaks, programs change meaning."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from oppcache.opp.fields import (
    W_FAMILY,
    W_HEADERS,
    W_ID,
    W_IP_DST,
    W_IP_SRC,
    W_LENGTH,
    W_NOW,
    Header,
    layout_for,
)
from oppcache.opp.program import (
    Action,
    Condition,
    Entry,
    GlobalGroup,
    Key,
    Operand,
    Pattern,
    Program,
    Register,
    Stage,
    Table,
    Temporary,
    Term,
    Timer,
    Update,
    Write,
)
from oppcache.opp.reference import Packet, Reference, Result, Verdict

M32, M64 = 2**32 - 1, 2**64 - 1
SECOND = 1_000_000_000
KINDS = {"R": "register", "W": "written", "G": "global", "T": "temporary", "metadata": "metadata"}


def o(what: int | str) -> Operand:
    """An operand from a number or its text form."""
    if isinstance(what, int):
        return Operand("const", value=what)
    head, _, rest = what.partition(".")
    if head in KINDS:
        return Operand(KINDS[head], rest)
    if head.startswith("now"):
        return Operand("now", head)
    return Operand(head, head) if head in ("direction", "random") else Operand("field", what)


def key(*parts: int | str, symmetric: bool = False) -> Key:
    return Key(tuple(o(p) for p in parts), symmetric)


def term(subject: str, *values: int) -> Term:
    """A match term; ``state`` without values means none."""
    head, _, rest = subject.partition(".")
    kinds = {"C": "condition", "metadata": "metadata", "valid": "valid"}
    patterns = tuple(Pattern(v, 2**128 - 1) for v in values)
    if subject in ("state", "direction"):
        return Term(subject, "", patterns)
    return Term(kinds[head], rest, patterns) if head in kinds else Term("field", subject, patterns)


def update(target: str, op: str, a: int | str, b: int | str = 0, k: int = 0) -> Update:
    return Update(op, o(target), o(a), o(b), k)


def write(*updates: Update, to: int | str | None = None, **parts: Any) -> Write:
    return Write(parts.pop("table", "t"), next_state=to, updates=updates, **parts)


def put(target: str, operand: int | str) -> Action:
    return Action("set", target, o(operand))


def output(port: int | str) -> Action:
    return Action("output", operand=o(port))


DROP, CONTROLLER, DEC_TTL = Action("drop"), Action("to_controller"), Action("dec_ttl")


def always(*actions: Action, writes: tuple[Write, ...] = (), goto: str | None = None) -> Entry:
    return Entry("always", actions=actions, writes=writes, goto=goto)


def stateful(*entries: Entry, by: Key | None = None, **parts: Any) -> Stage:
    """A stage on table t, keyed by ``in_port`` unless told."""
    return Stage(parts.pop("name", "s"), "t", by or key("in_port"), entries=entries, **parts)


def machine(*stages: Stage, registers: tuple[Register, ...] = (), seed: int = 0, **parts: Any) -> Reference:
    tables = parts.pop("tables", (Table("t", registers),))
    return Reference(Program("test", tables, stages=stages, **parts), seed)


def at(now: int = 0, number: int = 0, headers: tuple[str, ...] = (), **fields: Any) -> Packet:
    """A packet on port 1; dots in field names are written as double underscores."""
    named = {name.replace("__", "."): value for name, value in fields.items()}
    return Packet.from_fields({"in_port": 1, **named}, headers, now, number)


def tcp(src: int, dst: int, sport: int = 1000, dport: int = 80, family: int = 4, **more: Any) -> Packet:
    return at(
        ip__src=(family, src), ip__dst=(family, dst), ip__proto=6, l4__sport=sport, l4__dport=dport, **more
    )


def only(reference: Reference, table: str = "t") -> Any:
    """(state, registers, timers) of the one context of a table."""
    ((_, snapshot),) = reference.canonical_contexts()[table].items()
    return snapshot


def test_verdicts_have_the_numbers_of_the_model_page() -> None:
    assert [Verdict.NONE, Verdict.FORWARD, Verdict.DROP, Verdict.CONTROLLER] == [0, 1, 2, 3]


# --- Keys and direction


FIVE = ("ip.src", "ip.dst", "ip.proto", "l4.sport", "l4.dport")


def firewall() -> Reference:
    inside = Term("field", "ip.src", (Pattern(0x0A000000, 0xFF000000, family=4),))
    return machine(
        stateful(
            Entry("established", 3, (term("state", 1),), (output(1),)),
            Entry("opened", 2, (term("state", 0), inside), (output(1),), (write(to=1),)),
            Entry("unsolicited", 1, (term("state", 0),), (DROP,)),
            by=key(*FIVE, symmetric=True),
        )
    )


def test_firewall_admits_answers_only_to_what_was_opened_from_inside() -> None:
    host, server = 0x0A000001, 0x08080808
    reference = firewall()
    assert reference.process(tcp(server, host, 80, 1000)).verdict == Verdict.DROP
    assert reference.process(tcp(host, server, 1000, 80)).verdict == Verdict.FORWARD
    answer = reference.process(tcp(server, host, 80, 1000))
    connection = ((4, server), (4, host), 6, 80, 1000)
    assert answer == Result(Verdict.FORWARD, 1, [("t", connection)], ["s"])
    assert reference.process(tcp(server, host, 81, 1000)).verdict == Verdict.DROP
    assert list(reference.contexts["t"]) == [connection, ((4, server), (4, host), 6, 81, 1000)]


def test_an_ipv6_address_with_an_ipv4_value_is_another_host() -> None:
    reference = firewall()
    reference.process(tcp(0x0A000001, 0x0A000002))
    for prefix in (0, 0xFFFF << 32):  # the same number, and its IPv4-mapped form
        assert (
            reference.process(tcp(prefix | 0x0A000001, prefix | 0x0A000002, family=6)).verdict == Verdict.DROP
        )


@pytest.mark.parametrize(
    ("parts", "packet", "expected", "direction"),
    [
        (FIVE, tcp(1, 2, 9, 3), ((4, 1), (4, 2), 6, 9, 3), 0),
        (FIVE, tcp(2, 1, 3, 9), ((4, 1), (4, 2), 6, 9, 3), 1),
        (FIVE, tcp(5, 5, 9, 3), ((4, 5), (4, 5), 6, 3, 9), 1),  # ports decide between equal addresses
        (FIVE, tcp(5, 5, 3, 3), ((4, 5), (4, 5), 6, 3, 3), 0),  # equal is in order
        (("l4.dport", "l4.sport", "ip.dst", "ip.src"), tcp(1, 2, 9, 3), (9, 3, (4, 1), (4, 2)), 1),
        (("in_port", "l4.sport", "l4.dport"), tcp(1, 2, 9, 3), (1, 3, 9), 1),
    ],
)
def test_symmetric_keys_swap_all_pairs_together(
    parts: tuple[str, ...], packet: Packet, expected: tuple[Any, ...], direction: int
) -> None:
    stage = stateful(always(put("metadata.d", "direction")), by=key(*parts, symmetric=True))
    result = machine(stage, metadata=("d",)).process(packet)
    assert result.lookups == [("t", expected)]
    assert packet.metadata == [direction]


def test_direction_is_zero_without_a_symmetric_key_and_can_be_matched() -> None:
    asymmetric = stateful(Entry("e", match=(term("direction", 1),), actions=(output(9),)), by=key(*FIVE))
    assert machine(asymmetric).process(tcp(2, 1)).verdict == Verdict.NONE
    symmetric = stateful(*asymmetric.entries, by=key(*FIVE, symmetric=True))
    assert machine(symmetric).process(tcp(2, 1)).port == 9


def test_direction_is_zero_in_stateless_and_passed_over_stages() -> None:
    stateless = hop("a", put("metadata.a", "direction"))
    none = Entry(
        "none", match=(term("state"), term("direction", 0)), actions=(put("metadata.b", "direction"),)
    )
    reference = machine(
        stateless, stateful(none, by=key("ip.src", "ip.dst", symmetric=True)), metadata=("a", "b")
    )
    packet = at()
    packet.metadata = [7, 7]
    reference.process(packet)
    assert packet.metadata == [0, 0]


def test_keys_may_name_constants_and_metadata_of_earlier_stages() -> None:
    first = Stage("first", default=always(put("metadata.m", 5)))
    reference = machine(first, stateful(by=key(7, "metadata.m", "ip.src")), metadata=("m",))
    assert reference.process(at(ip__src=(6, 3))).lookups == [("t", (7, 5, (6, 3)))]


# --- State, registers, writes


def test_port_knocking_opens_only_after_the_right_sequence() -> None:
    knocks = [
        Entry(str(n), 2, (term("state", n), term("l4.dport", port)), (DROP,), (write(to=n + 1),))
        for n, port in enumerate((10, 20, 30))
    ]
    pass_ssh = Entry("pass", 2, (term("state", 3), term("l4.dport", 22)), (output(2),))
    wrong = Entry("wrong", 1, (term("state", 0, 1, 2),), (DROP,), (write(to=0),))
    reference = machine(stateful(*knocks, pass_ssh, wrong, by=key("ip.src")))

    def knock(source: int, *ports: int) -> Verdict:
        verdicts = [reference.process(tcp(source, 9, dport=port)).verdict for port in ports]
        return Verdict(verdicts[-1])

    assert knock(1, 10, 20, 30, 22) == Verdict.FORWARD
    assert knock(2, 10, 30, 20, 22) == Verdict.DROP
    assert knock(2, 10, 20, 30, 22) == Verdict.FORWARD
    assert knock(3, 10, 20, 22) == Verdict.DROP


def test_updates_read_everything_before_anything_is_stored() -> None:
    swap = always(
        put("metadata.a", "R.x"),
        writes=(write(update("W.x", "mov", "R.y"), update("W.y", "mov", "W.x"), to=1),),
    )
    registers = (Register("x", initial=1), Register("y", initial=2))
    reference = machine(stateful(swap), registers=registers, metadata=("a",))
    packet = at()
    reference.process(packet)
    assert packet.metadata == [1]
    assert only(reference)[:2] == (1, (2, 1))


def test_operands_are_read_before_actions_and_earlier_writes_take_effect() -> None:
    entry = always(
        put("metadata.a", 5),
        put("metadata.b", "metadata.a"),
        put("metadata.c", "G.g.n"),
        writes=(
            write(update("G.g.n", "add", "G.g.n", 1)),
            write(update("W.x", "mov", "G.g.n"), key=key(99)),
        ),
    )
    reference = machine(
        stateful(entry),
        registers=(Register("x"),),
        globals=(GlobalGroup("g", (Register("n", initial=7),)),),
        metadata=("a", "b", "c"),
    )
    packet = at()
    reference.process(packet)
    assert packet.metadata == [5, 0, 7]
    assert reference.globals == {"g.n": 8}
    assert reference.contexts["t"][99,].registers == {"x": 7}


def test_a_write_elsewhere_reads_w_there_and_r_here_with_headers_after_the_actions() -> None:
    entry = always(
        put("l4.dport", 7),
        writes=(
            write(update("W.x", "add", "W.x", "R.x"), key=key("l4.dport"), to=4),
            write(update("W.x", "add", "R.x", 10)),
        ),
    )
    reference = machine(stateful(entry, by=key("l4.dport")), registers=(Register("x", initial=1),))
    reference.process(at(headers=("l4_ports",), l4__dport=5))
    assert {k: (c.state, c.registers["x"]) for k, c in reference.contexts["t"].items()} == {
        (7,): (4, 2),
        (5,): (0, 11),
    }
    reference.process(at(headers=("l4_ports",), l4__dport=5))
    assert {k: c.registers["x"] for k, c in reference.contexts["t"].items()} == {(7,): 13, (5,): 21}


def test_a_second_write_reads_w_as_the_first_left_it() -> None:
    entry = always(
        writes=(
            write(update("W.x", "mov", 5), key=key("in_port")),
            write(update("W.x", "add", "W.x", "R.x")),
        )
    )
    reference = machine(stateful(entry), registers=(Register("x", initial=1),))
    reference.process(at())
    assert only(reference)[1] == (6,)


def test_the_update_extractor_is_where_writes_go_unless_they_say_lookup() -> None:
    learn = always(
        writes=(write(update("W.port", "mov", "in_port"), to=1), write(key="lookup", to=2)),
    )
    stage = stateful(learn, by=key("eth.dst"), update=key("eth.src"))
    reference = machine(stage, registers=(Register("port"),))
    reference.process(at(eth__src=0xAA, eth__dst=0xBB))
    contexts = reference.contexts["t"]
    assert {k: (c.state, c.registers["port"]) for k, c in contexts.items()} == {
        (0xBB,): (2, 0),
        (0xAA,): (1, 1),
    }


def test_symmetric_update_key_orders_its_own_pairs_and_leaves_direction_alone() -> None:
    stage = stateful(
        always(writes=(write(update("W.d", "mov", "direction")),)),
        by=key("ip.proto"),
        update=key("ip.src", "ip.dst", symmetric=True),
    )
    reference = machine(stage, registers=(Register("d", initial=9),))
    reference.process(tcp(2, 1))
    assert reference.contexts["t"][(4, 1), (4, 2)].registers == {"d": 0}


def test_a_foreign_table_is_written_and_looked_up_by_a_later_stage() -> None:
    tables = (Table("t"), Table("u", (Register("n", bits=64, initial=2),), initial_state=3))
    count = always(writes=(write(update("W.n", "add", "W.n", 2**32 - 1), table="u", key=key("in_port")),))
    later = Stage("later", "u", key("in_port"), default=always(output("R.n")))
    reference = machine(stateful(count, name="first"), later, tables=tables)
    result = reference.process(at())
    assert result.lookups == [("t", (1,)), ("u", (1,))]
    assert result.port == 1  # a port has 32 bits
    assert only(reference, "u")[:2] == (3, (2**32 + 1,))


def test_delete_forgets_the_context_but_keeps_the_updates_of_globals() -> None:
    count = update("W.x", "add", "W.x", 1)
    total = update("G.g.n", "add", "G.g.n", "W.x")
    stage = stateful(
        Entry("fin", 1, (term("l4.dport", 0),), writes=(write(count, total, to="delete"),)),
        Entry("data", 0, writes=(write(count, to=5),)),
    )
    globals_ = (GlobalGroup("g", (Register("n"),)),)
    reference = machine(stage, registers=(Register("x"),), globals=globals_)
    for dport in (1, 1, 0):
        reference.process(at(l4__dport=dport))
    assert reference.contexts["t"] == {}
    assert reference.globals == {"g.n": 2}
    reference.process(at(l4__dport=1))
    assert only(reference)[:2] == (5, (1,))


def test_contexts_come_into_being_at_the_lookup_or_at_the_first_write() -> None:
    entry = Entry("w", match=(term("l4.dport", 1), term("state", 6)), writes=(write(),))
    table = Table("t", (Register("x", initial=4),), initial_state=6)
    for on_write, after_lookup in ((False, 1), (True, 0)):
        reference = machine(
            stateful(entry, create_on_write=on_write, default=always(output("R.x"))), tables=(table,)
        )
        assert reference.process(at(10, l4__dport=0)).port == 4
        assert len(reference.contexts["t"]) == after_lookup
        reference.process(at(20, l4__dport=1))
        assert only(reference) == (6, (4,), (0, 0, -1, -1, 20))


# --- Timers


def timed(*timers: Write, registers: tuple[Register, ...] = ()) -> Reference:
    """In state 0: the given writes and port 100; in any other state its number is the port."""
    start = Entry("start", 1, (term("state", 0),), (output(100),), timers)
    others = [Entry(str(n), 1, (term("state", n),), (output(n),)) for n in (1, 2, 3)]
    return machine(stateful(start, *others), registers=registers)


def ports(reference: Reference, *times: int) -> list[int]:
    return [reference.process(at(now)).port for now in times]


def test_idle_timer_counts_from_the_last_use_and_its_own_deadline_has_not_passed() -> None:
    reference = timed(write(to=1, idle=Timer(10)))
    assert ports(reference, 0, 10, 20, 30, 41) == [100, 1, 1, 1, 100]


def test_hard_timer_counts_from_the_write() -> None:
    reference = timed(write(to=1, hard=Timer(10)))
    assert ports(reference, 5, 10, 15, 16) == [100, 1, 1, 100]


def test_rollback_keeps_registers_and_clears_both_timers() -> None:
    both = write(update("W.x", "mov", 9), to=1, hard=Timer(10, to=2), idle=Timer(5, to=3))
    reference = timed(both, registers=(Register("x"),))
    assert ports(reference, 0) == [100]
    assert only(reference) == (1, (9,), (5, 10, 3, 2, 0))
    assert ports(reference, 100, 1000) == [2, 2]  # hard before idle, and no idle timer afterwards
    assert only(reference) == (2, (9,), (0, 0, -1, -1, 1000))
    reference = timed(both, registers=(Register("x"),))
    assert ports(reference, 0, 6) == [100, 3]
    assert only(reference) == (3, (9,), (0, 0, -1, -1, 6))


def test_expiry_without_rollback_label_deletes_state_registers_and_timers() -> None:
    reference = timed(write(update("W.x", "mov", 9), to=1, idle=Timer(5)), registers=(Register("x"),))
    ports(reference, 0)
    (context,) = reference.contexts["t"].values()
    assert (context.state, context.registers) == (1, {"x": 9})
    quiet = stateful()
    reference.pipeline = (quiet,)
    ports(reference, 6)
    assert only(reference) == (0, (0,), (0, 0, -1, -1, 6))


def test_an_expired_context_is_deleted_and_not_made_anew_with_create_on_write() -> None:
    entry = Entry("start", 1, (term("state", 0),), (output(100),), (write(to=1, idle=Timer(5)),))
    reference = machine(
        stateful(entry, create_on_write=True),
        stateful(name="look", default=always(), create_on_write=True),
    )
    reference.process(at(0))
    reference.pipeline = reference.pipeline[1:]
    reference.process(at(5))
    assert only(reference) == (1, (), (5, 0, -1, -1, 5))
    reference.process(at(11))
    assert reference.contexts["t"] == {}


def test_a_timeout_of_zero_clears_a_timer_and_no_timeout_leaves_it() -> None:
    start = write(to=1, idle=Timer(5, to=2), hard=Timer(50, to=3))
    keep = Entry("keep", 1, (term("state", 1), term("l4.dport", 0)), writes=(write(),))
    clear = Entry("clear", 1, (term("state", 1), term("l4.dport", 1)), writes=(write(idle=Timer(0, to=7)),))
    stop = Entry("stop", 1, (term("state", 1), term("l4.dport", 2)), writes=(write(hard=Timer(0, to=7)),))
    reference = machine(stateful(Entry("start", 1, (term("state", 0),), writes=(start,)), keep, clear, stop))
    reference.process(at(1))
    reference.process(at(2, l4__dport=0))
    assert only(reference) == (1, (), (5, 51, 2, 3, 2))
    reference.process(at(3, l4__dport=1))
    assert only(reference) == (1, (), (0, 51, -1, 3, 3))
    reference.process(at(4, l4__dport=2))
    assert only(reference) == (1, (), (0, 0, -1, -1, 4))


def test_a_foreign_write_checks_the_timers_of_what_it_writes_to() -> None:
    tables = (Table("t"), Table("u", (Register("x"),)))
    start = write(update("W.x", "add", "W.x", 1), table="u", key=key(7), to=1, idle=Timer(5, to=2))
    count = write(update("W.x", "add", "W.x", 1), table="u", key=key(7))
    first = Entry("first", 1, (term("state", 0),), writes=(write(to=1), start))
    reference = machine(
        stateful(first, Entry("more", 1, (term("state", 1),), writes=(count,))), tables=tables
    )
    reference.process(at(0))
    assert only(reference, "u") == (1, (1,), (5, 0, 2, -1, 0))
    reference.process(at(5))
    assert only(reference, "u") == (1, (2,), (5, 0, 2, -1, 5))
    reference.process(at(11))
    assert only(reference, "u") == (2, (3,), (0, 0, -1, -1, 11))


def test_now_at_a_context_never_runs_backwards() -> None:
    reference = machine(stateful(always(output("now_us"), writes=(write(hard=Timer(1)),))))
    assert ports(reference, 5_999, 2_000) == [5, 5]
    assert only(reference)[2] == (0, 6_000, -1, -1, 5_999)


# --- The pipeline


def hop(name: str, *actions: Action, goto: str | None = None, **parts: Any) -> Stage:
    return Stage(name, default=always(*actions, goto=goto), **parts)


def test_goto_skips_stages_and_end_leads_to_the_commit_stages() -> None:
    stages = (
        hop("late", commit=True),
        hop("a", goto="c"),
        hop("b", DROP),
        hop("c", goto="end"),
        hop("d", DROP),
    )
    assert machine(*stages).process(at()).stages == ["a", "c", "late"]


def test_drop_ends_everything_and_keeps_its_own_writes() -> None:
    dropping = stateful(always(DROP, writes=(write(to=1),)), name="dropping")
    commit = hop("commit", output(3), commit=True)
    reference = machine(commit, hop("out", output(5)), dropping, hop("after"))
    assert reference.process(at()) == Result(Verdict.DROP, 5, [("t", (1,))], ["out", "dropping"])
    assert only(reference)[0] == 1


def test_the_last_verdict_wins_within_and_across_stages() -> None:
    assert machine(hop("a", output(3)), hop("b", CONTROLLER)).process(at()) == Result(
        Verdict.CONTROLLER, 3, [], ["a", "b"]
    )
    assert machine(hop("a", CONTROLLER, output(3))).process(at()).verdict == Verdict.FORWARD
    assert machine(hop("a", DROP, output(3)), hop("b")).process(at()) == Result(
        Verdict.FORWARD, 3, [], ["a", "b"]
    )
    assert machine(Stage("empty")).process(at()) == Result(Verdict.NONE, 0, [], ["empty"])


def test_a_commit_stage_writes_what_the_packet_decided_on_its_way() -> None:
    mark = update("W.mark", "mov", "metadata.mark")
    commit = stateful(name="commit", default=always(writes=(write(mark),)), create_on_write=True, commit=True)
    decide = Stage(
        "decide",
        entries=(Entry("bad", 1, (term("l4.dport", 23),), (DROP,)),),
        default=always(put("metadata.mark", 42)),
    )
    reference = machine(commit, decide, registers=(Register("mark"),), metadata=("mark",))
    reference.process(at(l4__dport=23))
    assert reference.contexts["t"] == {}
    reference.process(at(l4__dport=22))
    assert only(reference)[1] == (42,)


def test_highest_priority_wins_whatever_the_order() -> None:
    low, high = Entry("low", 1, actions=(output(1),)), Entry("high", 2, actions=(output(2),))
    assert machine(Stage("s", entries=(low, high))).process(at()).port == 2
    assert machine(Stage("s", entries=(high, low))).process(at()).port == 2


# --- Absence


def test_a_stage_whose_key_is_absent_is_passed_over() -> None:
    wants_none = Entry("none", 1, (term("state"),), (put("metadata.a", "R.x"), put("metadata.b", 3)))
    any_state = Entry("any", 2, (), (DROP,))
    stage = stateful(any_state, wants_none, by=key("ip.src"), default=always(DROP))
    reference = machine(stage, hop("next", output(1)), registers=(Register("x"),), metadata=("a", "b"))
    packet = at()
    packet.metadata = [8, 8]
    assert reference.process(packet) == Result(Verdict.FORWARD, 1, [], ["s", "next"])
    assert packet.metadata == [8, 3]  # R of no context is absent, so its set was skipped
    assert reference.contexts["t"] == {}
    assert reference.process(at(ip__src=(4, 1))).verdict == Verdict.DROP


def test_without_an_entry_for_none_a_passed_over_stage_does_nothing() -> None:
    reference = machine(stateful(Entry("any", actions=(DROP,)), by=key("ip.src"), default=always(DROP)))
    assert reference.process(at()).verdict == Verdict.NONE


def test_state_none_does_not_match_a_context_and_a_label_does_not_match_none() -> None:
    stage = stateful(Entry("none", match=(term("state"),), actions=(DROP,)))
    assert machine(stage).process(at()).verdict == Verdict.NONE
    stage = stateful(
        Entry("both", match=(term("state", 0), term("state")), actions=(DROP,)), by=key("ip.src")
    )
    assert machine(stage).process(at()).verdict == Verdict.NONE


def test_a_passed_over_stage_can_still_write_under_a_key_that_is_there() -> None:
    writes = (
        write(to=1),
        write(key="lookup", to=2),
        write(key=key("in_port"), to=3),
        write(key=key("l4.dport")),
    )
    reference = machine(stateful(Entry("none", match=(term("state"),), writes=writes), by=key("ip.src")))
    reference.process(at())
    assert {k: c.state for k, c in reference.contexts["t"].items()} == {(1,): 3}


def test_absence_spreads_through_temporaries_conditions_sets_and_updates() -> None:
    stage = stateful(
        Entry(
            "e",
            1,
            (term("C.less", 0), term("C.more", 0)),
            (put("metadata.a", "T.sum"), put("l4.dport", 9), output("T.sum"), DEC_TTL),
            (write(update("W.x", "add", "T.sum", 1), update("W.y", "mov", 6)),),
        ),
        Entry("absent field", 2, (Term("field", "tcp.flags", (Pattern(0, 0),)),), (DROP,)),
        temporaries=(
            Temporary("t", "add", o("tcp.flags"), o(1)),
            Temporary("sum", "mul", o("T.t"), o(0)),
        ),
        conditions=(Condition("less", "lt", o("T.sum"), o(5)), Condition("more", "ge", o("T.sum"), o(5))),
    )
    reference = machine(stage, registers=(Register("x", initial=3), Register("y")), metadata=("a",))
    packet = at()
    assert reference.process(packet).verdict == Verdict.NONE
    assert packet.fields == {"in_port": 1}
    assert packet.metadata == [0]
    assert only(reference)[1] == (3, 6)


# --- Values


def computed(op: str, a: int | str, b: int | str, bits: int = 32, k: int = 0, word_bits: int = 32) -> int:
    """What an update of a register of that many bits stores."""
    stage = stateful(always(writes=(write(update("W.x", op, a, b, k)),)))
    reference = machine(stage, registers=(Register("x", bits), Register("y")), word_bits=word_bits)
    reference.process(at(now=2**40 + 2**32 + 7))
    return int(only(reference)[1][0])


@pytest.mark.parametrize(
    ("op", "a", "b", "narrow", "wide"),
    [
        ("mov", M32, 0, M32, M32),
        ("add", M32, 2, 1, 2**32 + 1),
        ("sub", 1, 2, M32, M64),
        ("mul", 2**31, 2**31, 0, 2**62),
        ("mul", M32, M32, 1, 0xFFFFFFFE00000001),
        ("div", 7, 2, 3, 3),
        ("div", 7, 0, M32, M64),
        ("mod", 7, 4, 3, 3),
        ("mod", 7, 0, 7, 7),
        ("and", 12, 10, 8, 8),
        ("or", 12, 10, 14, 14),
        ("xor", 12, 10, 6, 6),
        ("shl", 3, 31, 2**31, 3 * 2**31),
        ("shl", 1, 32, 0, 2**32),
        ("shl", 1, 64, 0, 0),
        ("shr", M32, 31, 1, 1),
        ("shr", M32, 32, 0, 0),
        ("shr", M32, M32, 0, 0),
        ("min", 3, M32, 3, 3),
        ("max", 3, M32, M32, M32),
    ],
)
def test_operations_wrap_at_their_width(op: str, a: int, b: int, narrow: int, wide: int) -> None:
    assert computed(op, a, b) == narrow
    assert computed(op, a, b, bits=64) == wide
    assert computed(op, a, b, word_bits=64) == wide


@pytest.mark.parametrize(
    ("a", "b", "k", "expected"),
    [(100, 200, 0, 100), (100, 200, 8, 200), (100, 200, 1, 112), (100, 200, 3, 137), (M32, M32, 5, M32)],
)
def test_ewma_weighs_the_new_sample_by_k_eighths(a: int, b: int, k: int, expected: int) -> None:
    assert computed("ewma", a, b, k=k) == expected


def test_ewma_of_64_bits_wraps_before_the_division() -> None:
    # 7 (2^64 − 1) + 1 (2^64 − 1) ≡ 2^64 − 8, an eighth of which is 2^61 − 1
    assert computed("ewma", M64, M64, bits=64, k=1) == 2**61 - 1


def test_the_width_follows_declarations_and_not_values() -> None:
    assert computed("shr", 2**32, 1) == 2**31  # a constant of 33 bits widens
    assert computed("shr", "now", 1) == 3  # now does not: its low 32 bits are 7
    assert computed("shr", "now", 1, bits=64) == 2**39 + 2**31 + 3  # but the target does
    assert computed("add", "R.y", M64) == M32  # 64 bits wide, then reduced to the target


def test_an_operand_of_48_bits_widens_and_a_set_reduces_to_the_field() -> None:
    stage = stateful(
        Entry("e", match=(term("C.big", 1),), actions=(put("vlan.id", "T.high"), put("eth.src", "T.all"))),
        temporaries=(
            Temporary("high", "shr", o("eth.src"), o(32)),
            Temporary("all", "sub", o(0), o(1), bits=64),
        ),
        conditions=(Condition("big", "gt", o("eth.src"), o(M32)),),
    )
    packet = at(eth__src=0xABCD_0000_0000, vlan__id=0)
    machine(stage).process(packet)
    assert packet.fields["vlan.id"] == 0xBCD
    assert packet.fields["eth.src"] == 2**48 - 1


@pytest.mark.parametrize(
    ("op", "expected"),
    [("lt", 0), ("le", 0), ("gt", 1), ("ge", 1), ("eq", 0), ("ne", 1), ("slt", 1), ("sle", 1)],
)
def test_conditions_compare_unsigned_unless_they_say_signed(op: str, expected: int) -> None:
    minus_one, one = M32, 1
    stage = stateful(
        Entry("yes", match=(term("C.c", 1),), actions=(output(1),)),
        conditions=(Condition("c", op, o(minus_one), o(one)),),
    )
    assert machine(stage).process(at()).port == expected
    same = Condition("c", op, o(5), o(5))
    stage = stateful(*stage.entries, conditions=(same,))
    assert machine(stage).process(at()).port == int(op in ("le", "ge", "eq", "sle"))


def holds(op: str, a: int | str, b: int | str, word_bits: int = 32, **packet: Any) -> bool:
    yes = Entry("yes", match=(term("C.c", 1),), actions=(output(1),))
    stage = stateful(yes, conditions=(Condition("c", op, o(a), o(b)),))
    return machine(stage, word_bits=word_bits).process(at(**packet)).port == 1


def test_signed_order_of_each_width() -> None:
    narrow = [2**31, 2**31 + 1, M32, 0, 1, 2**31 - 1]
    for low, high in pairwise(narrow):
        assert holds("slt", low, high)
        assert not holds("sle", high, low)
    assert holds("slt", M64, 2**63 - 1)
    assert not holds("slt", 2**63 - 1, 2**63)
    assert holds("slt", "tcp.seq", 1, tcp__seq=M32)  # a field of 32 bits does not widen
    assert not holds("slt", "eth.src", 1, eth__src=M32)  # one of 48 bits does


def test_now_is_compared_modulo_the_width() -> None:
    assert holds("eq", "now", 7, now=2**32 + 7)
    assert not holds("eq", "now", 7, word_bits=64, now=2**32 + 7)


def test_ports_and_metadata_are_reduced_and_wide_globals_are_not() -> None:
    wide = (GlobalGroup("g", (Register("n", 64, initial=2**32 + 5),)),)
    count = write(update("G.g.n", "mul", "G.g.n", 2))
    stage = stateful(always(output("now"), put("metadata.m", "G.g.n"), writes=(count,)))
    reference = machine(stage, globals=wide, metadata=("m",))
    packet = at(now=2**32 + 9)
    assert reference.process(packet).port == 9
    assert packet.metadata == [5]
    assert reference.globals == {"g.n": 2**33 + 10}


def test_the_sign_bit_is_that_of_the_operation_width() -> None:
    yes = Entry("yes", match=(term("C.c", 1),), actions=(output(1),))
    for word_bits, expected in ((32, 1), (64, 0)):
        stage = stateful(yes, conditions=(Condition("c", "slt", o(M32), o(1)),))
        assert machine(stage, word_bits=word_bits).process(at()).port == expected


def test_conditions_see_the_looked_up_context_before_any_update() -> None:
    stage = stateful(
        Entry("over", 2, (term("C.over", 1),), (DROP,), (write(update("W.n", "add", "R.n", 1)),)),
        Entry("under", 1, (), (output(1),), (write(update("W.n", "add", "R.n", 1)),)),
        conditions=(Condition("over", "ge", o("R.n"), o(2)),),
    )
    reference = machine(stage, registers=(Register("n"),))
    verdicts = [reference.process(at()).verdict for _ in range(4)]
    assert verdicts == [Verdict.FORWARD, Verdict.FORWARD, Verdict.DROP, Verdict.DROP]


def test_dec_ttl_stops_at_zero_for_both_families() -> None:
    for name in ("ipv4.ttl", "ipv6.hop_limit"):
        packet = Packet.from_fields({name: 2})
        reference = machine(hop("a", DEC_TTL))
        for left in (1, 0, 0):
            reference.process(packet)
            assert packet.fields == {name: left}


# --- Matching


def matches(pattern: Pattern, subject: str = "l4.dport", **fields: Any) -> bool:
    entry = Entry("e", match=(Term("field", subject, (pattern,)),), actions=(DROP,))
    return machine(Stage("s", entries=(entry,))).process(at(**fields)).verdict == Verdict.DROP


def test_ranges_include_both_ends() -> None:
    inside = [p for p in range(8) if matches(Pattern(2, 0xFFFF, high=5), l4__dport=p)]
    assert inside == [2, 3, 4, 5]


def test_masks_hide_bits() -> None:
    syn = Pattern(0x02, 0x12)
    assert matches(syn, "tcp.flags", tcp__flags=0x0C2)
    assert not matches(syn, "tcp.flags", tcp__flags=0x012)


def test_address_patterns_keep_to_their_family() -> None:
    ten4 = Pattern(0x0A000000, 0xFF000000, family=4)
    assert matches(ten4, "ip.src", ip__src=(4, 0x0A010203))
    assert not matches(ten4, "ip.src", ip__src=(4, 0x0B010203))
    assert not matches(ten4, "ip.src", ip__src=(6, 0x0A010203))
    all6 = Pattern(0, 0, family=6)
    assert matches(all6, "ip.src", ip__src=(6, 1))
    assert not matches(all6, "ip.src", ip__src=(4, 1))
    mapped = Pattern(0xFFFF_0A00_0001, 2**128 - 1)
    assert matches(mapped, "ip.src", ip__src=(4, 0x0A000001))
    assert matches(mapped, "ip.src", ip__src=(6, 0xFFFF_0A00_0001))

    range4 = Pattern(0x0A000001, 2**32 - 1, high=0x0A000003, family=4)
    assert [matches(range4, "ip.src", ip__src=(4, 0x0A000000 + n)) for n in range(5)] == [0, 1, 1, 1, 0]
    exact6 = Pattern(1, 2**128 - 1)
    assert matches(exact6, "ip.src", ip__src=(6, 1))


def test_header_validity_can_be_matched_both_ways() -> None:
    entries = (
        Entry("tcp", 1, (term("valid.tcp", 1),), (output(1),)),
        Entry("other", 1, (term("valid.tcp", 0),), (output(2),)),
    )
    assert machine(Stage("s", entries=entries)).process(at(headers=("TCP",))).port == 1
    assert machine(Stage("s", entries=entries)).process(at(headers=("UDP",))).port == 2


# --- Virtual fields


def test_now_in_each_unit_is_rounded_down() -> None:
    packet = at(now=3 * SECOND - 1)
    names = ("now_us", "now_ms", "now_s")
    machine(hop("a", *(put(f"metadata.{n}", n) for n in names)), metadata=names).process(packet)
    assert packet.metadata == [2_999_999, 2_999, 2]


def mixed(x: int) -> int:
    """splitmix64, written again from the publication."""
    x = (x + 0x9E3779B97F4A7C15) & M64
    x ^= x >> 30
    x = (x * 0xBF58476D1CE4E5B9) & M64
    x ^= x >> 27
    x = (x * 0x94D049BB133111EB) & M64
    return x ^ (x >> 31)


def test_random_depends_on_seed_packet_stage_and_entry_alone() -> None:
    # The first output of the public generator with seed 0.
    assert mixed(0) == 0xE220A8397B1DCDAF
    stage = Stage(
        "second",
        temporaries=(Temporary("t", "mov", o("random"), o(0)),),
        entries=(
            Entry("never", 2, (term("valid.tcp", 1),)),
            Entry("second", 1, (), (put("metadata.a", "T.t"), put("metadata.b", "random"))),
        ),
    )
    commit = hop("third", put("metadata.c", "random"), commit=True)
    reference = machine(commit, hop("first"), stage, metadata=("a", "b", "c"), seed=7)
    for _ in range(2):
        packet = at(number=5)
        reference.process(packet)
        base = mixed(mixed(7) ^ 5)
        assert packet.metadata == [mixed(base ^ site) & M32 for site in (65536, 65536 + 2, 2 * 65536)]


def test_random_has_32_bits_in_a_64_bit_program_too() -> None:
    reference = machine(hop("a", output("random")), word_bits=64)
    assert max(reference.process(at(number=n)).port for n in range(64)) < 2**32


# --- Packets from header vectors


def test_a_vector_gives_the_fields_whose_headers_are_valid() -> None:
    layout = layout_for(["ipv6.src", "ipv4.ttl", "vlan.id"], metadata_words=2)
    row = [0] * layout.words
    row[W_HEADERS] = 1 << Header.IP | 1 << Header.IPV6
    row[W_FAMILY], row[W_NOW], row[W_ID], row[W_LENGTH] = 6, 99, 4, 60
    row[W_IP_SRC : W_IP_SRC + 2] = [1, 2]
    word = layout.word_of["ipv6.src"]
    row[word : word + 2] = [1, 2]
    row[layout.metadata_word + 1] = 8
    packet = Packet.from_vector(row, layout)
    source = (1 << 64) + 2
    assert packet == Packet.from_fields(
        {
            "packet_length": 60,
            "in_port": 0,
            "ip.family": 6,
            "ip.src": (6, source),
            "ip.dst": (6, 0),
            "ip.src.high": 1,
            "ip.src.low": 2,
            "ip.dst.high": 0,
            "ip.dst.low": 0,
            "ip.proto": 0,
            "l4.sport": 0,
            "l4.dport": 0,
            "ipv6.src": source,
        },
        {"ip", "ipv6"},
        99,
        4,
        [0, 8],
    )


def test_an_ipv4_address_leaves_its_mapped_form_behind() -> None:
    layout = layout_for([])
    row = [0] * layout.words
    row[W_HEADERS] = 1 << Header.IP
    row[W_FAMILY], row[W_IP_DST + 1] = 4, 0xFFFF_C000_0201
    packet = Packet.from_vector(row, layout)
    assert packet.fields["ip.dst"] == (4, 0xC0000201)
    assert "tcp.flags" not in packet.fields

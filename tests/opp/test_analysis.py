"""Programs whose state was classified by hand: a wrong class picks a wrong way to keep two sides one."""

from __future__ import annotations

from random import Random
from types import ModuleType
from typing import Any

import pytest

from oppcache.opp import InputError, Program, load_program, shipped_programs
from oppcache.opp.analysis import Analysis, TableAnalysis, analyse
from oppcache.opp.analysis_text import as_text
from oppcache.opp.classes import CLASSES, MODES

FIVE = ["ip.src", "ip.dst", "ip.proto", "l4.sport", "l4.dport"]
FLOW = ["flow.src", "flow.dst", "flow.proto", "flow.sport", "flow.dport"]
BOTH_WAYS = {"fields": FIVE, "symmetric": True}


def program(*stages: dict[str, Any], **parts: Any) -> Program:
    """A program of some stages; stages without a name get one, tables that are not declared have registers r, q."""
    named = [{"name": f"s{i}", **stage} for i, stage in enumerate(stages)]
    tables = {s["table"]: {"registers": ["r", "q"], "states": ["new", "old"]} for s in named if "table" in s}
    return load_program(
        {"program": "p", "tables": tables | parts.pop("tables", {}), "stages": named, **parts}
    )


def update(target: str, op: str, *args: Any) -> dict[str, Any]:
    return {"set": target, "op": op, "args": list(args)}


def class_of_global(*stages: dict[str, Any], name: str = "G.g.x", **parts: Any) -> str:
    """The class of global x of a program that declares globals x, y (32 bits) and wide (64)."""
    variables = {"g": ["x", "y", {"name": "wide", "bits": 64}]}
    found = analyse(program(*stages, globals=variables, metadata=["m", "n"], **parts))
    return {str(one.variable.variable): one.variable.kind for one in found.globals}[name]


def table(*stages: dict[str, Any], name: str = "t", **parts: Any) -> TableAnalysis:
    return next(t for t in analyse(program(*stages, **parts)).tables if t.table.name == name)


def register(*stages: dict[str, Any], name: str = "r", **parts: Any) -> str:
    return next(r.kind for r in table(*stages, **parts).registers if r.variable.name == name)


# --- globals, one class after the other ------------------------------------------------------------------


def stateless(*updates: dict[str, Any], **entry: Any) -> dict[str, Any]:
    """A stage with a keyed table, so that its one entry can update globals."""
    return {"table": "t", "key": FIVE, "entries": [{"updates": list(updates), **entry}]}


def test_a_global_that_is_only_read_is_constant() -> None:
    assert class_of_global({"entries": [{"actions": [{"output": "G.g.x"}]}]}) == "constant"


@pytest.mark.parametrize(
    "op",
    [
        update("G.g.x", "add", "G.g.x", 1),
        update("G.g.x", "add", "packet_length", "G.g.x"),
        update("G.g.x", "sub", "G.g.x", "G.g.y"),
        update("G.g.x", "add", "G.g.x", "R.r"),
    ],
)
def test_what_is_only_added_to_is_a_counter(op: dict[str, Any]) -> None:
    assert class_of_global(stateless(op)) == "counter"


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        (update("G.g.x", "min", "G.g.x", "packet_length"), "min/max"),
        (update("G.g.x", "max", 7, "G.g.x"), "min/max"),
        # The result is cut to 32 bits, so a larger value may replace it by a smaller.
        (update("G.g.x", "max", "G.g.x", "G.g.wide"), "assigned"),
        (update("G.g.x", "min", "G.g.x", "G.g.wide"), "min/max"),
        (update("G.g.x", "add", "G.g.x", "G.g.x"), "assigned"),
        (update("G.g.x", "sub", 100, "G.g.x"), "assigned"),
        (update("G.g.x", "mul", "G.g.x", 2), "assigned"),
        (update("G.g.x", "mov", "now_s"), "assigned"),
        (update("G.g.x", "add", "G.g.y", 1), "assigned"),
        ({**update("G.g.x", "ewma", "G.g.x", "packet_length"), "k": 1}, "assigned"),
    ],
)
def test_an_update_decides_the_class(op: dict[str, Any], expected: str) -> None:
    assert class_of_global(stateless(op)) == expected


def test_updates_of_different_kinds_do_not_commute() -> None:
    first = stateless(update("G.g.x", "add", "G.g.x", 1))
    assert class_of_global(first, stateless(update("G.g.x", "sub", "G.g.x", 3))) == "counter"
    assert class_of_global(first, stateless(update("G.g.x", "max", "G.g.x", 3))) == "assigned"
    assert class_of_global(first, stateless(update("G.g.x", "mov", 0))) == "assigned"
    low, high = update("G.g.x", "min", "G.g.x", "now_s"), update("G.g.x", "max", "G.g.x", 3)
    assert class_of_global(stateless(low), stateless(high)) == "assigned"


def test_a_counter_that_something_else_reads_is_none() -> None:
    count = stateless(update("G.g.x", "add", "G.g.x", 1))
    assert class_of_global(count, {"entries": [{"actions": [{"output": "G.g.x"}]}]}) == "assigned"
    assert class_of_global(count, stateless(update("R.r", "mov", "G.g.x"))) == "assigned"
    assert class_of_global(count, stateless(update("G.g.y", "add", "G.g.y", "G.g.x"))) == "assigned"
    seen = {"conditions": {"many": ["G.g.x", "gt", 9]}, "entries": [{"match": {"C.many": True}}]}
    assert class_of_global(count, seen) == "assigned"
    unused = {"conditions": {"many": ["G.g.x", "gt", 9]}, "entries": [{"actions": ["drop"]}]}
    assert class_of_global(count, unused) == "counter"


def test_temporaries_are_seen_through() -> None:
    through = {
        **stateless(update("G.g.x", "mov", "T.sum")),
        "temporaries": [
            {"name": "one", "op": "add", "args": ["packet_length", 4]},
            {"name": "sum", "op": "add", "args": ["T.one", "G.g.x"]},
        ],
    }
    assert class_of_global(through) == "counter"
    shown = {**through, "entries": [{**through["entries"][0], "actions": [{"output": "T.sum"}]}]}
    assert class_of_global(shown) == "guarded"  # a ticket: handed out and moved on
    doubled = {
        **through,
        "temporaries": [{"name": "sum", "op": "add", "args": ["G.g.x", "G.g.x"]}],
    }
    assert class_of_global(doubled) == "assigned"


def test_a_narrow_temporary_cuts_a_wide_counter() -> None:
    def through(bits: int) -> dict[str, Any]:
        summed = {"name": "sum", "op": "add", "args": ["G.g.wide", 1], "bits": bits}
        return {**stateless(update("G.g.wide", "mov", "T.sum")), "temporaries": [summed]}

    assert class_of_global(through(64), name="G.g.wide") == "counter"
    assert class_of_global(through(32), name="G.g.wide") == "assigned"


def test_a_quota_is_guarded() -> None:
    quota = {
        **stateless(update("G.g.x", "sub", "G.g.x", 1), match={"C.left": True}),
        "conditions": {"left": ["G.g.x", "gt", 0]},
    }
    assert class_of_global(quota) == "guarded"


def test_an_entry_that_loses_to_a_guard_is_guarded_by_it() -> None:
    def stage(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
        return {
            "table": "t",
            "key": FIVE,
            "conditions": {"full": ["G.g.x", "ge", 10]},
            "entries": [
                {"match": {"C.full": True, **first}, "actions": ["drop"]},
                {"match": second, "updates": [update("G.g.x", "add", "G.g.x", 1)]},
            ],
        }

    assert class_of_global(stage({}, {})) == "guarded"
    assert class_of_global(stage({"ip.proto": 6}, {"ip.proto": [6, 17]})) == "guarded"
    # The two never match one packet: the condition is not about this update.
    assert class_of_global(stage({"ip.proto": 6}, {"ip.proto": 17})) == "assigned"


def test_a_guard_in_an_earlier_stage_guards_through_drop_goto_and_metadata() -> None:
    count = {**stateless(update("G.g.x", "add", "G.g.x", 1)), "name": "count"}
    guard = {"name": "guard", "conditions": {"full": ["G.g.x", "ge", 10]}}
    full = {"C.full": True}
    assert class_of_global({**guard, "entries": [{"match": full, "actions": ["drop"]}]}, count) == "guarded"
    assert class_of_global({**guard, "entries": [{"match": full, "goto": "end"}]}, count) == "guarded"
    marked = {**guard, "entries": [{"match": full, "actions": [{"set": {"metadata.m": 1}}]}]}
    assert class_of_global(marked, count) == "assigned"
    by_mark = {**count, "entries": [{**count["entries"][0], "match": {"metadata.m": 0}}]}
    assert class_of_global(marked, by_mark) == "guarded"
    # Metadata that is copied is still the same value.
    copied = {"entries": [{"actions": [{"set": {"metadata.n": "metadata.m"}}]}]}
    by_copy = {**count, "entries": [{**count["entries"][0], "match": {"metadata.n": 0}}]}
    assert class_of_global(marked, copied, by_copy) == "guarded"
    # A goto past another stage says nothing about this one.
    past = {**guard, "entries": [{"match": full, "goto": "count"}]}
    assert class_of_global(past, {"name": "skipped", "entries": []}, count) == "assigned"


def test_round_robin_is_guarded_with_and_without_a_condition() -> None:
    with_wrap = {
        "table": "t",
        "key": FIVE,
        "conditions": {"last": ["G.g.x", "ge", "G.g.y"]},
        "entries": [
            {
                "match": {"C.last": True},
                "updates": [update("R.r", "mov", "G.g.x"), update("G.g.x", "mov", 0)],
            },
            {"updates": [update("R.r", "mov", "G.g.x"), update("G.g.x", "add", "G.g.x", 1)]},
        ],
    }
    assert class_of_global(with_wrap) == "guarded"
    ticket = stateless(update("G.g.x", "add", "G.g.x", 1), actions=[{"set": {"metadata.m": "G.g.x"}}])
    assert class_of_global(ticket) == "guarded"


def test_what_is_written_before_it_is_read_is_scratch() -> None:
    write = stateless(update("G.g.x", "mov", "packet_length"))
    read = {"table": "u", "key": FIVE, "entries": [{"actions": [{"output": "G.g.x"}]}]}
    assert class_of_global(write, read) == "scratch"
    assert class_of_global(read, write) == "assigned"
    # A packet without an IP header passes the first stage by and reads in the second.
    any_packet = {"entries": [{"actions": [{"output": "G.g.x"}]}]}
    assert class_of_global(write, any_packet) == "assigned"
    always = {**write, "key": ["in_port"]}
    assert class_of_global(always, any_packet) == "scratch"


def test_a_write_on_some_paths_only_is_no_scratch() -> None:
    read = {"name": "read", "entries": [{"actions": [{"output": "G.g.x"}]}]}

    def write(*entries: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"table": "t", "key": ["in_port"], "entries": list(entries), **more}

    put = {"updates": [update("G.g.x", "mov", 1)]}
    assert class_of_global(write({"match": {"state": "new"}, **put}), read) == "assigned"
    assert class_of_global(write({"match": {"state": "new"}, **put}, default=put), read) == "scratch"
    assert class_of_global(write({"match": {"state": "new"}}, put), read) == "assigned"
    assert class_of_global(write({"match": {"state": "new"}, "actions": ["drop"]}, put), read) == "scratch"
    assert class_of_global(write({"match": {"state": "new"}, "goto": "end"}, put), read) == "scratch"
    absent = {"updates": [update("G.g.x", "mov", "tcp.seq")]}  # skipped where there is no TCP header
    assert class_of_global(write(absent), read) == "assigned"
    assert class_of_global(write({"match": {"valid.tcp": False}, **put}, absent), read) == "assigned"
    own = {"updates": [update("G.g.x", "add", "G.g.x", 1)]}
    assert class_of_global(write(own), read) == "assigned"


def test_a_global_that_nothing_reads_but_the_outside_keeps_its_last_value() -> None:
    assert class_of_global(stateless(update("G.g.x", "mov", "now_s"))) == "assigned"


def test_every_class_has_its_mode() -> None:
    assert {kind: mode.modes for kind, mode in MODES.items()} == {
        "constant": ("replicate",),
        "scratch": ("local",),
        "counter": ("delta",),
        "min/max": ("merge",),
        "guarded": ("home-nic", "home-cpu"),
        "assigned": ("home-nic", "home-cpu"),
    }
    assert [kind for kind in CLASSES if MODES[kind].relaxed] == ["guarded"]


# --- labels and registers --------------------------------------------------------------------------------


def test_labels() -> None:
    def label(*stages: dict[str, Any]) -> str:
        return table(*stages).label.kind

    keyed = {"table": "t", "key": FIVE}
    assert label({**keyed, "entries": [{"match": {"state": "new"}}]}) == "constant"
    assert label({**keyed, "entries": [{"next_state": "old"}]}) == "assigned"
    assert label({**keyed, "entries": [{"match": {"state": "new"}, "next_state": "old"}]}) == "guarded"
    assert label({**keyed, "entries": [{"next_state": "delete"}]}) == "constant"
    timer = {"idle": {"after": "1s", "to": "old"}}
    assert label({**keyed, "entries": [{"match": {"state": "new"}, **timer}]}) == "guarded"


def test_a_register_of_another_context_is_not_its_own() -> None:
    keyed = {"table": "t", "key": FIVE}
    count = {"updates": [update("R.r", "add", "R.r", 1)]}
    assert register({**keyed, "entries": [count]}) == "counter"
    assert register({**keyed, "entries": [{"updates": [update("R.r", "add", "W.r", 1)]}]}) == "counter"
    elsewhere = {**keyed, "update_key": ["ip.dst", "ip.src", "ip.proto", "l4.dport", "l4.sport"]}
    assert register({**elsewhere, "entries": [count]}) == "assigned"
    assert register({**elsewhere, "entries": [{"updates": [update("R.r", "add", "W.r", 1)]}]}) == "counter"


def test_a_token_bucket_is_guarded() -> None:
    bucket = {
        "table": "t",
        "key": ["ip.src"],
        "temporaries": [
            {"name": "earned", "op": "sub", "args": ["now_ms", "R.q"]},
            {"name": "tokens", "op": "add", "args": ["R.r", "T.earned"]},
        ],
        "conditions": {"enough": ["T.tokens", "ge", 1]},
        "entries": [
            {
                "match": {"C.enough": True},
                "updates": [update("R.r", "sub", "T.tokens", 1), update("R.q", "mov", "now_ms")],
            },
            {"actions": ["drop"]},
        ],
    }
    assert (register(bucket), register(bucket, name="q")) == ("guarded", "guarded")


def test_a_register_may_be_scratch_in_a_table_that_two_stages_share() -> None:
    write = {"table": "t", "key": FIVE, "entries": [{"updates": [update("R.r", "mov", "packet_length")]}]}
    read = {"table": "t", "key": FIVE, "entries": [{"actions": [{"output": "R.r"}]}]}
    assert register(write, read) == "scratch"
    assert register(write, {**read, "key": [FIVE[1], FIVE[0], *FIVE[2:]]}) == "assigned"
    rewrite = {"entries": [{"actions": [{"set": {"l4.dport": 80}}]}]}
    assert register(write, rewrite, read) == "assigned"


# --- tables ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (BOTH_WAYS, "per-flow"),
        (FIVE, "per-flow"),
        ({"fields": FLOW, "symmetric": True}, "per-flow"),
        ([*FIVE, "in_port"], "per-flow"),
        (["ipv4.src", "ipv4.dst", "tcp.sport", "tcp.dport"], "per-flow"),
        (["ip.src", "ip.dst", "l4.sport", "l4.dport"], "shared"),
        (["ip.src"], "shared"),
        (["eth.src"], "shared"),
        (["in_port"], "shared"),
        (FLOW[:4], "shared"),
        ([0], "global"),
    ],
)
def test_the_key_says_who_shares_a_context(key: Any, expected: str) -> None:
    assert table({"table": "t", "key": key, "entries": [{"next_state": "old"}]}).sharing == expected


def test_a_second_key_can_make_a_table_shared() -> None:
    main = {"table": "t", "key": FIVE, "entries": [{"next_state": "old"}]}
    assert table(main, {**main, "key": BOTH_WAYS}).sharing == "per-flow"
    back = ["ip.dst", "ip.src", "ip.proto", "l4.dport", "l4.sport"]
    assert table({**main, "update_key": back}).sharing == "per-flow"
    # 1.1.1.1:10 > 2.2.2.2:20 would write the context of 1.1.1.1:20 > 2.2.2.2:10.
    crossed = ["ip.src", "ip.dst", "ip.proto", "l4.dport", "l4.sport"]
    assert table({**main, "update_key": crossed}).sharing == "shared"


def test_a_foreign_write_by_another_key_makes_a_table_shared() -> None:
    expect = {"table": "t", "key": FIVE, "entries": [{"next_state": "old"}]}
    write = {"table": "t", "key": ["ip.dst", "ip.src", "ip.proto", "l4.sport", "tcp.dport"], "next_state": 1}
    stage = {"table": "u", "key": FIVE, "entries": [{"writes": [write]}]}
    found = table(expect, stage)
    assert found.sharing == "shared"
    assert "write key in s1 ('entry 0')" in found.why


def test_a_key_that_is_read_after_a_rewrite_cannot_be_trusted() -> None:
    nat = {"entries": [{"actions": [{"set": {"l4.sport": 1024}}]}]}
    main = {"table": "t", "key": FIVE, "entries": [{"next_state": "old"}]}
    assert table(main, nat).sharing == "per-flow"
    found = table(nat, main)
    assert (found.sharing, found.several_contexts) == ("shared", False)
    assert "rewritten" in found.why
    # The field has other names.
    other = {"entries": [{"actions": [{"set": {"tcp.sport": 1024}}]}]}
    assert table(other, main).sharing == "shared"


def need(*stages: dict[str, Any], name: str = "t") -> str:
    return table(*stages, name=name).need.how


def test_what_a_table_needs() -> None:
    own = {"table": "t", "key": FIVE, "entries": [{"next_state": "old"}]}
    host = {"table": "h", "key": ["ip.src"], "entries": [{"next_state": "old"}]}
    assert need(own) == "migrate"
    assert need({**own, "entries": [{"actions": ["drop"]}]}) == "replicate"
    assert need({**own, "key": [0]}) == "home"
    assert need(host, name="h") == "home, or migrate with BFENCE"
    assert need({**host, "update_key": ["ip.dst"]}, name="h") == "home"
    # A packet punted at h may be bounced at t; one punted at t is already on the CPU.
    assert need(host, own) == "migrate with BFENCE"
    assert need(own, host) == "migrate"
    around = {**host, "entries": [{"goto": "end"}], "default": {"actions": ["drop"]}}
    assert need(around, own) == "migrate with BFENCE"  # where the key is absent, the packet goes on


def test_timers_and_deletion_are_told() -> None:
    found = table({"table": "t", "key": FIVE, "entries": [{"next_state": "delete", "hard": "1s"}]})
    assert (found.timers, found.deletes, found.written) == (True, True, True)
    found = table({"table": "t", "key": FIVE, "entries": [{"idle": "off"}]})
    assert (found.timers, found.deletes, found.written) == (False, False, True)


# --- groups ----------------------------------------------------------------------------------------------


def groups(*stages: dict[str, Any], **parts: Any) -> tuple[tuple[str, ...], ...]:
    return analyse(program(*stages, globals={"g": ["x", "y"]}, **parts)).groups


def shared(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "table": name, "key": ["ip.src"], "entries": [{"next_state": "old"}], **more}


def test_shared_objects_on_one_path_form_a_group() -> None:
    own = {"table": "own", "key": FIVE, "entries": [{"next_state": "old"}]}
    assert groups(shared("a"), own) == ()
    assert groups(shared("a"), own, shared("b")) == (("a", "b"),)
    assert groups(shared("a"), shared("b", entries=[])) == ()  # nothing writes b


def test_exact_globals_belong_to_groups_and_counters_do_not() -> None:
    entry = {"next_state": "old", "updates": [update("G.g.x", "mov", "packet_length")]}
    assert groups(shared("a", entries=[entry])) == (("a", "G.g.x"),)
    entry = {"next_state": "old", "updates": [update("G.g.x", "add", "G.g.x", 1)]}
    assert groups(shared("a", entries=[entry])) == ()


def test_paths_that_never_meet_are_separate() -> None:
    fork = {
        "name": "fork",
        "entries": [{"match": {"in_port": 1}, "goto": "b"}, {"match": {"in_port": 2}, "actions": ["drop"]}],
        "default": {"actions": ["drop"]},
    }
    # Nobody comes from a to b: a ends or drops, and is itself jumped over.
    a = shared("a", entries=[{"next_state": "old", "goto": "end"}])
    keyed = {**a, "key": ["in_port"], "default": {"goto": "end"}}
    assert groups(fork, keyed, shared("b")) == (("a", "b"),)  # an entry need not match
    two = {
        "entries": [{"match": {"state": "new"}, "updates": [update("G.g.x", "mov", 1)], "actions": ["drop"]}]
    }
    other = {"match": {"state": "old"}, "updates": [update("G.g.y", "mov", 2)]}
    both = {**shared("a", table="own", key=FIVE), "entries": [*two["entries"], other]}
    assert groups(both) == ()  # no packet takes both entries
    assert groups({**both, "entries": [two["entries"][0], other]}, shared("b")) == (("b", "G.g.y"),)


def test_groups_join_where_they_touch() -> None:
    first = shared("a", entries=[{"match": {"ip.proto": 6}, "next_state": "old", "goto": "c"}])
    assert groups(first, shared("b"), shared("c")) == (("a", "b", "c"),)


def test_a_commit_stage_ends_every_path_but_a_drop() -> None:
    commit = shared("c", commit=True)
    ended = shared("a", key=["in_port"], entries=[{"next_state": "old", "goto": "end"}])
    assert groups(ended, commit) == (("a", "c"),)


# --- the whole -------------------------------------------------------------------------------------------


def test_the_papers_firewall() -> None:
    found = analyse(load_program("nf:stateful-firewall-2stage"))
    (connections,) = found.tables
    assert (connections.sharing, connections.label.kind, connections.need.how) == (
        "per-flow",
        "guarded",
        "migrate",
    )
    (key,) = connections.keys
    # IPv6: 2 x 128 + 8 + 2 x 16, and 8 for the family; IPv4 addresses are 96 bits shorter.
    assert (key.stage, key.role, key.bits, key.bits_ipv4) == ("conntrack", "lookup", 304, 112)
    assert (found.globals, found.groups) == ((), ())


@pytest.mark.parametrize("name", shipped_programs())
def test_every_shipped_program_is_analysed_and_shown(name: str) -> None:
    found = analyse(load_program(f"nf:{name}"))
    shown(found)


def shown(found: Analysis) -> None:
    text = as_text(found)
    assert max(map(len, text.splitlines())) <= 100
    for one in found.tables:
        assert f"table {one.table.name}: " in text
    assert len(found.as_dict()["globals"]) == len(found.globals)


def test_random_programs_are_analysed_and_shown(random_programs: ModuleType) -> None:
    count = 0
    for seed in range(200):
        try:
            drawn = load_program(random_programs.make_document(Random(seed)))
        except InputError:
            continue
        shown(analyse(drawn))
        count += 1
    assert count > 100

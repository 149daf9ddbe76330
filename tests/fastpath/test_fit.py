"""What of a program fits a NIC, worked out by hand: one program for every reason why something does not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from oppcache.fastpath import Fit, Profile, StageFit, fit, load_profile
from oppcache.fastpath.fit_text import as_text
from oppcache.fastpath.limits import SPECS
from oppcache.opp import InputError, Program, load_program, shipped_programs

FIVE = ["ip.src", "ip.dst", "ip.proto", "l4.sport", "l4.dport"]
IPV4 = ["ipv4.src", "ipv4.dst", "ipv4.proto", "l4.sport", "l4.dport"]


def program(*stages: Mapping[str, Any], **parts: Any) -> Program:
    """A program of some stages; stages without a name are s0, s1, …; tables have the registers r and q."""
    named = [{"name": f"s{i}", **stage} for i, stage in enumerate(stages)]
    tables = {s["table"]: {"registers": ["r", "q"], "states": ["new", "old"]} for s in named if "table" in s}
    document = {"program": "p", "tables": tables, "stages": named, "globals": {"g": ["x", "y"]}}
    return load_program({**document, **parts})


def on_sume(*stages: Mapping[str, Any], **parts: Any) -> Fit:
    return fit(program(*stages, **parts), load_profile("netfpga-sume"))


def stage(**parts: Any) -> dict[str, Any]:
    """A stage that fits, unless ``parts`` say otherwise."""
    return {"table": "t", "key": IPV4, **parts}


def entry(**parts: Any) -> dict[str, Any]:
    """A stage whose one entry has these parts."""
    return stage(entries=[parts])


def update(target: str, op: str, *args: Any) -> dict[str, Any]:
    return {"set": target, "op": op, "args": list(args)}


def codes(found: Fit, number: int = 0) -> list[str]:
    return [reason.code for reason in found.stages[number].reasons]


def entry_codes(found: Fit, number: int = 0) -> list[str]:
    return [reason.code for reason in found.stages[number].entry_reasons]


def only(found: StageFit) -> str:
    """The text of a stage's only reason."""
    (reason,) = (*found.reasons, *found.entry_reasons)
    return reason.text


def test_what_fits() -> None:
    found = on_sume(entry(match={"state": "new"}, next_state="old", updates=[update("R.r", "add", "R.r", 1)]))
    assert (found.fits, found.fits_wholly, found.reasons) == (True, True, ())
    (one,) = found.stages
    assert one.used["contexts.key_bits"] == 32 + 32 + 8 + 16 + 16
    assert one.used["efsm.entries"] == 1
    assert one.contexts == 33_333


def test_an_ipv6_key_is_punted_and_no_misfit() -> None:
    found = on_sume(stage(key={"fields": FIVE, "symmetric": True}))
    (one,) = found.stages
    assert (one.fits, one.fits_wholly, found.fits, found.fits_wholly) == (True, False, True, False)
    assert one.used["contexts.key_bits"] == 112
    assert [(reason.code, reason.got) for reason in one.punted[6]] == [
        ("parser.headers", None),
        ("contexts.key_bits", 2 * 128 + 8 + 2 * 16 + 8),
    ]
    only_ipv6 = on_sume(stage(key=["ipv6.src", "ipv6.dst"]))
    assert "contexts.key_bits" in codes(only_ipv6)


def test_a_wide_key_does_not_fit_at_all() -> None:
    wide = stage(key=[*IPV4, "eth.src"])
    assert on_sume(wide).stages[0].reasons[0].as_dict() == {
        "code": "contexts.key_bits",
        "text": "152 bit of lookup key, the NIC has 128",
        "entry": None,
        "got": 152,
        "limit": 128,
        "line": None,
        "column": None,
    }
    update_key = on_sume(stage(key=["eth.src", "eth.dst"], update_key=["eth.dst", "eth.src"]))
    assert update_key.fits_wholly


def test_ternary_entries_count_after_expansion() -> None:
    # 1-65534 takes 30 prefixes; 2 x 16 and 3 x 11 alternatives multiply.
    assert on_sume(entry(match={"tcp.dport": "1-65534"})).stages[0].used["efsm.entries"] == 30
    found = on_sume(entry(match={"tcp.dport": "1-65534", "state": ["new", "old"]}))
    assert only(found.stages[0]) == "60 ternary entries after expansion, the NIC has 32"
    ports = [{"match": {"tcp.dport": 1000 + n}} for n in range(33)]
    assert codes(on_sume(stage(entries=ports))) == ["efsm.entries"]
    assert codes(on_sume(stage(entries=ports[:32]))) == []


def test_entries_that_only_ipv6_packets_match_take_no_place_of_ipv4() -> None:
    six = [{"match": {"ip.src": f"2001:db8:{n:x}::/48"}} for n in range(40)]
    four = [{"match": {"ip.src": f"10.{n}.0.0/16"}} for n in range(30)]
    (one,) = on_sume({"entries": [*six, *four]}).stages
    assert (one.fits, one.used["efsm.entries"], one.used["efsm.width_bits"]) == (True, 30, 32)
    assert [reason.code for reason in one.punted[6]] == ["parser.headers", "efsm.entries"]


def test_wide_entries() -> None:
    # 48 + 48 + 32 + 32 = 160 fit; one bit more does not.
    match = {"eth.src": 1, "eth.dst": 1, "ipv4.src": "10.0.0.0/8", "ipv4.dst": "10.0.0.0/8"}
    assert on_sume({"entries": [{"match": match}]}).stages[0].used["efsm.width_bits"] == 160
    found = on_sume({"entries": [{"match": match}, {"match": {"valid.udp": True}}]})
    assert only(found.stages[0]) == "entries of 161 bit, the NIC has 160"


def test_labels_and_registers() -> None:
    big = entry(next_state=65_536)
    assert only(on_sume(big).stages[0]) == "17 bit of state label, the NIC has 16"
    assert on_sume(entry(next_state=65_535)).fits_wholly
    assert codes(on_sume(entry(idle={"after": "1s", "to": 65_536}))) == ["contexts.label_bits"]
    five = {"t": {"registers": list("abcde")}}
    assert only(on_sume(stage(), tables=five).stages[0]) == "5 registers, the NIC has 4"
    long = {"t": {"registers": [{"name": "a", "bits": 64}]}}
    assert only(on_sume(stage(), tables=long).stages[0]) == "register a of 64 bit, the NIC has 32"


def test_globals() -> None:
    nine = [f"v{n}" for n in range(9)]
    counted = [update(f"G.g.{name}", "add", f"G.g.{name}", 1) for name in nine]
    stages = stage(entries=[{"updates": counted[:5]}, {"match": {"state": "new"}, "updates": counted[5:]}])
    stages["entries"].reverse()
    assert only(on_sume(stages, globals={"g": nine}).stages[0]) == "9 globals, the NIC has 8"
    wide = {"g": [{"name": "x", "bits": 64}]}
    found = on_sume({"entries": [{"actions": [{"output": "G.g.x"}]}]}, globals=wide)
    assert codes(found) == ["updates.global_bits"]


def test_a_global_of_two_stages() -> None:
    count = entry(updates=[update("G.g.x", "add", "G.g.x", 1)])
    read = {"entries": [{"actions": [{"output": "G.g.x"}]}]}
    found = on_sume(count, read)
    assert [codes(found, 0), codes(found, 1)] == [["updates.shared_globals"]] * 2
    assert found.stages[1].reasons[0].text == "global g.x is also used in s0, on the NIC it is one stage's"
    assert on_sume(read, read).fits_wholly  # nobody writes it: both stages have it as a constant


def test_a_table_of_two_stages() -> None:
    found = on_sume(stage(), stage())
    assert codes(found, 0) == codes(found, 1) == ["contexts.shared_tables"]


def test_conditions() -> None:
    nine = {f"c{n}": ["R.r", "gt", n] for n in range(9)}
    assert only(on_sume(stage(conditions=nine)).stages[0]) == "9 conditions, the NIC has 8"
    signed = on_sume(stage(conditions={"c": ["R.r", "slt", 0]})).stages[0]
    assert only(signed) == "condition c is slt, the NIC has lt, le, gt, ge, eq, ne"
    assert codes(on_sume(stage(conditions={"c": ["random", "lt", 9]}))) == ["efsm.condition_operands"]
    assert codes(on_sume(stage(conditions={"c": ["eth.src", "eq", 9]}))) == ["pipeline.word_bits"]


def test_temporaries() -> None:
    one = {"name": "x", "op": "mul", "args": ["R.r", "R.q"]}
    found = on_sume(stage(temporaries=[one], conditions={"c": ["T.x", "gt", 5]}))
    assert codes(found) == ["efsm.condition_operands", "pipeline.temporaries"]
    wide = fit(
        program(stage(temporaries=[one], conditions={"c": ["T.x", "gt", 5]})),
        load_profile("netfpga-sume-wide"),
    )
    assert codes(wide) == ["updates.operations"]


def test_fields_that_the_parser_does_not_read() -> None:
    assert codes(on_sume(stage(key=["vlan.id"]))) == ["parser.headers"]
    assert codes(on_sume(entry(match={"icmp.type": 8}))) == ["parser.headers"]
    assert codes(on_sume(entry(match={"valid.arp": True}))) == ["parser.headers"]
    assert codes(on_sume(stage(key=["flow.src"]))) == ["parser.headers"]
    assert codes(on_sume(stage(conditions={"c": ["tcp.mss", "gt", 9]}))) == ["parser.headers"]
    found = on_sume(entry(updates=[update("R.r", "mov", "vlan.id")]))
    assert (codes(found), entry_codes(found)) == ([], ["parser.headers"])
    assert only(found.stages[0]) == "uses vlan.id, the NIC's parser reads eth, ipv4, tcp, udp"


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"updates": [update("R.r", "mul", "R.r", 2)]}, "updates.operations"),
        ({"updates": [update("R.r", "max", "R.r", 2)]}, "updates.operations"),
        ({"updates": [{**update("R.r", "ewma", "R.r", 2), "k": 1}]}, "updates.operations"),
        ({"updates": [update("R.r", "shl", "R.r", "R.q")]}, "updates.shift_by"),
        ({"updates": [update("R.r", "add", "R.r", "random")]}, "updates.operands"),
        ({"updates": [update("R.r", "mov", "eth.src")]}, "pipeline.word_bits"),
        ({"actions": ["dec_ttl"]}, "actions.kinds"),
        ({"actions": [{"set": {"eth.dst": "R.r"}}]}, "actions.set_bits"),
        ({"actions": [{"output": "random"}]}, "actions.operands"),
    ],
)
def test_an_entry_that_the_nic_cannot_run_punts_its_packets(parts: dict[str, Any], code: str) -> None:
    found = on_sume(stage(entries=[{"name": "first", "match": {"state": "old"}}, {"name": "odd", **parts}]))
    (one,) = found.stages
    assert (one.fits, one.fits_wholly, one.punting_entries) == (True, False, ("odd",))
    assert entry_codes(found) == [code]


def test_entries_that_the_nic_can_run() -> None:
    fine = [
        update("R.r", "shr", "R.r", 3),
        update("R.q", "sub", "now_us", "R.q"),
        update("G.g.x", "xor", "ipv4.src", "R.r"),
        update("G.g.y", "mov", "packet_length"),
    ]
    assert on_sume(entry(updates=fine, next_state="delete", goto="end", hard="1s")).fits_wholly
    assert on_sume(entry(updates=[update("R.r", "add", "W.r", 1)])).fits_wholly  # W is R at the looked-up key


def test_more_updates_than_alus() -> None:
    names = [f"v{n}" for n in range(6)]
    counted = [update(f"G.g.{name}", "add", f"G.g.{name}", 1) for name in names]
    found = on_sume(entry(updates=counted), globals={"g": names})
    assert only(found.stages[0]) == "6 updates, the NIC has 5"
    assert on_sume(entry(updates=counted[:5]), globals={"g": names}).fits_wholly


def test_writes_to_other_keys_and_tables() -> None:
    back = ["ipv4.dst", "ipv4.src", "ipv4.proto", "l4.dport", "l4.sport"]
    assert on_sume(stage(update_key=back, entries=[{"next_state": "old"}])).fits_wholly
    # The old value of what is written there is not at hand.
    found = on_sume(stage(update_key=back, entries=[{"updates": [update("R.r", "add", "W.r", 1)]}]))
    assert entry_codes(found) == ["updates.operands"]
    found = on_sume(entry(writes=[{"table": "t", "key": back, "next_state": "old"}]))
    assert entry_codes(found) == ["writes.keys"]
    twice = [
        {"table": "t", "key": "lookup", "next_state": "old"},
        {"table": "t", "key": back, "next_state": 1},
    ]
    assert entry_codes(on_sume(entry(writes=twice))) == ["writes.per_entry", "writes.keys"]
    other = [{"table": "u", "key": ["ipv4.src"], "next_state": "old"}]
    found = on_sume(stage(entries=[{"writes": other}]), {"table": "u", "key": ["ipv4.src"]})
    assert only(found.stages[0]) == "writes table 'u', the NIC writes only the stage's own"
    assert found.stages[1].fits_wholly


def limited(tmp_path: Path, text: str) -> Profile:
    """A NIC of one's own."""
    (tmp_path / "own.yaml").write_text(f"profile: own\n{text}\n")
    return load_profile(str(tmp_path / "own.yaml"))


@pytest.mark.parametrize(
    ("text", "parts", "code"),
    [
        ("writes: {timers: [idle]}", {"hard": "1s"}, "writes.timers"),
        ("writes: {timers: []}", {"idle": "1s"}, "writes.timers"),
        ("writes: {timers: []}", {"idle": "off"}, None),
        ("writes: {delete: false}", {"next_state": "delete"}, "writes.delete"),
        ("writes: {keys: [update]}", {"next_state": "old"}, "writes.keys"),
        ("pipeline: {goto: false}", {"goto": "end"}, "pipeline.goto"),
        ("updates: {operands: [const]}", {"updates": [update("R.r", "mov", "now_s")]}, "updates.operands"),
        ("actions: {kinds: []}", {"actions": ["drop"]}, "actions.kinds"),
    ],
)
def test_what_a_nic_of_ones_own_cannot_do(
    tmp_path: Path, text: str, parts: dict[str, Any], code: str | None
) -> None:
    found = fit(program(entry(**parts)), limited(tmp_path, text))
    assert entry_codes(found) == ([] if code is None else [code])


def test_a_symmetric_key_on_a_nic_that_has_none(tmp_path: Path) -> None:
    profile = limited(tmp_path, "contexts: {symmetric_keys: false}")
    found = fit(program(stage(key={"fields": FIVE, "symmetric": True})), profile)
    assert codes(found) == ["contexts.symmetric_keys"]


def test_more_stages_than_the_nic_has() -> None:
    tables = [stage(table=f"t{n}") for n in range(7)]
    found = on_sume(*tables)
    (reason,) = found.reasons
    assert reason.text == "7 stages, the NIC has 6: those from 's6' on run on the CPU"
    assert all(one.fits for one in found.stages)
    assert (found.fits, on_sume(*tables[:6]).fits) == (False, True)


def test_metadata_counts_what_it_can_hold() -> None:
    def carry(*values: Any) -> Fit:
        words = [f"m{n}" for n in range(len(values))]
        actions = [{"set": {f"metadata.{word}": value}} for word, value in zip(words, values, strict=True)]
        return on_sume(entry(actions=actions), metadata=words)

    assert carry("ipv4.src", "R.r").fits  # 32 + 32
    (reason,) = carry("ipv4.src", "R.r", 2).reasons
    assert reason.text == "66 bit of metadata (m0 32, m1 32, m2 2), the NIC moves 64 from stage to stage"
    assert carry("ip.proto", "l4.sport", "direction", 255, "metadata.m0").fits  # 8 + 16 + 1 + 8 + 8


def test_capacity_of_wide_contexts_is_what_the_memory_gives() -> None:
    wide = load_profile("netfpga-sume-wide")
    # key 304 + label 1 + registers 64 + flags 2 + protocol 83 = 454 bit
    (one,) = fit(program(stage(key=FIVE)), wide).stages
    assert one.contexts == 38_891_520 // 454
    # Two tables share it; an IPv4 key is 104 bit.
    first, second = fit(program(stage(key=FIVE), stage(table="u")), wide).stages
    assert first.contexts == 38_891_520 // 2 // 454
    assert second.contexts == 38_891_520 // 2 // (104 + 1 + 64 + 2 + 83)


def test_the_papers_firewall() -> None:
    found = fit(load_program("nf:stateful-firewall-2stage"), load_profile("netfpga-sume"))
    conntrack, rules = found.stages
    assert (found.fits, found.fits_wholly) == (True, False)
    # 7 entries of the block as published; 2 bit of state and the direction.
    assert (conntrack.used["efsm.entries"], conntrack.used["efsm.width_bits"]) == (7, 3)
    # established; three IPv4 prefixes inside (IPv6 ones take no place); one DMZ; the rest.
    assert (rules.used["efsm.entries"], rules.used["efsm.width_bits"]) == (6, 2 + 32 + 32 + 1)
    assert list(conntrack.punted) == list(rules.punted) == [6]


@pytest.mark.parametrize("name", shipped_programs())
def test_every_shipped_program_fits_the_ideal_nic(name: str) -> None:
    assert fit(load_program(f"nf:{name}"), load_profile("ideal")).fits_wholly


def test_random_programs_fit_the_ideal_nic_and_are_shown_for_others(random_programs: Any) -> None:
    from random import Random

    count = 0
    for seed in range(80):
        try:
            drawn = load_program(random_programs.make_document(Random(seed)))
        except InputError:
            continue
        count += 1
        assert fit(drawn, load_profile("ideal")).fits_wholly
        for name in ("netfpga-sume", "netfpga-sume-wide"):
            found = fit(drawn, load_profile(name))
            assert all(
                r.code in SPECS and r.text for s in found.stages for r in (*s.reasons, *s.entry_reasons)
            )
            assert max(map(len, as_text(found).splitlines())) <= 100
            assert len(found.as_dict()["stages"]) == len(drawn.stages)
    assert count > 40

"""NIC profiles: what the shipped ones say, what a file of one's own can, and how a wrong one is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from oppcache.fastpath import load_profile, profile_names
from oppcache.fastpath.limits import SPECS
from oppcache.fastpath.profiles_page import page
from oppcache.opp.errors import InputError, Mark


def test_the_shipped_profiles() -> None:
    assert profile_names() == (
        "ideal",
        "netfpga-sume",
        "netfpga-sume-rtl",
        "netfpga-sume-wide",
        "smartnic-2025",
    )
    assert tuple(load_profile(name).name for name in profile_names()) == profile_names()


def test_the_ideal_nic_has_no_limits() -> None:
    ideal = load_profile("ideal")
    assert all(ideal.value(key) is None for key in SPECS)
    assert ideal.allows("writes.timers", "idle")
    assert ideal.allows("contexts.shared_tables")


def test_netfpga_sume_is_what_the_papers_say() -> None:
    sume = load_profile("netfpga-sume")
    expected = {
        "timing.clock": 156.25e6,
        "timing.bus_bits": 256,
        "timing.line_rate": 40e9,
        "timing.frame_min": 60,
        "timing.wire_overhead": 24,
        "pipeline.stages": 6,
        "pipeline.stage_cycles": 8,
        "contexts.choices": 4,
        "contexts.key_bits": 128,
        "contexts.stash": 8,
        "contexts.one_stage_build": 16_384,
        "contexts.total": 200_000,
        "contexts.public_rtl": 4 * 1_024,
        "contexts.move_time": 6.4,
        "efsm.entries": 32,
        "efsm.width_bits": 160,
        "contexts.registers": 4,
        "contexts.register_bits": 32,
        "updates.globals": 8,
        "updates.global_bits": 32,
        "efsm.conditions": 8,
        "updates.per_entry": 5,
        "contexts.label_bits": 16,
        "pipeline.metadata_bits": 64,
        "timing.hazard_cycles": 8,
        "timing.hazard_queue": 20,
        "timing.hazard_stall_max": 384.0,
        "pipeline.temporaries": 0,
    }
    assert {key: sume.value(key) for key in expected} == expected
    assert not sume.allows("actions.kinds", "generate")
    assert not sume.allows("updates.operations", "mul")


def test_every_limit_of_a_shipped_profile_says_where_it_is_from() -> None:
    for name in profile_names():
        for key, limit in load_profile(name).limits.items():
            assert limit.kind in ("read", "derived", "assumed"), key
            assert limit.source, key


def test_the_wide_device_is_the_same_device_with_wide_contexts() -> None:
    sume, wide = load_profile("netfpga-sume"), load_profile("netfpga-sume-wide")
    assert wide.value("contexts.key_bits") is None
    assert wide.value("contexts.registers") is None
    assert wide.value("contexts.memory_bits") == 1_055 * 36_864
    for key in ("pipeline.stages", "efsm.entries", "efsm.width_bits", "updates.per_entry", "timing.clock"):
        assert wide.value(key) == sume.value(key)


def test_the_pipeline_takes_short_packets_as_cycle_arithmetic_says() -> None:
    """Four 10G links bring 59.5 M packets/s of the shortest, two cycles each; the public RTL takes far fewer."""
    sume, rtl = load_profile("netfpga-sume"), load_profile("netfpga-sume-rtl")
    frame, overhead = sume.number("timing.frame_min"), sume.number("timing.wire_overhead")
    bus, clock, rate = (sume.value(f"timing.{key}") for key in ("bus_bits", "clock", "line_rate"))
    assert frame is not None
    assert overhead is not None
    assert all(isinstance(n, int | float) for n in (bus, clock, rate))
    brought = float(rate) / (8 * (frame + overhead))  # type: ignore[arg-type]
    taken = float(clock) / -(-8 * frame // int(bus))  # type: ignore[arg-type]
    assert brought == pytest.approx(59.52e6, rel=1e-3)
    assert taken == 78.125e6
    assert rtl.number("timing.short_bytes") == 5 * 256 // 8
    short = rtl.number("timing.short_cycles")
    assert short is not None
    assert float(clock) / short == pytest.approx(14.2e6, rel=1e-2)  # type: ignore[arg-type]
    inserts = sume.number("control.inserts")
    assert inserts == pytest.approx(brought / 1000, rel=1e-3)


def test_the_public_rtl_is_smaller_than_the_published_build() -> None:
    sume, rtl = load_profile("netfpga-sume"), load_profile("netfpga-sume-rtl")
    keys = (
        *(
            "pipeline.stages",
            "contexts.registers",
            "contexts.label_bits",
            "contexts.per_table",
            "contexts.total",
        ),
        *("efsm.width_bits", "efsm.conditions", "updates.globals"),
    )
    for key in keys:
        small, large = rtl.number(key), sume.number(key)
        assert small is not None
        assert large is not None
        assert small < large, key
    assert rtl.value("contexts.key_bits") == sume.value("contexts.key_bits")


def test_the_assumed_device_says_so() -> None:
    kinds = {key: limit.kind for key, limit in load_profile("smartnic-2025").limits.items()}
    assert {key for key, kind in kinds.items() if kind != "assumed"} == {
        "timing.frame_min",
        "timing.wire_overhead",
    }


def test_a_profile_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("profile: base\nefsm: {entries: 64, conditions: 4}\n")
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "profile: mine\ndescription: A test.\nbase: base.yaml\n"
        "efsm: {entries: {value: 1k, kind: derived, source: two of them}, width_bits: 320}\n"
        "contexts: {load: 95%, key_bits: unlimited}\n"
        "timing: {clock: 1.5GHz, hazard_stall_max: 0.5us, line_rate: 100Gbps}\n"
        "updates: {shared_globals: false, operations: [add, mov]}\n"
    )
    profile = load_profile(str(mine))
    assert (profile.name, profile.description) == ("mine", "A test.")
    assert profile.number("efsm.entries") == 1_000
    assert (profile.limits["efsm.entries"].kind, profile.limits["efsm.width_bits"].kind) == (
        "derived",
        "given",
    )
    assert profile.number("efsm.conditions") == 4
    assert profile.value("contexts.load") == 0.95
    assert profile.value("contexts.key_bits") is None
    assert (profile.value("timing.clock"), profile.value("timing.hazard_stall_max")) == (1.5e9, 500.0)
    assert not profile.allows("updates.shared_globals")
    assert profile.allows("updates.operations", "add")
    assert not profile.allows("updates.operations", "sub")


WRONG = """\
profile: wrong
descripton: x
pipeline: {stages: -1, stage: 6, goto: 1}
efsm:
  entries: {value: 32, kind: heard, sorce: a friend}
  width_bits: {kind: read}
  conditions: {value: 8, kind: read}
  comparisons: [lt, lte]
  condition_operands: register
contexts: {move_time: 6.4, organisation: hash, load: 120%}
timing: {clock: 156, line_rate: fast, frame_min: 1.5}
updates: 5
writes: {timers: [idle], per_entry: {value: 1, source: 7}}
"""


def test_every_problem_of_a_wrong_profile_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(WRONG)
    with pytest.raises(InputError) as caught:
        load_profile(str(file))
    told = {(p.mark.line, p.mark.column): str(p).partition(": ")[2] for p in caught.value.problems}
    assert told == {
        (2, 1): "a profile has no key 'descripton' (did you mean 'description'?)",
        (3, 20): "pipeline.stages: got -1, expected a whole number such as 4096, 64k or 1Mi, not negative",
        (3, 24): "pipeline has no key 'stage' (did you mean 'stages'?)",
        (3, 40): "pipeline.goto: got 1, expected true or false",
        (5, 30): "efsm.entries: got kind 'heard', expected read, derived, assumed, given "
        "(did you mean 'read'?)",
        (5, 37): "efsm.entries: a limit has no key 'sorce' (did you mean 'source'?)",
        (6, 15): "efsm.width_bits: 'value' is missing",
        (7, 15): "efsm.conditions: is read, so it needs a source",
        (8, 21): "efsm.comparisons: unknown name 'lte' (did you mean 'lt'?)",
        (9, 23): "efsm.condition_operands: got 'register', expected a list",
        (10, 23): "contexts.move_time: got 6.4, expected a duration with a unit, such as 6.4ns",
        (10, 42): "contexts.organisation: got 'hash', expected fully-associative, direct-mapped, "
        "set-associative, d-left, cuckoo",
        (10, 54): "contexts.load: got '120%', expected a share such as 10% or 0.1, from 0 to 1",
        (11, 17): "timing.clock: got 156, expected a frequency with a unit, such as 156.25MHz",
        (11, 33): "timing.line_rate: got 'fast', expected a bandwidth such as 40Gbps or 31.5Gbps",
        (11, 50): "timing.frame_min: got 1.5, expected a size such as 1500, 64KiB or 2MB, not negative",
        (12, 10): "updates: got 5, expected a mapping",
        (13, 56): "writes.per_entry: got source 7, expected text",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1:1: got None, expected a profile: a mapping"),
        ("- 6\n", "1:1: got [6], expected a profile: a mapping"),
        ("description: x\n", "1:1: 'profile' is missing"),
        ("profile: 7\n", "1:10: profile: got 7, expected text"),
        ("profile: x\nprofile: y\n", "2:1: duplicate key 'profile': it stands at line 1 already"),
        (
            "profile: x\nbase: netfpga-sum\n",
            "2:7: NIC profile 'netfpga-sum' is not available in this version",
        ),
        ("profile: x\nbase: own.yaml\n", "2:7: base 'own.yaml': more than 8 profiles stand on each other"),
    ],
)
def test_a_file_that_is_no_profile(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(text)
    with pytest.raises(InputError, match=re.escape(f"{file}:{expected}")):
        load_profile(str(file))


def test_a_name_that_there_is_none_of() -> None:
    with pytest.raises(InputError) as caught:
        load_profile("netfpga", Mark("x.yaml", 3, 7))
    assert str(caught.value) == (
        "x.yaml:3:7: NIC profile 'netfpga' is not available in this version; available: ideal, netfpga-sume, "
        "netfpga-sume-rtl, netfpga-sume-wide, smartnic-2025, or a .yaml file (did you mean 'netfpga-sume'?)"
    )
    with pytest.raises(InputError, match=r"none\.yaml: no such file"):
        load_profile("none.yaml")
    with pytest.raises(KeyError):
        load_profile("ideal").value("pipeline.stage")


def test_the_guides_page_is_what_the_profiles_say(checkout: Path, tmp_path: Path) -> None:
    written = (checkout / "docs" / "profiles.md").read_text(encoding="utf-8")
    assert written == page(), "run: python -m oppcache.fastpath.profiles_page > docs/profiles.md"
    example = re.search(r"^```\w*\n(profile: my-nic.*?)^```", written, re.MULTILINE | re.DOTALL)
    assert example is not None
    (tmp_path / "my-nic.yaml").write_text(example.group(1))
    assert load_profile(str(tmp_path / "my-nic.yaml")).number("efsm.entries") == 256

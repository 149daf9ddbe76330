"""What an experiment file may say: units, ranges, defaults, and the schema that editors get."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from oppcache.experiments.schema import Experiment, json_schema, leaves

REQUIRED: dict[str, Any] = {
    "name": "a",
    "program": {"nf": "stateful-firewall"},
    "traffic": {"generator": {"model": "zipf"}, "packets": "1k"},
}


def read(**sections: Any) -> Experiment:
    return Experiment.model_validate(REQUIRED | sections)


def test_absent_keys_take_the_documented_values() -> None:
    e = read()
    assert (e.nic.profile, e.nic.contexts, e.consistency.protocol) == ("netfpga-sume", 4096, "cas-hold")
    assert (e.link.rx, e.link.tx, e.link.bandwidth, e.link.ring) == (2_000, 2_000, 31.5e9, 4096)
    assert (e.control.rtt, e.control.inserts) == (10_000, 200e3)
    assert (e.cpu.cores, e.cpu.service, e.cpu.queue) == (2, 850, 4096)
    assert (e.cache.admission, e.cache.eviction, e.cache.unit) == ("always", "lru", "context")
    assert (e.consistency.hold, e.consistency.hold_timeout, e.consistency.resend) == (8, 50_000, 50_000)
    assert (e.consistency.retries, e.consistency.writeback_interval) == (8, None)
    assert e.consistency.checkpoint_interval == 10_000_000
    assert (e.traffic.rate, e.traffic.warmup, e.traffic.duration) == ("as-captured", 0.0, None)
    assert (e.seeds, e.sweep, e.figures) == ((0,), {}, ())


def test_units_are_read() -> None:
    e = read(
        nic={"contexts": "64k"},
        link={"rx": "1.5us", "bandwidth": "10Gbps"},
        control={"inserts": "50k/s"},
        traffic={"generator": {"model": "zipf"}, "packets": "2Mi", "duration": "1.5s", "warmup": "10%"},
        cache={"admission": {"rate": "10kpps"}},
    )
    assert e.nic.contexts == 64_000
    assert (e.link.rx, e.link.bandwidth) == (1_500, 10e9)
    assert e.control.inserts == 50e3
    assert (e.traffic.packets, e.traffic.duration, e.traffic.warmup) == (2 * 2**20, 1_500_000_000, 0.1)
    assert e.cache.admission == {"rate": 10e3}


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("nic", {"contexts": -1}),
        ("nic", {"contexts": 1.5}),
        ("nic", {"contexts": "4096 MB"}),
        ("nic", {"contexts": True}),
        ("link", {"rx": 2}),
        ("link", {"bandwidth": "31.5"}),
        ("control", {"inserts": "200kpps"}),
        ("cpu", {"cores": 0}),
        ("cpu", {"service": "0ns"}),
        ("traffic", {"generator": {"model": "zipf"}, "warmup": "100%"}),
        ("traffic", {"generator": {"model": "zipf"}, "packets": None}),
        ("cache", {"admission": {"packet": 0}}),
        ("cache", {"admission": {"packet": 1, "rate": "1kpps"}}),
        ("cache", {"unit": "flow"}),
        ("consistency", {"globals": "sometimes"}),
        ("faults", {"control": {"loss": 2}}),
        ("seeds", 0),
        ("seeds", []),
        ("seeds", [1, 1]),
        ("seeds", [-1]),
        ("name", "a/b"),
        ("name", ".."),
        ("program", {"nf": "a", "opp": "b"}),
        ("program", "stateful-firewall"),
        ("sweep", {"nic.contexts": 5}),
        ("measure", "hit_rate"),
    ],
)
def test_what_makes_no_sense_is_refused(section: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        read(**{section: value})


def test_seeds_are_a_number_or_a_list() -> None:
    assert read(seeds=5).seeds == (0, 1, 2, 3, 4)
    assert read(seeds=[7, 3]).seeds == (7, 3)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    contexts=st.integers(0, 2**40),
    rx=st.integers(0, 10**15),
    inserts=st.integers(1, 10**12),
    loss=st.floats(0, 1),
    times=st.lists(st.integers(0, 10**12), max_size=3),
)
def test_a_manifest_configuration_reads_back_as_itself(
    contexts: int, rx: int, inserts: int, loss: float, times: list[int]
) -> None:
    given = read(
        nic={"contexts": contexts},
        link={"rx": f"{rx}ns"},
        control={"inserts": f"{inserts}/s"},
        faults={"control": {"loss": loss}, "nic_reset_at": [f"{time}ns" for time in times]},
    )
    dumped = given.model_dump(mode="json", exclude_none=True)
    assert Experiment.model_validate(dumped) == given


def test_json_schema_tells_an_editor_what_a_user_may_write() -> None:
    schema = json_schema()
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["name", "program", "traffic"]
    link = schema["$defs"]["Link"]["properties"]
    assert link["rx"]["default"] == "2us"
    assert link["rx"]["title"] == "NIC to CPU latency"
    pattern = re.compile(link["rx"]["pattern"])
    assert pattern.search("2us")
    assert not pattern.search("2")
    contexts = schema["$defs"]["Nic"]["properties"]["contexts"]["anyOf"]
    assert [branch["type"] for branch in contexts] == ["number", "string"]
    assert re.search(contexts[1]["pattern"], "64Ki")
    assert schema["$defs"]["Traffic"]["not"] == {"required": ["pcap", "generator"]}
    assert schema["$defs"]["Cache"]["properties"]["unit"]["enum"] == ["context", "bundle"]


def test_every_key_has_words_for_an_axis_or_legend() -> None:
    assert all(field.title for field in leaves().values())

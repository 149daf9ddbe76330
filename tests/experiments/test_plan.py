"""From a file to runs: every mistake at once with its place, the grid, --set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from oppcache.experiments import api
from oppcache.experiments.document import gallery_names, read_document
from oppcache.experiments.plan import Plan
from oppcache.opp.errors import InputError

Write = Callable[..., Path]


def problems(source: Any, options: Sequence[str] = ()) -> list[str]:
    with pytest.raises(InputError) as caught:
        api.plan(source, options)
    return [str(problem) for problem in caught.value.problems]


def swept(plan: Plan) -> list[tuple[Any, ...]]:
    return [(*run.swept.values(), run.seed) for run in plan.runs]


def test_all_mistakes_are_told_at_once_with_their_places(write: Write) -> None:
    path = write(
        "name: x\n"
        "program: {nf: stateful-firewal}\n"
        "traffic: {pcap: nope.pcap, packts: 3}\n"
        "nic: {contexts: -1}\n"
        "link: {rx: 2}\n"
        "sweep: {nic.contxts: [1], cache.eviction: [lru, fifoo], traffic.rate: [40]}\n"
        "seeds: 0\n"
        "figures: [{y: hitrate, x: cache.eviction, kind: lin}]\n"
        "faults: {ring_drop: 1%}\n"
        "consistency: {protocol: instant}\n"
    )
    told = problems(path)
    expected = [
        ":2:15: program.nf: got 'stateful-firewal'",
        ":3:28: traffic: got unknown key 'packts'",
        ":4:17: nic.contexts: got -1, expected a whole number",
        ":5:12: link.rx: got 2, expected a duration with a unit",
        ":6:9: sweep: got 'nic.contxts'",
        ":6:49: cache.eviction: got 'fifoo'",
        ":6:72: traffic.rate: got '40'",
        ":7:8: seeds: got 0",
        ":8:15: figures[0].y: got 'hitrate'",
        ":8:49: figures[0].kind: got 'lin'",
        ":9:9: faults: protocol instant takes no time",
    ]
    for line in expected:
        assert any(f"{path}{line}" in text for text in told), line
    assert any("nope.pcap: no such file" in text for text in told)
    assert len(told) == len(expected) + 1
    hints = ("stateful-firewall", "packets", "nic.contexts", "fifo", "hit_rate", "line")
    for hint in hints:
        assert any(f"did you mean {hint!r}?" in text for text in told), hint


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"program": {"iptables": "r.v4"}}, "no ruleset 'r.v4'"),
        ({"program": {"nf": "stateful-firewall", "insid": []}}, "did you mean 'inside'?"),
        ({"program": {"opp": "mine.yaml"}}, "mine.yaml: no such file"),
        ({"nic": {"profile": "netfpga-sum"}}, "did you mean 'netfpga-sume'?"),
        ({"nic": {"profile": "my-nic.yaml"}}, "my-nic.yaml: no such file"),
        (
            {"consistency": {"protocol": "cas-hold-queues"}},
            "'cas-hold-queues' is not available in this version; available: buffer-forward, cas, cas-hold, cpu-only",
        ),
        (
            {"figures": [{"y": "hit_rate", "x": "control_message", "kind": "scatter"}]},
            "figures[0].x: got 'control_message', expected a metric such as control_messages_per_packet",
        ),
        (
            {"figures": [{"y": "hit_rate", "x": "hits", "shade": "anomalies", "kind": "scatter"}]},
            "figures[0].shade: got 'anomalies', expected a metric such as anomaly_rate",
        ),
        (
            {"figures": [{"y": "hit_rate", "x": "nic.contexts", "shade": "hits"}]},
            "figures[0].shade: got 'hits', expected none: a line has no shades",
        ),
        ({"consistency": {"protocol": "instnt"}}, "did you mean 'instant'?"),
        ({"consistency": {"protocol": "my.yaml"}}, "my.yaml: no such file"),
        ({"cache": {"eviction": "arcs"}}, "did you mean 'arc'?"),
        ({"cache": {"admission": "tinyflu"}}, "did you mean 'tinylfu'?"),
        ({"cache": {"admission": {"tinylfu": 3}}}, "got 'tinylfu', expected always, {packet: 8}"),
        (
            {"nic": {"profile": "netfpga-sume"}, "cache": {"unit": "bundle"}},
            "got bundle: a bundle moves at once",
        ),
        (
            {"nic": {"organisation": "cuckoo"}, "cache": {"unit": "bundle"}},
            "got bundle: a bundle moves at once",
        ),
        ({"cache": {"unit": "bundle", "eviction": "lowest-r0"}}, "has no one register for a policy"),
        ({"cache": {"release": {"idel": "3s"}}}, "did you mean 'idle'?"),
        ({"cache": {"release": {"idle": 3}}}, "got 3, expected a duration with a unit"),
        ({"cache": {"release": {"states": ["establshed"]}}}, "did you mean 'established'?"),
        ({"cache": {"release": {"states": [1.5]}}}, "got 1.5, expected the name or number of a state label"),
        ({"cache": {"release": {"flags": ["FIM"]}}}, "FIN"),
        (
            {"cache": {"admission": {"probability": "110%"}}},
            "expected a share such as 10% or 0.1, from 0 to 1",
        ),
        ({"measure": "max_lossless_rate"}, "measure: got max_lossless_rate of a machine that takes no time"),
        ({"traffic": {}}, "got neither pcap nor generator, expected one of them (--set traffic.pcap=FILE"),
        ({"traffic": {"generator": {"model": "zipf"}}}, "a generator has no end"),
        ({"traffic": {"generator": {"model": "zip"}, "packets": 1}}, "did you mean 'zipf'?"),
        ({"traffic": {"generator": {"model": "zipf", "flow": 3}, "packets": 1}}, "did you mean 'flows'?"),
        ({"traffic": None}, "traffic: got nothing, expected a mapping"),
        ({"sweep": {"nic": [{}], "nic.contexts": [1]}}, "got both 'nic' and 'nic.contexts'"),
        ({"sweep": {"seeds": [1]}}, "'seeds' cannot be swept"),
        ({"sweep": {"nic.contexts": ["1k", 1000]}}, "got 1000 after '1k', expected each value once"),
        ({"figures": [{"y": "hit_rate", "x": "nic.contxts"}]}, "did you mean 'nic.contexts'?"),
        (
            {"figures": [{"y": "hit_rate", "x": "nic.contexts", "by": "nic.contexts"}]},
            "a swept key other than x",
        ),
        (
            {"figures": [{"y": "context_hit_rate.conections", "x": "nic.contexts"}]},
            "did you mean 'connections'?",
        ),
        (
            {"figures": [{"y": "hit_rate", "x": "nic.contexts", "kind": "timeline"}]},
            "expected one of time, packets",
        ),
        ({"figures": [{"x": "nic.contexts"}]}, "figures[0].y is missing"),
    ],
)
def test_each_mistake_says_what_was_expected(
    write: Write, experiment: dict[str, Any], change: dict[str, Any], expected: str
) -> None:
    told = problems(write(experiment | change))
    assert any(expected in text for text in told), told
    assert all(".yaml" in text for text in told)


def test_a_file_that_is_no_experiment_is_one_line(write: Write, tmp_path: Path) -> None:
    assert problems(write("")) == [
        f"{tmp_path}/experiment.yaml:1:1: got an empty file, expected an experiment (a mapping)"
    ]
    assert "expected an experiment" in problems(write("- a"))[0]
    assert "not valid YAML" in problems(write("a: ]"))[0]
    assert "duplicate key 'name'" in problems(write("name: a\nname: b\n"))[0]
    assert "no such file" in problems(tmp_path / "absent.yaml")[0]
    assert "is a directory" in problems(tmp_path)[0]


def test_the_grid_has_the_first_key_slowest_and_then_seeds(experiment: dict[str, Any]) -> None:
    plan = api.plan(experiment | {"seeds": [5, 2]})
    grid = [(c, e, s) for c in (16, 64) for e in ("fifo", "lru") for s in (5, 2)]
    assert swept(plan) == grid
    assert [run.index for run in plan.runs] == list(range(8))
    last = plan.runs[-1]
    assert (last.config.nic.contexts, last.resolved.eviction, last.seed) == (64, "lru", 2)


def test_swept_values_are_plain_numbers_in_base_units(experiment: dict[str, Any]) -> None:
    def values(key: str, items: list[Any]) -> list[Any]:
        return [row[0] for row in swept(api.plan(experiment | {"sweep": {key: items}}))]

    assert values("nic.contexts", ["1k", "1Ki"]) == [1000, 1024]
    assert values("link.rx", ["1us", "2ms"]) == [1e-6, 2e-3]
    assert values("traffic.rate", ["1Mpps", "10Mpps"]) == [1e6, 10e6]
    assert values("traffic.rate", ["as-captured", "10Mpps"]) == ["as-captured", "10Mpps"]
    assert values("traffic.generator.flows", [100, "1k"]) == [100, 1000]
    assert values("traffic.generator.zipf", [0.8, 1]) == [0.8, 1.0]
    assert values("cache.admission", ["always", {"packet": 8}]) == ["always", "packet=8"]
    inside = [["10.0.0.0/8"], ["10.0.0.0/8", "192.168.0.0/16"]]
    assert values("program.inside", inside) == ["10.0.0.0/8", "10.0.0.0/8 192.168.0.0/16"]


def test_a_required_key_may_be_given_by_the_sweep_alone(experiment: dict[str, Any]) -> None:
    del experiment["program"]
    programs = [{"nf": "stateful-firewall"}, {"nf": "stateful-firewall-2stage"}]
    plan = api.plan(experiment | {"sweep": {"program": programs}})
    assert swept(plan) == [("nf=stateful-firewall", 0), ("nf=stateful-firewall-2stage", 0)]


def test_set_replaces_a_swept_key_and_the_figures_follow(experiment: dict[str, Any]) -> None:
    figures = [{"y": "hit_rate", "x": "nic.contexts", "by": "cache.eviction"}]
    plan = api.plan(experiment | {"figures": figures}, ["nic.contexts=1k"])
    assert plan.keys == ("cache.eviction",)
    assert all(run.config.nic.contexts == 1000 for run in plan.runs)
    assert [(spec.x, spec.kind) for spec in plan.figures] == [("cache.eviction", "bar")]
    plan = api.plan(experiment | {"figures": figures}, ["cache.eviction=belady"])
    assert [(spec.x, spec.by) for spec in plan.figures] == [("nic.contexts", ())]


def test_set_takes_yaml_values_and_may_set_the_sweep(experiment: dict[str, Any]) -> None:
    plan = api.plan(experiment, ["sweep.nic.contexts=[1, 2, 3]", "seeds=[4]", "cache.admission={packet: 2}"])
    assert [row[0] for row in swept(plan)] == [1, 1, 2, 2, 3, 3]
    assert plan.experiment.seeds == (4,)
    assert plan.runs[0].resolved.admission == {"packet": 2}
    assert api.plan(experiment, ["cache.admission.packet=2"]).runs[0].resolved.admission == {"packet": 2}


def test_setting_a_capture_replaces_the_generator(experiment: dict[str, Any], tmp_path: Path) -> None:
    experiment["sweep"] = {"traffic.generator.flows": [10, 20], "nic.contexts": [8]}
    capture = tmp_path / "a.pcap"
    capture.write_bytes(bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000"))
    plan = api.plan(experiment, [f"traffic.pcap={capture}"])
    assert plan.keys == ("nic.contexts",)
    assert plan.runs[0].resolved.capture == capture
    assert plan.runs[0].config.traffic.generator is None


def test_paths_are_relative_to_the_file_and_in_set_to_the_working_directory(
    write: Write, experiment: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    path = write(experiment | {"sweep": {}, "cache": {"eviction": "mine.py"}})
    assert problems(path) == [f"{tmp_path}/mine.py: no such policy file"]
    assert problems(path, ["cache.eviction=mine.py"]) == ["mine.py: no such policy file"]


def test_a_program_that_is_not_there_is_looked_up_among_the_shipped(experiment: dict[str, Any]) -> None:
    plan = api.plan(experiment | {"program": {"opp": "stateful-firewall.yaml"}})
    assert plan.runs[0].resolved.program == "nf:stateful-firewall"


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("nic.contexts", "expected a key, = and a value"),
        ("=5", "expected a key, = and a value"),
        ("nic.contxts=5", "did you mean 'nic.contexts'?"),
        ("contexts=5", "did you mean 'nic.contexts'?"),
        ("nic.contexts=-5", "got -5, expected a whole number"),
        ("nic.contexts=[", "not valid YAML"),
        ("nic.contexts=[1, 2]", "--set sweep.nic.contexts=... sweeps a key"),
        ("sweep.nic.contxts=[5]", "did you mean 'nic.contexts'?"),
        ("traffic.pcap=nope.pcap", "no such file"),
    ],
)
def test_a_wrong_option_names_itself(experiment: dict[str, Any], option: str, expected: str) -> None:
    told = problems(experiment, [option])
    assert expected in told[0]
    assert f"--set {option}" in told[0] or "nope.pcap" in told[0]


def test_keys_without_effect_are_told(experiment: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    api.plan(experiment | {"link": {"rx": "1us"}, "cpu": {"cores": 1}})
    assert "link, cpu: no effect with nic.profile ideal" in caplog.text


def test_figures_unless_given(experiment: dict[str, Any]) -> None:
    (figure,) = api.plan(experiment).figures
    assert (figure.y, figure.x, figure.by, figure.kind) == (
        "hit_rate",
        "nic.contexts",
        ("cache.eviction",),
        "line",
    )
    (figure,) = api.plan(experiment | {"sweep": {}}).figures
    assert (figure.y, figure.x, figure.kind) == ("hit_rate", "time", "timeline")


def test_what_a_figure_does_not_name_is_told_apart_all_the_same(experiment: dict[str, Any]) -> None:
    (figure,) = api.plan(experiment | {"figures": [{"y": "hit_rate", "x": "nic.contexts"}]}).figures
    assert figure.by == ("cache.eviction",)


@pytest.mark.parametrize("name", gallery_names())
def test_the_gallery_holds_what_it_says(name: str, tmp_path: Path) -> None:
    capture = tmp_path / "a.pcap"
    capture.write_bytes(bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000"))
    options = [] if name == "quickstart" else [f"traffic.pcap={capture}"]
    plan = api.plan(f"gallery:{name}", options)
    assert plan.experiment.name == name
    assert plan.runs
    assert read_document(f"gallery:{name}").folder == Path()


def test_the_gallery_names_itself() -> None:
    told = problems("gallery:quikstart")
    assert told == [
        f"gallery:quikstart: got 'quikstart', expected an experiment of the gallery: {', '.join(gallery_names())} "
        "(did you mean 'quickstart'?)"
    ]


def test_a_capture_is_asked_for_where_none_is_named() -> None:
    assert "--set traffic.pcap=FILE names a capture" in problems("gallery:real-capture")[0]

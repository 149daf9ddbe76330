"""``oppcache stress``: the guarantee on many random runs, what weak protocols and planted bugs show, and the command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from oppcache.cli import call
from oppcache.consistency.history import check
from oppcache.experiments.stress.drawing import read_stress_file
from oppcache.experiments.stress.recording import record
from oppcache.experiments.stress.shrinking import Shrinker, minimised
from oppcache.experiments.stress.trial import Trials, added, findings_of
from oppcache.opp.errors import InputError

HERE = Path(__file__).parent
PLANTED = yaml.safe_load((HERE / "planted.yaml").read_text(encoding="utf-8"))
NAIVE = ("consistency.protocol=naive",)


def totals_of(name: str, seeds: range, options: Sequence[str] = ()) -> dict[str, int]:
    """Try seeds of a gallery file, of which none may fail; returns what happened in them."""
    trials, totals = Trials(read_stress_file(f"gallery:{name}", options)), dict[str, int]()
    for seed in seeds:
        result = trials.run(seed)
        assert not result.findings, f"seed {seed}: {result.findings[0].text}"
        totals = added(totals, result.totals)
    return totals


def test_cas_hold_is_one_machine_on_a_bad_channel_with_leaking_rings(full: bool) -> None:
    totals = totals_of("stress-cas-hold", range(10_000 if full else 250))
    assert (
        min(totals[name] for name in ("promotions", "demotions", "hits", "control_faults", "drops_ring"))
        > 100
    )
    assert totals["lost_updates"] == 0


def test_crashes_take_exactly_what_they_may(full: bool) -> None:
    totals = totals_of("stress-crashes", range(10_000 if full else 250))
    assert min(totals[name] for name in ("promotions", "nic_resets", "cpu_crashes", "lost_updates")) > 100


@pytest.mark.parametrize("protocol", ["fetch", "output-commit"])
def test_contexts_that_are_fetched_and_outputs_that_are_kept_back(protocol: str, full: bool) -> None:
    seeds = range(2_000 if full else 60)
    options = [f"consistency.protocol={protocol}"]
    totals = totals_of("stress-cas-hold", seeds, options)
    assert min(totals[name] for name in ("promotions", "demotions", "hits", "control_faults")) > 50
    assert (totals["punts"] == 0) == (protocol == "fetch")
    totals = totals_of("stress-crashes", seeds, [*options, "faults.cpu_crash_rate=0/s"])
    assert min(totals[name] for name in ("promotions", "nic_resets", "lost_updates")) > 5


def test_no_output_that_left_is_undone(full: bool) -> None:
    """Label and registers change with nearly every packet; ``cas-hold``, which promises nothing, shows what could be."""
    options = ["program.nf=big-flow-detector", "faults.cpu_crash_rate=0/s"]
    seeds = range(2_000 if full else 40)
    totals = totals_of("stress-crashes", seeds, [*options, "consistency.protocol=output-commit"])
    assert min(totals[name] for name in ("hits", "nic_resets", "promotions")) > 20
    trials = Trials(read_stress_file("gallery:stress-crashes", [*options, "consistency.protocol=cas-hold"]))
    undone = 0
    for seed in seeds:
        case = trials.case(seed)
        recording = record(case.setup, case.parts, case.vectors)
        verdict = check(recording.history, case.setup.program, recording.outcome, seed, commits=True)
        assert set(verdict.counts()) <= {"output-commit"}
        undone += len(verdict.findings)
    assert undone > 0


@pytest.mark.parametrize(
    "program",
    [
        "vepc-quota",
        "stateful-firewall-2stage",
        "big-flow-detector",
        "syn-flood-detection",
        "traffic-policer",
        "mac-learning",
        "tcp-super-spreader",
    ],
)
def test_other_programs_survive_crashes_too(program: str, full: bool) -> None:
    """Two stages on one table, two tables, timers, registers, rates, writes to other keys."""
    options = [f"program.nf={program}", "consistency.protocol=cas-hold"]
    trials = Trials(read_stress_file("gallery:stress-crashes", options))
    for seed in range(2_000 if full else 100):
        result = trials.run(seed)
        assert not result.findings, f"seed {seed}: {result.findings[0].text}"


def test_naive_shows_an_anomaly_within_twenty_seeds() -> None:
    trials = Trials(read_stress_file("gallery:stress-cas-hold", NAIVE))
    assert any("lost_updates" in trials.run(seed).kinds for seed in range(20))


@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug["name"])
def test_planted_bugs_are_found(
    bug: dict[str, Any], tmp_path: Path, checkout: Path, full: bool, mutating: ModuleType
) -> None:
    if not full and not bug.get("quick"):
        assert (checkout / bug["file"]).read_text(encoding="utf-8").count(bug["old"]) == 1
        return
    mutating.copy_sources(tmp_path)
    mutating.change(tmp_path / bug["file"], bug["old"], bug["new"])
    options = bug.get("set", [])
    sets = [word for one in ([options] if isinstance(options, str) else options) for word in ("--set", one)]
    command = [sys.executable, "-m", "oppcache.cli", "stress", f"gallery:{bug['needs']}", "--jobs", "1"]
    command += ["--seeds", str(bug.get("seeds", 100)), *sets]
    environment = mutating.environment_of(tmp_path)
    result = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert result.returncode == bug.get("status", 1), result.stdout + result.stderr


def test_a_seed_gives_the_same_run_again() -> None:
    trials = Trials(read_stress_file("gallery:stress-crashes"))
    again = Trials(read_stress_file("gallery:stress-crashes"))
    again.run(4)
    assert trials.run(5) == again.run(5)


def test_a_fixed_key_changes_no_other() -> None:
    free, _ = read_stress_file("gallery:stress-crashes").of(3)
    fixed, _ = read_stress_file("gallery:stress-crashes", ["cpu.cores=7"]).of(3)
    assert fixed.cpu.cores == 7
    cpu = fixed.cpu.model_copy(update={"cores": free.cpu.cores})
    assert fixed.model_copy(update={"cpu": cpu}) == free


def test_keys_of_one_section_are_drawn_apart(tmp_path: Path) -> None:
    """What a later key brings with it must not undo an earlier one's."""
    path = tmp_path / "mine.yaml"
    text = MINE.replace("{nf: PROGRAM}", "{nf: port-knocking, inside_port: 2}")
    drawn = "  program.inside_port: [2, 3]\n  program.nf: [port-knocking, udp-stateful-firewall]\n"
    for lines in (drawn, "".join(reversed(drawn.splitlines(keepends=True)))):
        path.write_text(text + lines, encoding="utf-8")
        file = read_stress_file(path)
        found = set()
        for seed in range(40):
            config, resolved = file.of(seed)
            found.add((str(resolved.program), resolved.parameters["inside_port"]))
            assert config.program["nf"] in str(resolved.program)
        assert len(found) == 4


def test_json_says_how_to_run_a_failing_seed_again(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-q", "stress", "gallery:stress-cas-hold", "--set", NAIVE[0], "--format", "json"]
    seen = []
    for more in (["--seeds", "20"], ["--seeds", "1", "--keep", ",".join(map(str, range(64)))]):
        call([*words, *more, *(["--from", str(seen[0]["seed"])] if seen else [])])
        seen.append(json.loads(capsys.readouterr().out)["failing"][0])
    assert "--keep" not in seen[0]["again"]
    assert f"--from {seen[1]['seed']} " in seen[1]["again"]
    assert "--keep 0,1,2" in seen[1]["again"]


def test_draws_lie_between_their_ends_and_reach_them() -> None:
    file = read_stress_file("gallery:stress-cas-hold")
    drawn = [file.of(seed)[0] for seed in range(300)]
    assert {config.nic.contexts for config in drawn} == {1, 2, 3, 4}
    assert {config.consistency.hold for config in drawn} == {0, 1, 2, 3, 4}
    assert {config.consistency.protocol for config in drawn} == {"cas", "cas-hold"}
    times = [config.control.rtt for config in drawn]
    assert min(times) >= 500
    assert max(times) <= 100_000
    assert 5_000 < sorted(times)[150] < 10_000, "evenly in the logarithm"


def test_shrinking_leaves_a_small_run_that_fails_alike() -> None:
    trials = Trials(read_stress_file("gallery:stress-crashes", NAIVE))
    seed = next(seed for seed in range(20) if trials.run(seed).findings)
    small = Shrinker(trials, seed).run()
    assert len(small.keep) <= 6
    assert small.result.findings[0].kind == trials.run(seed).findings[0].kind
    assert any("takes a copy" in line for line in small.story)
    same = Trials(read_stress_file("gallery:stress-crashes", [*NAIVE, *small.options]))
    from oppcache.experiments.stress.trial import judge

    assert judge(same.case(seed, small.keep)).findings == small.result.findings, "the replay line is right"


def test_minimising_finds_what_is_needed() -> None:
    assert minimised(range(40), lambda kept: {3, 17, 18} <= set(kept)) == [3, 17, 18]
    assert minimised([5], lambda kept: True) == [5]


def test_the_command_says_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-q", "stress", "gallery:stress-cas-hold", "--jobs", "1", "--seeds"]
    assert call([*words, "3"]) == 0
    assert "3 seeds, no anomaly" in capsys.readouterr().out
    assert call([*words, "3", "--from", "5", "--set", NAIVE[0]]) == 1
    out = capsys.readouterr().out
    again = next(line for line in out.splitlines() if "again: " in line).partition("again: oppcache ")[2]
    assert call(["-q", *again.split()]) == 1
    capsys.readouterr()
    assert call([*words, "2", "--set", NAIVE[0], "--shrink", "--format", "json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["shrunk"]["findings"]
    assert call([*words, "20", "--set", "nic.contexts=0"]) == 3
    assert "undecided: no promotion completes" in capsys.readouterr().out


MINE = """\
name: mine
program: {nf: PROGRAM}
traffic: {generator: {model: caida-like, flows: 3}, packets: 10}
nic: {profile: netfpga-sume, contexts: 2}
consistency: {protocol: cas}
draw:
"""


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        ("  nic.contxts: [1]\n", ":7:3: draw: got 'nic.contxts'"),
        ("  nic.contexts: [1, -1]\n", ":7:21: nic.contexts: got -1"),
        (
            "  nic.contexts: 3\n",
            ":7:17: draw.nic.contexts: got 3, expected a list of values or {from: A, to: B}",
        ),
        ("  nic.contexts: {from: 1}\n", ":7:17: draw.nic.contexts: got {'from': 1}"),
        ("  nic.contexts: {from: 9, to: 1}\n", ":7:24: draw.nic.contexts: got from 9 to 1"),
        ("  cache.eviction: {from: lru, to: fifo}\n", "expected a smaller number and a larger one"),
        ("  cache.eviction: [lru, fifoo]\n", ":7:25: cache.eviction: got 'fifoo'"),
        ("  seeds: [1]\n", "'seeds' cannot be"),
    ],
)
def test_a_wrong_file_is_told_with_its_place(tmp_path: Path, draw: str, expected: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(MINE.replace("PROGRAM", "stateful-firewall") + draw, encoding="utf-8")
    with pytest.raises(InputError) as told:
        read_stress_file(path)
    assert any(expected in str(problem) for problem in told.value.problems), [
        str(p) for p in told.value.problems
    ]


@pytest.mark.parametrize(
    ("program", "kind"),
    [
        ("mac-learning", "write"),
        ("tcp-super-spreader", "write"),
        ("super-spreader-detection", "write"),
        ("token-bucket", "global"),
        ("flowlet-load-balancing", "global"),
        ("three-functions", "global"),
    ],
)
def test_writes_to_other_keys_and_globals_that_are_read_have_one_order(
    program: str, kind: str, full: bool
) -> None:
    """All of it is at home on one core, under protocols that take time."""
    trials = Trials(read_stress_file("gallery:stress-cas-hold", [f"program.nf={program}"]))
    kinds = set()
    for seed in range(2_000 if full else 25):
        case = trials.case(seed)
        recording = record(case.setup, case.parts, case.vectors)
        findings = findings_of(case, recording)
        assert not findings, f"seed {seed}: {findings[0].text}"
        kinds |= {step.kind for step in recording.history.steps}
    assert kind in kinds

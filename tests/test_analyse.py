"""``oppcache analyse`` as a user meets it: what it prints, as text and as JSON, and how it refuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from oppcache.cli import call

Captured = pytest.CaptureFixture[str]


def test_text_says_state_classes_and_fit(capsys: Captured) -> None:
    assert call(["analyse", "nf:stateful-firewall", "--nic", "netfpga-sume"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "table connections: per-flow; its keys cover a connection, both directions alike" in shown.out
    assert re.search(r"^  state +guarded: ", shown.out, re.MULTILINE)
    assert "NIC netfpga-sume: fits, but some packets are punted" in shown.out
    assert max(map(len, shown.out.splitlines())) <= 100


def test_without_a_nic_nothing_is_said_of_one(capsys: Captured) -> None:
    assert call(["analyse", "nf:stateful-firewall"]) == 0
    assert "NIC" not in capsys.readouterr().out


def test_json_says_it_all(capsys: Captured) -> None:
    assert call(["analyse", "nf:stateful-firewall", "--nic", "netfpga-sume", "--format", "json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert list(facts) == ["program", "stages", "tables", "globals", "groups", "nic"]
    (table,) = facts["tables"]
    assert (table["sharing"], table["state"]["class"], table["consistency"]["needs"]) == (
        "per-flow",
        "guarded",
        "migrate",
    )
    (stage,) = facts["nic"]["stages"]
    assert stage["used"]["contexts.key_bits"] == {"got": 112, "limit": 128}
    assert [reason["code"] for reason in stage["punted"]["ipv6"]] == ["parser.headers", "contexts.key_bits"]
    assert call(["analyse", "nf:stateful-firewall", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["nic"] is None


def test_a_nic_of_ones_own(tmp_path: Path, capsys: Captured) -> None:
    nic = tmp_path / "tiny.yaml"
    nic.write_text("profile: tiny\nefsm: {entries: 2}\n")
    assert call(["analyse", "nf:stateful-firewall", "--nic", str(nic)]) == 0
    assert "5 ternary entries after expansion, the NIC has 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rules.v4"], "rules.v4: no ruleset 'rules.v4'"),
        (["none.yaml"], "none.yaml: no such file"),
        (["nf:statefull-firewall"], "nf:statefull-firewall: no program 'statefull-firewall'"),
        (["nf:stateful-firewall", "--nic", "netfpga"], "--nic: NIC profile 'netfpga' is not available"),
        (["nf:stateful-firewall", "--nic", "none.yaml"], "none.yaml: no such file"),
        (["bad.yaml"], "bad.yaml:3:22: stage 's': unknown table 't'"),
        (["nf:stateful-firewall", "--nic", "bad.yaml"], "bad.yaml:1:1: a profile has no key 'program'"),
        ([], "Missing argument 'PROGRAM'"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text(
        "program: bad\nstages:\n  - {name: s, table: t, key: [ip.src], entries: []}\n"
    )
    assert call(["analyse", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"error: {message}")
    assert "Traceback" not in shown.err


def test_an_experiment_takes_the_same_profiles(capsys: Captured) -> None:
    words = ["run", "gallery:quickstart", "--dry-run", "--set", "cache.eviction=lru", "--set"]
    assert call([*words, "nic.profile=netfpga-sume"]) == 0
    capsys.readouterr()
    assert call([*words, "nic.profile=netfpga-sum"]) == 2
    assert "did you mean 'netfpga-sume'?" in capsys.readouterr().err


def test_the_guide_shows_what_is_printed(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    page = (checkout / "docs" / "analyse.md").read_text(encoding="utf-8")
    for text in re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        name = re.match(r"program: (\S+)", text)
        assert name is not None
        (tmp_path / f"{name.group(1)}.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"^```console\n\$ oppcache (.*?)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(examples) == 2
    for command, expected in examples:
        assert call(command.split()) == 0
        assert capsys.readouterr().out == expected, f"oppcache {command}"


def test_it_needs_no_compiler() -> None:
    script = "import sys\nfrom oppcache.cli import call\nassert call(['analyse', 'nf:stateful-firewall', '--nic', 'ideal']) == 0\n"
    script += "sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 0

"""Protocol files: what is shipped loads, and what is wrong is said at its place, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from oppcache.consistency import load_protocol, lower, protocol_names
from oppcache.consistency.library import protocol_from_text, protocol_path
from oppcache.consistency.vocabulary import CPU, EVENT, NIC
from oppcache.opp.errors import InputError

SMALL = """\
protocol: small
idea: hand over
gives_up: a lot
nic:
  start: absent
  states:
    absent:
      doc: no slot
      packet: punt-absent
      install:
        - {if: slot-free, do: take-context, next: owner}
        - {if: not slot-free, do: []}
    owner:
      doc: runs packets
      owns: true
      packet: process
      want-evict: {do: [send ctx, free], next: absent}
      impossible: [install]
cpu:
  start: owns
  states:
    owns:
      doc: runs packets
      owns: true
      punt-absent: process
      want-promote: {do: send install, next: nic-owned}
      impossible: [ctx]
    nic-owned:
      doc: waits
      punt-absent: process
      ctx: {do: take-context, next: owns}
      ignore: [want-promote]
"""


def problems_of(text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        protocol_from_text(text, "p.yaml")
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("name", protocol_names())
def test_what_is_shipped_loads(name: str) -> None:
    protocol = load_protocol(name)
    assert protocol.name == name
    assert len(lower(protocol).rows) > 0


def test_a_file_works_where_a_name_does(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(SMALL, encoding="utf-8")
    assert load_protocol(path).name == load_protocol(str(path)).name == "small"
    with pytest.raises(InputError, match="did you mean 'naive'"):
        load_protocol("naiv")
    with pytest.raises(InputError, match="no such file"):
        load_protocol(tmp_path / "none.yaml")
    assert protocol_path("cas").name == "cas.yaml"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("      impossible: [install]\n", "", "p.yaml:13:5: nic state 'owner' has no cell for 'install'"),
        ("if: slot-free", "if: slot-fre", "p.yaml:11:16: unknown guard 'slot-fre' (did you mean 'slot-free'?)"),
        ("if: not slot-free", "if: not slotfree", "p.yaml:12:16: unknown guard 'slotfree' (did you mean"),
        ("packet: process", "packet: proces", "p.yaml:16:15: unknown action 'proces' (did you mean 'process'?)"),
        ("send ctx", "send ctxx", "p.yaml:17:25: unknown message 'ctxx' (did you mean 'ctx'?)"),
        ("next: nic-owned", "next: nic-owner", "p.yaml:26:46: unknown state 'nic-owner' (did you mean 'nic-owned'"),
        ("want-evict:", "want-evct:", "p.yaml:17:7: unknown event or key 'want-evct' (did you mean 'want-evict'?)"),
        (
            "        - {if: not slot-free, do: []}\n",
            "",
            "p.yaml:11:11: nic state 'absent', event 'install': no row for: not slot-free",
        ),
        (
            "{if: not slot-free, do: []}",
            "{if: [slot-free, g-given], do: []}",
            "p.yaml:12:11: nic state 'absent', event 'install': this row and the one at line 11 both match"
            " (g-given, slot-free)",
        ),
        (
            "    nic-owned:\n",
            "    lost: {doc: d, ignore: [ctx, want-promote], impossible: [punt-absent]}\n    nic-owned:\n",
            "p.yaml:28:5: cpu state 'lost' cannot be reached from 'owns'",
        ),
        ("punt-absent: process\n      ctx", "punt-absent: []\n      ctx", "got nothing to do with the packet"),
        ("packet: process", "packet: [process, hold]", "got process, hold to do with the packet, expected one of"),
        ("do: send install", "do: [process, send install]", "'process' needs a packet, and 'want-promote' brings none"),
        ("do: send install", "do: [take-g, send install]", "'take-g' reads the message's g, which 'want-promote'"),
        ("do: send install", "do: [punt-absent, send install]", "'punt-absent' is nothing that the CPU can do"),
        ("do: send install", "do: [send ctx]", "'send ctx': the CPU cannot send itself a ctx"),
        ("do: send install", "do: send", "unknown message ''"),
        ("do: send install", "do: fail twice", "action 'fail' takes no word behind it, got 'twice'"),
        ("if: slot-free", "if: [slot-free, not slot-free]", "guard 'slot-free' stands twice in this row"),
        ("start: owns", "start: own", "p.yaml:20:10: unknown state 'own' (did you mean 'owns'?)"),
        ("doc: waits", "doc: 7", "p.yaml:29:12: doc: got 7, expected text"),
        ("idea: hand over\n", "", "p.yaml:1:1: 'idea' is missing"),
        ("idea: hand over", "idee: hand over", "a protocol has no key 'idee' (did you mean 'idea'?)"),
        ("gives_up: a lot", "gives_up: a lot\nmatrix: {ordr: [none]}", "unknown property 'ordr' (did you mean 'order'"),
        ("gives_up: a lot", "gives_up: a lot\nmatrix: {order: [crash]}", "unknown fault 'crash'"),
        ("gives_up: a lot", "gives_up: a lot\nsteering: any", "steering: got 'any', expected home, flow or spread"),
        ("ignore: [want-promote]", "ignore: [want-promote, ctx]", "ctx: this state has a cell for it already"),
        ("ignore: [want-promote]", "ignore: [want-promote, wb]", "cpu: a cell for 'wb', but the NIC never sends it"),
        ("doc: waits", "doc: waits\n      timer: resent", "timer: got 'resent', expected none, resend, hold_timeout or"),
        ("doc: waits", "doc: waits\n      timer: resend", "cpu state 'nic-owned' has no cell for 'timeout'"),
        ("doc: waits", "doc: waits\n      like: ownss", "unknown state above 'ownss' (did you mean 'owns'?)"),
    ],
)  # fmt: skip
def test_a_bad_file_is_told_with_its_place(old: str, new: str, expected: str) -> None:
    assert SMALL.count(old) == 1, old
    told = problems_of(SMALL.replace(old, new))
    assert any(expected in text for text in told), told


def test_all_problems_are_told_at_once() -> None:
    text = SMALL.replace("packet: process", "packet: proces").replace("if: slot-free", "if: slotfree")
    told = problems_of(text)
    assert [text.split(": ")[0] for text in told] == ["p.yaml:11:16", "p.yaml:16:15"]


@pytest.mark.parametrize("text", ["", "7", "[]", "protocol: x"])
def test_what_is_no_protocol_is_told(text: str) -> None:
    assert problems_of(text)


def test_a_simple_state_may_skip_the_interpreter() -> None:
    cas = lower(load_protocol("cas"))
    names = {role: list(load_protocol("cas").roles[role].states) for role in ("nic", "cpu")}
    simple = {(role, name) for r, role in enumerate(names) for i, name in enumerate(names[role])
              if cas.states["running"][r, i]}  # fmt: skip
    assert simple == {("nic", "owner")}
    assert cas.cells["rows"][NIC, names["nic"].index("owner"), EVENT["packet"]] == 1
    assert cas.cells["rows"][CPU, 0, EVENT["packet"]] == -1

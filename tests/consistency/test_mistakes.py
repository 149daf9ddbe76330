"""Mistakes that checking found while the protocols were designed, put back: each is found again."""

from __future__ import annotations

import pytest

from oppcache.consistency import load_protocol
from oppcache.consistency.checker import Model, check
from oppcache.consistency.library import protocol_from_text, protocol_path

LOSSY = Model(lossy=True)
RETRY = """\
        - {if: not retries-spent, do: [count-try, put efence, send install]}
        - {if: retries-spent, do: send evict}
"""
LATE_FENCE = """\
        - {if: [g-current, n-newer, not retries-spent], do: [count-try, take-n, put efence, send install]}
        - {if: [g-current, n-newer, retries-spent], do: [send evict, fail], next: owns}
"""
STATE = """\
        - {if: [own-incarnation, g-given], do: [take-g, send evict], next: recalling}
        - {if: [own-incarnation, not g-given], do: drain, next: owns}
        - {if: not own-incarnation, do: []}
"""
OWNER_HELLO = """\
      hello:
        - {if: not-stale, do: [note-peer, send state]}
        - {if: not not-stale, do: []}
      ignore: [watch, efence, ctxack]
"""
RESET_FENCE = """\
      fence:
        - {if: reset, do: drain, next: owns}
        - {if: not reset, do: []}
"""
RESET_GONE = RESET_FENCE.replace("fence", "gone")

# What is wrong; protocol; (text in its file, text instead) pairs; bounds; properties, one of which breaks.
MISTAKES = {
    "q starts at 0": (
        "cas",
        [("clear-q", "zero-q")],
        LOSSY.but(packets=3, promotions=1),
        ["egress-order"],
    ),
    "q starts at 0, holding": (
        "cas-hold",
        [("clear-q", "zero-q")],
        LOSSY.but(packets=3, promotions=1),
        ["egress-order"],
    ),
    "a late packet waits instead of being the refusal": (
        "cas-hold",
        [("[count-try, process, take-n, put efence, send install]", "hold")],
        LOSSY.but(packets=2, promotions=1),
        ["order", "liveness"],
    ),
    "no EVICT on time-out in installing: a reclaimed slot sticks": (
        "cas-hold",
        [(RETRY, "        do: [put efence, send install]\n")],
        LOSSY.but(packets=1, promotions=1),
        ["liveness"],
    ),
    "no FENCE in installing, and no EVICT: a dropped packet sticks": (
        "cas",
        [
            (RETRY, "        do: [put efence, send install]\n"),
            (LATE_FENCE, "        - {if: [g-current, n-newer], do: []}\n"),
        ],
        LOSSY.but(packets=1, promotions=1, ring_drops=1),
        ["liveness"],
    ),
    "no generation": (
        "cas-hold",
        [("new-generation, ", "")],
        LOSSY.but(packets=2, promotions=2, demotions=1),
        ["impossible"],
    ),
    "STATE without an incarnation": (
        "cas-hold",
        [
            (
                STATE,
                "        - {if: g-given, do: [take-g, send evict], next: recalling}\n"
                "        - {if: not g-given, do: drain, next: owns}\n",
            )
        ],
        LOSSY.but(packets=1, promotions=1, cpu_crashes=2),
        ["one-owner"],
    ),
    "CTXACK without an incarnation": (
        "cas-hold",
        [("if: [g-current, not-stale], do: free", "if: g-current, do: free")],
        LOSSY.but(packets=2, promotions=1, demotions=1, cpu_crashes=1),
        ["impossible", "rollback"],
    ),
    "a newer NIC incarnation goes unnoticed": (
        "cas-hold",
        [(RESET_FENCE, "      fence: []\n"), (RESET_GONE, "      gone: []\n")],
        LOSSY.but(packets=1, promotions=1, nic_crashes=1),
        ["liveness"],
    ),
    "no retained slot": (
        "cas-hold",
        [
            ("want-evict: {do: send ctx, next: retained}", "want-evict: {do: [send ctx, free], next: absent}"),
            ("if: g-current, do: send ctx, next: retained", "if: g-current, do: [send ctx, free], next: absent"),
        ],
        LOSSY.but(packets=2, promotions=1, demotions=1),
        ["impossible", "liveness"],
    ),
    "several queues, a fence through one": (
        "cas-hold",
        [("idea:", "steering: spread\nidea:")],
        LOSSY.but(packets=2, promotions=1, queues=2),
        ["one-owner"],
    ),
    "a context emptied at CPU restart": (
        "cas-hold",
        [
            (
                "if: [own-incarnation, not g-given], do: drain",
                "if: [own-incarnation, not g-given], do: [clear-context, drain]",
            )
        ],
        LOSSY.but(packets=2, cpu_crashes=1),
        ["rollback"],
    ),
    "a restarted CPU acknowledges CTX": (
        "cas-hold",
        [("ignore: [fence, installed, ctx, wb, gone,", "ctx: send ctxack\n      ignore: [fence, installed, wb, gone,")],
        LOSSY.but(packets=2, promotions=1, demotions=1, cpu_crashes=1),
        ["exactly-once", "rollback"],
    ),
    "HELLO frees what the NIC owns": (
        "cas-hold",
        [(OWNER_HELLO, OWNER_HELLO.replace("note-peer, send state]", "note-peer, free, send state], next: absent"))],
        LOSSY.but(packets=2, promotions=1, cpu_crashes=1),
        ["exactly-once", "rollback"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "steps"), [("cas", 14), ("cas-hold", 14)])
def test_without_a_fence_behind_it_a_bounced_packet_is_overtaken(name: str, steps: int) -> None:
    model = Model(packets=2, promotions=1, untagged=2, bfence=False)
    wrong = check(load_protocol(name), model)
    assert wrong.violated == ["order"]
    assert len(wrong.trace("order").steps) == steps


def test_a_packet_without_a_tag_waits_behind_what_a_restarted_cpu_holds() -> None:
    """Found by checking: else the second is bounced to the NIC and overtakes the first."""
    text = protocol_path("cas").read_text(encoding="utf-8")
    assert "      untagged: hold\n      timeout: send evict\n" in text
    text = text.replace("      untagged: hold\n      timeout: send evict\n", "      timeout: send evict\n")
    model = Model(packets=2, promotions=1, untagged=2, cpu_crashes=1)
    wrong = check(protocol_from_text(text, "bounced"), model)
    assert wrong.violated == ["order"]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found_when_it_is_put_back(mistake: str, full: bool) -> None:
    name, changes, model, expected = MISTAKES[mistake]
    text = protocol_path(name).read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    if full:
        assert check(load_protocol(name), model).holds
    wrong = check(protocol_from_text(text, mistake), model, properties=expected)
    assert wrong.violated
    trace = wrong.trace(wrong.violated[0])
    assert 3 <= len(trace.steps) <= 25
    assert trace.text().splitlines()[-1].strip().startswith(f"{wrong.violated[0]}: ")

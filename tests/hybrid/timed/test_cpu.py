"""What the CPU asks of a protocol's table before it takes an event."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from oppcache.consistency import load_protocol, lower
from oppcache.consistency.library import protocol_from_text, protocol_path
from oppcache.consistency.table import Protocol
from oppcache.hybrid.setup import RUNNABLE_PROTOCOLS
from oppcache.hybrid.timed.cpu import _is_bounced

BOUNCE = "untagged: bounce\n"
APART = "untagged: [{{if: retries-spent, do: {}}}, {{if: not retries-spent, do: {}}}]\n"


def bounced(protocol: Protocol) -> list[bool]:
    world = SimpleNamespace(protocol=lower(protocol))
    return [_is_bounced.py_func(world, state) for state in range(len(protocol.roles["cpu"].states))]


@pytest.mark.parametrize("name", RUNNABLE_PROTOCOLS)
def test_a_packet_without_a_tag_is_bounced_where_every_row_says_so(name: str) -> None:
    protocol = load_protocol(name)
    expected = []
    for state in protocol.roles["cpu"].states.values():
        rows = state.cells.get("untagged", ())
        silent = not rows or (rows[0].impossible and not rows[0].guards)
        expected.append(not state.owns if silent else all(row.actions[:1] == ("bounce",) for row in rows))
    assert bounced(protocol) == expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [("bounce", "bounce", True), ("bounce", "hold", False), ("hold", "bounce", False)],
)
def test_a_row_that_does_not_is_enough(first: str, second: str, expected: bool) -> None:
    text = protocol_path("cas").read_text(encoding="utf-8")
    assert text.count(BOUNCE) == 2
    changed = protocol_from_text(text.replace(BOUNCE, APART.format(first, second), 1))
    before, after = bounced(load_protocol("cas")), bounced(changed)
    differ = [state for state, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    assert differ == ([] if expected else [before.index(True)])

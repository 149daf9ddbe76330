"""The interpreter's kernel against a plain reading of the table, on random entries, messages and facts."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oppcache.consistency import Protocol, load_protocol, lower, protocol_names
from oppcache.consistency import vocabulary as v
from oppcache.consistency.interpreter import transition

Entry = dict[str, int]
ENTRY = ("state", "g", "r", "n", "q", "version", "held", "tries")
NODE = ("incarnation", "counter", "peer")
FIELDS = ("g", "r", "n", "incarnation", "version")


def draw_case(draw: Any, protocol: Protocol) -> tuple[str, Entry, Entry, str, Entry, set[str]]:
    role = draw(st.sampled_from(v.ROLES))
    states = list(protocol.roles[role].states.values())
    number = draw(st.integers(0, len(states) - 1))
    small = st.integers(0, 2)
    stamp = st.builds(lambda a, b: a * 2**32 + b, small, small)
    entry = {"state": number, "g": draw(stamp), "r": draw(stamp), "n": draw(small), "q": draw(st.integers(-1, 2)),
             "version": draw(small), "held": draw(small), "tries": draw(small)}  # fmt: skip
    node = {"incarnation": draw(small), "counter": draw(small), "peer": draw(small)}
    message = {
        "g": draw(stamp),
        "r": draw(stamp),
        "n": draw(small),
        "incarnation": draw(small),
        "version": draw(small),
    }
    event = draw(st.sampled_from(sorted(states[number].cells)))
    facts = draw(st.sets(st.sampled_from([g.name for g in v.GUARDS if g.code >= v.FIRST_FACT])))
    return role, entry, node, event, message, facts


@pytest.mark.parametrize("name", protocol_names())
def test_the_kernel_reads_the_table_as_it_stands(name: str, plain_protocol: ModuleType) -> None:
    protocol = load_protocol(name)
    lowered = lower(protocol)
    out = np.zeros((v.COMMANDS_MAX, v.COMMAND_WORDS), np.int64)

    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def compare(data: st.DataObject) -> None:
        role, entry, node, event, message, facts = draw_case(data.draw, protocol)
        words = np.array([entry[key] for key in ENTRY], np.int64)
        own = np.array([node[key] for key in NODE], np.int64)
        record = np.zeros(v.MESSAGE_WORDS, np.int64)
        record[v.M_G : v.M_VERSION + 1] = [message[key] for key in ("g", "r", "n", "incarnation", "version")]
        bits = sum(1 << v.GUARD[fact] for fact in facts)
        count = transition(lowered, v.ROLES.index(role), words, own, v.EVENT[event], record, bits, out)
        expected = plain_protocol.plain_transition(protocol, role, entry, node, event, message, facts)
        if expected is None:
            assert count == v.IMPOSSIBLE
            return
        got = []
        for command in out[:count].tolist():
            verb = v.ACTIONS[command[v.K_CODE]].name
            what = v.EVENT_NAMES[command[v.K_KIND]] if verb in ("send", "put") else ""
            keys = (*FIELDS[:3], "incarnation", "version", "count")
            got.append((verb, what, dict(zip(keys, command[v.K_G :], strict=True))))
        assert got == expected
        assert words.tolist() == [entry[key] for key in ENTRY]
        assert own.tolist() == [node[key] for key in NODE]

    compare()

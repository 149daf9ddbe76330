"""The interpreter's kernel against a plain reading of the table, on random entries, messages and facts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oppcache.consistency import Protocol, load_protocol, lower, protocol_names
from oppcache.consistency import vocabulary as v
from oppcache.consistency.interpreter import transition

ECHO = {m.name: m.echo for m in v.MESSAGES}
Entry = dict[str, int]


def plain_guards(entry: Entry, node: Entry, message: Entry, facts: set[str]) -> set[str]:
    """Names of the guards that hold, as the vocabulary words them."""
    g_incarnation = entry["g"] // 2**32
    holds = {
        "g-current": message["g"] == entry["g"],
        "g-newer": message["g"] > entry["g"],
        "r-current": message["r"] == entry["r"],
        "r-newer": message["r"] > entry["r"],
        "n-current": message["n"] == entry["n"],
        "n-newer": message["n"] > entry["n"],
        "drained": message["n"] == entry["q"],
        "version-newer": message["version"] > entry["version"],
        "version-current": message["version"] == entry["version"],
        "not-stale": not message["incarnation"] < node["peer"],
        "own-incarnation": message["incarnation"] == node["incarnation"],
        "reset": g_incarnation > 0 and message["incarnation"] > g_incarnation,
        "same-incarnation": message["incarnation"] == g_incarnation,
        "g-given": message["g"] > 0,
        "holding-any": entry["held"] > 0,
    }
    return {name for name, value in holds.items() if value} | facts


def plain_transition(
    protocol: Protocol, role: str, entry: Entry, node: Entry, event: str, message: Entry, facts: set[str]
) -> list[tuple[str, str, dict[str, int]]] | None:
    """The same as the kernel, from the protocol itself; None where a cell is impossible."""
    state = list(protocol.roles[role].states.values())[entry["state"]]
    truth = plain_guards(entry, node, message, facts)
    for row in state.cells[event]:
        if all((name in truth) == wanted for name, wanted in row.guards.items()):
            break
    else:
        return []
    if row.impossible:
        return None
    commands = []
    for action in row.actions:
        verb, _, what = action.partition(" ")
        if verb in ("new-generation", "new-request"):
            node["counter"] += 1
            entry["g" if verb == "new-generation" else "r"] = node["incarnation"] * 2**32 + node["counter"]
        elif verb in ("take-g", "take-r", "take-n"):
            entry[verb[-1]] = message[verb[-1]]
        elif verb == "take-q":
            entry["q"] = message["n"]
        elif verb in ("zero-n", "zero-q", "forget-g", "clear-q", "clear-tries"):
            entry[verb.split("-")[1]] = -1 if verb == "clear-q" else 0
        elif verb in ("count", "count-try"):
            entry["n" if verb == "count" else "tries"] += 1
        elif verb == "note-peer":
            node["peer"] = message["incarnation"]
        else:
            fields = {"g": entry["g"], "r": entry["r"], "n": entry["n"], "version": entry["version"],
                      "incarnation": node["incarnation"], "count": 1}  # fmt: skip
            if what:
                fields.update({name: message[name] for name in ECHO[what]})
            if verb == "take-context":
                entry["version"] = fields["version"] = message["version"]
            elif verb == "clear-context":
                entry["version"] = fields["version"] = 0
            elif verb in ("hold", "process-keep"):
                entry["held"] += 1
            elif verb in ("flush", "drain", "release", "drop-held", "drain-keep"):
                fields["count"] = entry["held"]
                if verb == "flush":
                    fields["n"] += 1
                    entry["n"] += entry["held"]
                if verb != "drain-keep":
                    entry["held"] = 0
            elif verb == "free":
                entry.update(g=0, r=0, n=0, q=-1, tries=0)
            commands.append((verb, what, fields))
    if row.next:
        entry["state"] = list(protocol.roles[role].states).index(row.next)
    return commands


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
def test_the_kernel_reads_the_table_as_it_stands(name: str) -> None:
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
        expected = plain_transition(protocol, role, entry, node, event, message, facts)
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

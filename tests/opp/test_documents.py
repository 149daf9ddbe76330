"""Program files: what is refused, where the finger points, and that files and the builder give the same program."""

from __future__ import annotations

import copy
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oppcache.opp import InputError, ProgramBuilder, load_program, program_path, shipped_programs
from oppcache.opp.lower import lower
from oppcache.opp.program import Operand, Pattern, Program, Timer
from oppcache.opp.yaml_source import parse_yaml

GOOD = """\
program: good
parameters: {limit: 5}
metadata: [mark]
tables:
  flows:
    registers: [n, {name: wide, bits: 64, initial: 7}]
    states: [new, seen]
  hosts: {}
globals:
  total: [packets]
stages:
  - name: first
    table: flows
    key: [ip.src, l4.sport]
    temporaries: [{name: sum, op: add, args: [R.n, 1]}]
    conditions: {big: [R.n, gt, $limit]}
    entries:
      - name: one
        match: {state: new, C.big: true}
        actions: [{output: 1}, {set: {metadata.mark: 3}}]
        next_state: seen
        idle: {after: 5s, to: new}
        updates: [{set: R.n, op: add, args: [R.n, 1]}]
      - name: two
        match: {tcp.flags: S/SA, l4.sport: 1-1023}
        writes: [{table: hosts, key: [ip.dst], updates: [{set: G.total.packets, op: mov, args: [T.sum]}]}]
        goto: last
  - name: middle
    table: flows
    key: {fields: [ip.src, l4.sport], symmetric: false}
  - name: last
    default: {actions: [drop]}
"""

# Each case replaces a piece of GOOD; ^ in the new text is where the finger must point.
BAD = {
    # Structure
    "unknown key": ("metadata: [mark]", "^metdata: [mark]", "a program has no key 'metdata'", "did you mean 'metadata'?"),
    "no name": ("program: good", "^description: x", "'program' is missing", ""),
    "name is no text": ("program: good", "program: ^[good]", "program: got ['good'], expected text", ""),
    "word_bits": ("program: good", "program: good\nword_bits: ^16", "word_bits: got 16, expected 32 or 64", ""),
    "fractional": ("program: good", "program: good\nword_bits: ^32.0", "word_bits: got 32.0, expected 32 or 64", ""),
    "tables is a list": ("  flows:\n", "  ^flows: [1]\n  more:\n", "table 'flows': got [1], expected a mapping", ""),
    "stage is text": ("  - name: last\n    default: {actions: [drop]}", "  - ^last", "stage 2: got 'last', expected a mapping", ""),
    "stage without a name": ("- name: last\n    default", "- ^default", "'name' is missing", ""),
    "stages is a mapping": ("temporaries: [{name: sum, op: add, args: [R.n, 1]}]", "temporaries: ^{}", "temporaries: got {}, expected a list", ""),
    # Parameters
    "unknown parameter": ("$limit", "^$limits", "unknown parameter '$limits'", "did you mean 'limit'?"),
    "recursive parameter": ("{limit: 5}", "{limit: ^$limit}", "parameter limit: its value cannot refer to a parameter", ""),
    "wrong value of a parameter": ("{limit: 5}", "{limit: ^many}", "unknown operand or field 'many'", ""),
    # Tables
    "two registers": ("[n, {name: wide,", "^[n, {name: n,", "registers of table 'flows': 'n' is declared twice", ""),
    "register": ("[n, {name: wide,", "[^5, {name: wide,", "registers of table 'flows': got 5, expected a name or {name, bits, initial}", ""),
    "register bits": ("bits: 64", "bits: ^48", "bits: got 48, expected 32 or 64", ""),
    "wide initial": ("bits: 64, initial: 7", "bits: 32, initial: ^4294967296", "initial: 4294967296 is too wide for 32 bits", ""),
    "negative initial": ("initial: 7", "initial: ^-7", "initial: got -7, expected a constant that is not negative", ""),
    "state called none": ("[new, seen]\n", "[new, ^none, seen]\n", "a state cannot be called 'none': the word has a meaning of its own", ""),
    "state twice": ("[new, seen]\n", "[new, seen, ^new]\n", "state 'new' is declared twice", ""),
    "initial state": ("[new, seen]\n", "[new, seen]\n    initial: ^sean\n", "unknown state 'sean', known: new, seen", "did you mean 'seen'?"),
    "dotted globals": ("  total: [packets]", "  ^to.tal: [packets]", "globals 'to.tal': expected a name without a dot", ""),
    # Stages
    "unknown table": ("    table: flows\n    key: {", "    table: ^flow\n    key: {", "stage 'middle': unknown table 'flow'", "did you mean 'flows'?"),
    "table without a key": ("    key: {fields: [ip.src, l4.sport], symmetric: false}\n", "", "stage 'middle' has a table but no key", "28"),
    "key without a table": ("  - name: last\n", "  - ^name: last\n    key: [ip.src]\n", "stage 'last' has a key but no table", ""),
    "stage twice": ("- name: last", "- name: middle", "stage 'middle' is declared twice", "1"),
    "stage named end": ("  - name: last\n    default", "  - ^name: end\n    default", "a stage cannot be named 'end'", ""),
    "create": ("    table: flows\n    key: {", "    table: flows\n    create: ^never\n    key: {", "create: got 'never', expected on-lookup or on-write", ""),
    "commit": ("  - name: last\n", "  - name: last\n    commit: ^yes\n", "commit: got 'yes', expected true or false", ""),
    "two commits": ("  - name: last\n", "  - {name: c1, table: hosts, key: [ip.src], commit: true}\n  - ^{name: c2, table: hosts, key: [ip.src], commit: true}\n  - name: last\n", "table 'hosts' has two commit stages, 'c1' and 'c2'", ""),
    # Keys
    "empty key": ("key: [ip.src, l4.sport]", "key: ^[]", "a key needs at least one field", ""),
    "unknown field": ("key: [ip.src, l4.sport]", "key: [ip.src, ^l4.sprt]", "unknown operand or field 'l4.sprt'", "did you mean 'l4.sport'?"),
    "register in a key": ("key: [ip.src, l4.sport]", "key: ^[ip.src, R.n]", "key: R.n cannot be part of a key", ""),
    "temporary in a lookup": ("key: [ip.src, l4.sport]", "key: ^[ip.src, T.sum]", "key: T.sum is not computed yet at the lookup", ""),
    "half a pair": ("symmetric: false", "symmetric: true", "key: symmetric, but ip.src stands without ip.dst", "30"),
    "no pair": ("{fields: [ip.src, l4.sport], symmetric: false}", "^{fields: [ip.proto, in_port], symmetric: true}", "key: symmetric, but it has no source and destination", ""),
    "field twice": ("{fields: [ip.src, l4.sport], symmetric: false}", "^{fields: [ip.src, ip.dst, ip.src], symmetric: true}", "key: a field stands twice in a symmetric key", ""),
    "too wide": ("key: [ip.src, l4.sport]", "key: ^[ip.src, ip.dst, ip.src, ip.dst]", "key: 520 bits, expected at most 512", ""),
    "other widths in a stage": ("    conditions: {big", "    update_key: ^[ip.dst, ip.proto]\n    conditions: {big", "update_key has parts of other widths than stage 'first' uses for table 'flows'", ""),
    "other widths elsewhere": ("{fields: [ip.src, l4.sport], symmetric: false}", "^[ip.src]", "key has parts of other widths than stage 'first' uses for table 'flows'", ""),
    "other order": ("{fields: [ip.src, l4.sport], symmetric: false}", "^[l4.sport, ip.src]", "key has parts of other widths", ""),
    # Temporaries and conditions
    "unknown operation": ("op: add, args: [R.n, 1]}]\n    cond", "op: ^addd, args: [R.n, 1]}]\n    cond", "unknown operation 'addd'", "did you mean 'add'?"),
    "no operation": ("op: add, args: [R.n, 1]}]\n    cond", "op: ^'', args: [R.n, 1]}]\n    cond", "unknown operation ''", ""),
    "running operation": ("[{name: sum, op: add", "[^{name: sum, op: avg", "avg runs on its target's old value: only updates have it", ""),
    "three operands": ("args: [R.n, 1]}]\n    cond", "args: ^[R.n, 1, 2]}]\n    cond", "add: got 3 operands, expected 2", ""),
    "ewma without k": ("op: add, args: [R.n, 1]}]\n    cond", "op: ewma, args: [R.n, 1], k: ^9}]\n    cond", "ewma needs k from 0 to 8", ""),
    "k of add": ("args: [R.n, 1]}]\n    cond", "args: [R.n, 1], ^k: 1}]\n    cond", "add takes no k", ""),
    "later temporary": ("[{name: sum, op: add, args: [R.n, 1]}]", "[^{name: sum, op: add, args: [T.sum, 1]}]", "T.sum: no such temporary before this place", ""),
    "temporary twice": ("[{name: sum, op: add, args: [R.n, 1]}]", "[{name: sum, op: mov, args: [1]}, {name: sum, op: mov, args: [1]}]", "temporary 'sum' is declared twice", "12"),
    "comparison": ("gt, $limit", "^'>', $limit", "unknown comparison '>', expected one of lt, le", ""),
    "short condition": ("big: [R.n, gt, $limit]", "^big: [R.n, gt]", "condition 'big': got ['R.n', 'gt'], expected [A, op, B]", ""),
    "unknown register": ("{big: [R.n,", "{^big: [R.m,", "R.m: table 'flows' has no register 'm'", "known: n, wide"),
    "address operand": ("{big: [R.n,", "{^big: [ip.src,", "ip.src has 128 bits and cannot be an operand, only a key or a match", ""),
    "wide constant": ("$limit]", "18446744073709551616]", "constant 18446744073709551616 is too wide, expected at most 64 bits", "16"),
    # Entries: match
    "unknown subject": ("match: {state: new,", "match: {^stat: new,", "unknown match subject 'stat'", "did you mean 'state'?"),
    "unknown state": ("match: {state: new,", "match: {state: ^news,", "unknown state 'news', known: new, seen", "did you mean 'new'?"),
    "unknown condition": ("      - name: one\n        match: {state: new, C.big", "      - ^name: one\n        match: {state: new, C.bid", "one: no such condition C.bid", "did you mean 'big'?"),
    "unknown header": ("{state: new, C.big: true}", "{state: new, ^valid.ipv5: true}", "unknown header 'ipv5'", "did you mean 'ipv6'?"),
    "wide value": ("l4.sport: 1-1023", "l4.sport: ^65536", "l4.sport: got 65536, expected at most 65535 (0xffff)", ""),
    "backward range": ("l4.sport: 1-1023", "l4.sport: ^9-8", "l4.sport: got the range '9-8', expected the low end first", ""),
    "one of a list": ("l4.sport: 1-1023", "l4.sport: [1, ^x]", "l4.sport: got 'x'", ""),
    "no alternatives": ("l4.sport: 1-1023", "l4.sport: ^[]", "l4.sport: expected at least one alternative", ""),
    "flags": ("tcp.flags: S/SA", "tcp.flags: ^S/SX", "tcp.flags: unknown TCP flag 'X' in 'S/SX'", ""),
    "flags outside": ("tcp.flags: S/SA", "tcp.flags: ^S/A", "tcp.flags: got 'S/A', expected the flags before / to be among those after it", ""),
    "prefix": ("l4.sport: 1-1023", "ip.src: ^10.0.0.1/8", "ip.src: got '10.0.0.1/8', which has bits set behind its prefix", "did you mean 10.0.0.0/8?"),
    "no address": ("l4.sport: 1-1023", "ip.src: ^10.0.0", "ip.src: got '10.0.0', expected an address or prefix", ""),
    "family": ("l4.sport: 1-1023", "ipv4.src: ^fe80::/10", "got the IPv6 prefix 'fe80::/10' for ipv4.src", ""),
    "state without a table": ("    default: {actions: [drop]}", "    entries: [^{match: {state: 0}}]", "entry 0: a stateless stage has no state to match", ""),
    "overlap": ("      - name: two\n", "      - {name: x, priority: 5, match: {l4.sport: 1-9}}\n      - ^name: two\n        priority: 5\n", "'two' and 'x' (line 25) have priority 5 and overlap", "", ("- name: one\n", "- name: one\n        priority: 9\n")),
    "some priorities": ("      - name: two\n", "      - name: two\n        priority: 5\n", "stage 'first': give every entry a priority, or none", "12"),
    "entry twice": ("- name: two", "- name: one", "entry 'one' is declared twice", "12"),
    "match in a default": ("default: {actions: [drop]}", "default: {^match: {ip.proto: 6}}", "a default entry takes no match", ""),
    # Entries: actions and goto
    "unknown action": ("actions: [drop]", "actions: [^drp]", "got action 'drp', expected drop, to_controller", "did you mean 'drop'?"),
    "later action": ("actions: [drop]", "actions: [{generate: ^rst}]", "generate: got 'rst', expected a mapping", ""),
    "set what cannot be": ("{set: {metadata.mark: 3}}", "^{set: {ip.proto: 3}}", "set: ip.proto cannot be set", ""),
    "set what is not": ("{set: {metadata.mark: 3}}", "^{set: {l4.dort: 3}}", "set: no such field 'l4.dort'", "did you mean 'l4.dport'?"),
    "set too wide": ("{set: {metadata.mark: 3}}", "^{set: {l4.dport: 65536}}", "set: constant 65536 is too wide for l4.dport, 16 bits", ""),
    "set an address to a number": ("{set: {metadata.mark: 3}}", "^{set: {ip.dst: R.n}}", "set: ip.dst has 128 bits, got R.n, expected an address, a 128-bit field or [HIGH, LOW]", ""),
    "set to the wrong family": ("{set: {metadata.mark: 3}}", "^{set: {ipv6.dst: 192.0.2.1}}", "set: got the IPv4 address 192.0.2.1 for ipv6.dst", ""),
    "set to three parts": ("{set: {metadata.mark: 3}}", "{set: {ip.dst: ^[1, 2, 3]}}", "ip.dst: got 3 values, expected the high and the low 64 bits", ""),
    "set to wide parts": ("{set: {metadata.mark: 3}}", "^{set: {ip.dst: [ip.src, 2]}}", "ip.src has 128 bits and cannot be an operand", ""),
    "set a number to an address": ("{set: {metadata.mark: 3}}", "^{set: {ipv4.ttl: ip.src}}", "ip.src has 128 bits and cannot be an operand", ""),
    # Allocations
    "alloc without a range": ("{set: {metadata.mark: 3}}", "{alloc: ^{set: l4.sport, table: flows, key: [ip.src, l4.sport], else: drop}}", "alloc: 'range' is missing", ""),
    "alloc in no table": ("{set: {metadata.mark: 3}}", "{alloc: {set: l4.sport, table: ^flow, key: [ip.src, l4.sport], range: [1, 9], else: drop}}", "unknown table 'flow'", "did you mean 'flows'?"),
    "alloc with a bad range": ("{set: {metadata.mark: 3}}", "{alloc: {set: l4.sport, table: flows, key: [ip.src, l4.sport], range: ^[1], else: drop}}", "range: got [1], expected [LOW, HIGH]", ""),
    "alloc backwards": ("{set: {metadata.mark: 3}}", "{alloc: ^{set: l4.sport, table: flows, key: [ip.src, l4.sport], range: [9, 1], else: drop}}", "alloc: got the range 9 to 1, expected the low end first", ""),
    "alloc beyond the field": ("{set: {metadata.mark: 3}}", "{alloc: ^{set: l4.sport, table: flows, key: [ip.src, l4.sport], range: [1, 65536], else: drop}}", "constant 65536 is too wide for l4.sport, 16 bits", ""),
    "alloc for ever": ("{set: {metadata.mark: 3}}", "{alloc: {set: l4.sport, table: flows, key: [ip.src, l4.sport], range: [1, 9], tries: ^65537, else: drop}}", "tries: got 65537, expected 1 to 65536", ""),
    "alloc that fails in silence": ("{set: {metadata.mark: 3}}", "{alloc: ^{set: l4.sport, table: flows, key: [ip.src, l4.sport], range: [1, 9]}}", "alloc: nothing tells that there was no free value", ""),
    "alloc that tells nowhere": ("{set: {metadata.mark: 3}}", "{alloc: {set: l4.sport, table: flows, key: [ip.src, l4.sport], range: [1, 9], found: ^R.n}}", "found: got 'R.n', expected a metadata word", ""),
    "alloc that tells an unknown word": ("{set: {metadata.mark: 3}}", "{alloc: ^{set: l4.sport, table: flows, key: [ip.src, l4.sport], range: [1, 9], found: metadata.marc}}", "metadata.marc: no such metadata word", "did you mean 'mark'?"),
    "alloc that does something else": ("{set: {metadata.mark: 3}}", "{alloc: {set: l4.sport, table: flows, key: [ip.src, l4.sport], range: [1, 9], else: ^pass}}", "else: got 'pass', expected drop", ""),
    "alloc of what is not tried": ("{set: {metadata.mark: 3}}", "{alloc: ^{set: l4.dport, table: flows, key: [ip.src, l4.sport], range: [1, 9], else: drop}}", "alloc: its key must name l4.dport once: that is what is tried", ""),
    "alloc under another name": ("{set: {metadata.mark: 3}}", "{alloc: ^{set: tcp.sport, table: flows, key: [ip.src, l4.sport], range: [1, 9], else: drop}}", "alloc: its key names l4.sport, which changes with tcp.sport", ""),
    "alloc of an address": ("{set: {metadata.mark: 3}}", "{alloc: ^{set: ip.src, table: flows, key: [ip.src, l4.sport], range: [1, 9], else: drop}}", "alloc: ip.src has 128 bits, expected at most 64", ""),
    "alloc of nothing that can be set": ("{set: {metadata.mark: 3}}", "{alloc: ^{set: ip.proto, table: flows, key: [ip.src, l4.sport], range: [1, 9], else: drop}}", "set: ip.proto cannot be set", ""),
    "alloc with a symmetric key": ("{set: {metadata.mark: 3}}", "{alloc: {set: l4.sport, table: flows, key: ^{fields: [ip.src, ip.dst, l4.sport, l4.dport], symmetric: true}, range: [1, 9], else: drop}}", "alloc: its key cannot be symmetric", ""),
    "alloc with another key": ("{set: {metadata.mark: 3}}", "{alloc: {set: l4.sport, table: flows, key: ^[ipv4.src, l4.sport], range: [1, 9], else: drop}}", "the key of an alloc has parts of other widths than stage 'first' uses for table 'flows'", ""),
    "alloc with an unknown key": ("{set: {metadata.mark: 3}}", "{alloc: {set: l4.sport, table: flows, key: [ip.src, l4.sport], ^rang: [1, 9], range: [1, 9], else: drop}}", "alloc has no key 'rang'", "did you mean 'range'?"),
    "unknown metadata": ("{set: {metadata.mark: 3}}", "^{set: {metadata.marc: 3}}", "metadata.marc: no such metadata word", "did you mean 'mark'?"),
    "goto nowhere": ("      - name: two", "      - ^name: two", "two: goto an unknown stage 'lust'", "did you mean 'last'?", ("goto: last", "goto: lust")),
    "goto backwards": ("      - name: two", "      - ^name: two", "two: goto backwards to 'first', expected a later stage", "", ("goto: last", "goto: first")),
    # Entries: writes
    "unknown next state": ("next_state: seen", "next_state: ^seem", "unknown state 'seem', known: new, seen", "did you mean 'seen'?"),
    "timer without a unit": ("{after: 5s, to: new}", "^5", "got 5, expected a duration with a unit", ""),
    "timer of 0": ("{after: 5s, to: new}", "^0s", "a timer of 0 would never run: write off to clear it", ""),
    "endless timer": ("{after: 5s, to: new}", "^9999999999999s", "expected at most 4611686018427387904 ns", ""),
    "timer to nowhere": ("to: new}", "to: ^knew}", "unknown state 'knew'", "did you mean 'new'?"),
    "timer without after": ("{after: 5s, to: new}", "^{to: new}", "a timer needs 'after'", ""),
    "update of nothing": ("[{set: R.n, op", "[^{op", "update target: got 'nothing', expected a register R.NAME or a global G.GROUP.NAME", ""),
    "update of a field": ("[{set: R.n, op", "[{set: ^ip.proto, op", "update target: got 'ip.proto', expected a register", ""),
    "update too wide": ("[{set: R.n, op: add, args: [R.n, 1]}]", "[^{set: R.n, op: add, args: [R.n, 4294967296]}]", "constant 4294967296 is too wide for W.n, 32 bits", ""),
    "unknown global": ("[{set: G.total.packets,", "[^{set: G.total.packet,", "G.total.packet: no such global", "did you mean 'total.packets'?"),
    "two updates": ("[{set: R.n, op: add, args: [R.n, 1]}]", "[{set: R.n, op: mov, args: [1]}, ^{set: R.n, op: mov, args: [2]}]", "one: two updates of W.n", ""),
    "two writes": ("        idle: {after", "        writes: [{table: flows, key: lookup, next_state: new}]\n        idle: {after", "one: two writes to one context", "18"),
    "write to an unknown table": ("[{table: hosts,", "[{table: ^host,", "unknown table 'host'", "did you mean 'hosts'?"),
    "write without a key": ("key: [ip.dst], updates", "updates", "a write to table 'hosts' needs a key of its own", "26"),
    "own write without a table": ("default: {actions: [drop]}", "default: ^{next_state: 3}", "a write in a stateless stage must name its table: use writes", ""),
    "key of a write": ("{table: hosts, key: [ip.dst], updates", "{table: flows, key: ^[ip.dst], updates", "the key has parts of other widths than stage 'first' uses for table 'flows'", ""),
    "W outside of a write": ("{output: 1}", "^{output: W.n}", "W.n: only the updates of a write can read W", ""),
    "R in a stateless stage": ("{actions: [drop]}", "{actions: [^{output: R.n}]}", "R.n: a stateless stage has no registers", ""),
}  # fmt: skip


def broken(case: tuple[Any, ...]) -> tuple[str, tuple[int, int] | None]:
    """The text of a case and the place of its ^, (line, column) from 1."""
    old, new = case[:2]
    text = GOOD
    for before, after in case[4:]:
        assert text.count(before) == 1
        text = text.replace(before, after)
    assert text.count(old) == 1, old
    text = text.replace(old, new)
    if "^" not in text:
        return text, None
    before = text[: text.index("^")]
    return text.replace("^", ""), (before.count("\n") + 1, len(before) - before.rfind("\n"))


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_named_at_its_place(name: str, tmp_path: Path) -> None:
    text, place = broken(BAD[name])
    message, hint = BAD[name][2:4]
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_program(path)
    found = [p for p in caught.value.problems if message in p.message]
    assert found, str(caught.value)
    mark = found[0].mark
    assert mark.file == str(path)
    if place is None:  # the hint is then the line
        assert mark.line == int(hint)
    else:
        assert (mark.line, mark.column) == place
        assert found[0].hint == hint or hint == "" or hint in found[0].hint
    assert "\n" not in found[0].message


def test_the_good_program_is_good() -> None:
    program = load_program(parse_yaml(GOOD, "good.yaml"))
    assert [s.name for s in program.stages] == ["first", "middle", "last"]
    assert program.stages[0].conditions[0].b == Operand("const", value=5)
    one = program.stages[0].entries[0]
    assert one.writes[0].idle == Timer(5_000_000_000, 0)
    assert (one.writes[0].hard, one.writes[0].next_state, one.priority) == (None, 1, 2)
    lower(program)


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    text = GOOD
    for name in ("register bits", "unknown table", "unknown state", "unknown action"):
        old, new = BAD[name][:2]
        text = text.replace(old, new.replace("^", ""))
    with pytest.raises(InputError) as caught:
        load_program(parse_yaml(text, "f.yaml"))
    lines = [p.mark.line for p in caught.value.problems]
    assert len(lines) == 4
    assert lines == sorted(lines)


def test_mistakes_in_python_point_nowhere_but_are_told() -> None:
    with pytest.raises(InputError, match="unknown table 'x'"):
        load_program({"program": "p", "stages": [{"name": "s", "table": "x", "key": ["in_port"]}]})


@pytest.mark.parametrize("document", [None, 5, [], "text", {}, {"program": "p"}])
def test_no_document_at_all(document: Any, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("" if document is None else str(document))
    with pytest.raises(InputError):
        load_program(path)


def test_limits_are_kept() -> None:
    stage = {"name": "s", "table": "t", "key": ["in_port"]}
    base: dict[str, Any] = {"program": "p", "tables": {"t": {}}, "stages": [stage]}
    updates = [{"set": "R.n", "op": "mov", "args": [1]}] * 65
    writes = [{"table": "t", "key": [n, "in_port"]} for n in range(9)]
    cases = [
        (base | {"stages": [{"name": f"s{i}"} for i in range(4097)]}, "4097 stages, expected at most 4096"),
        (base | {"tables": {f"t{i}": {} for i in range(257)}, "stages": []}, "257 tables, expected at most 256"),
        (base | {"metadata": [f"m{i}" for i in range(129)]}, "129 metadata words, expected at most 128"),
        (base | {"globals": {"g": [f"v{i}" for i in range(4097)]}}, "4097 globals, expected at most 4096"),
        (base | {"tables": {"t": {"registers": [f"r{i}" for i in range(65)]}}}, "65 registers"),
        (
            base | {"stages": [stage | {"conditions": {f"c{i}": [1, "lt", 2] for i in range(33)}}]},
            "33 conditions, expected at most 32",
        ),
        (
            base
            | {"stages": [stage | {"temporaries": [{"name": f"x{i}", "op": "mov", "args": [1]} for i in range(65)]}]},
            "65 temporaries, expected at most 64",
        ),
        (base | {"stages": [stage | {"default": {"updates": updates}}]}, "65 updates, expected at most 64"),
        (
            base | {"stages": [stage | {"name": f"s{i}"} for i in range(577)]},
            "577 contexts of table 't' a packet, expected at most 576",
        ),
        (
            base | {"stages": [stage | {"name": f"s{i}", "default": {"next_state": "delete"}} for i in range(1025)]},
            "1025 deletions a packet, expected at most 1024",
        ),
        (base | {"stages": [stage | {"default": {"writes": writes}}]}, "9 writes, expected at most 8"),
    ]  # fmt: skip
    for document, fragment in cases:
        with pytest.raises(InputError) as caught:
            load_program(document)
        assert fragment in str(caught.value)


def test_ranges_do_not_multiply_but_lists_that_do_are_refused_before_they_fill_the_memory() -> None:
    ports = ("l4.sport", "l4.dport", "tcp.window", "udp.length", "ipv4.length")

    def program_with(value: object) -> Program:
        entry = {"name": "e", "match": dict.fromkeys(ports, value)}
        return load_program({"program": "p", "stages": [{"name": "s", "entries": [entry]}]})

    assert len(lower(program_with("1-65534")).arrays.cells) < 1000
    program = program_with(list(range(20)))
    with pytest.raises(InputError, match="more than 1000000 ternary rows"):
        lower(program)


# --- Parameters


def test_parameters_replace_their_defaults_and_spread_into_lists() -> None:
    program = load_program("nf:stateful-firewall", {"inside": ["10.0.0.0/8", "fd00::/8"]})
    patterns = next(t for t in program.stages[0].entries[1].match if t.kind == "field").patterns
    assert [p.family for p in patterns] == [4, 6]
    assert load_program(parse_yaml(GOOD), {"limit": 9}).stages[0].conditions[0].b.value == 9


def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        load_program("nf:stateful-firewall", {"insied": []})
    assert "program 'stateful-firewall' has no parameter 'insied'; known: inside" in str(caught.value)
    assert "did you mean 'inside'?" in str(caught.value)


def test_a_bad_value_points_at_who_gave_it(tmp_path: Path) -> None:
    given = parse_yaml("nf: x\ninside: [10.0.0.0/8, 10.0.0.300]\n", "experiment.yaml")
    with pytest.raises(InputError) as caught:
        load_program("nf:stateful-firewall", {"inside": given["inside"]})
    assert str(caught.value).startswith("experiment.yaml:2:22: ip.src: got '10.0.0.300'")


# --- The library


def test_every_shipped_program_loads_and_lowers() -> None:
    assert {"stateful-firewall", "stateful-firewall-2stage"} <= set(shipped_programs())
    for name in shipped_programs():
        program = load_program(f"nf:{name}")
        assert program.name == name
        assert program.description
        lower(program)


def test_an_unknown_shipped_program_gets_a_near_miss() -> None:
    with pytest.raises(InputError, match="did you mean 'stateful-firewall'"):
        program_path("nf:statefull-firewall")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"program: \xff\n")
    for name, fragment in (
        ("none.yaml", "no such file"),
        (".", "is a directory, expected a file"),
        ("bytes.yaml", "is not UTF-8 text (byte 9)"),
    ):
        with pytest.raises(InputError) as caught:
            load_program(tmp_path / name)
        assert fragment in str(caught.value)


# --- YAML and the builder


def builder_version() -> Program:
    b = ProgramBuilder("good", parameters={"limit": 5}, metadata=["mark"], globals={"total": ["packets"]})
    b.table("flows", registers=["n", {"name": "wide", "bits": 64, "initial": 7}], states=["new", "seen"])
    b.table("hosts")
    first = b.stage(
        "first",
        table="flows",
        key=["ip.src", "l4.sport"],
        temporaries=[{"name": "sum", "op": "add", "args": ["R.n", 1]}],
        conditions={"big": ["R.n", "gt", "$limit"]},
    )
    first.entry(
        name="one",
        match={"state": "new", "C.big": True},
        actions=[{"output": 1}, {"set": {"metadata.mark": 3}}],
        next_state="seen",
        idle={"after": "5s", "to": "new"},
        updates=[{"set": "R.n", "op": "add", "args": ["R.n", 1]}],
    )
    mov = {"set": "G.total.packets", "op": "mov", "args": ["T.sum"]}
    first.entry(
        name="two",
        match={"tcp.flags": "S/SA", "l4.sport": "1-1023"},
        writes=[{"table": "hosts", "key": ["ip.dst"], "updates": [mov]}],
        goto="last",
    )
    b.stage("middle", table="flows", key={"fields": ["ip.src", "l4.sport"], "symmetric": False})
    b.stage("last").default(actions=["drop"])
    return b.build()


def test_the_builder_gives_the_program_of_the_file() -> None:
    built = builder_version()
    assert built == load_program(parse_yaml(GOOD, "good.yaml"))
    assert hash(built) == hash(load_program(parse_yaml(GOOD, "elsewhere.yaml")))
    assert built != load_program(parse_yaml(GOOD), {"limit": 6})


@settings(max_examples=40, derandomize=True, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_any_document_means_the_same_as_a_file_and_in_python(
    random_programs: ModuleType, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    import yaml

    document = random_programs.make_document(Random(seed))
    text = yaml.safe_dump(document, sort_keys=False)
    try:
        program = load_program(copy.deepcopy(document))
    except InputError:
        with pytest.raises(InputError):
            load_program(parse_yaml(text))
        return
    assert program == load_program(parse_yaml(text))


# --- Junk


JUNK: tuple[Any, ...] = (
    None, True, False, 0, -1, 2**70, -(2**70), 1.5, 32.0, float("inf"), float("nan"), "", "x", "R.", "R.x",
    "G.", "G.a.b.c", "T.", "metadata.", "C.x", "$", "$x", "now", "none", "delete", "end", "off", "1s", "1e30s",
    "0x", "0b1", "10.0.0.1", "10.0.0.999", "::/0", "1/2/3", "5-1", "1-", "S/", "/S", [], [[]], [1], ["x", "x"],
    {}, {"a": 1}, {1: 2}, {"set": {}}, {"output": []}, {"fields": [], "symmetric": True}, b"x", "\0", "é", "-",
)  # fmt: skip


def spots(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of everything in a document."""
    out = [path]
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        out += spots(value, (*path, key))
    return out


@settings(max_examples=300, derandomize=True, deadline=None)
@given(seed=st.integers(0, 10**6), changes=st.integers(1, 3), data=st.data())
def test_junk_anywhere_is_an_input_error_at_worst(
    random_programs: ModuleType, seed: int, changes: int, data: st.DataObject
) -> None:
    document = copy.deepcopy(random_programs.make_document(Random(seed)))
    document["parameters"] = {"x": "$x"} if seed % 3 == 0 else {"x": 5}
    for _ in range(changes):
        path = data.draw(st.sampled_from(spots(document)[1:] or [()]))
        junk = copy.deepcopy(data.draw(st.sampled_from(JUNK)))
        node = document
        for key in path[:-1]:
            node = node[key]
        if path:
            node[path[-1]] = junk
    try:
        lower(load_program(document))
    except InputError as error:
        told = [p.message for p in error.problems]
        assert told


def test_patterns_of_a_shipped_program_are_what_they_say() -> None:
    inside = load_program("nf:stateful-firewall").stages[0].entries[1].match[1].patterns
    assert inside[0] == Pattern(0x0A000000, 0xFF000000, family=4)

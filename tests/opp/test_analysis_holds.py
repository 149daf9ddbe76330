"""What the analysis says of random programs, held against what the plain reference does with them.

A class is a promise: a counter that is started elsewhere ends as far off, and nothing else shows it. If a
promise breaks, `delta` or `local` would make a hybrid diverge.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random
from types import ModuleType
from typing import Any

from oppcache.opp import InputError, Program, load_program
from oppcache.opp.analysis import analyse
from oppcache.opp.dataflow import Variable
from oppcache.opp.lower import lower
from oppcache.opp.program import Register

# Started elsewhere, a variable of these classes shows nowhere but in itself.
UNSEEN = ("scratch", "counter", "min/max")
PACKETS = 16


def started_elsewhere(program: Program, variable: Variable, by: int) -> tuple[Program, int, int]:
    """The program with another initial value of one register or global; and its index and modulus."""
    owners = program.globals if variable.kind == "global" else program.tables
    index = next(i for i, owner in enumerate(owners) if owner.name == variable.owner)
    owner: Any = owners[index]
    held: tuple[Register, ...] = owner.variables if variable.kind == "global" else owner.registers
    at = next(i for i, one in enumerate(held) if one.name == variable.name)
    # A register narrower than the word starts within its declared width.
    modulus = 1 << max(held[at].bits, program.word_bits)
    changed = replace(held[at], initial=(held[at].initial + by) % (1 << held[at].bits))
    moved = (changed.initial - held[at].initial) % modulus
    name = "variables" if variable.kind == "global" else "registers"
    owner = replace(owner, **{name: (*held[:at], changed, *held[at + 1 :])})
    listed = (*owners[:index], owner, *owners[index + 1 :])
    parts: dict[str, Any] = {"globals" if variable.kind == "global" else "tables": listed}
    return replace(program, **parts), moved, modulus


def outcome(module: ModuleType, program: Program, vectors: Any, but: Variable) -> tuple[Any, dict[Any, int]]:
    """All that a run shows except one variable; and that variable, for each context that has it."""
    expected = module.Expected(program, lower(program).layout, vectors, seed=1)
    variables = dict(expected.reference.globals)
    contexts: dict[str, Any] = {}
    values: dict[Any, int] = {}
    if but.kind == "global":
        values[None] = variables.pop(f"{but.owner}.{but.name}")
    for table, found in expected.reference.canonical_contexts().items():
        at = program.table(table).register(but.name) if (but.kind, but.owner) == ("register", table) else None
        contexts[table] = {}
        for key, (state, registers, timers) in found.items():
            if at is not None:
                values[key] = registers[at]
                registers = (*registers[:at], *registers[at + 1 :])
            contexts[table][key] = (state, registers, timers)
    return (expected.verdicts, expected.rows.tolist(), contexts, variables), values


def bend(document: dict[str, Any], rng: Random) -> dict[str, Any]:
    """Make most updates read-modify-writes and most conditions look at the packet, so that classes differ."""
    for stage in document["stages"]:
        for condition in stage.get("conditions", {}).values():
            if rng.random() < 0.8:
                condition[:] = ["packet_length", "gt", 100]
        for entry in (*stage.get("entries", []), *filter(None, [stage.get("default")])):
            for action in entry.get("actions", []):
                if isinstance(action, dict) and "output" in action and rng.random() < 0.8:
                    action["output"] = 3
            for write in (entry, *entry.get("writes", [])):
                for update in write.get("updates", []):
                    if rng.random() < 0.9:
                        bent = [update["set"], rng.choice((1, 5, "packet_length", "now_us", "in_port"))]
                        update.pop("k", None)
                        update.update(op=rng.choice(("add", "add", "sub", "max", "min", "mov")), args=bent)
                        if update["op"] == "mov":
                            update["args"] = bent[1:]
    return document


def check(module: ModuleType, seed: int, seen: Counter[str]) -> None:
    """Hold every class of one random program."""
    rng = Random(seed)
    try:
        program = load_program(bend(module.make_document(rng), rng))
    except InputError:
        return
    vectors = module.make_vectors(rng, lower(program).layout, PACKETS)
    found = analyse(program)
    for one in (
        *(g.variable for g in found.globals),
        *(r for t in found.tables for r in (t.label, *t.registers)),
    ):
        variable, kind = one.variable, one.kind
        if kind not in (*UNSEEN, "constant"):
            continue
        shown, values = outcome(module, program, vectors, variable)
        seen[f"{variable.kind} {kind}"] += 1
        if variable.kind == "label":
            table = program.table(variable.owner)
            states = {state for state, _, _ in shown[2][variable.owner].values()}
            assert states <= {table.initial_state}, f"seed {seed}: {variable} is not constant"
            continue
        other, moved, modulus = started_elsewhere(program, variable, rng.choice((1, 12345, 2**31, 2**32 - 1)))
        shown_then, values_then = outcome(module, other, vectors, variable)
        if kind in UNSEEN:
            assert shown == shown_then, f"seed {seed}: {variable} is {kind}, but its start shows"
        else:
            initial = start_of(program, variable)
            assert set(values.values()) <= {initial}, f"seed {seed}: {variable} is not constant"
        if kind == "counter":
            apart = {(values_then[key] - value) % modulus for key, value in values.items()}
            assert apart <= {moved}, f"seed {seed}: {variable} does not only count"


def start_of(program: Program, variable: Variable) -> int:
    if variable.kind == "register":
        return next(r.initial for r in program.table(variable.owner).registers if r.name == variable.name)
    group = next(g for g in program.globals if g.name == variable.owner)
    return next(v.initial for v in group.variables if v.name == variable.name)


def test_what_random_programs_do_is_what_their_classes_say(random_programs: ModuleType, full: bool) -> None:
    seen: Counter[str] = Counter()
    for seed in range(20_000 if full else 400):
        check(random_programs, seed, seen)
    for kind in ("constant", "counter", "min/max"):
        for what in ("global", "register"):
            assert seen[f"{what} {kind}"] > 3, f"too few to say anything: {seen}"

"""What is wrong with the chains of a table as a whole: missing ones, loops, targets where they cannot stand."""

from __future__ import annotations

from oppcache.opp.errors import Problems, near_miss

from .extensions import targets
from .ruleset import BUILTIN, Rule, Table

MAX_DEPTH = 100


class Jumps:
    """Looks for jumps to chains that are not there, loops, and targets that a chain cannot reach."""

    def __init__(self, table: Table, problems: Problems) -> None:
        self.table = table
        self.problems = problems
        self.done: set[str] = set()
        self.too_deep = False

    def check(self) -> None:
        for chain in self.table.chains.values():
            for rule in chain.rules:
                self.jump(rule)
        for name in self.table.chains:
            self.walk(name, [])
        if self.too_deep:
            return
        for name in BUILTIN.get(self.table.name, ()):
            self.reach(name, name, set())

    def jump(self, rule: Rule) -> None:
        name = self.callee(rule)
        if name is None or name in self.table.chains:
            return
        known = [*self.table.chains, *targets()]
        if rule.target is not None and rule.target.goto:
            self.problems.add(f"goto a missing chain {name!r}", rule.mark, near_miss(name, self.table.chains))
        else:
            self.problems.add(
                f"jump to a missing chain or unknown target {name!r}", rule.mark, near_miss(name, known)
            )

    def callee(self, rule: Rule) -> str | None:
        target = rule.target
        if target is None or (not target.goto and target.name in targets()):
            return None
        if target.name in BUILTIN.get(self.table.name, ()):
            self.problems.add(f"jump to the built-in chain {target.name!r}", rule.mark)
            return None
        return target.name

    def walk(self, name: str, path: list[str]) -> None:
        if len(path) > MAX_DEPTH:
            self.too_deep = True
            mark = self.table.chains[name].mark
            self.problems.add(f"chains are nested more than {MAX_DEPTH} deep", mark)
            return
        if name in path:
            return
        if name in self.done:
            return
        for rule in self.table.chains[name].rules:
            callee = self.callee(rule)
            if callee is None or callee not in self.table.chains:
                continue
            if callee in [*path, name]:
                loop = [*path, name]
                way = " -> ".join([*loop[loop.index(callee) :], callee])
                self.problems.add(f"chains form a loop: {way}", rule.mark)
            else:
                self.walk(callee, [*path, name])
        self.done.add(name)

    def reach(self, name: str, builtin: str, seen: set[str]) -> None:
        """Targets and interface matches that may not stand where this built-in chain leads."""
        if name in seen or name not in self.table.chains:
            return
        seen.add(name)
        for rule in self.table.chains[name].rules:
            self.misplaced(rule, name, builtin)
            target = rule.target
            if target is not None and (target.goto or target.name not in targets()):
                self.reach(target.name, builtin, seen)

    def misplaced(self, rule: Rule, name: str, builtin: str) -> None:
        target = None if rule.target is None or rule.target.goto else targets().get(rule.target.name)
        if target is not None and target.chains and builtin not in target.chains:
            allowed = ", ".join(target.chains)
            self.problems.add(f"-j {target.name} is for {allowed}, and {builtin} leads here", rule.mark)
        if name != builtin:
            return
        for option in rule.matches[0].options:
            if option.name == "out-interface" and builtin in ("PREROUTING", "INPUT"):
                self.problems.add(f"-o has no meaning in {builtin}", rule.mark)
            if option.name == "in-interface" and builtin in ("OUTPUT", "POSTROUTING"):
                self.problems.add(f"-i has no meaning in {builtin}", rule.mark)

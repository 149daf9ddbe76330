"""Changing one of many rules of a running machine: what a change costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from oppcache.opp import Machine, load_program

from .rules_generator import make_rules

TITLE = "deleting and adding rules of a running machine, among ClassBench-like 5-tuple rules (fw)"
UNIT = "changes"
EXCLUDES = "imports, loading the rules"
RATIO = "among 10 at {:,.3g} x"

COUNTS = (10, 100, 1_000, 10_000)


@contextmanager
def candidates(quick: bool) -> Iterator[dict[str, Callable[[], int]]]:
    """One candidate for each number of rules; a round deletes rules at random and adds them again, one by one."""
    changes = 50 if quick else 1_000

    def candidate(count: int) -> Callable[[], int]:
        rules = make_rules("fw", count)
        machine = Machine(load_program(rules.document()))
        picked = np.random.default_rng(0).integers(0, count, changes).tolist()

        def run() -> int:
            for rule in picked:
                machine.delete_entry("filter", f"rule {rule}")
                machine.add_entry("filter", rules.entry(rule))
            return 2 * changes

        return run

    yield {f"among {count:,}": candidate(count) for count in (COUNTS[:3] if quick else COUNTS)}

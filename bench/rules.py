"""A stateless stage with more and more 5-tuple rules: what a packet costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from oppcache.opp import Machine, load_program

from .rules_generator import KINDS, make_rules, make_trace

TITLE = "a stage of ClassBench-like 5-tuple rules (acl, fw and ipc in turn) on header vectors that hit them"
UNIT = "packets"
EXCLUDES = "imports, kernel compilation, loading the rules, parsing"
RATIO = "10 rules run at {:,.3g} x"

COUNTS = (10, 100, 1_000, 10_000)


@contextmanager
def candidates(quick: bool) -> Iterator[dict[str, Callable[[], int]]]:
    """One candidate for each number of rules; a round takes each kind of rule set's packets once."""
    packets = 10_000 if quick else 500_000

    def candidate(count: int) -> Callable[[], int]:
        work = []
        for kind in KINDS:
            rules = make_rules(kind, count)
            machine = Machine(load_program(rules.document()))
            work.append((machine, make_trace(rules, packets, machine.layout)))

        def run() -> int:
            # These rules rewrite nothing, so the packets stay as they are.
            for machine, vectors in work:
                machine.process(vectors)
            return packets * len(work)

        return run

    yield {f"{count:,} rules": candidate(count) for count in (COUNTS[:3] if quick else COUNTS)}

"""Checking entries that a running program is to get."""

from __future__ import annotations

from .errors import Problems
from .program import Entry, Program, Stage
from .validate import Check, overlap_message


class EntryChecker:
    """Checks entries that a running program is to get, as :func:`validate` would check them in its text.

    Attributes:
        overlaps: the entries of each stage, by its name; the owner keeps them up to date.
    """

    def __init__(self, program: Program) -> None:
        self._check = Check(program, Problems())
        self._check.run()
        self.overlaps = self._check.overlaps

    def check(self, entry: Entry, stage: Stage, problems: Problems, instead: str = "") -> None:
        """Add what is wrong with an entry for a stage, in which it may replace the one named ``instead``."""
        self._check.problems = problems
        self._check.entry(entry, stage)
        self._check.searched_shapes()
        for other in self.overlaps[stage.name].among(entry):
            if other.name != instead:
                problems.add(overlap_message(entry, other), entry.mark)

    @staticmethod
    def timers(program: Program, problems: Problems) -> None:
        """Add what is wrong with tables' expiry in a changed program, in which another key may come first."""
        found = Problems()
        check = Check(program, found)
        for table in program.tables:
            if table.expiry is not None:
                check.expiry(table.expiry, table)
        for problem in found.items:
            problems.add(
                f"with this change another key of a table comes first: {problem.message}", problem.mark
            )

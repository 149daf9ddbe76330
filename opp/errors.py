"""The exception root and located problems: what was got, what was expected, and where."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Mark:
    """A place in a text file.

    Attributes:
        file: name as the user gave it, or ``<python>`` for what was built in code.
        line: 1-based line, 0 when unknown.
        column: 1-based column, 0 when unknown.
    """

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if self.line == 0:
            return self.file
        if self.column == 0:
            return f"{self.file}:{self.line}"
        return f"{self.file}:{self.line}:{self.column}"


NOWHERE = Mark("<python>")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with an input.

    Attributes:
        message: one line that names the thing, what was got and what was expected.
        mark: where.
        hint: a near miss to suggest, or "".
    """

    message: str
    mark: Mark = NOWHERE
    hint: str = ""

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.mark}: {self.message}{hint}"


class OppCacheError(Exception):
    """Root of every error that a user can cause or meet; carries one or more :class:`Problem`.

    The command line prints each problem on its own line and exits with ``exit_status``.
    """

    exit_status = 2

    def __init__(self, problems: str | Problem | Iterable[Problem], mark: Mark = NOWHERE) -> None:
        if isinstance(problems, str):
            problems = [Problem(problems, mark)]
        elif isinstance(problems, Problem):
            problems = [problems]
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(p) for p in self.problems))

    def __reduce__(self) -> tuple[type[OppCacheError], tuple[tuple[Problem, ...]]]:
        # Errors cross process boundaries when a sweep runs on several workers.
        return (type(self), (self.problems,))


class InputError(OppCacheError):
    """A file, value or option that cannot be used: exit status 2."""


class Problems:
    """Collects problems so that a user sees all of them at once.

    >>> problems = Problems()
    >>> problems.add("size is -1, expected a positive integer", Mark("a.yaml", 3, 7))
    >>> problems.raise_if_any()
    Traceback (most recent call last):
        ...
    oppcache.opp.errors.InputError: a.yaml:3:7: size is -1, expected a positive integer
    """

    def __init__(self) -> None:
        self.items: list[Problem] = []

    def __bool__(self) -> bool:
        return bool(self.items)

    def add(self, message: str, mark: Mark = NOWHERE, hint: str = "") -> None:
        """Record one problem; the same problem at the same place is recorded once."""
        problem = Problem(message, mark, hint)
        if problem not in self.items:
            self.items.append(problem)

    def raise_if_any(self) -> None:
        """Raise :class:`InputError` with every problem, in file order, if there is any."""
        if self.items:
            raise InputError(sorted(self.items, key=lambda p: (p.mark.file, p.mark.line, p.mark.column)))


def near_miss(got: str, known: Iterable[str]) -> str:
    """Return ``did you mean 'x'?`` for the closest known name, or an empty string."""
    close = difflib.get_close_matches(got, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""

"""The guide's page of a protocol's single-row mutants: how each is found, or why it cannot be.

``python -m oppcache.consistency.mutant_page cas-hold RESULTS.tsv REASONS.yaml PAGE.md`` writes it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from oppcache.opp.yaml_source import load_yaml

from .mutant_ladder import Outcome, read_results

_MADE = "<!-- Made from the results by oppcache.consistency.mutant_page; do not edit. -->"


class Sorted(NamedTuple):
    """Outcomes by what became of them.

    Attributes:
        found: by the search, or where the file is loaded.
        equivalent: with the reason.
        missed: wrong and not found, with what would find them.
        unexplained: neither.
    """

    found: list[Outcome]
    equivalent: list[tuple[Outcome, str]]
    missed: list[tuple[Outcome, str]]
    unexplained: list[Outcome]


def sort_out(outcomes: Iterable[Outcome], reasons: dict[str, dict[str, list[str]]]) -> Sorted:
    """Give every mutant that was not found its reason."""
    result = Sorted([], [], [], [])
    for outcome in outcomes:
        if outcome.how in ("caught", "refused"):
            result.found.append(outcome)
            continue
        for kind, kept in (("equivalent", result.equivalent), ("missed", result.missed)):
            why = _reason(outcome.mutant, reasons[kind])
            if why:
                kept.append((outcome, why))
                break
        else:
            result.unexplained.append(outcome)
    return result


def _reason(mutant: str, reasons: dict[str, list[str]]) -> str:
    for why, patterns in reasons.items():
        # In a name, brackets stand for themselves.
        if any(fnmatchcase(mutant, pattern.replace("[", "[[]")) for pattern in patterns):
            return why
    return ""


def page(name: str, results: Path, reasons: Path) -> str:
    """The page as Markdown."""
    document = load_yaml(reasons)
    done = sort_out(read_results(results, name), document)
    total = len(done.found) + len(done.equivalent) + len(done.missed) + len(done.unexplained)
    wrong = total - len(done.equivalent)
    searched = sum(outcome.how == "caught" for outcome in done.found)
    parts = [
        _MADE,
        f"# Slips in one row of {name}",
        f"Each of these {total} tables differs from [`{name}`](protocols/{name}.md) in one row: a guard dropped (the row is "
        "then tried before the others of its cell), an action dropped, another next state. They are made by a script, "
        "and tried by [`oppcache verify`](verify.md)'s search on a ladder of models, the cheapest first, until one finds "
        "them.",
        f"- found: **{len(done.found)}**, of them {searched} by the search and {len(done.found) - searched} where the file is "
        f"loaded: **{100 * len(done.found) / total:.1f} %** of all, **{100 * len(done.found) / wrong:.1f} %** of those that are "
        "wrong;",
        f"- equivalent, by the reasons below: {len(done.equivalent)};",
        f"- wrong and not found: {len(done.missed)};",
        f"- not found and not explained: {len(done.unexplained)}.",
        "A file with a guard dropped would not even load, as two rows of a cell would match; that is not counted. "
        '"Equivalent" means that no property can tell the two tables apart, argued by hand and never contradicted by the '
        "models; it may well cost time or messages.",
        "Each was tried on the models of up to 60,000 states; what these did not find, on larger ones that were chosen for "
        "it, up to two million, where a larger one could tell more.",
        "## Not found",
        "| mutant | why |\n|---|---|",
    ]
    parts[-1] += "".join(f"\n| {o.mutant} | **wrong**: {why} |" for o, why in done.missed)
    parts[-1] += "".join(f"\n| {o.mutant} | **unexplained** |" for o in done.unexplained)
    parts[-1] += "".join(f"\n| {o.mutant} | {why} |" for o, why in done.equivalent)
    parts += ["## Found", "| mutant | found as | in the model | steps |\n|---|---|---|---|"]
    parts[-1] += "".join(f"\n{_row(outcome)}" for outcome in done.found)
    return "\n\n".join(parts) + "\n"


def _row(outcome: Outcome) -> str:
    if outcome.how == "refused":
        return f"| {outcome.mutant} | not loaded: {outcome.found} | | |"
    found = f"`{outcome.found}`" if outcome.steps else outcome.found
    return f"| {outcome.mutant} | {found} | {outcome.model} | {outcome.steps or ''} |"


if __name__ == "__main__":
    made = page(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    Path(sys.argv[4]).write_text(made, encoding="utf-8")

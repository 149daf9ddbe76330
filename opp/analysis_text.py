"""An :class:`~.analysis.Analysis` as text of at most 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from .analysis import Analysis, TableAnalysis
from .classes import Classified
from .sharing import KeyUse

WIDTH = 100
_LABEL = 12


def as_text(analysis: Analysis) -> str:
    """Return the whole analysis, a block for each table, the globals and the groups."""
    return "\n".join(_lines(analysis)) + "\n"


def labelled(label: str, text: str, indent: int = 2, column: int = _LABEL) -> Iterator[str]:
    """Yield ``label  text``, wrapped so that the text stays in its column."""
    head = " " * indent + label.ljust(column)
    if not head.endswith(" "):
        head += " "
    yield from textwrap.wrap(
        text,
        WIDTH,
        initial_indent=head,
        subsequent_indent=" " * (indent + column),
        break_long_words=False,
        break_on_hyphens=False,
    ) or [head.rstrip()]


def _lines(analysis: Analysis) -> Iterator[str]:
    program = analysis.program
    counts = [_count(len(program.stages), "stage"), _count(len(analysis.tables), "context table")]
    yield f"program {program.name}: {', '.join(counts)}, {_count(len(analysis.globals), 'global')}"
    for table in analysis.tables:
        yield ""
        yield from _table(table)
    if analysis.globals:
        yield ""
        yield "globals"
    column = _column(str(one.variable.variable) for one in analysis.globals)
    for one in analysis.globals:
        yield from labelled(str(one.variable.variable), _class(one.variable), 2, column)
        relaxed = (f"{mode} where a safe answer is enough" for mode in one.mode.relaxed)
        modes = ", or ".join((" or ".join(one.mode.modes), *relaxed))
        yield from labelled("", f"needs {modes}: {one.mode.why}.", 2, column)
        yield from labelled("", f"promise: {one.mode.promise}.", 2, column)
    yield ""
    if not analysis.groups:
        yield "groups: none, no packet touches two shared objects"
    for group in analysis.groups:
        yield from labelled("group", f"{', '.join(group)}: on one path, so they need one home.", 0)


def _table(one: TableAnalysis) -> Iterator[str]:
    yield from labelled(f"table {one.table.name}:", f"{one.sharing}; {one.why}", 0)
    lines = [("key", _key(use)) for use in one.keys]
    lines.append(("state", _class(one.label)))
    lines += [(f"R.{r.variable.name}", _class(r)) for r in one.registers]
    marks = [text for text, said in (("sets timers", one.timers), ("deletes contexts", one.deletes)) if said]
    if marks:
        lines.append(("also", ", ".join(marks)))
    lines.append(("needs", f"{one.need.how}: {one.need.why}."))
    column = _column(label for label, _ in lines)
    for label, text in lines:
        yield from labelled(label, text, 2, column)


def _column(labels: Iterable[str]) -> int:
    """Width of the labels' column, so that a block's texts begin alike."""
    return min(max([_LABEL, *(len(label) + 2 for label in labels)]), 40)


def _key(use: KeyUse) -> str:
    what = f"{use.stage} {use.role}" + (f" ({use.entry!r})" if use.entry else "")
    width = f"{use.bits} bit" + (f", IPv4 {use.bits_ipv4}" if use.bits_ipv4 != use.bits else "")
    return f"{what}: {use.text}{', symmetric' if use.key.symmetric else ''} ({width})"


def _class(one: Classified) -> str:
    return f"{one.kind}: {one.why}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")

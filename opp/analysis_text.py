"""An :class:`~.analysis.Analysis` as text of at most 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from .analysis import Analysis, TableAnalysis
from .classes import Classified
from .sharing import KeyUse

WIDTH = 100
_LABEL = 12


def as_text(analysis: Analysis) -> str:
    """Return the whole analysis, a block for each table, the globals and the groups."""
    return "\n".join(_lines(analysis)) + "\n"


def labelled(label: str, text: str, indent: int = 2) -> Iterator[str]:
    """Yield ``label  text``, wrapped so that the text stays in its column."""
    head = " " * indent + label.ljust(_LABEL)
    if not head.endswith(" "):
        head += " "
    yield from textwrap.wrap(
        text,
        WIDTH,
        initial_indent=head,
        subsequent_indent=" " * (indent + _LABEL),
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
    for one in analysis.globals:
        yield from _variable(str(one.variable.variable), one.variable)
        modes = " or ".join(
            (*one.mode.modes, *(f"{m} (if a safe answer is enough)" for m in one.mode.relaxed))
        )
        yield from labelled("", f"needs {modes}: {one.mode.why}.")
        yield from labelled("", f"promise: {one.mode.promise}.")
    yield ""
    if not analysis.groups:
        yield "groups: none, no packet touches two shared objects"
    for group in analysis.groups:
        yield from labelled("group", f"{', '.join(group)}: on one path, so they need one home.", 0)


def _table(one: TableAnalysis) -> Iterator[str]:
    yield from labelled(f"table {one.table.name}:", f"{one.sharing}; {one.why}", 0)
    for use in one.keys:
        yield from labelled("key", _key(use))
    yield from _variable("state", one.label)
    for register, found in zip(one.table.registers, one.registers, strict=True):
        yield from _variable(f"R.{register.name}", found)
    marks = [text for text, said in (("sets timers", one.timers), ("deletes contexts", one.deletes)) if said]
    if marks:
        yield from labelled("also", ", ".join(marks))
    yield from labelled("needs", f"{one.need.how}: {one.need.why}.")


def _key(use: KeyUse) -> str:
    what = f"{use.stage} {use.role}" + (f" ({use.entry!r})" if use.entry else "")
    width = f"{use.bits} bit" + (f", IPv4 {use.bits_ipv4}" if use.bits_ipv4 != use.bits else "")
    return f"{what}: {use.text}{', symmetric' if use.key.symmetric else ''} ({width})"


def _variable(label: str, one: Classified) -> Iterator[str]:
    yield from labelled(label, f"{one.kind}: {one.why}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")

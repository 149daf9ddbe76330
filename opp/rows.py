"""The rows that an entry's match comes to: ternary rows to be tried in turn, or rules for a classifier."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator

from . import arrays as A
from .fields import FIELD_BY_NAME, W_FAMILY, W_HEADERS, Header, Layout
from .overlaps import takes_none, term_ternaries
from .program import Entry, Program, Stage, Term
from .tuples import Cell

# A stage that comes to more ternary rows than this gets a classifier.
LINEAR_ROWS = 32
_ALL = 2**64 - 1
_HEADERS, _FAMILY = (A.CELL_WORD, W_HEADERS), (A.CELL_WORD, W_FAMILY)


def is_long(entries: Iterable[Entry]) -> bool:
    """Whether entries come to more than :data:`LINEAR_ROWS` ternary rows."""
    total = 0
    for entry in entries:
        total += math.prod(len(term_ternaries(t)) for t in entry.match if t.patterns)
        if total > LINEAR_ROWS:
            return True
    return False


def rules_of(entry: Entry) -> int:
    """How many rules an entry comes to at most: ranges are not multiplied out."""
    return math.prod(len(t.patterns) for t in entry.match if t.patterns)


class RowMaker:
    """Makes rows for the entries of one program."""

    def __init__(self, program: Program, layout: Layout) -> None:
        self.program = program
        self.layout = layout

    def ternary(self, entry: Entry, stage: Stage) -> Iterator[list[tuple[int, int, int, int]]]:
        """Rows of cells (kind, index, mask, value): the cross product of the terms' alternatives."""
        for cells in self._combinations(entry, stage, ranges=False):
            # The state first: it rules out most rows. The headers last: nearly every packet has them.
            ranked = sorted(cells, key=lambda c: (c[0] == A.CELL_WORD, c[:2] == _HEADERS))
            yield [cell[:4] for cell in ranked]

    def rules(self, entry: Entry, stage: Stage) -> Iterator[tuple[Cell, ...]]:
        """The same with ranges left whole, and a cell that says whether there must be a key."""
        key = [(A.CELL_NO_KEY, 0, 1, int(takes_none(entry)), 0)] if stage.table is not None else []
        for cells in self._combinations(entry, stage, ranges=True):
            yield tuple(sorted(cells, key=lambda c: (c[4] == 0, c[:2] in (_HEADERS, _FAMILY)))) + tuple(key)

    def _combinations(self, entry: Entry, stage: Stage, *, ranges: bool) -> Iterator[list[Cell]]:
        """Every choice of one alternative a term that some packet could match."""
        choices = [list(self._alternatives(t, stage, ranges)) for t in entry.match if t.patterns]
        for combination in itertools.product(*choices):
            ternary: dict[tuple[int, int], tuple[int, int]] = {}
            others: list[Cell] = []
            possible = True
            for cell in itertools.chain.from_iterable(combination):
                kind, index, mask, value, span = cell
                if span:
                    others.append(cell)
                    continue
                old_mask, old_value = ternary.get((kind, index), (0, 0))
                possible &= (old_value ^ value) & old_mask & mask == 0
                ternary[kind, index] = (old_mask | mask, old_value | value)
            if possible:
                yield [(*subject, *pattern, 0) for subject, pattern in ternary.items()] + others

    def _alternatives(self, term: Term, stage: Stage, ranges: bool) -> Iterator[list[Cell]]:
        """Each alternative of a term as cells."""
        if ranges and term.kind in ("field", "metadata"):
            spans = [p for p in term.patterns if p.high is not None]
            for pattern in spans:
                assert pattern.high is not None
                span = pattern.high - pattern.value
                yield from self._cells(term, stage, pattern.value, pattern.mask, 0, span)
            if spans:
                term = Term(term.kind, term.name, tuple(p for p in term.patterns if p.high is None))
        for value, mask, family in term_ternaries(term):
            yield from self._cells(term, stage, value & mask, mask, family, 0)

    def _cells(
        self, term: Term, stage: Stage, value: int, mask: int, family: int, span: int
    ) -> Iterator[list[Cell]]:
        if term.kind == "state":
            yield [(A.CELL_STATE, 0, mask & A.STATE_MASK, value & A.STATE_MASK, 0)]
        elif term.kind == "direction":
            yield [(A.CELL_DIRECTION, 0, mask & 1, value & 1, 0)]
        elif term.kind == "condition":
            bit = [c.name for c in stage.conditions].index(term.name)
            yield [(A.CELL_CONDITIONS, 0, (mask & 1) << bit, (value & 1) << bit, 0)]
        elif term.kind == "metadata":
            word = self.layout.metadata_word + self.program.metadata.index(term.name)
            yield [(A.CELL_WORD, word, mask & _ALL, value, span)]
        elif term.kind == "valid":
            bit = int(Header[term.name.upper()])
            yield [(*_HEADERS, (mask & 1) << bit, (value & 1) << bit, 0)]
        else:
            yield self._field(term.name, value, mask, family, span)

    def _field(self, name: str, value: int, mask: int, family: int, span: int) -> list[Cell]:
        field = FIELD_BY_NAME[name]
        word = self.layout.word_of[name]
        cells: list[Cell] = []
        if field.header is not None:
            cells.append((*_HEADERS, 1 << field.header, 1 << field.header, 0))
        if family:
            cells.append((*_FAMILY, 0xFF, family, 0))
        if field.words == 2:
            if mask >> 64 and family != 4:
                cells.append((A.CELL_WORD, word, mask >> 64, value >> 64, 0))
            low_mask = mask & (0xFFFF_FFFF if family == 4 else _ALL)
            cells.append((A.CELL_WORD, word + 1, low_mask, value & low_mask, 0))
        else:
            cells.append((A.CELL_WORD, word, mask, value, span))
        return [c for c in cells if c[2]]

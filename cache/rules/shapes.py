"""The entries of a stage as numbers: for every rule and every subject that it looks at, bits and bounds."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from oppcache.opp import arrays as A
from oppcache.opp.fields import FIELD_BY_NAME, Layout
from oppcache.opp.overlaps import term_ternaries
from oppcache.opp.program import Program, Stage
from oppcache.opp.rows import RowMaker

_ALL = 2**64 - 1


class Shapes(NamedTuple):
    """Rules in order of priority, the highest first; an entry comes to one rule or several.

    A rule lets a packet through if at every subject value & mask == bits and low <= value <= high. The last rule
    matches everything: it stands for what becomes of packets that no entry matches.
    """

    mask: np.ndarray  # uint64[rules, subjects]
    bits: np.ndarray
    low: np.ndarray
    high: np.ndarray
    entry: np.ndarray  # int64[rules]: number in the stage; the number of entries: none of them


def shapes_of(program: Program, stage: Stage, layout: Layout) -> Shapes:
    """Return the shapes of a stage's entries.

    Args:
        program: checked.
        stage: one of its stages.
        layout: of the header vectors.
    """
    maker = RowMaker(program, layout)
    ranked = sorted(range(len(stage.entries)), key=lambda i: -stage.entries[i].priority)
    rules = [(i, cells) for i in ranked for cells in maker.rules(stage.entries[i], stage)]
    subjects: dict[tuple[int, int], int] = {}
    for _, cells in rules:
        for kind, index, *_ in cells:
            subjects.setdefault((kind, index), len(subjects))
    size = (len(rules) + 1, max(len(subjects), 1))
    full = _full(subjects, layout)
    mask, bits, low = (np.zeros(size, np.uint64) for _ in range(3))
    high = np.broadcast_to(np.array([full.get(s, _ALL) for s in range(size[1])], np.uint64), size).copy()
    for rule, (_, cells) in enumerate(rules):
        for kind, index, wanted, least, span in cells:
            subject = subjects[kind, index]
            if span:
                known = _ALL ^ ((1 << (least ^ (least + span)).bit_length()) - 1)
                first, last = least, least + span
                value = least & known & wanted
            else:
                known, value = _ALL, least
                first, last = least, least | (full[subject] & ~wanted)
            mask[rule, subject] |= np.uint64(wanted & known)
            bits[rule, subject] |= np.uint64(value)
            low[rule, subject] = max(int(low[rule, subject]), first)
            high[rule, subject] = min(int(high[rule, subject]), last)
    entry = np.array([i for i, _ in rules] + [len(stage.entries)], np.int64)
    return Shapes(mask, bits, low, high, entry)


def _full(subjects: dict[tuple[int, int], int], layout: Layout) -> dict[int, int]:
    """The largest value of each subject."""
    width: dict[int, int] = {}
    for name, word in layout.word_of.items():
        field = FIELD_BY_NAME[name]
        for part in range(field.words):
            width[word + part] = max(width.get(word + part, 0), min(field.bits, 64))
    return {
        number: (1 << width.get(index, 64)) - 1 if kind == A.CELL_WORD else _ALL
        for (kind, index), number in subjects.items()
    }


def row_counts(stage: Stage) -> np.ndarray:
    """Ternary rows that each entry takes, ranges and lists expanded, ``int64[entries + 1]``; 0 for the last: none of them."""
    rows = [math.prod(len(term_ternaries(t)) for t in e.match if t.patterns) for e in stage.entries]
    return np.array([*rows, 0], np.int64)

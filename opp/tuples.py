"""The classifier of one stage: its arrays with room to grow, built from many rules or changed rule by rule.

:mod:`.classifier` reads the arrays, :mod:`.subtables` decides how the rules are spread. What is found is always
the matching rule of highest priority; rules of one priority never match together unless they are one entry's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import arrays as A
from .fields import W_FAMILY, W_HEADERS
from .subtables import (
    CHAIN,
    Parts,
    Spans,
    byte_spans,
    bytes_let_through,
    choose_chunks,
    choose_subtables,
    hash_one,
    hash_rows,
    parts_of,
    subtable_mask,
)

_ALL = 2**64 - 1
_EMPTY = -(2**63)  # best priority of a subtable without rules
_SLACK = 64
_REBUILD_AFTER = 1024

Cell = tuple[int, int, int, int, int]  # kind, index, mask, low, span: holds if (value & mask) - low <= span


@dataclass(frozen=True)
class Rule:
    """One rule: the entry it chooses where all cells hold."""

    entry: int
    priority: int
    cells: tuple[Cell, ...]


class TupleSpace:
    """The rules of one stage.

    Attributes:
        arrays: the stage's own arrays by :class:`~.arrays.ClassifierArrays` member; those of numbered things have
            spare room. The pool that serves the kernels may replace them by views, see :meth:`bind`.
        moved: whether an array was replaced by a larger one since the pool last looked.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.subjects: dict[tuple[int, int], int] = {(A.CELL_NO_KEY, 0): 0}
        self.moved = True
        self.edits = 0
        for rule in rules:
            for kind, index, *_ in rule.cells:
                self.subjects.setdefault((kind, index), len(self.subjects))
        self._allocate(rules)
        spans, cells = self._read(rules)
        self._build(rules, spans, cells)

    def __len__(self) -> int:
        return self.used - len(self.free)

    def bind(self, arrays: dict[str, np.ndarray]) -> None:
        """Go on with these arrays, which hold the same."""
        self.arrays = arrays
        self.rules = {name: arrays["rules"][name] for name in A.RULE_DTYPE.names or ()}
        self.moved = False

    def worn(self) -> bool:
        """Whether so much has changed that the subtables should be chosen anew."""
        return self.edits > max(_REBUILD_AFTER, 2 * self.built)

    # Building

    def _allocate(self, rules: Sequence[Rule]) -> None:
        count = len(rules)
        room = count + count // 2 + _SLACK
        self.stride = max([len(r.cells) for r in rules], default=0) + 2
        self.used, self.free, self.built = count, [], count
        self.bind(
            {
                "rules": np.zeros(room, A.RULE_DTYPE),
                "cells": np.zeros(room * self.stride, A.RULE_CELL_DTYPE),
                "subtables": np.zeros(A.MAX_SUBTABLES, A.SUBTABLE_DTYPE),
                "parts": np.zeros(A.MAX_SUBTABLES * A.MAX_HASH_PARTS, A.HASH_PART_DTYPE),
                "subjects": np.zeros(0, A.SUBJECT_DTYPE),
                "chunks": np.zeros(0, A.CHUNK_DTYPE),
                "candidates": np.zeros(0, np.uint64),
                "buckets": np.zeros(0, np.int64),
            }
        )
        self.arrays["subtables"]["best"] = _EMPTY
        self.owner = np.full(room, -1)
        self.previous = np.full(room, -1)
        self.values = np.zeros((room, len(self.subjects)), np.uint64)
        self._store_subjects()

    def _store_subjects(self) -> None:
        assert len(self.subjects) <= A.MAX_SUBJECTS
        self.arrays["subjects"] = np.array(list(self.subjects), A.SUBJECT_DTYPE)
        self.moved = True

    def _read(self, rules: Sequence[Rule]) -> tuple[Spans, np.ndarray]:
        """The rules as spans, and all their cells as one array ``(rule, subject, mask, low, span)``."""
        shape = (len(rules), len(self.subjects))
        flat = np.array(
            [
                (i, self.subjects[kind, index], mask, low, span)
                for i, rule in enumerate(rules)
                for kind, index, mask, low, span in rule.cells
            ],
            np.uint64,
        ).reshape(-1, 5)
        rule, subject = flat[:, 0].astype(np.int64), flat[:, 1].astype(np.int64)
        mask, value, low, high = spans_of_cells(flat[:, 2], flat[:, 3], flat[:, 4])
        spans = Spans(
            np.zeros(shape, np.uint64),
            np.zeros(shape, np.uint64),
            np.zeros(shape, np.uint64),
            np.full(shape, _ALL, np.uint64),
        )
        # Several cells of one subject all hold: bits add up, ends close in.
        np.bitwise_or.at(spans.masks, (rule, subject), mask)
        np.bitwise_or.at(spans.values, (rule, subject), value)
        np.maximum.at(spans.low, (rule, subject), low)
        np.minimum.at(spans.high, (rule, subject), high)
        # A rule that nothing can match may have ends that cross.
        np.maximum(spans.high, spans.low, out=spans.high)
        return spans, flat

    def _build(self, rules: Sequence[Rule], spans: Spans, flat: np.ndarray) -> None:
        count = len(rules)
        self._store_cells(rules, flat)
        self.rules["priority"][:count] = [r.priority for r in rules]
        self.rules["entry"][:count] = [r.entry for r in rules]
        self.values[:count] = spans.values
        self.usable = self._usable(spans)
        masks, owner = choose_subtables(spans.masks, spans.values, self.usable)
        best = [
            int(self.rules["priority"][:count][owner == i].max(initial=_EMPTY)) for i in range(len(masks))
        ]
        # Subtables are visited in order of their numbers: the best first.
        order = sorted(range(len(masks)), key=lambda i: -best[i])
        self.masks = np.zeros((A.MAX_SUBTABLES, len(self.subjects)), np.uint64)
        self.masks[: len(order)] = [masks[i] for i in order]
        self.live = np.zeros(A.MAX_SUBTABLES, bool)
        self.live[: len(order)] = True
        self.parts: list[Parts] = [() for _ in range(A.MAX_SUBTABLES)]
        self.owner[:count] = np.argsort(order)[owner]
        self.chunks, tables = choose_chunks(spans, self.owner[:count]) if count else ([(0, 0)], [])
        self.arrays["chunks"] = np.array(self.chunks, A.CHUNK_DTYPE)
        self.arrays["candidates"] = np.concatenate(tables) if tables else np.zeros(A.CHUNK_VALUES, np.uint64)
        for subtable in range(len(order)):
            self._set_parts(subtable)
            self._fill(subtable)

    def _usable(self, spans: Spans) -> np.ndarray:
        """Subjects worth hashing: their masked values tell rules apart."""
        usable = np.zeros(len(self.subjects), bool)
        for (kind, index), subject in self.subjects.items():
            some = spans.values[:, subject][spans.masks[:, subject] != 0]
            usable[subject] = not _is_dull(kind, index) and bool((some != some[:1]).any())
        return usable

    def _store_cells(self, rules: Sequence[Rule], flat: np.ndarray) -> None:
        counts = np.array([len(r.cells) for r in rules], np.int64)
        self.rules["cells"][: len(rules)] = counts
        within = np.arange(len(flat)) - np.repeat(np.cumsum(counts) - counts, counts)
        at = flat[:, 0].astype(np.int64) * self.stride + within
        for column, name in enumerate(("subject", "mask", "low", "span"), 1):
            self.arrays["cells"][name][at] = flat[:, column]

    def _set_parts(self, subtable: int) -> None:
        parts = self.parts[subtable] = parts_of(self.masks[subtable])
        self.arrays["subtables"]["parts"][subtable] = len(parts)
        for i, part in enumerate(parts):
            self.arrays["parts"][subtable * A.MAX_HASH_PARTS + i] = part

    def _fill(self, subtable: int) -> None:
        """Hash a subtable's rules into new buckets, twice as many as it has rules."""
        slots = np.flatnonzero(self.owner[: self.used] == subtable)
        size = 1 << max(3, int(2 * len(slots)).bit_length())
        table = self.arrays["subtables"]
        first = len(self.arrays["buckets"])
        self.arrays["buckets"] = np.concatenate([self.arrays["buckets"], np.full(size, -1)])
        self.moved = True
        table["first_bucket"][subtable], table["bucket_mask"][subtable] = first, size - 1
        table["best"][subtable] = self.rules["priority"][slots].max(initial=_EMPTY)
        tags = hash_rows(self.values[slots], self.parts[subtable])
        place = (tags >> np.uint64(32) & np.uint64(size - 1)).astype(np.int64)
        order = np.lexsort((-self.rules["priority"][slots], place))
        slots, place = slots[order], place[order]
        self.rules["tag"][slots] = tags[order]
        heads = np.append(True, place[1:] != place[:-1])[: len(slots)]
        ahead, behind = np.roll(slots, 1), np.roll(slots, -1)
        self.previous[slots] = np.where(heads, -1, ahead)
        self.rules["next"][slots] = np.where(np.roll(heads, -1), -1, behind)
        self.arrays["buckets"][first + place[heads]] = slots[heads]

    # Changing

    def insert(self, rule: Rule) -> int:
        """Add one rule; returns the slot by which to remove it."""
        for kind, index, *_ in rule.cells:
            if (kind, index) not in self.subjects:
                self._add_subject(kind, index)
        if len(rule.cells) > self.stride:
            self._widen(len(rule.cells) + 2)
        slot = self._slot()
        cells = [(self.subjects[kind, index], mask, low, span) for kind, index, mask, low, span in rule.cells]
        for i, cell in enumerate(cells):
            self.arrays["cells"][slot * self.stride + i] = cell
        spans = self._spans_of(cells)
        self.values[slot] = spans.values[0]
        subtable = self._home(spans)
        self.rules["priority"][slot], self.rules["cells"][slot] = rule.priority, len(cells)
        self.rules["entry"][slot] = rule.entry
        self.owner[slot] = subtable
        self._link(slot, subtable)
        for i, (subject, shift) in enumerate(self.chunks):
            some = bytes_let_through(byte_spans(spans, subject, shift))[0]
            mine = self.arrays["candidates"][i * A.CHUNK_VALUES : (i + 1) * A.CHUNK_VALUES]
            mine[some] |= np.uint64(1 << subtable)
        self.edits += 1
        return slot

    def remove(self, slot: int) -> None:
        """Take a rule out; its slot may serve another."""
        subtable = int(self.owner[slot])
        before, after = int(self.previous[slot]), int(self.rules["next"][slot])
        if before >= 0:
            self.rules["next"][before] = after
        else:
            self.arrays["buckets"][self._bucket(subtable, int(self.rules["tag"][slot]))] = after
        if after >= 0:
            self.previous[after] = before
        self.owner[slot] = -1
        self.free.append(slot)
        self.edits += 1
        table = self.arrays["subtables"]
        if self.rules["priority"][slot] == table["best"][subtable]:
            mine = self.owner[: self.used] == subtable
            table["best"][subtable] = self.rules["priority"][: self.used][mine].max(initial=_EMPTY)

    def _bucket(self, subtable: int, tag: int) -> int:
        table = self.arrays["subtables"]
        return int(table["first_bucket"][subtable]) + (tag >> 32 & int(table["bucket_mask"][subtable]))

    def _link(self, slot: int, subtable: int) -> None:
        """Put a rule into its bucket's chain, which is in order of priority."""
        tag = hash_one(self.values[slot], self.parts[subtable])
        self.rules["tag"][slot] = tag
        bucket = self._bucket(subtable, tag)
        priority = int(self.rules["priority"][slot])
        before, after = -1, int(self.arrays["buckets"][bucket])
        while after >= 0 and self.rules["priority"][after] > priority:
            before, after = after, int(self.rules["next"][after])
        self.rules["next"][slot], self.previous[slot] = after, before
        if after >= 0:
            self.previous[after] = slot
        if before >= 0:
            self.rules["next"][before] = slot
        else:
            self.arrays["buckets"][bucket] = slot
        table = self.arrays["subtables"]
        if priority > table["best"][subtable]:
            table["best"][subtable] = priority

    def _home(self, spans: Spans) -> int:
        """The subtable for a rule: the one of most bits in which few share its bucket, else a new one."""
        mask = spans.masks[0]
        fitting = np.flatnonzero(self.live & ((self.masks & mask) == self.masks).all(axis=1))
        bits = np.bitwise_count(self.masks[fitting]).sum(axis=1, dtype=np.int64)
        fitting = fitting[np.argsort(-bits, kind="stable")]
        shortest, home = 2**62, -1
        for subtable in map(int, fitting):
            length = self._chain(subtable, hash_one(spans.values[0], self.parts[subtable]))
            if length < CHAIN:
                return self._with_room(subtable)
            if length < shortest:
                shortest, home = length, subtable
        return self._new_subtable(subtable_mask(mask, self.usable), home)

    def _chain(self, subtable: int, tag: int) -> int:
        """Rules in a bucket, counted up to :data:`~.subtables.CHAIN`."""
        slot, length = int(self.arrays["buckets"][self._bucket(subtable, tag)]), 0
        while slot >= 0 and length < CHAIN:
            slot, length = int(self.rules["next"][slot]), length + 1
        return length

    def _with_room(self, subtable: int) -> int:
        """The subtable, with more buckets if it has fewer than rules."""
        count = int(np.count_nonzero(self.owner[: self.used] == subtable))
        if count > int(self.arrays["subtables"]["bucket_mask"][subtable]):
            self._fill(subtable)
        return subtable

    def _new_subtable(self, mask: np.ndarray, otherwise: int) -> int:
        """Open a subtable with this mask, if that is possible and there is none such yet."""
        unused = np.flatnonzero(~self.live)
        if not len(unused) or (self.masks[self.live] == mask).all(axis=1).any():
            return otherwise
        subtable = int(unused[0])
        self.masks[subtable], self.live[subtable] = mask, True
        self._set_parts(subtable)
        self._fill(subtable)
        return subtable

    def _slot(self) -> int:
        if self.free:
            return self.free.pop()
        if self.used == len(self.owner):
            more = self.used // 2 + _SLACK
            self.bind(
                self.arrays
                | {
                    "rules": _longer(self.arrays["rules"], more),
                    "cells": _longer(self.arrays["cells"], more * self.stride),
                }
            )
            self.moved = True
            self.owner, self.previous = _longer(self.owner, more), _longer(self.previous, more)
            self.values = _longer(self.values, more)
        self.used += 1
        return self.used - 1

    def _add_subject(self, kind: int, index: int) -> None:
        self.subjects[kind, index] = len(self.subjects)
        self.values = np.pad(self.values, ((0, 0), (0, 1)))
        self.masks = np.pad(self.masks, ((0, 0), (0, 1)))
        self.usable = np.append(self.usable, not _is_dull(kind, index))
        self._store_subjects()

    def _widen(self, stride: int) -> None:
        """Give every rule room for more cells."""
        room = len(self.owner)
        cells = np.zeros((room, stride), A.RULE_CELL_DTYPE)
        cells[:, : self.stride] = self.arrays["cells"].reshape(room, self.stride)
        self.arrays["cells"], self.stride, self.moved = cells.reshape(-1), stride, True

    def _spans_of(self, cells: Sequence[tuple[int, int, int, int]]) -> Spans:
        """One rule's cells (subject, mask, low, span) as spans."""
        rows = [[0] * len(self.subjects) for _ in range(3)]
        masks, values, lows = rows
        highs = [_ALL] * len(self.subjects)
        for subject, mask, low, span in cells:
            if span:
                mask &= ~((1 << (low ^ (low + span)).bit_length()) - 1)
                lows[subject] = max(lows[subject], low)
                highs[subject] = max(min(highs[subject], low + span), lows[subject])
            masks[subject] |= mask
            values[subject] |= low & mask
        return Spans(*(np.array([row], np.uint64) for row in (masks, values, lows, highs)))


def _is_dull(kind: int, index: int) -> bool:
    """Whether a subject is as good as constant, so that hashing it tells nothing."""
    return kind == A.CELL_NO_KEY or (kind == A.CELL_WORD and index in (W_HEADERS, W_FAMILY))


def _longer(array: np.ndarray, more: int) -> np.ndarray:
    return np.concatenate([array, np.zeros((more, *array.shape[1:]), array.dtype)])


def spans_of_cells(mask: np.ndarray, low: np.ndarray, span: np.ndarray) -> tuple[np.ndarray, ...]:
    """Mask, value, lowest and highest value of cells, ``uint64[n]`` each; a bit pattern has no ends."""
    differ = low ^ (low + span)
    for shift in (1, 2, 4, 8, 16, 32):
        differ |= differ >> np.uint64(shift)
    shared = np.where(span > 0, mask & ~differ, mask)
    high = np.where(span > 0, low + span, np.uint64(_ALL))
    return shared, low & shared, np.where(span > 0, low, np.uint64(0)), high


def classifier_arrays(spaces: Sequence[TupleSpace]) -> A.ClassifierArrays:
    """Lay the stages' arrays end to end for the kernels; each stage goes on with its part of them."""
    records = np.zeros(len(spaces), A.CLASSIFIER_DTYPE)
    firsts = {
        "subjects": "first_subject",
        "chunks": "first_chunk",
        "subtables": "first_subtable",
        "buckets": "first_bucket",
        "rules": "first_rule",
        "cells": "first_cell",
    }
    names = [name for name in A.ClassifierArrays._fields if name != "classifiers"]
    at = dict.fromkeys(names, 0)
    for record, space in zip(records, spaces, strict=True):
        for name, first in firsts.items():
            record[first] = at[name]
        for name in names:
            at[name] += len(space.arrays[name])
        record["subjects"], record["chunks"] = len(space.arrays["subjects"]), len(space.arrays["chunks"])
        record["stride"] = space.stride
    if len(spaces) == 1:
        whole = spaces[0].arrays
    else:
        whole = {name: np.concatenate([_NOTHING[name], *(s.arrays[name] for s in spaces)]) for name in names}
    ends = dict.fromkeys(names, 0)
    for space in spaces:
        mine = {}
        for name in names:
            start = ends[name]
            ends[name] += len(space.arrays[name])
            mine[name] = whole[name][start : ends[name]]
        space.bind(mine)
    return A.ClassifierArrays(classifiers=records, **whole)


_NOTHING = {
    "subjects": np.zeros(0, A.SUBJECT_DTYPE),
    "chunks": np.zeros(0, A.CHUNK_DTYPE),
    "candidates": np.zeros(0, np.uint64),
    "subtables": np.zeros(0, A.SUBTABLE_DTYPE),
    "parts": np.zeros(0, A.HASH_PART_DTYPE),
    "buckets": np.zeros(0, np.int64),
    "rules": np.zeros(0, A.RULE_DTYPE),
    "cells": np.zeros(0, A.RULE_CELL_DTYPE),
}

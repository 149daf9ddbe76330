"""The classifier of one stage: its records with room to grow, built from many rules or changed rule by rule.

:mod:`.classifier` reads the records, :mod:`.subtables` decides how the rules are spread. What is found is always
the matching rule of highest priority; rules of one priority never match together unless they are one entry's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from oppcache._memory import zeros

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
    spans_of_cells,
    subtable_mask,
)

_ALL = 2**64 - 1
_BIAS = 2**63  # added to priorities
_SLACK = 64
_REBUILD_AFTER = 1024
_SPARE_CELLS = 2

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
        records: the stage's own structured arrays by name, with spare room; :func:`lay_out` moves them into the
            array of words that the kernels read.
        moved: whether a record array was replaced by another since then.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.subjects: dict[tuple[int, int], int] = {(A.CELL_NO_KEY, 0): 0}
        for rule in rules:
            for kind, index, *_ in rule.cells:
                self.subjects.setdefault((kind, index), len(self.subjects))
        count = self.used = self.built = len(rules)
        self.free: list[int] = []
        self.edits = 0
        self.moved = True
        self.cells = max([len(r.cells) for r in rules], default=0) + _SPARE_CELLS  # that a rule has room for
        room = count + count // 2 + _SLACK
        self.records: dict[str, np.ndarray] = {
            "subjects": np.array(list(self.subjects), A.SUBJECT_DTYPE),
            "subtables": np.zeros(A.MAX_SUBTABLES, A.SUBTABLE_DTYPE),
            "buckets": zeros(4 * room, np.int64),
            "rules": zeros(room, A.rule_dtype(self.cells)),
        }
        self.buckets_used = 0
        # What only changes need, per slot: subtable, slot before it in its bucket, bits that all matches share.
        self.owner = np.full(room, -1)
        self.previous = np.full(room, -1)
        self.values = np.zeros((room, len(self.subjects)), np.uint64)
        self._build(rules)

    def __len__(self) -> int:
        return self.used - len(self.free)

    @property
    def worn(self) -> bool:
        """Whether so much has changed that the subtables should be chosen anew."""
        return self.edits > max(_REBUILD_AFTER, 2 * self.built)

    # Building

    def _build(self, rules: Sequence[Rule]) -> None:
        count = len(rules)
        records = self.records["rules"]
        records["priority"][:count] = [r.priority + _BIAS for r in rules]
        records["entry"][:count] = [r.entry for r in rules]
        spans = self._store_cells(rules)
        self.values[:count] = spans.values
        self.usable = self._usable(spans)
        masks, owner = choose_subtables(spans.masks, spans.values, self.usable)
        best = [records["priority"][:count][owner == i].max(initial=0) for i in range(len(masks))]
        # Subtables are visited in order of their numbers: the best first.
        order = sorted(range(len(masks)), key=lambda i: -int(best[i]))
        self.masks = np.zeros((A.MAX_SUBTABLES, len(self.subjects)), np.uint64)
        self.masks[: len(order)] = [masks[i] for i in order]
        self.live = np.zeros(A.MAX_SUBTABLES, bool)
        self.live[: len(order)] = True
        self.owner[:count] = np.argsort(order)[owner]
        self.chunks, tables = choose_chunks(spans, self.owner[:count])
        self.records["chunks"] = np.array(self.chunks, A.CHUNK_DTYPE)
        self.records["candidates"] = np.concatenate(tables)
        self.parts: list[Parts] = [() for _ in range(A.MAX_SUBTABLES)]
        for subtable in range(len(order)):
            self._set_parts(subtable)
            self._fill(subtable)

    def _store_cells(self, rules: Sequence[Rule]) -> Spans:
        counts = np.array([len(r.cells) for r in rules], np.int64)
        flat = np.array(
            [
                (i, self.subjects[kind, index], mask, low, span)
                for i, rule in enumerate(rules)
                for kind, index, mask, low, span in rule.cells
            ],
            np.uint64,
        ).reshape(-1, 5)
        rule, subject = flat[:, 0].astype(np.int64), flat[:, 1].astype(np.int64)
        within = np.arange(len(flat)) - np.repeat(np.cumsum(counts) - counts, counts)
        self.records["rules"]["cells"][: len(rules)] = counts
        for column, name in enumerate(("subject", "mask", "low", "span"), 1):
            self.records["rules"]["cell"][name][rule, within] = flat[:, column]
        return spans_of_cells((len(rules), len(self.subjects)), rule, subject, *flat[:, 2:].T)

    def _usable(self, spans: Spans) -> np.ndarray:
        """Subjects worth hashing: their masked values tell rules apart."""
        usable = np.zeros(len(self.subjects), bool)
        for (kind, index), subject in self.subjects.items():
            some = spans.values[:, subject][spans.masks[:, subject] != 0]
            usable[subject] = not _is_dull(kind, index) and bool((some != some[:1]).any())
        return usable

    def _set_parts(self, subtable: int) -> None:
        parts = self.parts[subtable] = parts_of(self.masks[subtable])
        self.records["subtables"]["parts"][subtable] = len(parts)
        for i, part in enumerate(parts):
            self.records["subtables"]["part"][subtable, i] = part

    def _fill(self, subtable: int) -> None:
        """Hash a subtable's rules into new buckets, at least twice as many as it has rules."""
        slots = np.flatnonzero(self.owner[: self.used] == subtable)
        size = 1 << max(3, int(2 * len(slots)).bit_length())
        first = self._new_buckets(size)
        table, rules = self.records["subtables"], self.records["rules"]
        table["first_bucket"][subtable], table["bucket_mask"][subtable] = first, size - 1
        table["best"][subtable] = rules["priority"][slots].max(initial=0)
        tags = hash_rows(self.values[slots], self.parts[subtable])
        place = (tags >> np.uint64(32) & np.uint64(size - 1)).astype(np.int64)
        order = np.lexsort((~rules["priority"][slots], place))
        slots, place = slots[order], place[order]
        rules["tag"][slots] = tags[order]
        heads = np.append(True, place[1:] != place[:-1])[: len(slots)]
        self.previous[slots] = np.where(heads, -1, np.roll(slots, 1))
        rules["next"][slots] = np.where(np.roll(heads, -1), 0, np.roll(slots, -1) + 1)
        self.records["buckets"][first + place[heads]] = slots[heads] + 1

    def _new_buckets(self, count: int) -> int:
        first = self.buckets_used
        self.buckets_used += count
        if self.buckets_used > len(self.records["buckets"]):
            self._replace("buckets", _longer(self.records["buckets"], self.buckets_used))
        return first

    # Changing

    def insert(self, rule: Rule) -> int:
        """Add one rule; returns the slot by which to remove it."""
        for kind, index, *_ in rule.cells:
            if (kind, index) not in self.subjects:
                self._add_subject(kind, index)
        if len(rule.cells) > self.cells:
            self._widen(len(rule.cells) + _SPARE_CELLS)
        slot = self._slot()
        cells = [(self.subjects[kind, index], mask, low, span) for kind, index, mask, low, span in rule.cells]
        spans = self._spans_of(cells)
        self.values[slot] = spans.values[0]
        subtable = self._home(spans)
        record = self.records["rules"][slot]
        record["priority"], record["entry"] = rule.priority + _BIAS, rule.entry
        record["cells"] = len(cells)
        record["cell"][: len(cells)] = cells
        self.owner[slot] = subtable
        self._link(slot, subtable)
        for i, (subject, shift) in enumerate(self.chunks):
            some = bytes_let_through(byte_spans(spans, subject, shift))[0]
            self.records["candidates"][i * A.CHUNK_VALUES : (i + 1) * A.CHUNK_VALUES][some] |= np.uint64(
                1 << subtable
            )
        self.edits += 1
        return slot

    def remove(self, slot: int) -> None:
        """Take a rule out; its slot may serve another."""
        subtable = int(self.owner[slot])
        rules, table = self.records["rules"], self.records["subtables"]
        before, after = int(self.previous[slot]), int(rules["next"][slot])
        if before >= 0:
            rules["next"][before] = after
        else:
            self.records["buckets"][self._bucket(subtable, int(rules["tag"][slot]))] = after
        if after:
            self.previous[after - 1] = before
        self.owner[slot] = -1
        self.free.append(slot)
        self.edits += 1
        if rules["priority"][slot] == table["best"][subtable]:
            mine = self.owner[: self.used] == subtable
            table["best"][subtable] = rules["priority"][: self.used][mine].max(initial=0)

    def _bucket(self, subtable: int, tag: int) -> int:
        table = self.records["subtables"]
        return int(table["first_bucket"][subtable]) + (tag >> 32 & int(table["bucket_mask"][subtable]))

    def _link(self, slot: int, subtable: int) -> None:
        """Put a rule into its bucket's chain, which is in order of priority."""
        rules, table = self.records["rules"], self.records["subtables"]
        tag = hash_one(self.values[slot], self.parts[subtable])
        bucket = self._bucket(subtable, tag)
        priority = rules["priority"][slot]
        before, after = -1, int(self.records["buckets"][bucket])
        while after and rules["priority"][after - 1] > priority:
            before, after = after - 1, int(rules["next"][after - 1])
        rules["tag"][slot], rules["next"][slot], self.previous[slot] = tag, after, before
        if after:
            self.previous[after - 1] = slot
        if before >= 0:
            rules["next"][before] = slot + 1
        else:
            self.records["buckets"][bucket] = slot + 1
        table["best"][subtable] = max(table["best"][subtable], priority)

    def _home(self, spans: Spans) -> int:
        """The subtable for a rule: the one of most bits in which few share its bucket, else a new one."""
        mask = spans.masks[0]
        fitting = np.flatnonzero(self.live & ((self.masks & mask) == self.masks).all(axis=1))
        bits = np.bitwise_count(self.masks[fitting]).sum(axis=1, dtype=np.int64)
        shortest, home = 2**62, -1
        for subtable in map(int, fitting[np.argsort(-bits, kind="stable")]):
            length = self._chain(subtable, hash_one(spans.values[0], self.parts[subtable]))
            if length < CHAIN:
                return self._with_room(subtable)
            if length < shortest:
                shortest, home = length, subtable
        return self._new_subtable(subtable_mask(mask, self.usable), home)

    def _chain(self, subtable: int, tag: int) -> int:
        """Rules in a bucket, counted up to a hundred."""
        slot, length = int(self.records["buckets"][self._bucket(subtable, tag)]), 0
        while slot and length < 100:
            slot, length = int(self.records["rules"]["next"][slot - 1]), length + 1
        return length

    def _with_room(self, subtable: int) -> int:
        """The subtable, with more buckets if it has fewer than rules."""
        count = int(np.count_nonzero(self.owner[: self.used] == subtable))
        if count > int(self.records["subtables"]["bucket_mask"][subtable]):
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

    # Growing

    def _replace(self, name: str, array: np.ndarray) -> None:
        self.records[name], self.moved = array, True

    def _slot(self) -> int:
        if self.free:
            return self.free.pop()
        if self.used == len(self.owner):
            more = self.used // 2 + _SLACK
            self._replace("rules", _longer(self.records["rules"], more))
            self.owner, self.previous = _longer(self.owner, more), _longer(self.previous, more)
            self.values = _longer(self.values, more)
        self.used += 1
        return self.used - 1

    def _add_subject(self, kind: int, index: int) -> None:
        self.subjects[kind, index] = len(self.subjects)
        self.values = np.pad(self.values, ((0, 0), (0, 1)))
        self.masks = np.pad(self.masks, ((0, 0), (0, 1)))
        self.usable = np.append(self.usable, not _is_dull(kind, index))
        self._replace("subjects", np.array(list(self.subjects), A.SUBJECT_DTYPE))

    def _widen(self, cells: int) -> None:
        """Give every rule room for more cells."""
        old = self.records["rules"]
        new = np.zeros(len(old), A.rule_dtype(cells))
        for name in ("priority", "tag", "next", "entry", "cells"):
            new[name] = old[name]
        new["cell"][:, : self.cells] = old["cell"]
        self.cells = cells
        self._replace("rules", new)

    def _spans_of(self, cells: Sequence[tuple[int, int, int, int]]) -> Spans:
        """One rule's cells (subject, mask, low, span) as spans."""
        subject, *columns = np.array(cells, np.uint64).reshape(-1, 4).T
        rule = np.zeros(len(cells), np.int64)
        return spans_of_cells((1, len(self.subjects)), rule, subject.astype(np.int64), *columns)


def _is_dull(kind: int, index: int) -> bool:
    """Whether a subject is as good as constant, so that hashing it tells nothing."""
    return kind == A.CELL_NO_KEY or (kind == A.CELL_WORD and index in (W_HEADERS, W_FAMILY))


def _longer(array: np.ndarray, more: int) -> np.ndarray:
    return np.concatenate([array, np.zeros((more, *array.shape[1:]), array.dtype)])


def lay_out(spaces: Sequence[TupleSpace]) -> tuple[np.ndarray, list[int]]:
    """Put the records of stages' classifiers into one ``uint64`` array, by which the stages go on.

    Returns:
        the array, and the word of each classifier's header.
    """
    headers, at = [], 0
    for space in spaces:
        headers.append(at)
        at += A.K_WORDS + sum(r.nbytes // 8 for r in space.records.values())
    words = np.zeros(at, np.uint64)
    for header, space in zip(headers, spaces, strict=True):
        at = header + A.K_WORDS
        first = {}
        for name, old in space.records.items():
            first[name] = at
            end = at + old.nbytes // 8
            new = words[at:end].view(old.dtype)
            new[...] = old
            space.records[name] = new
            at = end
        counts = len(space.records["subjects"]), len(space.records["chunks"])
        rule_words = A.rule_dtype(space.cells).itemsize // 8
        words[header : header + A.K_WORDS] = (
            counts[0],
            first["subjects"],
            counts[1],
            first["chunks"],
            first["candidates"],
            first["subtables"],
            first["buckets"],
            first["rules"],
            rule_words,
        )
        space.moved = False
    return words, headers

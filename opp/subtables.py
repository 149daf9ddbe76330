"""Which subtables a set of rules should have, and which bytes of the header tell them apart.

Rules come as matrices: row = rule, column = subject (a word of the header vector, the state …); ``masks`` says
which bits every match has in common and ``values`` what they are; a range is there with the upper bits that its
two ends share. The choice changes how fast a classifier is, never what it finds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .arrays import CHUNK_VALUES, MAX_HASH_PARTS, MAX_SUBTABLES

CHAIN = 8  # rules that may share a bucket
_BUILT_SUBTABLES = 40  # the others are for rules to come
_STEP = 4  # masks are shortened to a multiple of this many bits
_MEETS = 40
_SAMPLE = 1024
_MAX_CHUNKS = 6
_WORTH = 0.2  # visits of a subtable that cost as much as one more chunk
_MULTIPLIER = np.uint64(0xBF58476D1CE4E5B9)
_START = np.uint64(0x9E3779B97F4A7C15)
_29 = np.uint64(29)

Parts = tuple[tuple[int, int], ...]  # (subject, mask) of each hashed word


@dataclass(frozen=True)
class Spans:
    """What each rule lets through at each subject: value & mask == value, and low <= value <= high.

    All are ``uint64[rules, subjects]``.
    """

    masks: np.ndarray
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray


def spans_of_cells(
    shape: tuple[int, int],
    rule: np.ndarray,
    subject: np.ndarray,
    mask: np.ndarray,
    low: np.ndarray,
    span: np.ndarray,
) -> Spans:
    """Spans of rules whose cells are given as five columns, ``int64[n]`` twice and ``uint64[n]``.

    A bit pattern has no ends; of a range, the upper bits that its ends share are the pattern.
    """
    high = low + span
    differ = low ^ high
    for shift in (1, 2, 4, 8, 16, 32):
        differ = differ | differ >> np.uint64(shift)
    shared = mask & ~differ
    masks, values, lowest = (np.zeros(shape, np.uint64) for _ in range(3))
    spans = Spans(masks, values, lowest, np.full(shape, 2**64 - 1, np.uint64))
    # Several cells of one subject all hold: bits add up, ends close in.
    np.bitwise_or.at(spans.masks, (rule, subject), shared)
    np.bitwise_or.at(spans.values, (rule, subject), low & shared)
    ranges = span > 0
    where = rule[ranges], subject[ranges]
    np.maximum.at(spans.low, where, low[ranges])
    np.minimum.at(spans.high, where, high[ranges])
    # Ends cross in a rule that nothing matches.
    np.maximum(spans.high, spans.low, out=spans.high)
    return spans


def hash_rows(values: np.ndarray, parts: Parts) -> np.ndarray:
    """``uint64`` tags of rows of values, as the compiled half computes them."""
    with np.errstate(over="ignore"):
        h = np.full(len(values), _START, np.uint64)
        for subject, mask in parts:
            h = (h ^ (values[:, subject] & np.uint64(mask))) * _MULTIPLIER
            h = h ^ (h >> _29)
    return h


def hash_one(values: np.ndarray, parts: Parts) -> int:
    """:func:`hash_rows` of one row, in plain integers."""
    h = int(_START)
    for subject, mask in parts:
        h = ((h ^ (int(values[subject]) & mask)) * int(_MULTIPLIER)) & 0xFFFF_FFFF_FFFF_FFFF
        h ^= h >> 29
    return h


def shortened(mask: int) -> int:
    """The mask without its lowest bits, so many that a multiple of four is left."""
    for _ in range(mask.bit_count() % _STEP):
        mask &= mask - 1
    return mask


def subtable_mask(masks: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """A mask row for a subtable that can hold a rule with these masks and others like it."""
    out = np.array([shortened(int(m)) if u else 0 for m, u in zip(masks, usable, strict=True)], np.uint64)
    if np.count_nonzero(out) > MAX_HASH_PARTS:
        out[np.argsort(-np.bitwise_count(out).astype(np.int64), kind="stable")[MAX_HASH_PARTS:]] = 0
    return out


def parts_of(mask: np.ndarray) -> Parts:
    """A mask row as (subject, mask) pairs."""
    return tuple((int(s), int(mask[s])) for s in np.flatnonzero(mask))


def choose_subtables(
    masks: np.ndarray, values: np.ndarray, usable: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
    """Cover the rules greedily with subtables in which few rules share a bucket.

    Returns:
        mask rows, the last one zero for rules that fit no other; and each rule's subtable, ``int64[n]``.
    """
    left = np.arange(len(masks))
    chosen: list[np.ndarray] = []
    owner = np.full(len(masks), -1)
    candidates = _candidates(masks, usable)
    limit = CHAIN
    while len(left) and len(chosen) < _BUILT_SUBTABLES:
        gains = [_gain(masks[left], values[left], c, limit) for c in candidates]
        progress = False
        for _ in range(_BUILT_SUBTABLES - len(chosen)):
            best = _pick(masks[left], values[left], candidates, gains, limit)
            if best is None:
                break
            taken = _covered(masks[left], values[left], candidates[best], limit)
            # One that holds little is worth its visit only if nothing longer can be done with the buckets.
            if taken.sum() * 2 * _BUILT_SUBTABLES < len(left):
                break
            owner[left[taken]] = len(chosen)
            chosen.append(candidates[best])
            left = left[~taken]
            progress = True
            if not len(left):
                break
        if not progress or len(left):
            limit *= 4
        if limit > 4 * len(masks):
            break
    owner[left] = len(chosen)
    chosen.append(np.zeros(masks.shape[1], np.uint64))
    return chosen, owner


def _candidates(masks: np.ndarray, usable: np.ndarray) -> list[np.ndarray]:
    """Shortened masks of the rules, and what the most common of them have in common."""
    distinct, counts = np.unique(masks * usable.astype(np.uint64), axis=0, return_counts=True)
    common: dict[bytes, int] = {}
    for row, count in zip(distinct, counts, strict=True):
        key = subtable_mask(row, usable).tobytes()
        common[key] = common.get(key, 0) + int(count)
    ranked = sorted(common, key=lambda key: -common[key])[: 4 * _MEETS]
    rows = [np.frombuffer(key, np.uint64) for key in ranked]
    found = dict.fromkeys(ranked)
    for i, one in enumerate(rows[:_MEETS]):
        for other in rows[:i]:
            found.setdefault((one & other).tobytes(), None)
    return [np.frombuffer(key, np.uint64) for key in found]


def _tags(masks: np.ndarray, values: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    fits = np.ones(len(masks), bool)
    parts = parts_of(mask)
    for subject, part in parts:
        fits &= masks[:, subject] & np.uint64(part) == np.uint64(part)
    where = np.flatnonzero(fits)
    return where, hash_rows(values[where], parts)


def _gain(masks: np.ndarray, values: np.ndarray, mask: np.ndarray, limit: int) -> float:
    """Rules that the subtable would take, about; a little less for each word that it must hash."""
    where, tags = _tags(masks, values, mask)
    if not len(where):
        return 0.0
    shared = np.bincount((tags >> np.uint64(48)).astype(np.int64))
    covered = float(shared[shared <= limit].sum())
    return covered * (1 - 0.02 * np.count_nonzero(mask))


def _pick(
    masks: np.ndarray, values: np.ndarray, candidates: list[np.ndarray], gains: list[float], limit: int
) -> int | None:
    """The candidate of largest gain; gains of earlier rounds are looked at again only near the top."""
    fresh: set[int] = set()
    while True:
        best = max(range(len(gains)), key=gains.__getitem__)
        if gains[best] <= 0:
            return None
        if best in fresh:
            return best
        gains[best] = _gain(masks, values, candidates[best], limit)
        fresh.add(best)


def _covered(masks: np.ndarray, values: np.ndarray, mask: np.ndarray, limit: int) -> np.ndarray:
    where, tags = _tags(masks, values, mask)
    _, inverse, counts = np.unique(tags, return_inverse=True, return_counts=True)
    out = np.zeros(len(masks), bool)
    out[where[counts[inverse] <= limit]] = True
    return out


def byte_spans(spans: Spans, subject: int, shift: int) -> np.ndarray:
    """``int64[rules]``: what each rule lets through at one byte of a subject, for :func:`bytes_let_through`."""
    at, byte = np.uint64(shift), np.uint64(0xFF)
    mask, value = (a[:, subject] >> at & byte for a in (spans.masks, spans.values))
    low, high = spans.low[:, subject] >> at, spans.high[:, subject] >> at
    width = np.minimum(high - low, byte)
    packed: np.ndarray = mask << np.uint64(24) | value << np.uint64(16) | (low & byte) << np.uint64(8) | width
    return packed.astype(np.int64)


def bytes_let_through(packed: np.ndarray) -> np.ndarray:
    """``bool[n, 256]``: the values of the byte that each of :func:`byte_spans` lets through."""
    mask, value, start, width = (packed[:, None] >> shift & 0xFF for shift in (24, 16, 8, 0))
    every = np.arange(CHUNK_VALUES)[None, :]
    through: np.ndarray = ((every ^ value) & mask == 0) & ((every - start) & 0xFF <= width)
    return through


def choose_chunks(spans: Spans, owner: np.ndarray) -> tuple[list[tuple[int, int]], list[np.ndarray]]:
    """Choose header bytes whose values rule subtables out.

    Returns:
        (subject, shift) of each, at least one, and for each the ``uint64[256]`` subtables that a value leaves.
    """
    options = [(s, shift) for s in range(spans.masks.shape[1]) for shift in range(0, 64, 8) if s or not shift]
    tables = {}
    for subject, shift in options:
        table = candidates_of(spans, owner, subject, shift)
        if (table != table[0]).any() or subject == 0:
            tables[subject, shift] = table
    rng = np.random.default_rng(0)
    sample = rng.integers(0, len(owner), _SAMPLE if len(owner) else 0)
    fill = rng.integers(0, 2**64, (len(sample), spans.masks.shape[1]), dtype=np.uint64)
    width = spans.high[sample] - spans.low[sample]
    inside = spans.low[sample] + np.where(width == 2**64 - 1, fill, fill % np.maximum(width, 1))
    packets = (inside & ~spans.masks[sample]) | spans.values[sample]
    left = {
        key: table[(packets[:, key[0]] >> np.uint64(key[1]) & np.uint64(0xFF)).astype(np.int64)]
        for key, table in tables.items()
    }
    chosen: list[tuple[int, int]] = []
    so_far = np.full(len(sample), 2**64 - 1, np.uint64)
    while len(chosen) < _MAX_CHUNKS:
        visits = {key: _mean_visits(so_far & bits) for key, bits in left.items()}
        best = min(visits, key=visits.__getitem__)
        if chosen and _mean_visits(so_far) - visits[best] < _WORTH:
            break
        chosen.append(best)
        so_far = so_far & left[best]
    return chosen, [tables[key] for key in chosen]


def _mean_visits(candidates: np.ndarray) -> float:
    """Subtables that a sampled packet would visit, on average; 0 without rules to sample from."""
    return float(np.bitwise_count(candidates).sum()) / max(len(candidates), 1)


def candidates_of(spans: Spans, owner: np.ndarray, subject: int, shift: int) -> np.ndarray:
    """``uint64[256]``: for each value of the byte, a bit for every subtable that has a rule for it."""
    assert owner.max(initial=0) < MAX_SUBTABLES
    distinct = np.unique(owner << 32 | byte_spans(spans, subject, shift))
    through = bytes_let_through(distinct & 0xFFFF_FFFF)
    out = np.zeros(CHUNK_VALUES, np.uint64)
    for subtable in range(int(owner.max(initial=0)) + 1):
        some = through[distinct >> 32 == subtable].any(axis=0)
        out |= np.where(some, np.uint64(1 << subtable), np.uint64(0))
    return out

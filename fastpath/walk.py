"""Where a context goes in its table: to an empty place of its own, or to one that a random walk of others makes.

The walk is that of Fotakis, Pagh, Sanders and Spirakis (STACS 2003), the stash that of Kirsch, Mitzenmacher and Wieder
(ESA 2008).

The walk of a full table is long (50 moves at 97 %), and each move waits for the one before: who is in this place, where
else may they be, who is there. Where buckets are single places and few enough, a word beside each place says at once
where else its context may be (``Tables.elsewhere``: 16 bits a sub-table), so that a move waits for one look at memory
and not for two; and which places are taken stands in an array that is small (``Tables.taken``). The draws, the moves
and the outcome are those of the general walk.
"""

from __future__ import annotations

import numpy as np

from oppcache._jit import kernel
from oppcache.opp.contexts import splitmix64

WORD_CHOICES = 4  # sub-tables that a word is about
WORD_BUCKETS = 1 << 16  # of each

_HALF = np.uint64(32)
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_SIXTEEN, _48 = np.uint64(16), np.uint64(48)
_BUCKET = np.uint64(WORD_BUCKETS - 1)


def fits_word(row: np.ndarray | np.void) -> bool:
    """Whether one word can say where a context of a table may be."""
    return bool(row["ways"] == 1 and row["choices"] == WORD_CHOICES and row["buckets"] <= WORD_BUCKETS)


@kernel
def put(tables, table, handle, place):
    """Put a context into an empty place, or have it take over one."""
    at = tables.rows["first_place"][table] + place
    tables.places[at] = handle
    tables.taken[at] = 1
    if tables.rows["in_word"][table] == 1:
        tables.elsewhere[at] = _word_of(tables, table, handle)


@kernel
def place_of(tables, table, handle):
    """The place of a context, −1 where there are none. It is looked for: moves, of which there are more, note nothing."""
    rows = tables.rows
    first_place, ways, choices = rows["first_place"][table], rows["ways"][table], rows["choices"][table]
    at = (rows["first"][table] + handle) * choices
    for choice in range(choices):
        start = np.int64(tables.buckets[at + choice])
        for place in range(start, start + ways):
            if tables.places[first_place + place] == handle:
                return np.int64(place)
    stash = choices * rows["buckets"][table] * ways
    for place in range(stash, stash + rows["stash"][table]):
        if tables.places[first_place + place] == handle:
            return np.int64(place)
    return np.int64(-1)


@kernel
def leave(tables, table, place):
    """Empty a place."""
    at = tables.rows["first_place"][table] + place
    tables.places[at] = -1
    tables.taken[at] = 0


@kernel
def _word_of(tables, table, handle):
    """Where a context may be, as one word."""
    # Written out, here and below: who waits for a walk waits for each of its instructions.
    buckets = tables.rows["buckets"][table]
    at = (tables.rows["first"][table] + handle) * WORD_CHOICES
    word = np.uint64(tables.buckets[at])
    word |= np.uint64(tables.buckets[at + 1] - buckets) << _SIXTEEN
    word |= np.uint64(tables.buckets[at + 2] - 2 * buckets) << _HALF
    return word | np.uint64(tables.buckets[at + 3] - 3 * buckets) << _48


@kernel
def _place_in(word, choice, buckets):
    """The place of one of a word's choices."""
    return choice * buckets + np.int64((word >> (_SIXTEEN * np.uint64(choice))) & _BUCKET)


@kernel
def room(tables, table, handle):
    """An empty place for a context: in the emptiest of its buckets, the leftmost of equals; −1 if all are full."""
    first_place = tables.rows["first_place"][table]
    ways = tables.rows["ways"][table]
    at = (tables.rows["first"][table] + handle) * tables.rows["choices"][table]
    best, most = np.int64(-1), np.int64(0)
    for choice in range(tables.rows["choices"][table]):
        start = np.int64(tables.buckets[at + choice])
        empty, leftmost = np.int64(0), np.int64(-1)
        for place in range(start + ways - 1, start - 1, -1):
            if tables.places[first_place + place] < 0:
                empty += 1
                leftmost = np.int64(place)
        if empty > most:
            best, most = leftmost, empty
            if ways == 1:
                break
    return best


@kernel
def _room_in(tables, word, at, buckets):
    """The same for a word. The walk of a full table asks this at every step and mostly in vain: first whether at all."""
    first = np.int64(word & _BUCKET)
    second = buckets + np.int64((word >> _SIXTEEN) & _BUCKET)
    third = 2 * buckets + np.int64((word >> _HALF) & _BUCKET)
    fourth = 3 * buckets + np.int64(word >> _48)
    taken = tables.taken
    if taken[at + first] & taken[at + second] & taken[at + third] & taken[at + fourth]:
        return np.int64(-1)
    for place in (first, second, third, fourth):
        if taken[at + place] == 0:
            return place
    return np.int64(-1)


@kernel
def _stash_room(tables, table):
    """An empty place of the stash, −1 if it is full."""
    rows = tables.rows
    if rows["stashed"][table] == rows["stash"][table]:
        return np.int64(-1)
    first = rows["choices"][table] * rows["buckets"][table] * rows["ways"][table]
    for i in range(rows["stash"][table]):
        if tables.places[rows["first_place"][table] + first + i] < 0:
            return first + i
    return np.int64(-1)


@kernel
def settle(tables, table, handle):
    """Find a place for a context whose own are all taken: by moving others, or in the stash.

    The homeless context takes a random one of its places, but not the one that it just lost, and who was there goes
    on in the same way.

    Returns:
        (whether there was room, moves made). Without room all is as it was.
    """
    if tables.rows["in_word"][table] == 1:
        place, homeless, moves = _walk_by_words(tables, table, handle)
    else:
        place, homeless, moves = _walk(tables, table, handle)
    if place < 0:
        place = _stash_room(tables, table)
        if place >= 0:
            tables.rows["stashed"][table] += 1
    if place >= 0:
        put(tables, table, homeless, place)
        return True, moves
    at = tables.rows["first_place"][table]
    for i in range(moves - 1, -1, -1):
        place = tables.walk[i]
        other = np.int64(tables.places[at + place])
        put(tables, table, homeless, place)
        homeless = other
    return False, moves


@kernel
def _scaled(state, below):
    """The random number below ``below`` of a generator's state."""
    return np.int64(((splitmix64(state) >> _HALF) * np.uint64(below)) >> _HALF)


@kernel
def _draw(random, options, lost):
    """An option but the lost one (−1: any), and the state of the generator after it."""
    while True:
        # The next draw, which is taken if this one will not do, is made at once: a branch on chance costs more.
        option, second = _scaled(random + _GAMMA, options), _scaled(random + _GAMMA + _GAMMA, options)
        again = option == lost
        random += _GAMMA + _GAMMA if again else _GAMMA
        option = second if again else option
        if option != lost:
            return option, random


@kernel
def _walk(tables, table, handle):
    """Move contexts until one comes to an empty place.

    What the walk went through is in ``tables.walk``.

    Returns:
        (empty place, −1 if none was found; who is to go there; moves).
    """
    rows = tables.rows
    first, at = rows["first"][table], rows["first_place"][table]
    ways, choices = rows["ways"][table], rows["choices"][table]
    options = choices * ways
    most = rows["moves_most"][table] if options > 1 else np.int64(0)
    back = rows["kick_back"][table] == 1
    homeless, lost = handle, np.int64(-1)
    random = tables.random[table]
    moves, place = np.int64(0), np.int64(-1)
    while moves < most and place < 0:
        option, random = _draw(random, options, np.int64(-1) if back else lost)
        place = np.int64(tables.buckets[(first + homeless) * choices + option // ways]) + option % ways
        other = np.int64(tables.places[at + place])
        tables.places[at + place] = homeless
        tables.walk[moves] = place
        moves += 1
        homeless, lost = other, _option_of(tables, first + other, place, choices, ways)
        place = room(tables, table, homeless)
    tables.random[table] = random
    return place, homeless, moves


@kernel
def _option_of(tables, row, place, choices, ways):
    """Which of a context's options a place is."""
    for choice in range(choices):
        way = place - np.int64(tables.buckets[row * choices + choice])
        if 0 <= way < ways:
            return choice * ways + way
    return np.int64(-1)


@kernel
def _walk_by_words(tables, table, handle):
    """The same where a word says where a context may be."""
    rows = tables.rows
    at, buckets, most = rows["first_place"][table], rows["buckets"][table], rows["moves_most"][table]
    back = rows["kick_back"][table] == 1
    homeless, word, lost = handle, _word_of(tables, table, handle), np.int64(-1)
    random = tables.random[table]
    moves, place = np.int64(0), np.int64(-1)
    while moves < most and place < 0:
        choice, random = _draw(random, WORD_CHOICES, np.int64(-1) if back else lost)
        place = _place_in(word, choice, buckets)
        other, elsewhere = np.int64(tables.places[at + place]), tables.elsewhere[at + place]
        tables.places[at + place] = homeless
        tables.elsewhere[at + place] = word
        tables.walk[moves] = place
        moves += 1
        homeless, word, lost = other, elsewhere, choice
        place = _room_in(tables, word, at, buckets)
    tables.random[table] = random
    return place, homeless, moves

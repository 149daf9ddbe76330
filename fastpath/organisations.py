"""How a NIC's context table is organised: in which places a key may be, and what happens when they are taken.

Five organisations are one family: ``choices`` sub-tables of buckets of ``ways`` places, a stash, and the number of
moves that an insertion may make.

=================  =======  ====  =====  =====
organisation       choices  ways  stash  moves
=================  =======  ====  =====  =====
fully-associative        0     –      0      0
direct-mapped            1     1      0      0
set-associative          1     k      0      0
d-left                   d     k      0      0
cuckoo                   d     k      s      m
=================  =======  ====  =====  =====

d-left: Vöcking, FOCS 1999; Broder and Mitzenmacher, INFOCOM 2001. Cuckoo with d choices and a random walk:
Fotakis, Pagh, Sanders and Spirakis, STACS 2003; with a stash: Kirsch, Mitzenmacher and Wieder, ESA 2008.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from oppcache.opp.errors import InputError, near_miss

from .profiles import Profile

MAX_CHOICES = 8


@dataclass(frozen=True)
class Organisation:
    """One organisation with its numbers.

    Attributes:
        name: as profiles write it.
        choices: sub-tables, each with a hash function of its own; 0: any context may be anywhere.
        ways: places of a bucket.
        stash: places that are searched for every key.
        moves: contexts that one insertion may move from place to place.
        kick_back: whether a context that lost its place may take it back at once, as in the public RTL.
        load: share of the places that may be filled.
    """

    name: str
    choices: int = 0
    ways: int = 1
    stash: int = 0
    moves: int = 0
    kick_back: bool = False
    load: float = 1.0


ORGANISATIONS: dict[str, Organisation] = {
    o.name: o
    for o in (
        Organisation("fully-associative"),
        Organisation("direct-mapped", choices=1),
        Organisation("set-associative", choices=1, ways=4),
        Organisation("d-left", choices=4, ways=4),
        Organisation("cuckoo", choices=4, stash=8, moves=450),
    )
}


def organisation(name: str) -> Organisation:
    """Return an organisation with its usual numbers.

    Raises:
        InputError: there is none of that name.
    """
    if name not in ORGANISATIONS:
        known = ", ".join(ORGANISATIONS)
        raise InputError(
            f"context tables: got organisation {name!r}, expected {known} {near_miss(name, ORGANISATIONS)}".strip()
        )
    return ORGANISATIONS[name]


def organisation_of(profile: Profile, name: str = "") -> Organisation:
    """Return a profile's organisation, fully associative if it names none, with the numbers that it gives.

    Args:
        profile: the NIC's.
        name: another organisation instead, with its usual numbers.

    Raises:
        InputError: no such organisation; more choices than :data:`MAX_CHOICES`, or none, or no ways.
    """
    own = str(profile.value("contexts.organisation") or "fully-associative")
    usual = organisation(name or own)
    if not usual.choices or usual.name != own:
        return usual
    names = ("choices", "ways", "load", *(("stash", "moves", "kick_back") if usual.moves else ()))
    given: dict[str, Any] = {name: profile.value(f"contexts.{name}") for name in names}
    made = replace(usual, **{name: value for name, value in given.items() if value is not None})
    one_choice = usual.choices == 1
    if not (1 <= made.choices <= MAX_CHOICES) or made.ways < 1 or (one_choice and made.choices != 1):
        most = 1 if one_choice else MAX_CHOICES
        raise InputError(
            f"NIC profile {profile.name!r}: {made.name} tables of {made.choices} choices and {made.ways} ways, "
            f"expected 1 to {most} choices and at least one way"
        )
    return made

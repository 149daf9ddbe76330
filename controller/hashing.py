"""Which address of a range a connection gets: the kernel's hash of its source and destination, in stages.

Bob Jenkins' ``lookup3`` (public domain) as Linux uses it for four words of which only the first is not 0.
"""

from __future__ import annotations

from oppcache.opp.program import Operand

from .clauses import Bits, metadata
from .extensions.nat import PERSISTENT
from .flow import Draft, Flow, puts

_START = (0xDEADBEEF + (4 << 2)) & 0xFFFF_FFFF


def _swap(draft: Draft, word: Operand | str) -> Operand:
    """Bytes in the opposite order: the kernel hashes addresses as they stand in the packet."""
    parts = [
        draft.t("shl", word, 24),
        draft.t("shl", draft.t("and", word, 0xFF00), 8),
        draft.t("and", draft.t("shr", word, 8), 0xFF00),
        draft.t("shr", word, 24),
    ]
    return draft.t("or", draft.t("or", parts[0], parts[1]), draft.t("or", parts[2], parts[3]))


def _rotate(draft: Draft, word: Operand, bits: int) -> Operand:
    return draft.t("or", draft.t("shl", word, bits), draft.t("shr", word, 32 - bits))


def spread(flow: Flow, draft: Draft, current: str) -> Operand:
    """Add stages that hash; returns, for the stage that is open then, the address.

    Args:
        draft: the open stage, which is closed. Its entries so far stay the first to be tried.
        current: the connection's destination at this point is ``rsrc``; for a source range, of the new source.
    """
    entries = list(draft.entries)
    seed = draft.t("mov", 0)
    swapped = _swap(draft, "metadata.rsrc")
    persistent = metadata("nflags", Bits.of((PERSISTENT, PERSISTENT)))
    del entries
    flow.entry([persistent], "persistent", puts(h0=seed))
    flow.entry([{}], "by destination", puts(h0=swapped))
    flow.close()
    draft = flow.begin("hash mix")
    first = draft.t("add", _START, "metadata.h0")
    a, b, c = draft.t("add", first, _swap(draft, "metadata.osrc")), first, first
    for which, bits in (("a", 4), ("b", 6), ("c", 8), ("a", 16), ("b", 19), ("c", 4)):
        if which == "a":
            a = draft.t("xor", draft.t("sub", a, c), _rotate(draft, c, bits))
            c = draft.t("add", c, b)
        elif which == "b":
            b = draft.t("xor", draft.t("sub", b, a), _rotate(draft, a, bits))
            a = draft.t("add", a, c)
        else:
            c = draft.t("xor", draft.t("sub", c, b), _rotate(draft, b, bits))
            b = draft.t("add", b, a)
    flow.entry([{}], "mix", puts(h0=a, h1=b, h2=c))
    flow.close()
    draft = flow.begin("hash final")
    a, b, c = (Operand("metadata", f"h{i}") for i in range(3))
    for which, bits in (("c", 14), ("a", 11), ("b", 25), ("c", 16), ("a", 4), ("b", 14), ("c", 24)):
        if which == "c":
            c = draft.t("sub", draft.t("xor", c, b), _rotate(draft, b, bits))
        elif which == "a":
            a = draft.t("sub", draft.t("xor", a, c), _rotate(draft, c, bits))
        else:
            b = draft.t("sub", draft.t("xor", b, a), _rotate(draft, a, bits))
    flow.entry([{}], "final", puts(h0=c))
    flow.close()
    draft = flow.begin("hash address")
    size = draft.t("add", draft.t("sub", "metadata.nhi", "metadata.nlo"), 1)
    scaled = draft.t("shr", draft.t("mul", "metadata.h0", size, 64), 32, 64)
    return draft.t("add", "metadata.nlo", scaled)

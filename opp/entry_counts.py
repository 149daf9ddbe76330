"""What a machine has counted at each entry: packets, bytes, and when the last packet took it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .lower import Lowered


class EntryCount(NamedTuple):
    """Packets and bytes (lengths on the wire, without FCS) that took an entry, and the stage's now when the last did.

    ``last_hit_ns`` is None where no packet has.
    """

    packets: int = 0
    bytes: int = 0
    last_hit_ns: int | None = None


Counts = dict[str, dict[str, EntryCount]]


def entry_counts(lowered: Lowered, numbers: dict[str, dict[str, int]] | None = None) -> Counts:
    """Read every entry's counters, by stage and entry; the default entry is ``default`` unless it has a name.

    Args:
        lowered: the program, with the arrays that it runs on.
        numbers: of the entries in the arrays, by stage and name, where changes have moved them.
    """
    entries, stages = lowered.arrays.entries, lowered.arrays.stages
    out: Counts = {}
    at = 0
    for number, stage in enumerate(lowered.program.pipeline()):
        own = {e.name: at + i for i, e in enumerate(stage.entries)}
        at += len(own) + (stage.default is not None)
        if numbers is not None:
            own = numbers[stage.name]
        out[stage.name] = {name: _count(entries, row) for name, row in own.items()}
        if stage.default is not None:
            out[stage.name][stage.default.name] = _count(entries, int(stages["default"][number]))
    return out


def _count(entries: np.ndarray, row: int) -> EntryCount:
    packets = int(entries["packets"][row])
    return EntryCount(packets, int(entries["bytes"][row]), int(entries["last_hit"][row]) if packets else None)

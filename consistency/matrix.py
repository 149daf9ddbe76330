"""The matrix protocol × property × fault: what is checked for a cell, and what a protocol's file claims."""

from __future__ import annotations

from .checker import Model, Verdict, check
from .table import Protocol
from .vocabulary import FAULTS, PROPERTIES

# One small model a fault; larger ones find nothing else, which the full tests look at.
SMALL = {
    "none": Model(packets=3, promotions=1, demotions=1),
    "channel": Model(packets=2, promotions=1, demotions=1, lossy=True),
    "ring-drop": Model(packets=2, promotions=1, demotions=1, ring_drops=1),
    "nic-crash": Model(packets=2, promotions=1, demotions=0, nic_crashes=1),
    "cpu-crash": Model(packets=2, promotions=1, demotions=0, cpu_crashes=1),
    "queues": Model(keys=2, packets=2, promotions=1, demotions=0, queues=2),
}
assert list(SMALL) == [fault.name for fault in FAULTS]


def model_of(protocol: Protocol, fault: str) -> Model:
    """The model of a cell: a weak protocol, which has few states, needs two promotions to show all that it does.

    Stale messages of the first meet the second.
    """
    small = SMALL[fault]
    if protocol.steering == "flow" and small.queues > 1:
        small = small.but(keys=1, flows=small.queues)  # a queue each
    if set(protocol.matrix) <= {"output-commit"}:
        return small
    return small.but(promotions=2, packets=3 if fault == "nic-crash" else small.packets)


def measure(protocol: Protocol, fault: str, model: Model | None = None) -> Verdict:
    """Look at every property under one fault, to the end."""
    names = [p.name for p in PROPERTIES]
    return check(protocol, model or model_of(protocol, fault), properties=names, to_the_end=True)


def claimed(protocol: Protocol, fault: str) -> list[str]:
    """Names of the properties that the protocol's file gives up under a fault, in the order of the vocabulary."""
    return [p.name for p in PROPERTIES if fault in protocol.matrix.get(p.name, ())]

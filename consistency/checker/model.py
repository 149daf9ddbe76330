"""What is checked: how many packets, migrations and faults, and on which channel."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from oppcache.opp.errors import InputError, Problems

from ..table import Protocol
from ..vocabulary import STEERINGS
from .layout import CRASHES_MAX, FLOWS_MAX, KEYS_MAX, MIGRATIONS_MAX, PACKETS_MAX, QUEUES_MAX, UNTAGGED_MAX

MARKERS = 2  # in one ring at a time; a step that would put a third waits

(
    P_KEYS,
    P_PACKETS,
    P_QUEUES,
    P_LOSSY,
    P_STEERING,
    P_INSTANT,
    P_LIVENESS,
    P_MARKERS,
    P_WRITEBACKS,
    P_CHECKPOINTS,
    P_TIMERS,
    P_UNTAGGED,
    P_BFENCE,
    P_COUNTED,
    P_FLOWS,
    P_RENAME,
    P_EVERY,
    P_FIRST,
) = range(18)
PARAMETERS = 18
HOME, FLOW, SPREAD = range(3)  # P_STEERING: the RX queue of a punt is its key's, its flow's, any


@dataclass(frozen=True)
class Model:
    """Bounds of a check; totals.

    Attributes:
        keys: contexts; they share the rings.
        packets: packets that enter, each of any key.
        promotions: times that the CPU's policy may ask for a promotion.
        demotions: times that a policy may ask for a demotion, on either side.
        nic_crashes: restarts of the NIC.
        cpu_crashes: restarts of the CPU.
        ring_drops: packets or markers that a ring may drop.
        queues: RX queues.
        lossy: control messages may be lost, duplicated, delayed and reordered; else each arrives once, in order.
        liveness: also check that every state leads to a quiet one.
        timers: timers run out at any moment, slots without a context are reclaimed, and the control channel may
            be faster than the rings. Without, a protocol must get on by itself and leave no slot behind: a timer
            that repairs what a row forgot is no excuse. (A side that restarts still has its first one.)
        untagged: packets that an earlier stage may have punted, so that they come to the CPU without a tag.
        bfence: behind a bounced packet there is a BFENCE (see :mod:`.bounced`); without it order is lost.
        flows: flows that the packets of a key belong to; order is asked within each.
        first_fence: a marker that goes through every queue counts when its first copy has come out, a mistake.
    """

    keys: int = 1
    packets: int = 0
    promotions: int = 0
    demotions: int = 0
    nic_crashes: int = 0
    cpu_crashes: int = 0
    ring_drops: int = 0
    queues: int = 1
    lossy: bool = False
    liveness: bool = True
    timers: bool = True
    untagged: int = 0
    bfence: bool = True
    flows: int = 1
    first_fence: bool = False

    def check(self) -> None:
        """Refuse what does not fit a stored state.

        Raises:
            InputError: every bound that is too large or too small.
        """
        limits = {
            "keys": (1, KEYS_MAX),
            "packets": (0, PACKETS_MAX),
            "promotions": (0, MIGRATIONS_MAX),
            "demotions": (0, MIGRATIONS_MAX),
            "nic_crashes": (0, CRASHES_MAX),
            "cpu_crashes": (0, CRASHES_MAX),
            "ring_drops": (0, 3),
            "queues": (1, QUEUES_MAX),
            "untagged": (0, UNTAGGED_MAX),
            "flows": (1, FLOWS_MAX),
        }
        problems = Problems()
        for name, (low, high) in limits.items():
            got = getattr(self, name)
            if not low <= got <= high:
                problems.add(f"{name.replace('_', '-')}: got {got}, expected {low} to {high}")
        if problems:
            raise InputError(problems.items)

    def parameters(self, protocol: Protocol) -> np.ndarray:
        """The bounds as the kernels take them.

        Raises:
            InputError: packets without a tag, and a protocol that does not know them or several queues of keys.
        """
        if self.untagged and not all("untagged" in state.cells for state in protocol.cpu.states.values()):
            raise InputError(f"untagged: protocol {protocol.name!r} has no cells for packets without a tag")
        steering = STEERINGS.index(protocol.steering)
        if self.untagged and self.queues > 1 and steering != FLOW:
            raise InputError(
                "untagged: got several queues, expected one, or a protocol with steering: flow: "
                "a packet goes through its first stage's queue"
            )
        values = np.zeros(PARAMETERS, np.int64)
        values[P_KEYS], values[P_PACKETS], values[P_QUEUES] = self.keys, self.packets, self.queues
        values[P_LOSSY] = self.lossy and not protocol.instantaneous
        values[P_STEERING], values[P_INSTANT] = steering, protocol.instantaneous
        values[P_LIVENESS], values[P_MARKERS] = self.liveness, MARKERS
        # Nobody reads a written-back copy or a checkpoint unless somebody crashes.
        values[P_WRITEBACKS], values[P_CHECKPOINTS] = self.nic_crashes > 0, self.cpu_crashes > 0
        values[P_TIMERS], values[P_UNTAGGED] = self.timers, self.untagged
        values[P_COUNTED] = "fail" in protocol.used("cpu")  # else promotions need not be accounted for
        values[P_BFENCE] = self.untagged > 0 and self.bfence
        values[P_FLOWS] = self.flows
        # Flows are alike, unless their numbers say which queue they take.
        values[P_RENAME] = self.flows > 1 and (self.queues == 1 or steering == HOME)
        values[P_EVERY] = protocol.fences == "every-queue" and self.queues > 1
        values[P_FIRST] = self.first_fence
        return values

    def but(self, **changes: int | bool) -> Model:
        """The same with some bounds changed."""
        return replace(self, **changes)  # type: ignore[arg-type]

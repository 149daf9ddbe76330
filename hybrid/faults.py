"""What can go wrong in the middle of a run: by an experiment's wish, and by a policy's fault."""

from __future__ import annotations

from dataclasses import dataclass

from oppcache.cache import Eviction
from oppcache.opp.errors import OppCacheError


class PolicyFault(OppCacheError):
    """A policy broke its contract in the middle of a run."""


def impossible_slot(eviction: Eviction) -> PolicyFault:
    """An eviction policy named a slot that is empty or does not exist."""
    who = "victim" if eviction.release is None else "victim or release"
    return PolicyFault(f"eviction policy {eviction.name}: {who} chose an empty or impossible slot")


@dataclass(frozen=True)
class ControlFaults:
    """What the control channel does to messages, each drawn on its own.

    Attributes:
        loss: share that never arrives.
        duplicate: share that arrives twice, the second copy late.
        reorder: share that arrives late, behind what was sent after it.
        delay: how late at most, ns; the lateness is uniform up to that.
    """

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    delay: int = 100_000

    def __bool__(self) -> bool:
        return self.loss > 0 or self.duplicate > 0 or self.reorder > 0


@dataclass(frozen=True)
class Faults:
    """What goes wrong, and when. Times in ns since the first packet.

    Attributes:
        control: faults of the control channel, both ways.
        ring_drop: share of what is put into a data ring (packets and markers alike) that the ring drops.
        nic_reset_at, cpu_crash_at: times.
        nic_reset_rate, cpu_crash_rate: random ones besides, a second on average, as long as packets come.
        restart_after: how long a side is down, ns.
    """

    control: ControlFaults = ControlFaults()
    ring_drop: float = 0.0
    nic_reset_at: tuple[int, ...] = ()
    cpu_crash_at: tuple[int, ...] = ()
    nic_reset_rate: float = 0.0
    cpu_crash_rate: float = 0.0
    restart_after: int = 0

    @property
    def nic_resets(self) -> bool:
        """Whether the NIC may be reset."""
        return bool(self.nic_reset_at) or self.nic_reset_rate > 0

    @property
    def cpu_crashes(self) -> bool:
        """Whether the CPU may crash."""
        return bool(self.cpu_crash_at) or self.cpu_crash_rate > 0

    @property
    def crashes(self) -> bool:
        """Whether a side may crash."""
        return self.nic_resets or self.cpu_crashes

    def __bool__(self) -> bool:
        return bool(self.control) or self.ring_drop > 0 or self.crashes

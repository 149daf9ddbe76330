"""The history of each context: which packets made it what it is, in which order, and how far crashes set it back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from oppcache.opp.reference_values import splitmix64

from .records import CPU, GLOBAL, NIC, Finding, History, Key, Step, named

Copy = tuple[int, int]  # version, witness
EMPTY: Copy = (0, 0)


@dataclass(frozen=True)
class Fall:
    """A context went back to an earlier version; the updates from there on are lost."""

    key: Key
    before: int
    after: int


@dataclass
class Lineage:
    """One context.

    Attributes:
        order: packets (number, stage) and falls, as they happened.
        packets: those that the newest state is made of.
        copies: what the NIC (None: nothing) and the CPU have.
        checkpoint: what a crash of the CPU would leave.
        floor: after a crash, the fewest updates that may remain; None: none may be lost.
    """

    key: Key
    order: list[tuple[int, int] | Fall] = field(default_factory=list)
    packets: list[tuple[int, int]] = field(default_factory=list)
    witnesses: list[int] = field(default_factory=lambda: [0])
    copies: list[Copy | None] = field(default_factory=lambda: [None, EMPTY])
    checkpoint: Copy = EMPTY
    floor: int | None = None
    seen: set[tuple[int, int]] = field(default_factory=set)
    newest: dict[int, int] = field(default_factory=dict)

    @property
    def latest(self) -> Copy:
        """The copy that lacks nothing."""
        return len(self.packets), self.witnesses[-1]

    def fall_to(self, copy: Copy) -> None:
        """A crash: the history may go back as far as a copy."""
        self.floor = copy[0] if self.floor is None else min(self.floor, copy[0])

    def go_back(self, version: int) -> None:
        """Forget the updates from a version on."""
        self.order.append(Fall(self.key, len(self.packets), version))
        del self.packets[version:], self.witnesses[version + 1 :]

    def settle(self, copy: Copy, who: str) -> Iterator[Finding]:
        """A copy is the one that counts from now on."""
        version, witness = copy
        known = version < len(self.witnesses) and self.witnesses[version] == witness
        if not known:
            yield Finding(
                "stale_reads",
                f"{who} meets version {version} of {named(self.key)}, which is no state of its history of "
                f"{len(self.packets)} updates",
            )
        elif version < len(self.packets):
            lost = ", ".join(str(packet) for packet, _ in self.packets[version:])
            if self.floor is None:
                yield Finding(
                    "lost_updates",
                    f"{who} meets version {version} of {named(self.key)}, without the updates of packets {lost}",
                )
            elif version < self.floor:
                yield Finding(
                    "roll-back",
                    f"{who} meets version {version} of {named(self.key)} after a crash that left at least "
                    f"{self.floor}: packets {lost} are lost",
                )
            self.go_back(version)
        self.floor = None


@dataclass
class Objects:
    """All contexts of a run, and what is wrong with their histories."""

    lineages: dict[Key, Lineage] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def lost_updates(self) -> int:
        """Updates that crashes (or mistakes) have undone."""
        falls = (step for line in self.lineages.values() for step in line.order if isinstance(step, Fall))
        return sum(fall.before - fall.after for fall in falls)


def follow(history: History) -> Objects:
    """Go through a run's steps, and hold each context against its own history."""
    objects = Objects()
    lines = objects.lineages
    for step in history.steps:
        if step.kind == "crash":
            for line in lines.values():
                _crash(line, step.side)
        elif step.kind == "checkpoint":
            for line in lines.values():
                copy = line.copies[CPU]
                assert copy is not None
                line.checkpoint = copy
        elif step.key is not None:
            line = lines.setdefault(step.key, Lineage(step.key))
            objects.findings += _one(line, step, history)
    for key, line in lines.items():
        objects.findings += line.settle(history.final.get(key, EMPTY), "the end")
    return objects


def _crash(line: Lineage, side: int) -> None:
    nic, cpu = line.copies
    assert cpu is not None
    if side == NIC:
        if nic == line.latest != cpu:
            line.fall_to(cpu)
        line.copies[NIC] = None
        return
    if nic != line.latest or cpu == line.latest:
        line.fall_to(line.checkpoint)
    line.copies[CPU] = line.checkpoint


def _one(line: Lineage, step: Step, history: History) -> Iterator[Finding]:
    copy = step.version, step.witness
    if step.kind == "take":
        line.copies[step.side] = copy
    elif step.kind == "free":
        line.copies[NIC] = None
    else:
        side = ("the NIC", "the CPU")[step.side]
        if line.copies[step.side] != copy and line.key[0] != GLOBAL:
            yield Finding(
                "copies",
                f"packet {step.packet} meets a copy of {named(line.key)} that {side} was never given",
            )
        yield from line.settle(copy, f"packet {step.packet} on {side}")
        yield from _apply(line, step, history)


def _apply(line: Lineage, step: Step, history: History) -> Iterator[Finding]:
    """Property 2 and the first half of property 3, and the packet's place in the order."""
    mark = step.packet, step.stage
    if mark in line.seen and step.kind != "write":
        yield Finding("duplicate_updates", f"packet {step.packet} is applied to {named(line.key)} twice")
    line.seen.add(mark)
    connection = history.arrivals[step.packet].connection
    before = line.newest.get(connection, -1)
    if connection >= 0 and step.packet < before:
        yield Finding(
            "reorders", f"packet {step.packet} is applied to {named(line.key)} behind packet {before}"
        )
    line.newest[connection] = max(before, step.packet)
    line.order.append(mark)
    if step.version <= len(line.packets):
        del line.packets[step.version :], line.witnesses[step.version + 1 :]
    line.packets.append(mark)
    line.witnesses.append(splitmix64(step.witness ^ step.packet))
    line.copies[step.side] = (step.version + 1, line.witnesses[-1])

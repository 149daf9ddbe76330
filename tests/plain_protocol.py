"""A second, slow and obvious reading of protocol tables: one transition, and a search over a whole small system.

It shares no code with the kernels: states are plain tuples, nothing is renumbered, forgotten or packed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from oppcache.consistency import Protocol
from oppcache.consistency import vocabulary as v

ECHO = {m.name: m.echo for m in v.MESSAGES}
Entry = dict[str, int]


def plain_guards(entry: Entry, node: Entry, message: Entry, facts: set[str]) -> set[str]:
    """Names of the guards that hold, as the vocabulary words them."""
    g_incarnation = entry["g"] // 2**32
    holds = {
        "g-current": message["g"] == entry["g"],
        "g-newer": message["g"] > entry["g"],
        "r-current": message["r"] == entry["r"],
        "r-newer": message["r"] > entry["r"],
        "n-current": message["n"] == entry["n"],
        "n-newer": message["n"] > entry["n"],
        "drained": message["n"] == entry["q"],
        "version-newer": message["version"] > entry["version"],
        "version-current": message["version"] == entry["version"],
        "not-stale": not message["incarnation"] < node["peer"],
        "own-incarnation": message["incarnation"] == node["incarnation"],
        "reset": g_incarnation > 0 and message["incarnation"] > g_incarnation,
        "same-incarnation": message["incarnation"] == g_incarnation,
        "g-given": message["g"] > 0,
        "holding-any": entry["held"] > 0,
    }
    return {name for name, value in holds.items() if value} | facts


def plain_transition(
    protocol: Protocol, role: str, entry: Entry, node: Entry, event: str, message: Entry, facts: set[str]
) -> list[tuple[str, str, dict[str, int]]] | None:
    """The same as the kernel, from the protocol itself; None where a cell is impossible."""
    state = list(protocol.roles[role].states.values())[entry["state"]]
    truth = plain_guards(entry, node, message, facts)
    for row in state.cells[event]:
        if all((name in truth) == wanted for name, wanted in row.guards.items()):
            break
    else:
        return []
    if row.impossible:
        return None
    commands = []
    for action in row.actions:
        verb, _, what = action.partition(" ")
        if verb in ("new-generation", "new-request"):
            node["counter"] += 1
            entry["g" if verb == "new-generation" else "r"] = node["incarnation"] * 2**32 + node["counter"]
        elif verb in ("take-g", "take-r", "take-n"):
            entry[verb[-1]] = message[verb[-1]]
        elif verb == "take-q":
            entry["q"] = message["n"]
        elif verb in ("zero-n", "zero-q", "forget-g", "clear-q", "clear-tries"):
            entry[verb.split("-")[1]] = -1 if verb == "clear-q" else 0
        elif verb in ("count", "count-try"):
            entry["n" if verb == "count" else "tries"] += 1
        elif verb == "note-peer":
            node["peer"] = message["incarnation"]
        else:
            fields = {"g": entry["g"], "r": entry["r"], "n": entry["n"], "version": entry["version"],
                      "incarnation": node["incarnation"], "count": 1}  # fmt: skip
            if what:
                fields.update({name: message[name] for name in ECHO[what]})
            if verb == "take-context":
                entry["version"] = fields["version"] = message["version"]
            elif verb == "clear-context":
                entry["version"] = fields["version"] = 0
            elif verb in ("hold", "process-keep"):
                entry["held"] += 1
            elif verb in ("flush", "drain", "release", "drop-held", "drain-keep"):
                fields["count"] = entry["held"]
                if verb == "flush":
                    fields["n"] += 1
                    entry["n"] += entry["held"]
                if verb != "drain-keep":
                    entry["held"] = 0
            elif verb == "free":
                entry.update(g=0, r=0, n=0, q=-1, tries=0)
            commands.append((verb, what, fields))
    if row.next:
        entry["state"] = list(protocol.roles[role].states).index(row.next)
    return commands


PUNTS = {"punt-absent", "punt-watched", "punt-departed"}
FACTS = [g.name for g in v.GUARDS if g.code >= v.FIRST_FACT]


def fresh(state: int) -> Entry:
    """An entry of a key that nothing has happened to."""
    return {"state": state, "g": 0, "r": 0, "n": 0, "q": -1, "version": 0, "held": 0, "tries": 0}


@dataclass
class World:
    """One key, both sides, rings and a reliable control channel; contexts are tuples of the packets applied.

    ``rx`` has one list a queue. Each marker has a serial number where it goes through every queue, and ``seen`` says
    of which serial number the CPU has how many copies.
    """

    nic: Entry
    cpu: Entry
    nodes: dict[str, Entry]
    left: dict[str, int]
    contexts: dict[str, tuple[int, ...]] = field(default_factory=lambda: {"nic": (), "cpu": (), "saved": ()})
    buffers: dict[str, tuple[int, ...]] = field(default_factory=lambda: {"nic": (), "cpu": ()})
    rx: list[list[Any]] = field(default_factory=list)
    tx: list[Any] = field(default_factory=list)
    to_nic: list[Any] = field(default_factory=list)
    to_cpu: list[Any] = field(default_factory=list)
    flows: list[int] = field(default_factory=list)  # of each packet that has entered
    serial: int = 0
    seen: dict[int, int] = field(default_factory=dict)
    applied: set[int] = field(default_factory=set)
    out: list[int] = field(default_factory=list)
    latest: tuple[int, ...] = ()
    floor: int = -1  # fewest updates that may remain after a crash, -1: all

    def key(self) -> str:
        return repr((self.__dict__, sorted(self.applied)))


class PlainSearch:
    """Breadth-first search; ``found`` maps a violated safety property to the number of steps to it."""

    def __init__(self, protocol: Protocol, **bounds: int) -> None:
        self.protocol = protocol
        self.bounds = {"packets": 0, "promotions": 0, "demotions": 0, "nic_crashes": 0, "cpu_crashes": 0,
                       "ring_drops": 0, "flows": 1, "queues": 1, **bounds}  # fmt: skip
        self.every = protocol.fences == "every-queue" and self.bounds["queues"] > 1
        self.chosen = 0
        self.found: dict[str, int] = {}
        self.wrong: set[str] = set()

    def run(self, depth_max: int) -> int:
        """Search down to a depth; returns the number of distinct states seen."""
        roles = self.protocol.roles
        node = {"incarnation": 1, "counter": 0, "peer": 0}
        start = World(
            fresh(roles["nic"].number(roles["nic"].start)), fresh(roles["cpu"].number(roles["cpu"].start)),
            {"nic": dict(node), "cpu": dict(node)}, dict(self.bounds),
        )  # fmt: skip
        start.rx = [[] for _ in range(self.bounds["queues"])]
        seen, level = {start.key()}, [start]
        for depth in range(1, depth_max + 1):
            following = []
            for world in level:
                for wrong, after in self.successors(world):
                    for name in wrong:
                        self.found.setdefault(name, depth)
                    if after.key() not in seen:
                        seen.add(after.key())
                        following.append(after)
            level = following
            if not level:
                break
        return len(seen)

    def owns(self, world: World, side: str) -> bool:
        return list(self.protocol.roles[side].states.values())[getattr(world, side)["state"]].owns

    def has_context(self, world: World, side: str) -> bool:
        return list(self.protocol.roles[side].states.values())[getattr(world, side)["state"]].context

    def successors(self, world: World) -> Iterator[tuple[set[str], World]]:
        quick = self.protocol.instantaneous
        busy = any(world.rx) or world.tx or world.to_nic or world.to_cpu
        for queue, ring in enumerate(world.rx):
            for facts in self.fact_sets() if ring else ():
                after = copy.deepcopy(world)
                item = after.rx[queue].pop(0)
                if self.is_last_copy(after, item):
                    yield self.done(after, "cpu", item, facts)
                else:
                    yield set(), after
        for name, side in (("tx", "nic"), ("to_nic", "nic"), ("to_cpu", "cpu")):
            if getattr(world, name):
                for facts in self.fact_sets():
                    for queue in self.choices(side):
                        self.chosen, after = queue, copy.deepcopy(world)
                        item = getattr(after, name).pop(0)
                        yield self.done(after, side, item, facts)
        if quick and busy:
            return
        for side, event, budget in (("nic", "packet", "packets"), ("nic", "unrunnable", "demotions"),
                                    ("cpu", "want-promote", "promotions"), ("cpu", "want-demote", "demotions"),
                                    ("nic", "want-evict", "demotions"), ("nic", "reclaim", ""), ("nic", "timeout", ""),
                                    ("cpu", "timeout", ""), ("cpu", "suspect", "")):  # fmt: skip
            if self.may(world, side, event, budget):
                flows = range(self.bounds["flows"] if event in ("packet", "unrunnable") else 1)
                for facts, flow, queue in product(self.fact_sets(), flows, self.choices(side)):
                    self.chosen, after = queue, copy.deepcopy(world)
                    if budget:
                        after.left[budget] -= 1
                    item: Any = {"kind": event}
                    if event in ("packet", "unrunnable"):
                        item["packet"] = len(after.flows)
                        after.flows.append(flow)
                    yield self.done(after, side, item, facts)
        yield from self.faults(world)

    def choices(self, side: str) -> range:
        """Queues that the punts of a step may take where any will do."""
        return range(self.bounds["queues"] if self.protocol.steering == "spread" and side == "nic" else 1)

    def is_last_copy(self, world: World, item: Any) -> bool:
        """Whether an item out of a queue counts: a packet, or a marker of which all copies are out by now."""
        if not self.every or "packet" in item:
            return True
        world.seen[item["serial"]] = world.seen.get(item["serial"], 0) + 1
        return world.seen[item["serial"]] == self.bounds["queues"]

    def punt(self, world: World, item: Any) -> None:
        """Put a packet into its queue."""
        steering, packet = self.protocol.steering, item["packet"]
        queue = {"home": 0, "flow": world.flows[packet] % len(world.rx), "spread": self.chosen}[steering]
        world.rx[queue].append(item)

    def mark(self, world: World, item: Any) -> None:
        """Put a marker into the first queue, or a copy into every one."""
        if self.every:
            world.serial += 1
            item["serial"] = world.serial
        for ring in world.rx if self.every else world.rx[:1]:
            ring.append(dict(item))

    def fact_sets(self) -> Iterator[set[str]]:
        for bits in range(8):
            chosen = {name for i, name in enumerate(FACTS[:3]) if bits >> i & 1}
            yield chosen | {"changes-label"}

    def may(self, world: World, side: str, event: str, budget: str) -> bool:
        state = list(self.protocol.roles[side].states.values())[getattr(world, side)["state"]]
        rows = state.cells.get(event, ())
        if event == "packet":
            return world.left["packets"] > 0
        if not rows or (len(rows) == 1 and rows[0].impossible and event == "unrunnable"):
            return False
        if event == "unrunnable" and world.left["packets"] == 0:
            return False
        if event in ("want-evict", "unrunnable") and not state.owns:
            return False
        if event == "reclaim" and (state.context or state.name == self.protocol.roles[side].start):
            return False
        if event == "timeout" and (state.timer == "none" or world.to_nic or world.to_cpu):
            return False
        if event == "timeout" and state.timer == "writeback_interval" and not self.bounds["nic_crashes"]:
            return False
        if event == "suspect":
            older = 0 < world.cpu["g"] // 2**32 < world.nodes["nic"]["incarnation"]
            return older and not world.to_nic and not world.to_cpu
        return not budget or world.left[budget] > 0

    def done(self, world: World, side: str, item: Any, facts: set[str]) -> tuple[set[str], World]:
        """One event on one side; returns what it violates and the world after."""
        self.wrong = set()
        if item["kind"] == "unrunnable":
            world.left["packets"] -= 1
        if item["kind"] == "output":
            self.leaves(world, item["packet"])
            return self.wrong, world
        entry = getattr(world, side)
        entry["version"], entry["held"] = len(world.contexts[side]), len(world.buffers[side])
        message = {name: item.get(name, 0) for name in ("g", "r", "n", "incarnation", "version")}
        commands = plain_transition(
            self.protocol, side, entry, world.nodes[side], item["kind"], message, facts
        )
        packet, placed = item.get("packet"), [False]
        if commands is None:
            self.wrong.add("impossible")
            return self.wrong, world
        for verb, what, fields in commands:
            self.carry_out(world, side, verb, what, fields, item, placed)
        if packet is not None and not placed[0]:
            self.wrong.add("no-loss")
        entry["tries"] = 0
        if self.owns(world, "nic") and self.owns(world, "cpu"):
            self.wrong.add("one-owner")
        return self.wrong, world

    def carry_out(
        self, world: World, side: str, verb: str, what: str, fields: Entry, item: Any, placed: Any
    ) -> None:
        packet = item.get("packet")
        fields = {name: fields[name] for name in ("g", "r", "n", "incarnation", "version")}
        placed[0] = (
            placed[0] or verb in ("process", "process-keep", "hold", "drop", "bounce") or verb in PUNTS
        )
        if verb in ("process", "process-keep"):
            self.apply(world, side, packet)
        if verb == "process":
            self.emit(world, side, packet)
        if verb in ("hold", "process-keep"):
            world.buffers[side] += (packet,)
        if verb in ("drop", "drop-held"):
            self.wrong.add("no-loss")
        if verb == "bounce":
            world.tx.append({"kind": "bounced", "packet": packet})
        if verb in PUNTS:
            self.punt(world, {"kind": verb, "packet": packet, **fields})
        if verb in ("send", "put"):
            channel = world.to_cpu if side == "nic" else world.to_nic
            # A copy of the context goes with its own version, that after the packet which was just run.
            copied = world.contexts[side]
            version = len(copied) if what in ("install", "ctx", "wb") else fields["version"]
            message = {"kind": what, **fields, "version": version, "context": copied}
            if verb == "send" or self.protocol.instantaneous:
                channel.append(message)
            elif side == "nic":
                self.mark(world, message)
            else:
                world.tx.append(message)
        if verb in ("take-context", "clear-context"):
            world.contexts[side] = item["context"] if verb == "take-context" else ()
        if verb in ("flush", "drain", "drain-keep", "release", "drop-held"):
            held = world.buffers[side]
            if verb != "drain-keep":
                world.buffers[side] = ()
            for i, one in enumerate(held):
                if verb == "flush":
                    self.punt(world, {"kind": "punt-watched", "packet": one, **fields, "n": fields["n"] + i})
                if verb in ("drain", "drain-keep"):
                    self.apply(world, side, one)
                if verb in ("drain", "release"):
                    self.emit(world, side, one)

    def apply(self, world: World, side: str, packet: int) -> None:
        mine = world.contexts[side]
        if self.owns(world, "cpu" if side == "nic" else "nic"):
            self.wrong.add("one-owner")
        if packet in world.applied:
            self.wrong.add("exactly-once")
        if mine != world.latest:
            if world.floor < 0:
                self.wrong.add("exactly-once")
            elif world.latest[: len(mine)] != mine or len(mine) < world.floor:
                self.wrong.add("rollback")
            elif set(world.latest[len(mine) :]) & set(world.out):
                self.wrong.add("output-commit")
        if any(packet < other for other in mine if world.flows[other] == world.flows[packet]):
            self.wrong.add("order")
        world.floor = -1
        world.contexts[side] = world.latest = (*mine, packet)
        world.applied.add(packet)

    def emit(self, world: World, side: str, packet: int) -> None:
        if side == "cpu":
            world.tx.append({"kind": "output", "packet": packet})
        else:
            self.leaves(world, packet)

    def leaves(self, world: World, packet: int) -> None:
        if packet in world.out:
            self.wrong.add("exactly-once")
        if any(packet < other for other in world.out if world.flows[other] == world.flows[packet]):
            self.wrong.add("egress-order")
        world.out = sorted([*world.out, packet])

    def faults(self, world: World) -> Iterator[tuple[set[str], World]]:
        for number, ring in enumerate([*world.rx, world.tx]):
            for place in range(len(ring) if world.left["ring_drops"] else 0):
                after = copy.deepcopy(world)
                after.left["ring_drops"] -= 1
                [*after.rx, after.tx][number].pop(place)
                yield set(), after
        if world.left["cpu_crashes"] and world.contexts["saved"] != world.contexts["cpu"]:
            after = copy.deepcopy(world)
            after.contexts["saved"] = after.contexts["cpu"]
            yield set(), after
        for side, budget in (("nic", "nic_crashes"), ("cpu", "cpu_crashes")):
            if world.left[budget]:
                after = copy.deepcopy(world)
                after.left[budget] -= 1
                self.wrong = set()
                self.crash(after, side)
                yield set(self.wrong), after

    def crash(self, world: World, side: str) -> None:
        role = self.protocol.roles[side]
        nic_has = self.has_context(world, "nic") and world.contexts["nic"] == world.latest
        if side == "nic" and nic_has and not self.owns(world, "cpu"):
            self.fall(world, world.contexts["cpu"])
        if side == "cpu":
            had = self.owns(world, "cpu") or (self.has_context(world, "cpu") and not nic_has)
            if had or world.floor >= 0:
                self.fall(world, world.contexts["saved"])
        world.contexts[side] = () if side == "nic" else world.contexts["saved"]
        world.buffers[side] = ()
        if side == "nic":
            world.tx = []
        else:
            world.seen = {}
        node = world.nodes[side]
        node.update(incarnation=node["incarnation"] + 1, counter=0, peer=0)
        setattr(world, side, fresh(role.number(role.restart)))
        if self.owns(world, "nic") and self.owns(world, "cpu"):
            self.wrong.add("one-owner")

    def fall(self, world: World, copy_: tuple[int, ...]) -> None:
        world.floor = len(copy_) if world.floor < 0 else min(world.floor, len(copy_))

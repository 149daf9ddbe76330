"""One serial order of all packets, or the cycle that shows that there is none.

A graph has an arc from X to Y where X must come before Y: the next one at a context (a roll-back stands between what it
undoes and what follows), the next one that left of one connection and direction, and, as a chain of moments, everything
that left before another entered. Adya's and Elle's cycles are cycles of this graph.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from .objects import Fall, Objects
from .records import DROPPED, LOST, History, named

Node = tuple[Any, ...]  # its kind, then what tells it apart
PACKET, MOMENT, FALL = "packet", "moment", "fall"


@dataclass
class Order:
    """What was found.

    Attributes:
        order: packets by number, and falls; empty if there is a cycle.
        cycle: (packet, why it comes before the next) around a shortest cycle through some packet; empty if there is none.
    """

    order: list[int | Fall] = field(default_factory=list)
    cycle: list[tuple[int | Fall, str]] = field(default_factory=list)


class _Graph:
    def __init__(self) -> None:
        self.after: dict[Node, dict[Node, str]] = {}

    def node(self, node: Node) -> None:
        self.after.setdefault(node, {})

    def arc(self, first: Node, then: Node, why: str) -> None:
        if first != then:
            self.node(then)
            self.after.setdefault(first, {}).setdefault(then, why)

    def chain(self, nodes: Iterable[Node], why: str) -> None:
        before: Node | None = None
        for node in nodes:
            if before is not None:
                self.arc(before, node, why)
            before = node


def serialise(history: History, objects: Objects) -> Order:
    """Find a serial order of all packets that were applied somewhere or have left."""
    graph = _Graph()
    there = {packet for packet, left in history.departures.items() if left.verdict != LOST}
    for line in objects.lineages.values():
        nodes: list[Node] = []
        for place, step in enumerate(line.order):
            if isinstance(step, Fall):
                nodes.append((FALL, line.key, place))
            else:
                nodes.append((PACKET, step[0]))
                there.add(step[0])
        graph.chain(nodes, f"at {named(line.key)}")
    for packet in there:
        graph.node((PACKET, packet))
    _flows(graph, history)
    _time(graph, history, there)
    order = _sort(graph)
    if len(order) == len(graph.after):
        return Order([_name(node, objects) for node in order if node[0] != MOMENT])
    return Order(cycle=_cycle(graph, set(order), objects))


def _flows(graph: _Graph, history: History) -> None:
    flows: dict[tuple[int, int], list[int]] = {}
    for packet, left in history.departures.items():
        arrival = history.arrivals[packet]
        if left.verdict not in (LOST, DROPPED) and arrival.connection >= 0:
            flows.setdefault((arrival.connection, arrival.direction), []).append(packet)
    for (connection, _), packets in flows.items():
        graph.chain(((PACKET, packet) for packet in sorted(packets)), f"in connection {connection}")


def _time(graph: _Graph, history: History, there: set[int]) -> None:
    """Everything that left before a packet entered comes before it: a chain of the moments at which something left."""
    left = sorted({out.time for packet, out in history.departures.items() if packet in there})
    graph.chain(((MOMENT, time) for time in left), "in time")
    for packet in there:
        out = history.departures.get(packet)
        if out is not None:
            graph.arc((PACKET, packet), (MOMENT, out.time), "left before")
        at = bisect_left(left, history.arrivals[packet].time)
        if at > 0:
            graph.arc((MOMENT, left[at - 1]), (PACKET, packet), "in time")


def _key(node: Node) -> tuple[int, ...]:
    """Where there is a choice: what is no packet first, then packets by number."""
    return (1, node[1]) if node[0] == PACKET else (0, 0)


def _sort(graph: _Graph) -> list[Node]:
    """Nodes in an order (Kahn 1962); those on a cycle, and behind one, are missing."""
    waits: dict[Node, int] = dict.fromkeys(graph.after, 0)
    for then in graph.after.values():
        for node in then:
            waits[node] += 1
    ready = [(_key(node), number, node) for number, node in enumerate(waits) if waits[node] == 0]
    heapq.heapify(ready)
    order, count = [], len(waits)
    while ready:
        _, _, node = heapq.heappop(ready)
        order.append(node)
        for later in graph.after[node]:
            waits[later] -= 1
            if waits[later] == 0:
                count += 1
                heapq.heappush(ready, (_key(later), count, later))
    return order


def _cycle(graph: _Graph, sorted_out: set[Node], objects: Objects) -> list[tuple[int | Fall, str]]:
    """The shortest cycle through a packet that is on one."""
    best: list[Node] = []
    for start in graph.after:
        if start in sorted_out or start[0] != PACKET:
            continue
        back: dict[Node, Node] = {}
        queue: deque[Node] = deque([start])
        while queue and start not in back:
            node = queue.popleft()
            for then in graph.after[node]:
                if then not in back and then not in sorted_out:
                    back[then] = node
                    queue.append(then)
        if start in back:
            path = [start]
            while not best or len(path) < len(best):
                path.append(back[path[-1]])
                if path[-1] == start:
                    best = path[::-1]
                    break
    return _told(graph, best, objects)


def _told(graph: _Graph, path: list[Node], objects: Objects) -> list[tuple[int | Fall, str]]:
    """A path without its moments."""
    found: list[tuple[int | Fall, str]] = []
    for node, then in pairwise(path):
        if node[0] != MOMENT:
            found.append((_name(node, objects), graph.after[node][then]))
    return found


def _name(node: Node, objects: Objects) -> int | Fall:
    if node[0] == PACKET:
        return int(node[1])
    step = objects.lineages[node[1]].order[node[2]]
    assert isinstance(step, Fall)
    return step

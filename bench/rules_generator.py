"""ClassBench-like rule sets: 5-tuple rules with prefixes and port ranges, and packets that hit them.

The real ClassBench (Taylor and Turner, "ClassBench: A Packet Classification Benchmark", INFOCOM 2005) draws from
seeds measured on operators' filter sets. Here are three kinds with the shape of its seeds: the five port classes
(WC any, HI 1024-65535, LO 0-1023, AR an arbitrary range, EM one port), pairs of prefix lengths, addresses that
share their upper bits, protocols. Packets are drawn as its trace generator does: a rule at random, a
header in it, repeated a Pareto-distributed number of times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from oppcache.opp.fields import IPV4_MAPPED, Header, Layout
from oppcache.opp.fields import W_FAMILY as FAMILY
from oppcache.opp.fields import W_HEADERS as HEADERS
from oppcache.opp.fields import W_ID as NUMBER
from oppcache.opp.fields import W_IP_DST as DST
from oppcache.opp.fields import W_IP_PROTO as PROTO
from oppcache.opp.fields import W_IP_SRC as SRC
from oppcache.opp.fields import W_L4_DPORT as DPORT
from oppcache.opp.fields import W_L4_SPORT as SPORT

PORT_CLASSES = ("WC", "HI", "LO", "AR", "EM")
PORTS = (22, 25, 53, 80, 123, 135, 139, 161, 389, 443, 445, 1433, 1521, 1723, 3306, 3389, 5060, 8080)


@dataclass(frozen=True)
class Kind:
    """Distributions of one kind of rule set.

    Attributes:
        lengths: (source, destination) prefix lengths and their weights.
        sport, dport: weights of :data:`PORT_CLASSES`.
        protocols: numbers (None: any) and their weights.
        spread: chance that an address leaves the ones drawn before it, at each bit below the first 8.
    """

    lengths: dict[tuple[int, int], float]
    sport: tuple[float, ...]
    dport: tuple[float, ...]
    protocols: dict[int | None, float]
    spread: float


KINDS: dict[str, Kind] = {
    "acl": Kind(
        {
            (0, 32): 4,
            (16, 32): 6,
            (24, 32): 14,
            (32, 32): 22,
            (24, 24): 12,
            (32, 24): 10,
            (28, 30): 5,
            (23, 32): 4,
            (16, 24): 6,
            (21, 27): 4,
            (32, 16): 5,
            (0, 24): 4,
            (27, 32): 4,
        },
        (0.97, 0.02, 0, 0.005, 0.005),
        (0.18, 0.05, 0.02, 0.12, 0.63),
        {6: 0.72, 17: 0.14, 1: 0.04, None: 0.10},
        0.10,
    ),
    "fw": Kind(
        {
            (0, 32): 14,
            (32, 0): 12,
            (0, 24): 8,
            (24, 0): 8,
            (16, 32): 10,
            (32, 32): 16,
            (24, 24): 8,
            (32, 16): 6,
            (8, 16): 4,
            (27, 31): 4,
            (14, 32): 5,
            (0, 0): 1,
            (0, 16): 4,
        },
        (0.62, 0.14, 0.01, 0.06, 0.17),
        (0.30, 0.11, 0.03, 0.11, 0.45),
        {6: 0.62, 17: 0.22, 1: 0.05, 47: 0.01, None: 0.10},
        0.14,
    ),
    "ipc": Kind(
        {
            (32, 32): 38,
            (24, 32): 8,
            (32, 24): 8,
            (16, 32): 6,
            (0, 32): 8,
            (32, 0): 6,
            (24, 24): 8,
            (26, 28): 6,
            (8, 24): 4,
            (16, 16): 4,
            (30, 32): 4,
        },
        (0.66, 0.05, 0.02, 0.07, 0.20),
        (0.42, 0.07, 0.02, 0.11, 0.38),
        {6: 0.5, 17: 0.26, 1: 0.06, None: 0.18},
        0.12,
    ),
}


@dataclass(frozen=True)
class RuleSet:
    """Rules as arrays, the first the one of highest priority; ranges are inclusive.

    Attributes:
        src, dst: ``uint32[n, 2]``: lowest and highest address.
        lengths: ``int64[n, 2]``: prefix lengths of source and destination.
        sport, dport: ``int64[n, 2]``.
        proto: ``int64[n]``, −1: any.
    """

    src: np.ndarray
    dst: np.ndarray
    lengths: np.ndarray
    sport: np.ndarray
    dport: np.ndarray
    proto: np.ndarray

    def __len__(self) -> int:
        return len(self.proto)

    def match(self, rule: int) -> dict[str, Any]:
        """A rule's ``match`` in the program grammar."""
        out: dict[str, Any] = {
            "ip.src": f"{_dotted(self.src[rule, 0])}/{self.lengths[rule, 0]}",
            "ip.dst": f"{_dotted(self.dst[rule, 0])}/{self.lengths[rule, 1]}",
        }
        for name, ports in (("l4.sport", self.sport), ("l4.dport", self.dport)):
            low, high = int(ports[rule, 0]), int(ports[rule, 1])
            if low == high:
                out[name] = low
            elif (low, high) != (0, 65535):
                out[name] = f"{low}-{high}"
        if self.proto[rule] >= 0:
            out["ip.proto"] = int(self.proto[rule])
        return out

    def entry(self, rule: int) -> dict[str, Any]:
        """A rule as an entry that outputs the packet to the port rule mod 2**16."""
        return {
            "name": f"rule {rule}",
            "priority": len(self) - rule,
            "match": self.match(rule),
            "actions": [{"output": rule % 65536}],
        }

    def document(self) -> dict[str, Any]:
        """A program of one stateless stage that holds the rules and drops the rest."""
        stage = {
            "name": "filter",
            "entries": [self.entry(i) for i in range(len(self))],
            "default": {"actions": ["drop"]},
        }
        return {"program": "rules", "stages": [stage]}


def make_rules(kind: str, count: int, seed: int = 0) -> RuleSet:
    """Draw a rule set of a kind (:data:`KINDS`): ``count`` distinct rules, narrower ones tending to come first."""
    shape = KINDS[kind]
    rng = np.random.default_rng((seed, *kind.encode()))
    draws = 2 * count + 64
    pairs = list(shape.lengths)
    weights = np.array(list(shape.lengths.values()))
    lengths = np.array(pairs)[rng.choice(len(pairs), draws, p=weights / weights.sum())]
    src, dst = (_addresses(rng, draws, shape.spread) for _ in range(2))
    protocols = np.array([-1 if p is None else p for p in shape.protocols])
    proto = rng.choice(protocols, draws, p=list(shape.protocols.values()))
    sport, dport = _ports(rng, draws, shape.sport), _ports(rng, draws, shape.dport)
    without = (proto != 6) & (proto != 17)
    sport[without], dport[without] = (0, 65535), (0, 65535)
    keep = np.uint32(0xFFFF_FFFF) << (32 - lengths).astype(np.uint64)
    spans = []
    for addresses, mask in ((src, keep[:, 0]), (dst, keep[:, 1])):
        low = addresses & mask & 0xFFFF_FFFF
        spans.append(np.stack([low, low | (~mask & 0xFFFF_FFFF)], axis=1).astype(np.uint32))
    rows = np.concatenate([spans[0], spans[1], sport, dport, proto[:, None]], axis=1).astype(np.int64)
    first = np.sort(np.unique(rows, axis=0, return_index=True)[1])[:count]
    assert len(first) == count, f"{len(first)} distinct rules of {count}"
    # Narrow rules come before wide ones, but not strictly, as in filter sets that people keep.
    scope = lengths.sum(axis=1) + 16 * (proto >= 0) + 16 * (dport[:, 0] == dport[:, 1])
    order = first[np.argsort(-scope[first] + rng.normal(0, 8, count), kind="stable")]
    return RuleSet(spans[0][order], spans[1][order], lengths[order], sport[order], dport[order], proto[order])


def make_trace(rules: RuleSet, packets: int, layout: Layout, seed: int = 0, zipf: float = 0.0) -> np.ndarray:
    """Draw ``uint64[packets, layout.words]`` header vectors that hit the rules, in bursts (Pareto, shape 1, at most 64).

    Rules are drawn alike, or as often as Zipf's law with the exponent ``zipf`` says, in an order of their own.
    """
    rng = np.random.default_rng((seed, 1))
    copies = np.minimum(np.ceil(0.1 + rng.pareto(1.0, packets)), 64).astype(np.int64)
    if zipf:
        shares = np.arange(1, len(rules) + 1, dtype=np.float64) ** -zipf
        drawn = rng.permutation(len(rules))[rng.choice(len(rules), packets, p=shares / shares.sum())]
    else:
        drawn = rng.integers(0, len(rules), packets)
    rule = np.repeat(drawn, copies)[:packets]
    burst = np.repeat(np.arange(packets), copies)[:packets]
    fraction = rng.random((packets, 4))[burst]
    rows = np.zeros((packets, layout.words), np.uint64)
    rows[:, HEADERS] = (1 << Header.ETH) | (1 << Header.IP) | (1 << Header.IPV4)
    rows[:, FAMILY] = 4
    spans = (rules.src, rules.dst, rules.sport, rules.dport)
    for i, (word, span) in enumerate(zip((SRC + 1, DST + 1, SPORT, DPORT), spans, strict=True)):
        low, high = span[rule, 0].astype(np.int64), span[rule, 1].astype(np.int64)
        rows[:, word] = low + (fraction[:, i] * (high - low + 1)).astype(np.int64)
    rows[:, SRC + 1] |= np.uint64(IPV4_MAPPED)
    rows[:, DST + 1] |= np.uint64(IPV4_MAPPED)
    rows[:, PROTO] = np.where(rules.proto[rule] < 0, 6, rules.proto[rule])
    rows[:, NUMBER] = np.arange(packets)
    return rows


def _addresses(rng: np.random.Generator, count: int, spread: float) -> np.ndarray:
    """Addresses that share upper bits with earlier ones: each leaves its model at a random bit."""
    first = rng.integers(1, 224, max(4, int(np.sqrt(count) / 4))).astype(np.uint64) << np.uint64(24)
    out = np.zeros(count, np.uint64)
    leave = np.minimum(8 + rng.geometric(spread, count), 32)
    noise = rng.integers(0, 2**32, count, dtype=np.uint64)
    model = (rng.random(count) * np.arange(count)).astype(np.int64)
    fresh = rng.random(count) < 0.05
    for i in range(count):
        base = int(first[int(noise[i]) % len(first)]) if fresh[i] or i == 0 else int(out[model[i]])
        low = (1 << (24 if fresh[i] else 32 - int(leave[i]))) - 1
        out[i] = (base & ~low & 0xFFFF_FFFF) | (int(noise[i]) & low)
    return out


def _ports(rng: np.random.Generator, count: int, weights: tuple[float, ...]) -> np.ndarray:
    """Port ranges ``int64[count, 2]`` of the five classes."""
    drawn = rng.choice(len(PORT_CLASSES), count, p=weights)
    one = np.where(rng.random(count) < 0.6, rng.choice(PORTS, count), rng.integers(0, 65536, count))
    low = rng.integers(1, 60_000, count)
    high = np.minimum(low + rng.integers(1, 4_000, count), 65535)
    spans = np.array([[0, 65535], [1024, 65535], [0, 1023]])
    out = spans[np.minimum(drawn, 2)].copy()
    out[drawn == 3] = np.stack([low, high], axis=1)[drawn == 3]
    out[drawn == 4] = np.stack([one, one], axis=1)[drawn == 4]
    return out


def _dotted(address: int) -> str:
    return ".".join(str(int(address) >> shift & 255) for shift in (24, 16, 8, 0))

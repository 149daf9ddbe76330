"""What a workload model is: its parameters, and what it makes of them for the generator.

A model is one file in ``traffic/workloads/``, known by its file name (``_`` and ``-`` are the same). It has a
docstring whose first line says what it is, ``PARAMETERS`` and ``build(values) -> Workload``.
"""

from __future__ import annotations

import importlib
import json
import math
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from oppcache.opp.errors import InputError, Mark, Problem, Problems, near_miss
from oppcache.opp.units import parse_count, parse_fraction, parse_packets_per_second
from oppcache.opp.yaml_source import mark_of, read_text

MAX_FLOWS = 1 << 24


class Parameter(NamedTuple):
    """One parameter of a model.

    Attributes:
        type: ``count``, ``share`` (0 to 1), ``number`` (not negative), ``rate`` (packets/s), ``flag`` or ``path``.
        default: what an absent parameter is, in plain numbers; None where absence has its own meaning.
        doc: one line.
    """

    type: str
    default: Any
    doc: str


# Parameters that every model of flows has.
COMMON: dict[str, Parameter] = {
    "inside_initiated": Parameter("share", 0.9, "share of flows begun from inside (10.0.0.0/8)"),
    "clients": Parameter("count", None, "hosts that begin flows; absent: an eighth of the flows"),
    "servers": Parameter("count", 1000, "hosts that clients talk to; few of them are popular"),
    "rate": Parameter("rate", 1e6, "mean packet rate before traffic.rate applies"),
}
RST_SHARE = Parameter("share", 0.1, "share of TCP connections that end by RST rather than FIN")
TCP_SHARE = Parameter("share", 0.85, "share of flows that are TCP; the others are UDP")

# Payload sizes, (cumulative share, bytes). TCP: pure ACKs, a middle, full segments, the three modes of backbone
# packet sizes (40, about 576 and 1,500 bytes in CAIDA's reports). The last row also stands in for an ACK that
# would acknowledge nothing.
TCP_SIZES = ((0.40, 0), (0.46, 120), (0.56, 536), (1.0, 1460))
UDP_SIZES = ((0.35, 46), (0.6, 110), (0.75, 512), (1.0, 1252))


@dataclass(frozen=True)
class Mixture:
    """A mixture of flow lengths in packets, as published for the AGH campus traffic.

    Attributes:
        parts: (weight, ``uniform`` or ``lognorm``, parameters). Parameters follow SciPy: uniform (loc, scale),
            lognorm (s, loc, scale). Lengths are whole: uniform parts are rounded up, so that (0, n) gives 1 to n
            alike; lognormal parts are rounded to the nearest, at least 1. So rounded, the AGH mixture is within
            0.15 points of the published shares of flows longer than 1 to 1,024 packets; with lognormal parts
            rounded up it is 0.8 points off at 8.

    Source: Jurkiewicz, Rzym, Boryło, "Flow length and size distributions in campus Internet traffic",
    Computer Communications 167 (2021).
    """

    parts: tuple[tuple[float, str, tuple[float, ...]], ...]

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draw ``count`` lengths: int64[count]."""
        weights = np.array([weight for weight, _, _ in self.parts])
        chosen = rng.choice(len(self.parts), size=count, p=weights / weights.sum())
        lengths = np.empty(count, np.float64)
        for i, (_, kind, numbers) in enumerate(self.parts):
            at = np.flatnonzero(chosen == i)
            if kind == "uniform":
                lengths[at] = np.ceil(numbers[0] + numbers[1] * rng.random(len(at)))
            else:
                lengths[at] = np.rint(
                    numbers[1] + numbers[2] * np.exp(numbers[0] * rng.standard_normal(len(at)))
                )
        return np.clip(lengths, 1, 1 << 31).astype(np.int64)

    def mean(self) -> float:
        """Mean of the lengths; lognormal parts count as if they were not rounded."""
        total = 0.0
        for weight, kind, numbers in self.parts:
            if kind == "uniform":
                total += weight * _mean_ceiling(numbers[0], numbers[1])
            else:
                total += weight * (numbers[1] + numbers[2] * math.exp(numbers[0] ** 2 / 2))
        return total / sum(weight for weight, _, _ in self.parts)


def _mean_ceiling(loc: float, scale: float) -> float:
    """Mean of max(1, ceil(x)), x uniform over [loc, loc + scale]."""
    if scale == 0:
        return max(1.0, math.ceil(loc))
    total, low = 0.0, loc
    while low < loc + scale:
        high = min(math.floor(low) + 1.0, loc + scale)
        total += (high - low) * max(1.0, math.ceil(high))
        low = high
    return total / scale


def load_mixture(path: Path, mark: Mark) -> Mixture:
    """Read a mixture file: JSON ``{"mix": [[weight, "uniform" | "lognorm", [parameters]], …]}``.

    Raises:
        InputError: unreadable, not JSON, or not such a mixture.
    """
    text = read_text(path)
    expected = 'expected {"mix": [[weight, "uniform" | "lognorm", [parameters]], ...]}'
    try:
        document = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}", mark) from None
    rows = document.get("mix") if isinstance(document, dict) else None
    if not isinstance(rows, list) or not 0 < len(rows) <= 1000:
        raise InputError(f"{path} is no mixture of flow lengths, {expected}", mark)
    parts = []
    for number, row in enumerate(rows):
        try:
            weight, kind, numbers = row
            sizes = {"uniform": 2, "lognorm": 3}
            values = tuple(float(x) for x in numbers)
            good = len(values) == sizes[kind] and 0 < float(weight) < math.inf
            good = good and all(math.isfinite(x) for x in values) and values[-1] >= 0 and values[0] >= 0
            good = good and values[-1] <= 1e9 and values[0] <= (1e9 if kind == "uniform" else 10)
        except (TypeError, ValueError, KeyError):
            good = False
        if not good:
            raise InputError(f"{path}: part {number} of the mixture is {row!r}, {expected}", mark)
        parts.append((float(weight), str(kind), values))
    return Mixture(tuple(parts))


@dataclass(frozen=True)
class Workload:
    """What the generator runs: a population of flows that packets choose from, or flows that come and go.

    Attributes:
        flows: with ``zipf``, the population; without, flows that are active at a time, on average.
        zipf: exponent of the flows' popularity, or None for flows that come and go.
        lengths: of connections, in packets; None: flows never end.
        tcp_share, inside_initiated, rst_share, one_way_share, down_share: shares of flows that are TCP, begun
            from inside, closed by RST, UDP without answers; of TCP data sent by the responder.
        clients, servers: hosts.
        new_ports: whether a flow's next connection has a new source port.
        rate: mean packets/s in all.
        flood_share: share of packets that are SYNs from spoofed sources, each once, to ``victims`` hosts.
        tcp_sizes, udp_sizes: payload sizes as (cumulative share, bytes).
    """

    flows: int
    zipf: float | None = None
    lengths: Mixture | None = None
    tcp_share: float = 0.85
    inside_initiated: float = 0.9
    rst_share: float = 0.1
    one_way_share: float = 0.3
    down_share: float = 0.6
    clients: int | None = None
    servers: int = 1000
    new_ports: bool = False
    rate: float = 1e6
    flood_share: float = 0.0
    victims: int = 1
    tcp_sizes: tuple[tuple[float, int], ...] = field(default=TCP_SIZES, repr=False)
    udp_sizes: tuple[tuple[float, int], ...] = field(default=UDP_SIZES, repr=False)


class Model(NamedTuple):
    """A registered workload model."""

    name: str
    doc: str
    parameters: dict[str, Parameter]
    build: Callable[[Mapping[str, Any]], Workload]


@cache
def models() -> dict[str, Model]:
    """All models by name, in alphabetical order."""
    package = importlib.import_module("oppcache.traffic.workloads")
    found = {}
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda i: i.name):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        name = info.name.replace("_", "-")
        doc = (module.__doc__ or "").strip().splitlines()[0]
        found[name] = Model(name, doc, dict(module.PARAMETERS), module.build)
    return found


def generator_parameters() -> dict[str, dict[str, Parameter]]:
    """For each model, its parameters: name → (type, default, doc)."""
    return {name: dict(model.parameters) for name, model in models().items()}


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"got {value!r}, expected a number, not negative")
    return float(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"got {value!r}, expected true or false")
    return value


def _path(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"got {value!r}, expected a file name")
    return value


_READERS: dict[str, Callable[[Any], Any]] = {
    "count": parse_count,
    "share": parse_fraction,
    "number": _number,
    "rate": parse_packets_per_second,
    "flag": _flag,
    "path": _path,
}


def read_parameters(parameters: Mapping[str, Any]) -> tuple[Model, dict[str, Any]]:
    """Check a ``generator:`` mapping and return its model and every parameter's value.

    Raises:
        InputError: every unknown, missing or wrong parameter at once, with near misses.
    """
    problems = Problems()
    known = models()
    got = parameters.get("model")
    name = str(got).replace("_", "-") if isinstance(got, str) else ""
    if name not in known:
        what = "needs a model" if got is None else f"model is {got!r}"
        mark = mark_of(parameters, "model" if got is not None else None)
        raise InputError(
            Problem(f"generator {what}, expected one of {', '.join(known)}", mark, near_miss(name, known))
        )
    model = known[name]
    values = {key: parameter.default for key, parameter in model.parameters.items()}
    for key, value in parameters.items():
        if key == "model":
            continue
        if key not in model.parameters:
            where, hint = mark_of(parameters, key, at_key=True), near_miss(str(key), model.parameters)
            expected = ", ".join(model.parameters)
            problems.add(
                f"unknown parameter {key!r} of model {name}, expected one of {expected}", where, hint
            )
            continue
        if value is None and model.parameters[key].default is None:
            continue
        try:
            values[key] = _READERS[model.parameters[key].type](value)
        except ValueError as error:
            problems.add(f"{key}: {error}", mark_of(parameters, key))
    for key in ("flows", "clients", "servers", "victims"):
        value = values.get(key)
        if isinstance(value, int) and not 1 <= value <= MAX_FLOWS:
            problems.add(f"{key}: got {value}, expected 1 to {MAX_FLOWS}", mark_of(parameters, key))
    if isinstance(values.get("rate"), float) and values["rate"] < 1:
        problems.add(f"rate: got {values['rate']:g}, expected at least 1pps", mark_of(parameters, "rate"))
    problems.raise_if_any()
    return model, values

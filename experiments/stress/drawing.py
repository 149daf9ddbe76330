"""A stress file: an experiment, and what each seed draws anew.

``draw`` maps dotted keys, as ``sweep`` does, to a list of values or to ``{from: A, to: B}``. Every value and both ends are
read and checked once, in place of the key's own; a seed's configuration is then put together from what was read, without
reading anything again. Each key draws from a stream of its own (seed, key), so that fixing one changes no other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from oppcache.opp.errors import InputError, Mark, Problems
from oppcache.opp.random_streams import stream
from oppcache.opp.yaml_source import MarkedDict, MarkedList, mark_of

from ..checks import Memory, Resolved, check
from ..document import Document, read_document, replaced, without
from ..paths import check_path
from ..reading import read_experiment, show
from ..schema import Experiment

# What a drawn key changes among a configuration's files and names: the key itself, and with True what is below it.
_RESOLVES = {
    "program": (("program", "parameters"), False),
    "program.nf": (("program",), False),
    "program.opp": (("program",), False),
    "program.iptables": (("program",), False),
    "traffic": (("capture", "generator_base", "traffic_files"), False),
    "traffic.pcap": (("capture", "traffic_files"), False),
    "traffic.generator": (("generator_base", "traffic_files"), True),
    "cache.eviction": (("eviction",), True),
    "cache.admission": (("admission",), True),
    "nic.profile": (("profile",), True),
    "consistency.protocol": (("protocol",), True),
}
_WIDE = 10  # a range whose ends are so far apart is drawn evenly in the logarithm


@dataclass(frozen=True)
class Choice:
    """What one key may be: parsed values with their files, or the two ends of a range."""

    key: str
    values: tuple[Any, ...]
    resolved: tuple[Resolved, ...]
    between: bool

    def draw(self, seed: int) -> tuple[Any, Resolved]:
        """The value of a seed, and a configuration's files with it."""
        random = stream(seed, f"stress.{self.key}")
        if not self.between:
            at = int(random.integers(len(self.values)))
            return self.values[at], self.resolved[at]
        low, high = self.values
        if low > 0 and high >= _WIDE * low:
            value = math.exp(random.uniform(math.log(low), math.log(high)))
        else:
            value = random.uniform(low, high)
        if isinstance(low, int):
            # Each whole number of a narrow range is as likely as the other.
            value = int(random.integers(low, high + 1)) if high < _WIDE * max(low, 1) else round(value)
        return min(max(value, low), high), self.resolved[0]


@dataclass(frozen=True)
class StressFile:
    """A stress file, read and checked.

    Attributes:
        label: how messages name it.
        base: the experiment; a drawn key holds the first of its values.
        resolved: its files and names.
        choices: what is drawn.
        fixed: values that keys have whatever is drawn, as read.
    """

    label: str
    base: Experiment
    resolved: Resolved
    choices: tuple[Choice, ...]
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def of(self, seed: int) -> tuple[Experiment, Resolved]:
        """The configuration of a seed."""
        config, resolved = self.base, self.resolved
        for choice in self.choices:
            value, found = choice.draw(seed)
            config = put(config, choice.key.split("."), value)
            resolved = taken_over(resolved, choice.key, found)
        for key, fixed in self.fixed.items():
            config = put(config, key.split("."), fixed)
        return config, resolved


def taken_over(resolved: Resolved, key: str, found: Resolved) -> Resolved:
    """A configuration's files and names with those that come of one key; ``found`` was read with other keys' first."""
    if key.startswith("program.") and key not in _RESOLVES:
        name = key.removeprefix("program.")
        return replace(resolved, parameters={**resolved.parameters, name: found.parameters[name]})
    for head, (names, below) in _RESOLVES.items():
        if key == head or (below and key.startswith(f"{head}.")):
            resolved = replace(resolved, **{name: getattr(found, name) for name in names})
    return resolved


def put(node: Any, path: Sequence[str], value: Any) -> Any:
    """A copy of a configuration (or of a mapping in it) with another value at a path."""
    if not path:
        return value
    if isinstance(node, Mapping):
        return {**node, path[0]: put(node.get(path[0], {}), path[1:], value)}
    return node.model_copy(update={path[0]: put(getattr(node, path[0]), path[1:], value)})


def get(node: Any, path: Sequence[str]) -> Any:
    """What stands at a path of a configuration."""
    for part in path:
        node = node[part] if isinstance(node, Mapping) else getattr(node, part)
    return node


def read_stress_file(source: str | Path | Mapping[str, Any], options: Sequence[str] = ()) -> StressFile:
    """Read and check a stress file.

    Args:
        source: a YAML file, ``gallery:NAME``, or the same content as a mapping.
        options: texts ``a.b=VALUE``, which fix what would be drawn.

    Raises:
        InputError: every problem at once, each with its place.
    """
    document = read_document(source, options)
    problems, memory = Problems(), Memory()
    read_experiment(document.tree, problems)
    given = document.tree.get("draw")
    drawn = given if isinstance(given, MarkedDict) else MarkedDict()
    fixed = {option.partition("=")[0].strip() for option in options}
    tree = without(without(document.tree, ("draw",)), ("sweep",))
    lists: list[tuple[str, list[tuple[Any, Mark]], bool]] = []
    for key, value in drawn.items():
        if key in fixed:
            continue
        items = _items(value)
        try:
            check_path(str(key), mark_of(drawn, key, at_key=True))
        except InputError as error:
            for problem in error.problems:
                problems.add(f"draw: {problem.message}", problem.mark, problem.hint)
            continue
        if items:
            lists.append((str(key), items, isinstance(value, MarkedDict)))
            tree = replaced(tree, tuple(str(key).split(".")), *items[0])
    base, resolved = _check(tree, document, problems, memory)
    choices = []
    for key, items, between in lists:
        choice = _choice(tree, key, items, between, document, problems, memory)
        if choice is not None:
            choices.append(choice)
    problems.raise_if_any()
    assert base is not None
    assert resolved is not None
    return StressFile(document.label, base, resolved, tuple(choices))


def _items(value: Any) -> list[tuple[Any, Mark]]:
    if isinstance(value, MarkedList) and value:
        return [(item, mark_of(value, at)) for at, item in enumerate(value)]
    if isinstance(value, MarkedDict) and set(value) == {"from", "to"}:
        return [(value[end], mark_of(value, end)) for end in ("from", "to")]
    return []  # the schema has said so


def _check(
    tree: MarkedDict, document: Document, problems: Problems, memory: Memory
) -> tuple[Experiment | None, Resolved | None]:
    mended, experiment = read_experiment(tree, problems)
    if experiment is None:
        return None, None
    return experiment, check(mended, experiment, document.folder, problems, memory)


def _choice(
    tree: MarkedDict, key: str, items: list[tuple[Any, Mark]], between: bool, document: Document,
    problems: Problems, memory: Memory,
) -> Choice | None:  # fmt: skip
    """Read a key's values in the place of its own."""
    path, values, found = tuple(key.split(".")), [], []
    for item, mark in items:
        mine = Problems()
        experiment, resolved = _check(replaced(tree, path, item, mark), document, mine, memory)
        for problem in mine.items:
            if problem not in problems.items:
                problems.items.append(problem)
        if experiment is None or resolved is None or mine.items:
            return None
        values.append(get(experiment, path))
        found.append(resolved)
    if between:
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        if not numbers or values[0] > values[1]:
            got = " to ".join(show(item) for item, _ in items)
            problems.add(
                f"draw.{key}: got from {got}, expected a smaller number and a larger one", items[0][1]
            )
            return None
    return Choice(key, tuple(values), tuple(found), between)

"""From an experiment as written to the runs that it asks for: the grid of its sweep times its seeds."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from oppcache.opp.errors import InputError, Mark, Problems
from oppcache.opp.yaml_source import MarkedDict, MarkedList, mark_of

from .checks import Memory, Resolved, check, is_timed, tables
from .columns import Value, column_value, same_kind
from .document import Document, mark_at, replaced
from .drawings import check_figures, default_figures
from .paths import check_path
from .reading import read_experiment, show
from .schema import Experiment, FigureSpec

log = logging.getLogger("oppcache")

_NO_EFFECT_WHEN_IDEAL = ("link", "control", "cpu")


@dataclass(frozen=True)
class RunPlan:
    """One run.

    Attributes:
        index: place in sweep order, then seed, from 0.
        swept: column values by dotted key.
        seed: the run's seed.
        config: the experiment with this run's values in place.
        resolved: its files and names.
    """

    index: int
    swept: dict[str, Value]
    seed: int
    config: Experiment
    resolved: Resolved

    @property
    def takes_time(self) -> bool:
        """Whether the run's machines take time: else it is the textbook's cache."""
        return is_timed(self.config)

    def title(self) -> str:
        """Return the run as one line shows it."""
        parts = [f"{key}={value}" for key, value in self.swept.items()]
        return " ".join([*parts, f"seed={self.seed}"])


@dataclass(frozen=True)
class Plan:
    """All runs of an experiment, and what is drawn from them.

    Attributes:
        experiment: the configuration that all runs share; swept keys hold their first value.
        label: how messages name the experiment's file.
        keys: swept keys, slowest first.
        runs: in sweep order, then seed.
        figures: as given, or the default ones.
    """

    experiment: Experiment
    label: str
    keys: tuple[str, ...]
    runs: tuple[RunPlan, ...]
    figures: tuple[FigureSpec, ...]


@dataclass
class _Sweep:
    """Swept keys with their values' places; ``lists`` holds only what can be used."""

    lists: dict[str, list[tuple[Any, Mark]]] = field(default_factory=dict)

    def first(self, tree: MarkedDict) -> MarkedDict:
        for key, items in self.lists.items():
            tree = _put(tree, key, items[0])
        return tree

    def trees(self, tree: MarkedDict) -> list[MarkedDict]:
        """The grid, first key slowest."""
        grid = []
        for choice in itertools.product(*self.lists.values()):
            chosen = tree
            for key, item in zip(self.lists, choice, strict=True):
                chosen = _put(chosen, key, item)
            grid.append(chosen)
        return grid


def _value_at(tree: MarkedDict, key: str) -> tuple[Any, Mark] | None:
    """Return what the file itself says for a dotted key and where, or None."""
    node: Any = tree
    path = tuple(key.split("."))
    for part in path:
        if not isinstance(node, MarkedDict) or part not in node:
            return None
        node = node[part]
    return node, mark_at(tree, path)


def _put(tree: MarkedDict, key: str, item: tuple[Any, Mark]) -> MarkedDict:
    return replaced(tree, tuple(key.split(".")), item[0], item[1])


def make_plan(document: Document) -> Plan:
    """Check a whole experiment and lay out its runs.

    Raises:
        InputError: every problem at once, each with its place.
    """
    problems, memory = Problems(), Memory()
    sweep = _read_sweep(document.tree, problems)
    prefixes = {key.rsplit(".", cut)[0] for key in sweep.lists for cut in range(key.count(".") + 1)}
    read_experiment(document.tree, problems, not_missing=prefixes)
    first = sweep.first(document.tree)
    experiment, resolved = _check_tree(first, document, problems, memory)
    _check_values(sweep, first, document, problems, memory)
    if experiment is None:
        problems.raise_if_any()
        raise AssertionError("an experiment that cannot be read has problems")
    known = tables(resolved) if resolved else None
    figures = _figures(document, experiment, sweep, problems, known)
    problems.raise_if_any()
    runs = tuple(_expand(document, sweep, memory))
    if not any(run.takes_time for run in runs):
        _warn(document.tree)
    return Plan(experiment, document.label, tuple(sweep.lists), runs, figures)


def _read_sweep(tree: MarkedDict, problems: Problems) -> _Sweep:
    sweep, section = _Sweep(), tree.get("sweep")
    if not isinstance(section, MarkedDict):
        return sweep
    for key, values in section.items():
        if not isinstance(key, str):
            continue
        try:
            check_path(key, mark_of(section, key, at_key=True))
        except InputError as error:
            for problem in error.problems:
                problems.add(f"sweep: {problem.message}", problem.mark, problem.hint)
            continue
        if isinstance(values, MarkedList) and values:
            sweep.lists[key] = [(value, mark_of(values, index)) for index, value in enumerate(values)]
    _refuse_overlap(sweep, section, problems)
    return sweep


def _refuse_overlap(sweep: _Sweep, section: MarkedDict, problems: Problems) -> None:
    """A key and a part of it cannot both be swept: the one would undo the other."""
    for inner, outer in itertools.permutations(list(sweep.lists), 2):
        if inner.startswith(f"{outer}."):
            message = f"sweep: got both {outer!r} and {inner!r}, expected one of them"
            problems.add(message, mark_of(section, inner, at_key=True))


def _check_tree(
    tree: MarkedDict, document: Document, problems: Problems, memory: Memory
) -> tuple[Experiment | None, Resolved | None]:
    """Check one configuration; the second is None if any of its files and names is wrong."""
    mended, experiment = read_experiment(tree, problems)
    resolved = None
    if experiment is not None:
        resolved = check(mended, experiment, document.folder, problems, memory)
    return experiment, resolved


def _check_values(
    sweep: _Sweep, first: MarkedDict, document: Document, problems: Problems, memory: Memory
) -> None:
    """Check every swept value as its key's value, at its own place; and the value that the sweep hides."""
    for key, items in sweep.lists.items():
        hidden = _value_at(document.tree, key)
        if hidden is not None:
            _check_tree(_put(first, key, hidden), document, problems, memory)
        seen: dict[Value, Any] = {}
        for item in items:
            experiment, resolved = _check_tree(_put(first, key, item), document, problems, memory)
            if experiment is None or resolved is None:
                continue
            value = column_value(key, experiment)
            if value in seen:
                message = (
                    f"sweep.{key}: got {show(item[0])} after {show(seen[value])}, expected each value once"
                )
                problems.add(message, item[1])
            seen[value] = item[0]


def _figures(
    document: Document, experiment: Experiment, sweep: _Sweep, problems: Problems, known: list[str] | None
) -> tuple[FigureSpec, ...]:
    """Return the figures to draw: those given, without what ``--set`` has fixed; else the default ones."""
    kept: list[FigureSpec | None] = []
    for spec in experiment.figures:
        if spec.x in document.dropped:
            log.warning("the figure of %s against %s is left out: --set fixes its x", spec.y, spec.x)
            kept.append(None)
            continue
        by = tuple(key for key in spec.by if key not in document.dropped)
        kept.append(spec.model_copy(update={"by": by}))
    check_figures(kept, document.tree, list(sweep.lists), known, problems)
    kept = [spec and _with_all_keys(spec, list(sweep.lists)) for spec in kept]
    given = tuple(spec for spec in kept if spec)
    if given or problems:
        return given
    numeric = not sweep.lists or not isinstance(column_value(next(iter(sweep.lists)), experiment), str)
    return default_figures(list(sweep.lists), numeric=numeric)


def _with_all_keys(spec: FigureSpec, keys: list[str]) -> FigureSpec:
    """Tell apart what else was swept: a mean over unlike runs would mean nothing."""
    others = tuple(key for key in keys if key != spec.x and key not in spec.by)
    return spec.model_copy(update={"by": spec.by + others})


def _warn(tree: Mapping[str, Any]) -> None:
    given = [section for section in _NO_EFFECT_WHEN_IDEAL if tree.get(section)]
    if given:
        log.warning(
            "%s: no effect with nic.profile ideal and protocol instant, which take no time", ", ".join(given)
        )


def _expand(document: Document, sweep: _Sweep, memory: Memory) -> list[RunPlan]:
    problems = Problems()
    configurations = []
    for tree in sweep.trees(document.tree):
        tree, experiment = read_experiment(tree, problems)
        resolved = None
        if experiment is not None:
            resolved = check(tree, experiment, document.folder, problems, memory)
        if experiment is not None and resolved is not None:
            configurations.append((experiment, resolved))
    problems.raise_if_any()
    columns = {key: same_kind(key, [config for config, _ in configurations]) for key in sweep.lists}
    runs: list[RunPlan] = []
    for place, (experiment, resolved) in enumerate(configurations):
        swept = {key: values[place] for key, values in columns.items()}
        for seed in experiment.seeds:
            runs.append(RunPlan(len(runs), swept, seed, experiment, resolved))
    return runs

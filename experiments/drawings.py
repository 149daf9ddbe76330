"""Which figures an experiment draws: the kinds that exist, the checks of a specification, the default ones."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from types import ModuleType

from oppcache.opp.errors import Problems, near_miss
from oppcache.opp.yaml_source import MarkedDict

from .document import mark_at
from .metrics import METRICS, find_metric, suggestion
from .schema import FigureSpec

TIMES = ("time", "packets")  # what a series can be drawn against


@cache
def kinds() -> tuple[str, ...]:
    """Return the names of the figure kinds: the files of ``figures/``, so that a new kind is a new file."""
    folder = resources.files("oppcache.experiments").joinpath("figures")
    names = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name[:-3] for name in names if name.endswith(".py") and not name.startswith("_")))


def kind_module(kind: str) -> ModuleType:
    """Import a figure kind. It has ``SOURCE``, ``"results"``, ``"metrics"`` or ``"series"``, and ``draw(axes, data)``."""
    return importlib.import_module(f"oppcache.experiments.figures.{kind}")


def shows(kind: str) -> dict[str, tuple[str, str]]:
    """Return what a kind draws that is no metric, with its axis' words and unit; none for most kinds."""
    return getattr(kind_module(kind), "SHOWS", {}) if kind in kinds() else {}


def default_figures(keys: Sequence[str], *, numeric: bool = True) -> tuple[FigureSpec, ...]:
    """Return the figures of an experiment that names none.

    Args:
        keys: swept keys, slowest first.
        numeric: whether the first one's values are numbers.
    """
    if not keys:
        return (FigureSpec(y="hit_rate", x="time", kind="timeline"),)
    kind = "line" if numeric else "bar"
    return (FigureSpec(y="hit_rate", x=keys[0], by=tuple(keys[1:]), kind=kind),)


def check_figures(
    specs: Sequence[FigureSpec | None],
    tree: MarkedDict,
    swept: Sequence[str],
    tables: Sequence[str] | None,
    problems: Problems,
) -> None:
    """Record what is wrong with figure specifications.

    Args:
        specs: in the file's order; None for one that is left out.
        tree: the experiment as written, for places.
        swept: swept keys.
        tables: names of the program's context tables, None if unknown.
        problems: takes what is wrong.
    """
    for index, spec in enumerate(specs):
        if spec is not None:
            _check_figure(spec, index, tree, swept, tables, problems)


def _check_figure(
    spec: FigureSpec,
    index: int,
    tree: MarkedDict,
    swept: Sequence[str],
    tables: Sequence[str] | None,
    problems: Problems,
) -> None:
    where = f"figures[{index}]"

    def complain(key: str, got: str, expected: str, hint: str) -> None:
        message = f"{where}.{key}: got {got!r}, expected {expected}"
        problems.add(message, mark_at(tree, ("figures", index, key)), hint)

    if spec.kind not in kinds():
        complain("kind", spec.kind, ", ".join(kinds()), near_miss(spec.kind, kinds()))
    family, _, part = spec.y.partition(".")
    own = shows(spec.kind)
    if own:
        if spec.y not in own:
            complain("y", spec.y, ", ".join(own), near_miss(spec.y, own))
    elif find_metric(spec.y) is None:
        examples = ", ".join(metric.name for metric in METRICS if metric.unit == "1")
        complain("y", spec.y, f"a metric such as {examples}", suggestion(spec.y))
    elif family == "context_hit_rate" and part and tables is not None and part not in tables:
        complain("y", spec.y, f"a table of the program: {', '.join(tables)}", near_miss(part, tables))
    source = kind_module(spec.kind).SOURCE if spec.kind in kinds() else ""
    if source == "metrics":
        if find_metric(spec.x) is None:
            complain("x", spec.x, "a metric such as control_messages_per_packet", suggestion(spec.x))
        if spec.shade is not None and find_metric(spec.shade) is None:
            complain("shade", spec.shade, "a metric such as anomaly_rate", suggestion(spec.shade))
    elif source:
        against = TIMES if source == "series" else tuple(swept)
        what = "one of" if source == "series" else "a swept key:"
        if spec.x not in against:
            complain(
                "x", spec.x, f"{what} {', '.join(against) or 'none is swept'}", near_miss(spec.x, against)
            )
        if spec.shade is not None:
            complain("shade", spec.shade, f"none: a {spec.kind} has no shades", "")
    for key in spec.by:
        if key not in swept or key == spec.x:
            others = [name for name in swept if name != spec.x]
            expected = f"a swept key other than x: {', '.join(others) or 'there is none'}"
            complain("by", key, expected, near_miss(key, others))

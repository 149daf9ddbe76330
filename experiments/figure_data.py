"""What a figure shows, before anything is drawn: groups of points with their spread over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from . import metrics, paths
from .columns import Value, generator_parameter, rate_unit
from .schema import FigureSpec

if TYPE_CHECKING:
    import polars


PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))
SCALED = ("s", "B", "bit/s", "packets/s", "1/s")  # units that take them


@dataclass(frozen=True)
class Axis:
    """What an axis measures.

    Attributes:
        label: words, without the unit.
        unit: base unit, as in :class:`~.metrics.Metric`.
        values: distinct values, in order: sorted numbers, or names as they were swept.
        categorical: whether the values are names.
    """

    label: str
    unit: str
    values: tuple[Value, ...] = ()
    categorical: bool = False

    @property
    def unit_words(self) -> str:
        """The unit as a label says it."""
        return {"packets/s": "packet/s", "1/s": "/s"}.get(self.unit, self.unit)

    def is_geometric(self) -> bool:
        """Whether the values are sizes that grow by factors, which a logarithmic axis spreads evenly."""
        if self.categorical or len(self.values) < 3:
            return False
        numbers = np.array(self.values, dtype=np.float64)
        if numbers[0] <= 0 or numbers[-1] < 8 * numbers[0]:
            return False
        return bool(np.all(numbers[1:] >= 1.4 * numbers[:-1]))


@dataclass(frozen=True)
class Group:
    """One line or bar colour.

    Attributes:
        label: the legend's words, ``""`` when there is one group only.
        x: ``float64[n]``; for a categorical axis the place of each name in :attr:`Axis.values`.
        mean: ``float64[n]``, mean over seeds.
        low: ``float64[n]``, least over seeds.
        high: ``float64[n]``, greatest over seeds.
        bound: whether it is no policy but the best that any could do.
        shade: ``float64[n]``, what the colour of each point shows; empty for most kinds.
    """

    label: str
    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    bound: bool = False
    shade: np.ndarray = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class Curve:
    """One run's series: ``x`` and ``y`` are ``float64[n]``; ``label`` is its group's."""

    label: str
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class FigureData:
    """A figure's content.

    Attributes:
        spec: what was asked for.
        title: the experiment's question.
        x: horizontal axis.
        y: vertical axis.
        legend: title of the legend.
        seeds: number of seeds behind each point.
        ordered: whether groups are told apart by a number.
        groups: of a figure from ``results.csv``.
        curves: of a figure from a series.
        shade: what the colours of points show, None in most kinds.
        note: what tells the points of one group apart, "" in most kinds.
    """

    spec: FigureSpec
    title: str
    x: Axis
    y: Axis
    legend: str
    seeds: int
    ordered: bool = False
    groups: tuple[Group, ...] = ()
    curves: tuple[Curve, ...] = ()
    shade: Axis | None = None
    note: str = ""


def value_text(value: Value) -> str:
    """Return a swept value as a tick or a legend shows it."""
    if isinstance(value, str):
        return value.removesuffix(".py")
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def from_results(frame: polars.DataFrame, spec: FigureSpec, manifest: Mapping[str, Any]) -> FigureData:
    """Gather a figure's groups from ``results.csv``; runs without the metric (failed ones) are left out."""
    rows = _rows(frame, spec)
    x = _x_axis(spec.x, [row[0] for row in rows], manifest)
    place = {value: index for index, value in enumerate(x.values)}
    groups = []
    for key in dict.fromkeys(row[1] for row in rows):
        points: dict[Value, list[float]] = {}
        for value, by, y in rows:
            if by == key and y is not None:
                points.setdefault(value, []).append(y)
        at = sorted(points, key=place.__getitem__)
        spread = [np.array(points[value], dtype=np.float64) for value in at]
        groups.append(
            Group(
                label=_label(key, spec.by),
                x=np.array([place[value] if x.categorical else value for value in at], dtype=np.float64),
                mean=np.array([ys.mean() for ys in spread]),
                low=np.array([ys.min() for ys in spread]),
                high=np.array([ys.max() for ys in spread]),
                bound="belady" in key,
            )
        )
    return FigureData(
        spec,
        _title(manifest),
        x,
        _y_axis(spec.y),
        _legend(spec.by),
        _seeds(manifest),
        ordered=_ordered(row[1] for row in rows),
        groups=tuple(groups),
    )


def from_metrics(frame: polars.DataFrame, spec: FigureSpec, manifest: Mapping[str, Any]) -> FigureData:
    """Gather one metric against another, as means over seeds.

    There is a group for each value of the first key of ``by``, in it a point for each of the others, in the sweep's order.
    Points that lack a metric are left out.
    """
    wanted = [spec.x, spec.y, *([spec.shade] if spec.shade else [])]
    columns = [frame[name].to_list() if name in frame.columns else [None] * len(frame) for name in wanted]
    by = list(zip(*(frame[key].to_list() for key in spec.by), strict=True)) or [()] * len(frame)
    points: dict[tuple[Value, ...], dict[tuple[Value, ...], list[list[float]]]] = {}
    for key, *values in zip(by, *columns, strict=True):
        if all(isinstance(value, int | float) for value in values):
            points.setdefault(key[:1], {}).setdefault(key[1:], []).append(values)
    groups = []
    for first, rest in points.items():
        of_seeds = [np.array(values, dtype=np.float64) for values in rest.values()]
        mean = np.array([one.mean(axis=0) for one in of_seeds])
        low, high = ([extreme(one[:, 1]) for one in of_seeds] for extreme in (np.min, np.max))
        groups.append(
            Group(
                label=_label(first, spec.by[:1]),
                x=mean[:, 0],
                mean=mean[:, 1],
                low=np.array(low),
                high=np.array(high),
                shade=mean[:, 2] if spec.shade else np.zeros(0),
            )
        )
    return FigureData(
        spec,
        _title(manifest),
        _y_axis(spec.x),
        _y_axis(spec.y),
        _legend(spec.by),
        _seeds(manifest),
        groups=tuple(groups),
        shade=_y_axis(spec.shade) if spec.shade else None,
        note=_note(spec.by[1:], list(dict.fromkeys(key[1:] for key in by))),
    )


def _note(keys: Sequence[str], values: Sequence[tuple[Value, ...]]) -> str:
    """What the points of a group are of: ``contexts per table: 64, 256``."""
    return f"{_legend(keys)}: {', '.join(_label(value, keys) for value in values)}" if keys else ""


def from_series(frame: polars.DataFrame, spec: FigureSpec, manifest: Mapping[str, Any]) -> FigureData:
    """Gather a figure's curves, one a run, from a series."""
    column = spec.y if spec.y in frame.columns else frame.columns[-1]
    curves, keys = [], []
    for _, part in sorted(frame.group_by("run"), key=lambda item: item[0]):
        key = tuple(part[name][0] for name in spec.by)
        x, y = part[spec.x].to_numpy(), part[column].to_numpy()
        if spec.x == "packets":
            x = x.cumsum()  # a series counts packets by window
        keys.append(key)
        curves.append(Curve(_label(key, spec.by), x.astype(np.float64), y.astype(np.float64)))
    words = "latency" if spec.y == "latency" else "time"
    x_axis = Axis(words, "s") if spec.x == "time" else Axis("packets", "")
    legend = _legend(spec.by)
    return FigureData(
        spec,
        _title(manifest),
        x_axis,
        _own_axis(spec) or _y_axis(spec.y),
        legend,
        _seeds(manifest),
        ordered=_ordered(keys),
        curves=tuple(curves),
    )


def _ordered(keys: Iterable[tuple[Value, ...]]) -> bool:
    return all(len(key) == 1 and not isinstance(key[0], str) for key in keys)


def _rows(frame: polars.DataFrame, spec: FigureSpec) -> list[tuple[Value, tuple[Value, ...], float | None]]:
    xs = frame[spec.x].to_list()
    ys = frame[spec.y].to_list() if spec.y in frame.columns else [None] * len(frame)
    by = list(zip(*(frame[key].to_list() for key in spec.by), strict=True)) or [()] * len(frame)
    return [(x, key, y if isinstance(y, int | float) else None) for x, key, y in zip(xs, by, ys, strict=True)]


def _x_axis(key: str, values: Sequence[Value], manifest: Mapping[str, Any]) -> Axis:
    distinct = tuple(dict.fromkeys(values))
    categorical = any(isinstance(value, str) for value in distinct)
    known = paths.quantity(key)
    unit = known.unit if known else ""
    if key == "traffic.rate" and not categorical:
        given = manifest.get("configuration", {}).get("sweep", {}).get(key, [""])
        unit = rate_unit(given[0])
    elif key.startswith("traffic.generator.") and not categorical:
        generator = manifest.get("configuration", {}).get("traffic", {}).get("generator") or {}
        parameter = generator_parameter(key, str(generator.get("model")))
        unit = {"rate": "packets/s", "share": "1"}.get(getattr(parameter, "type", ""), "")
    return Axis(paths.title(key), unit, distinct if categorical else tuple(sorted(distinct)), categorical)


def _y_axis(name: str) -> Axis:
    metric = metrics.find_metric(name)
    unit = metric.unit if metric else ""
    return Axis(metrics.label(name), unit)


def _own_axis(spec: FigureSpec) -> Axis | None:
    """The axis of what a kind draws that is no metric."""
    from .drawings import shows

    own = shows(spec.kind).get(spec.y)
    return None if own is None else Axis(*own)


def _label(values: tuple[Value, ...], keys: Sequence[str]) -> str:
    return " · ".join(_with_unit(value, key) for value, key in zip(values, keys, strict=True))


def _with_unit(value: Value, key: str) -> str:
    """Return a swept value of a legend: a time, rate or bandwidth with its unit, as ``8 Gbit/s``."""
    measured = paths.quantity(key)
    if isinstance(value, str) or measured is None or measured.unit not in SCALED or not value:
        return value_text(value)
    scale, prefix = next((item for item in PREFIXES if value >= item[0]), PREFIXES[-1])
    number = value_text(float(f"{value / scale:.6g}"))
    return f"{number} {prefix}{measured.unit.removeprefix('1')}"


def _legend(keys: Sequence[str]) -> str:
    return " · ".join(paths.title(key) for key in keys)


def _title(manifest: Mapping[str, Any]) -> str:
    return str(manifest.get("configuration", {}).get("question", ""))


def _seeds(manifest: Mapping[str, Any]) -> int:
    return len(manifest.get("seeds", ())) or 1

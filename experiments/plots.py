"""Figures of a result folder, as PNG and PDF: what all kinds share (axes, legend, style, files)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from oppcache.opp.errors import InputError, Mark

from . import store
from .drawings import kind_module, kinds
from .figure_data import Axis, FigureData, from_results, from_series, value_text
from .results import Results, load
from .schema import FigureSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

log = logging.getLogger("oppcache")

# Neither a date nor a version of the drawing library: the same results give the same bytes.
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None},
}


def plot(folder: str | Path | Results) -> list[Path]:
    """Draw the figures that a result folder's experiment asks for, again or for the first time.

    Args:
        folder: a result folder, or one opened by :func:`~.results.load`.

    Returns:
        The files written, under ``figures/``.

    Raises:
        InputError: it is no result folder, or asks for figures that this version cannot draw.
    """
    results = folder if isinstance(folder, Results) else load(folder)
    files: list[Path] = []
    for name, spec in named_figures(results):
        data = figure_data(results, spec)
        if data is None:
            log.warning("no figure of %s against %s: the runs have no such values", spec.y, spec.x)
            continue
        files += write(draw(data), results.folder / store.FIGURES / name)
    return files


def named_figures(results: Results) -> list[tuple[str, FigureSpec]]:
    """Return the figures of a result folder with their files' names, such as ``hit_rate-vs-nic.contexts``."""
    named: dict[str, FigureSpec] = {}
    where = Mark(str(results.folder / store.MANIFEST))
    for given in results.manifest.get("configuration", {}).get("figures", ()):
        try:
            spec = FigureSpec.model_validate(given)
        except ValidationError as error:
            raise InputError(f"figures: {error.errors()[0]['msg']}", where) from None
        if spec.kind not in kinds():
            raise InputError(f"figures: got kind {spec.kind!r}, expected {', '.join(kinds())}", where)
        stem = name = f"{spec.y}-vs-{spec.x}"
        number = 2
        while name in named:
            name, number = f"{stem}-{number}", number + 1
        named[name] = spec
    return list(named.items())


def figure_data(results: Results, spec: FigureSpec) -> FigureData | None:
    """Return what a figure shows, or None if the runs have nothing to show in it."""
    if kind_module(spec.kind).SOURCE == "series":
        if spec.y not in results.series_names:
            return None
        data = from_series(results.series(spec.y), spec, results.manifest)
        return data if any(len(curve.x) for curve in data.curves) else None
    data = from_results(results.results, spec, results.manifest)
    return data if any(len(group.x) for group in data.groups) else None


@contextmanager
def house_style() -> Iterator[None]:
    """Apply the house style, whatever the user's own settings are, and restore them."""
    import matplotlib

    with (
        resources.as_file(resources.files("oppcache.experiments").joinpath("house.mplstyle")) as style,
        matplotlib.rc_context(),
    ):
        matplotlib.rcdefaults()
        matplotlib.rc_file(style)
        yield


def draw(data: FigureData) -> Figure:
    """Draw one figure."""
    from matplotlib.figure import Figure

    with house_style():
        figure = Figure(layout="constrained")
        axes = figure.add_subplot()
        kind_module(data.spec.kind).draw(axes, data)
        _dress(axes, data)
    return figure


def write(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as ``STEM.png`` and ``STEM.pdf``."""
    files = []
    for kind, metadata in _METADATA.items():
        path = stem.with_name(f"{stem.name}.{kind}")

        def save(file: Path, kind: str = kind, metadata: dict[str, Any] = metadata) -> None:
            with house_style():
                figure.savefig(file, format=kind, metadata=metadata)

        store.write_atomically(path, save)
        files.append(path)
    return files


def _dress(axes: Axes, data: FigureData) -> None:
    axes.set_xlabel(data.x.label)
    axes.set_ylabel(data.y.label)
    if data.title:
        axes.set_title(_wrapped(data.title), loc="left")
    _dress_x(axes, data)
    _dress_numbers(axes.yaxis, data.y)
    _legend(axes, data)


def _dress_x(axes: Axes, data: FigureData) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    if data.spec.kind == "bar":
        return
    if data.x.categorical:
        axes.set_xticks(range(len(data.x.values)), [value_text(value) for value in data.x.values])
        axes.margins(x=0.1)
        return
    if data.x.is_geometric():
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator([float(value) for value in data.x.values]))
        axes.xaxis.set_minor_locator(NullLocator())
    _dress_numbers(axes.xaxis, data.x)


def _dress_numbers(axis: Any, measured: Axis) -> None:
    from matplotlib.ticker import EngFormatter, FuncFormatter, PercentFormatter

    if measured.unit == "1":
        low, high = sorted(axis.get_view_interval())
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0 if high - low >= 0.04 else 1))
    elif measured.unit in ("s", "B", "bit/s", "packets/s", "1/s"):
        axis.set_major_formatter(EngFormatter(sep=""))
    else:
        axis.set_major_formatter(FuncFormatter(lambda value, _: value_text(float(f"{value:.6g}"))))


def _legend(axes: Axes, data: FigureData) -> None:
    """Put the legend beside the axes, in the order in which the lines end, so that the eye need not search."""
    handles, labels = axes.get_legend_handles_labels()
    named = [(handle, label) for handle, label in zip(handles, labels, strict=True) if label]
    if not named:
        return
    ends = {group.label: float(group.mean.mean()) for group in data.groups if len(group.mean)}
    if data.spec.kind != "bar":
        named.sort(key=lambda item: -ends.get(item[1], 0.0))
    bounds = {group.label for group in data.groups if group.bound}
    words = [f"{label} (bound)" if label in bounds else label for _, label in named]
    axes.legend(
        [handle for handle, _ in named],
        words,
        title=data.legend,
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        alignment="left",
    )


def _wrapped(text: str, width: int = 60) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width))

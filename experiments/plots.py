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

from . import dress, store
from .drawings import kind_module, kinds
from .figure_data import FigureData, from_metrics, from_results, from_series
from .results import Results, load
from .schema import FigureSpec

if TYPE_CHECKING:
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
    gather = from_metrics if kind_module(spec.kind).SOURCE == "metrics" else from_results
    data = gather(results.results, spec, results.manifest)
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
        axes.set_prop_cycle(dress.palette(data))
        kind_module(data.spec.kind).draw(axes, data)
        dress.axes(axes, data)
        dress.title(figure, data)
        dress.resize(figure, data)
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

"""Timelines: a series over virtual time (or packets), one thin line a run, one colour a group."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from oppcache.experiments.figure_data import FigureData

SOURCE = "series"


def draw(axes: Axes, data: FigureData) -> None:
    """Draw one line a run; the runs of a group share its look and its place in the legend."""
    looks: dict[str, dict[str, Any]] = {}
    for curve in data.curves:
        style = looks.get(curve.label, {"label": curve.label})
        (line,) = axes.plot(curve.x, curve.y, marker="", linewidth=1.2, **style)
        looks.setdefault(curve.label, {"color": line.get_color(), "linestyle": line.get_linestyle()})

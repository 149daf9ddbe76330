"""Timelines: a series over virtual time (or packets), one thin line a run, one colour a group."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from oppcache.experiments.figure_data import FigureData

SOURCE = "series"


def draw(axes: Axes, data: FigureData) -> None:
    """Draw one line a run; the runs of a group share its colour and its place in the legend."""
    colours: dict[str, str] = {}
    for curve in data.curves:
        known = curve.label in colours
        style: dict[str, Any] = {"color": colours[curve.label]} if known else {"label": curve.label}
        (line,) = axes.plot(curve.x, curve.y, marker="", linewidth=1.2, **style)
        colours.setdefault(curve.label, str(line.get_color()))

"""Distributions: the share of packets that took at most so long, one line a run, one colour a group."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from oppcache.experiments.figure_data import FigureData

SOURCE = "series"
# What it can show besides metrics: the words and the unit of its axis.
SHOWS = {"latency": ("packets that took at most so long", "1")}


def draw(axes: Axes, data: FigureData) -> None:
    """Draw one step line a run over a logarithmic time axis."""
    looks: dict[str, dict[str, Any]] = {}
    for curve in data.curves:
        style = looks.get(curve.label, {"label": curve.label})
        (line,) = axes.step(curve.x, curve.y, where="post", marker="", linewidth=1.2, **style)
        looks.setdefault(curve.label, {"color": line.get_color(), "linestyle": line.get_linestyle()})
    axes.set_xscale("log")

"""Lines: the mean over seeds with a band from the least to the greatest; names on x give points, not lines."""

from __future__ import annotations

import itertools
from typing import Any

from matplotlib.axes import Axes

from oppcache.experiments.figure_data import FigureData

SOURCE = "results"
_BOUND_DASHES = ((4, 2), (1, 1.2), (6, 1.5, 1, 1.5))


def draw(axes: Axes, data: FigureData) -> None:
    """Draw one line a group."""
    dashes = itertools.cycle(_BOUND_DASHES)
    for group in data.groups:
        style: dict[str, Any] = {}
        if group.bound:
            style = {"color": "#222222", "linestyle": (0, next(dashes)), "zorder": 1.9}
            style["marker"] = "_" if data.x.categorical else ""
        if data.x.categorical:
            style["linestyle"] = "none"
        (line,) = axes.plot(group.x, group.mean, label=group.label, **style)
        if (group.high > group.low).any():
            if data.x.categorical:
                axes.vlines(group.x, group.low, group.high, color=line.get_color(), linewidth=1.2)
            else:
                axes.fill_between(
                    group.x, group.low, group.high, color=line.get_color(), alpha=0.18, linewidth=0
                )

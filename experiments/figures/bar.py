"""Bars: one for each x, side by side for each group; whiskers from the least to the greatest seed."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from oppcache.experiments.figure_data import FigureData, value_text

SOURCE = "results"
_GROUP_WIDTH = 0.8


def draw(axes: Axes, data: FigureData) -> None:
    """Draw one bar for each point; numbers on x stand evenly spaced, as names do."""
    places = {value: index for index, value in enumerate(data.x.values)}
    width = _GROUP_WIDTH / max(1, len(data.groups))
    for index, group in enumerate(data.groups):
        base = group.x if data.x.categorical else np.array([places[value] for value in group.x.tolist()])
        at = base + (index - (len(data.groups) - 1) / 2) * width
        style: dict[str, Any] = (
            {"color": "white", "edgecolor": "#222222", "hatch": "////"} if group.bound else {}
        )
        axes.bar(at, group.mean, width * 0.92, label=group.label, **style)
        if (group.high > group.low).any():
            axes.vlines(at, group.low, group.high, color="#222222", linewidth=1.0)
    axes.set_xticks(range(len(data.x.values)), [value_text(value) for value in data.x.values])
    axes.set_ylim(bottom=0)

"""Scatters: one metric against another, a point for each combination of swept values, its mean over seeds.

Points of a group, which differ in a further swept key, are joined by a thin line in the sweep's order; its name stands
beside one of them. The colour may show a third metric: where that is 0 a point is hollow; else its colour, and its size,
are on a logarithmic scale.
"""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm

from oppcache.experiments.figure_data import FigureData, Group

SOURCE = "metrics"
_SIZE = 62.0  # of a point, in square points
_EDGE = "#222222"
_LETTER, _LINE = 0.56, 1.25  # width of a letter and height of a line, of the font's size
_SPREAD = 8  # times the median: from there on x is logarithmic, but near 0
_GAP = 6.5  # from a point's middle to its name, in points


def draw(axes: Axes, data: FigureData) -> None:
    """Draw the points, their names where there is room, and a bar for the colours."""
    _limit(axes, data)
    scale = _scale(data)
    for group in data.groups:
        if len(group.x) > 1:
            axes.plot(
                group.x, group.mean, color="#aaaaaa", linewidth=0.9, linestyle="-", marker="", zorder=1.5
            )
        axes.vlines(group.x, group.low, group.high, color=_EDGE, linewidth=1.0, zorder=1.6)
        axes.scatter(group.x, group.mean, linewidths=1.1, edgecolors=_EDGE, **_look(group, scale))
    _name(axes, data)
    if data.note:
        axes.set_title(f"lines: {data.note}", loc="left", fontsize=8, fontweight="normal", color="#555555")
    if scale is not None and data.shade is not None:
        bar = axes.figure.colorbar(scale, ax=axes, pad=0.02, shrink=0.9)
        bar.ax.minorticks_off()
        bar.set_label(f"{data.shade.label} (hollow: 0)")


def _limit(axes: Axes, data: FigureData) -> None:
    """Show all points, with room for names; a count or a share begins at 0."""
    x = np.concatenate([group.x for group in data.groups])
    y = np.concatenate([group.high for group in data.groups])
    least = np.concatenate([group.low for group in data.groups])
    for low, high, set_limits in (
        (min(0.0, x.min()), x.max(), axes.set_xlim),
        (min(0.0, least.min()), y.max(), axes.set_ylim),
    ):
        room = 0.06 * ((high - low) or 1.0)
        set_limits(low - room, high + room)
    positive = x[x > 0]
    if x.min() >= 0 and len(positive) and positive.max() > _SPREAD * np.median(positive):
        axes.set_xscale("symlog", linthresh=10.0 ** np.floor(np.log10(positive.min())), linscale=0.4)
        axes.set_xlim(left=-0.3 * 10.0 ** np.floor(np.log10(positive.min())))
        axes.set_xlim(right=1.6 * positive.max())


def _scale(data: FigureData) -> ScalarMappable | None:
    """Colours for the third metric; None where it is 0 everywhere, or not asked for."""
    shades = np.concatenate([group.shade for group in data.groups])
    shades = shades[shades > 0]
    if not len(shades):
        return None
    low, high = np.floor(np.log10(shades.min())), np.ceil(np.log10(shades.max()))
    return ScalarMappable(LogNorm(10.0**low, 10.0 ** max(high, low + 1)), "YlOrRd")


def _look(group: Group, scale: ScalarMappable | None) -> dict[str, Any]:
    """Sizes and colours: what is more stands behind what is less, and is larger, so that both are seen at one place."""
    if scale is None:
        return {"s": _SIZE, "c": "white" if len(group.shade) else "#0072B2", "zorder": 2.5}
    norm: Any = scale.norm
    share = norm(np.where(group.shade > 0, group.shade, norm.vmin))
    faces = [scale.to_rgba(shade) if shade > 0 else "white" for shade in group.shade.tolist()]
    return {"s": _SIZE * (1 + 1.2 * share), "c": faces, "zorder": 3.0 - float(share.max())}


def _name(axes: Axes, data: FigureData) -> None:
    """Put each group's name beside one of its points, where it covers least of points, lines and other names."""
    inches = np.asarray(axes.figure.bbox.size) / axes.figure.dpi
    width, height = (float(side) * 72 * 0.76 for side in inches)  # about what is left of it for the axes
    font = 8.0

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = axes.transAxes.inverted().transform(axes.transData.transform((x, y)))
        return float(across) * width, float(up) * height

    taken = []
    for group in data.groups:
        points = [place(x, y) for x, y in zip(group.x, group.mean, strict=True)]
        taken += [(x - 5, y - 5, x + 5, y + 5) for x, y in points]
        for (x, y), (then_x, then_y) in pairwise(points):
            for share in np.linspace(0, 1, 1 + int(np.hypot(then_x - x, then_y - y) / 5)):
                at_x, at_y = x + share * (then_x - x), y + share * (then_y - y)
                taken.append((at_x - 1.5, at_y - 1.5, at_x + 1.5, at_y + 1.5))
    for group in sorted(data.groups, key=_freedom):
        size = len(group.label) * font * _LETTER, font * _LINE
        spots = [
            (_cost(x + dx, y + dy, size, taken, (width, height)) + 0.7 * number + 1.5 * abs(dy), at, dx, dy)
            for at, (x, y) in enumerate(map(place, group.x, group.mean))
            for number, (dx, dy) in enumerate(_offsets(size))
        ]
        _, at, dx, dy = min(spots)
        x, y = place(group.x[at], group.mean[at])
        taken.append((x + dx, y + dy, x + dx + size[0], y + dy + size[1]))
        far = (dx, dy) not in _offsets(size)[:2]
        axes.annotate(
            group.label, (group.x[at], group.mean[at]), (dx, dy + 0.2 * size[1]), textcoords="offset points",
            fontsize=font, zorder=4,
            arrowprops={"arrowstyle": "-", "color": "#999999", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 4} if far else None,
        )  # fmt: skip


def _freedom(group: Group) -> tuple[int, float, float]:
    """Groups whose points are at few places are named first, then from the top down."""
    places = {(round(float(x), 3), round(float(y), 3)) for x, y in zip(group.x, group.mean, strict=True)}
    return len(places), -float(group.mean[-1]), float(group.x[-1])


def _offsets(size: tuple[float, float]) -> list[tuple[float, float]]:
    """Where a name's lower left corner may be, from the point, best first."""
    wide, high = size
    beside = [(_GAP, -high / 2), (-_GAP - wide, -high / 2)]
    rises = [sign * step - high / 2 for step in (13.0, 24.0, 36.0, 48.0, 60.0) for sign in (1, -1)]
    return beside + [(dx, dy) for dy, dx in product(rises, (-wide / 2, 0.0, -wide, _GAP, -_GAP - wide))]


def _cost(
    x: float,
    y: float,
    size: tuple[float, float],
    taken: list[tuple[float, float, float, float]],
    whole: tuple[float, float],
) -> float:
    """How much of other things a name would cover, and how much of it would be outside."""
    right, top = x + size[0], y + size[1]
    outside = max(0.0, -x) + max(0.0, right - whole[0]) + max(0.0, -y) + max(0.0, top - whole[1])
    covered = sum(
        max(0.0, min(right, box[2]) - max(x, box[0])) * max(0.0, min(top, box[3]) - max(y, box[1]))
        for box in taken
    )
    return 1000 * outside + covered

"""What dresses every figure alike: palette, axis scales and numbers, legend, title, size."""

from __future__ import annotations

import itertools
import math
import textwrap
from typing import TYPE_CHECKING, Any

from .figure_data import PREFIXES, SCALED, Axis, FigureData, value_text

if TYPE_CHECKING:
    from cycler import Cycler
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINE_STYLES = ("-", "--", ":")
_NEXT_MARKER = 3  # markers are so far apart in the palette for one colour in two line styles
_WIDTH_OF_LETTER_INCHES = 0.072


def palette(data: FigureData) -> Cycler:
    """Return colours and markers: in steps of one scale for numbers, distinct ones for names.

    Beyond the palette's length the same colours come again with another line style.
    """
    import matplotlib
    from cycler import cycler

    house = matplotlib.rcParams["axes.prop_cycle"]
    count = sum(not group.bound for group in data.groups) or len({curve.label for curve in data.curves})
    repeats = count > len(house)
    if count > 1 and (data.ordered or (repeats and data.x.categorical)):
        scale = matplotlib.colormaps["viridis_r"]
        colours = [scale(0.15 + 0.8 * place / (count - 1)) for place in range(count)]
        markers = [style["marker"] for style in itertools.islice(house(), count)]
        return cycler("color", colours) + cycler("marker", markers)
    return _repeated(house) if repeats else house


def _repeated(house: Cycler) -> Cycler:
    """The house's styles in several line styles; each round has its markers moved on, so that no colour meets its own."""
    from cycler import cycler

    styles, rounds = list(house), []
    for number, line in enumerate(_LINE_STYLES):
        for place, style in enumerate(styles):
            marker = styles[(place + _NEXT_MARKER * number) % len(styles)]["marker"]
            rounds.append({**style, "marker": marker, "linestyle": line})
    keys = rounds[0]
    return cycler(**{key: [style[key] for style in rounds] for key in keys})


def axes(drawn: Axes, data: FigureData) -> None:
    """Label and scale both axes, and put the legend beside them."""
    drawn.set_xlabel(data.x.label)
    drawn.set_ylabel(data.y.label)
    _dress_x(drawn, data)
    _dress_numbers(drawn.yaxis, data.y)
    if data.y.unit == "" and data.groups:
        drawn.set_ylim(bottom=0)
    if data.seeds > 1 and data.groups:
        words = f"mean and range of {data.seeds} seeds"
        drawn.set_title(words, loc="right", fontsize=8, fontweight="normal", color="#555555")
    _legend(drawn, data)


def _dress_x(drawn: Axes, data: FigureData) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    if data.spec.kind == "bar":
        return
    if data.x.categorical:
        drawn.set_xticks(range(len(data.x.values)), [value_text(value) for value in data.x.values])
        drawn.margins(x=0.1)
        return
    if data.x.is_geometric():
        drawn.set_xscale("log", base=2)
        drawn.xaxis.set_major_locator(FixedLocator([float(value) for value in data.x.values]))
        drawn.xaxis.set_minor_locator(NullLocator())
    _dress_numbers(drawn.xaxis, data.x)


def _dress_numbers(axis: Any, measured: Axis) -> None:
    """Show shares as percentages, quantities with their unit's prefix on the label, counts in full."""
    from matplotlib.ticker import FuncFormatter, PercentFormatter

    low, high = sorted(axis.get_view_interval())
    if measured.unit == "1":
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0 if high - low >= 0.04 else 1))
        return
    scale = 1.0
    if measured.unit in SCALED:
        # On a logarithmic axis the middle, so that the numbers at neither end are long.
        reach = math.sqrt(low * high) if axis.get_scale() == "log" and low > 0 else high
        scale, prefix = next((item for item in PREFIXES if reach >= item[0]), PREFIXES[3])
        axis.set_label_text(f"{measured.label} ({prefix}{measured.unit_words})")
    axis.set_major_formatter(FuncFormatter(lambda value, _: value_text(float(f"{value / scale:.6g}"))))


def _legend(drawn: Axes, data: FigureData) -> None:
    """Put the legend beside the axes, lines in the order of their heights, so that the eye need not search."""
    handles, labels = drawn.get_legend_handles_labels()
    named = [(handle, label) for handle, label in zip(handles, labels, strict=True) if label]
    if not named:
        return
    heights = {group.label: float(group.mean.mean()) for group in data.groups if len(group.mean)}
    if data.spec.kind != "bar" and not data.ordered:
        named.sort(key=lambda item: -heights.get(item[1], 0.0))
    bounds = {group.label for group in data.groups if group.bound}
    drawn.legend(
        [handle for handle, _ in named],
        [f"{label} (bound)" if label in bounds else label for _, label in named],
        title=data.legend,
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        alignment="left",
    )


def title(figure: Figure, data: FigureData) -> None:
    """Set the question over the whole figure, not over the axes: the legend stands beside those."""
    if data.title:
        figure.suptitle(_wrapped(data.title), x=0.012, horizontalalignment="left")


def resize(figure: Figure, data: FigureData) -> None:
    """Make room for a long legend, so that the axes keep their size."""
    labels = {group.label for group in data.groups} | {curve.label for curve in data.curves}
    width, height = figure.get_size_inches()
    letters = max((len(text) for text in (*labels, data.legend)), default=0)
    width += max(0, letters - 16) * _WIDTH_OF_LETTER_INCHES
    figure.set_size_inches(width, max(height, 1.0 + 0.19 * len(labels)))


def _wrapped(text: str, width: int = 72) -> str:
    """Break a title into lines of about the same length."""
    lines = -(-len(text) // width)
    return "\n".join(textwrap.wrap(text, round(len(text) / lines * 1.12))) if lines > 1 else text

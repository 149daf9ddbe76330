"""A counterexample as a space-time diagram: two lifelines, time downwards, what travels between them as arrows."""

from __future__ import annotations

from xml.sax.saxutils import escape

from . import layout as L
from .trace import FAULT, WIRE, Sent, Step, Trace

ROW = 34
TOP = 84
TEXT = 340
NIC_X, CPU_X = TEXT + 60, TEXT + 460
WIDTH = CPU_X + 60 + TEXT
_COLOURS = ("#1b6ca8", "#8a4f9e")
_GREY, _RED, _INK = "#777777", "#b3261e", "#1d1d1f"


def draw(trace: Trace, title: str) -> str:
    """The diagram as the text of an SVG file."""
    height = TOP + ROW * (len(trace.steps) + 2)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="Helvetica, Arial, sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        f'orient="auto-start-reverse"><path d="M0 0L10 5L0 10z" fill="{_INK}"/></marker></defs>',
        _text(WIDTH / 2, 24, title, "middle", size=15, weight="bold"),
    ]
    parts += _lifelines(trace)
    parts += [line for sent, beside in _numbered(trace.sent) for line in _arrow(sent, beside)]
    parts += [line for number, step in enumerate(trace.steps) for line in _step(number, step)]
    y = TOP + ROW * (len(trace.steps) + 1) - 6
    parts.append(_text(WIDTH / 2, y, f"{trace.violates}: {trace.end}", "middle", colour=_RED, weight="bold"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _y(number: int) -> float:
    return TOP + ROW * (number + 0.5)


def _text(
    x: float, y: float, words: str, anchor: str, colour: str = _INK, size: int = 12, weight: str = "normal"
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{colour}" font-size="{size}" '
        f'font-weight="{weight}">{escape(words)}</text>'
    )


def _lifelines(trace: Trace) -> list[str]:
    """The two lines, with the state that each side is in."""
    parts = []
    bottom = TOP + ROW * len(trace.steps)
    for side, (x, name) in enumerate(((NIC_X, "NIC"), (CPU_X, "CPU"))):
        parts.append(_text(x, 52, name, "middle", colour=_COLOURS[side], size=14, weight="bold"))
        states = "; ".join(states[side] for states in trace.start)
        parts.append(_text(x, 68, states, "middle", colour=_GREY, size=11))
        parts.append(
            f'<line x1="{x}" y1="{TOP - 8}" x2="{x}" y2="{bottom}" stroke="{_COLOURS[side]}" stroke-width="2"/>'
        )
    return parts


def _numbered(sent: list[Sent]) -> list[tuple[Sent, int]]:
    """Each with the number of those that left in the same step before it, to keep their labels apart."""
    return [(one, sum(other.sent == one.sent for other in sent[:i])) for i, one in enumerate(sent)]


def _arrow(sent: Sent, beside: int) -> list[str]:
    """What was sent, to where it was taken; a stub where it never was."""
    to_cpu = sent.queue in (L.Q_RX, L.Q_RX + 1, L.Q_TO_CPU)
    x0, x1 = (NIC_X, CPU_X) if to_cpu else (CPU_X, NIC_X)
    ring = sent.queue in (L.Q_RX, L.Q_RX + 1, L.Q_TX)
    dash = "" if ring else ' stroke-dasharray="5 3"'
    parts = []
    y0 = _y(sent.sent)
    for copy, taken in enumerate(sent.taken):
        parts.append(
            f'<line x1="{x0}" y1="{y0:g}" x2="{x1}" y2="{_y(taken):g}" stroke="{_INK}"{dash} marker-end="url(#head)"/>'
        )
        if copy == 0:
            parts.append(_on_line(x0, y0, x1, _y(taken), sent.label, beside))
    if not sent.taken:
        reach = (0.55 if sent.dropped >= 0 else 0.35) + 0.2 * beside
        x, y = x0 + reach * (x1 - x0), y0 + ROW * 0.45
        colour = _RED if sent.dropped >= 0 else _GREY
        parts.append(f'<line x1="{x0}" y1="{y0:g}" x2="{x:g}" y2="{y:g}" stroke="{colour}"{dash}/>')
        parts.append(_text(x, y + 4, "×" if sent.dropped >= 0 else "…", "middle", colour=colour, size=14))
        parts.append(_on_line(x0, y0, x, y, sent.label, 1 + beside))
    return parts


def _on_line(x0: float, y0: float, x1: float, y1: float, words: str, beside: int) -> str:
    """A label just above an arrow, farther along it the more others leave from the same place."""
    along = min(0.3 + 0.25 * beside, 0.8)
    x, y = x0 + along * (x1 - x0), y0 + along * (y1 - y0) - 4
    halo = 'stroke="white" stroke-width="3" paint-order="stroke"'
    return f'<text x="{x:g}" y="{y:g}" text-anchor="middle" font-size="11" {halo}>{escape(words)}</text>'


def _step(number: int, step: Step) -> list[str]:
    """A step's words beside its lifeline, and packets that come or leave."""
    y = _y(number)
    colour = _RED if step.wrong or step.side == FAULT else _INK
    weight = "bold" if step.wrong else "normal"
    words, does = f"{number + 1}  {step.what}", step.does
    parts = []
    if step.side == "cpu":
        x, anchor, dot = CPU_X + 14, "start", CPU_X
    else:
        x, anchor, dot = NIC_X - 14, "end", NIC_X
        words = f"{step.what}  {number + 1}"
    if step.side == FAULT:
        parts.append(
            f'<line x1="{NIC_X - 8}" y1="{y:g}" x2="{CPU_X + 8}" y2="{y:g}" stroke="{_RED}" stroke-dasharray="2 4"/>'
        )
    elif step.side != WIRE:
        parts.append(f'<circle cx="{dot}" cy="{y:g}" r="4" fill="{_RED if step.wrong else _INK}"/>')
    parts.append(_text(x, y + (0 if does else 4), words, anchor, colour=colour, weight=weight))
    if does:
        parts.append(
            _text(x, y + 13, does if len(does) < 62 else does[:60] + " …", anchor, colour=_GREY, size=10)
        )
    if step.egress and step.side in (WIRE, "nic"):
        parts.append(
            f'<line x1="{NIC_X}" y1="{y + 4:g}" x2="{NIC_X - 12}" y2="{y + 4:g}" stroke="{_INK}" '
            'marker-end="url(#head)"/>'
        )
    return parts

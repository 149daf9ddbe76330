"""A verdict in words, as data and as a drawing."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from oppcache.opp.errors import InputError, Mark

from .diagram import draw
from .trace import Trace
from .verdict import Verdict


def last_line(verdict: Verdict) -> str:
    """``holds: …``, ``violated: PROPERTY …`` or ``undecided: …``."""
    size = f"{verdict.states} states, {verdict.transitions} transitions, {verdict.seconds:.1f} s"
    if verdict.violated:
        return f"violated: {verdict.violated[0]} after {size}"
    if not verdict.decided:
        return f"undecided: {verdict.why_undecided}, {size}"
    odds = f", by 64-bit hashes: odds of a missed state below {verdict.odds:.1g}" if verdict.compact else ""
    what = "all properties" if verdict.with_liveness else "safety"
    return f"holds: {what}, {size}{odds}"


def as_dict(verdict: Verdict, trace: Trace | None) -> dict[str, Any]:
    """The same as data."""
    facts: dict[str, Any] = {
        "protocol": verdict.protocol.name,
        "model": asdict(verdict.model),
        "result": "violated" if verdict.violated else "holds" if verdict.decided else "undecided",
        "violated": verdict.violated,
        "why_undecided": None if verdict.decided or verdict.violated else verdict.why_undecided,
        "states": verdict.states,
        "transitions": verdict.transitions,
        "depth": verdict.depth,
        "seconds": verdict.seconds,
        "odds_of_a_missed_state": verdict.odds if verdict.compact else 0.0,
        "rows_never_taken": verdict.unfired(),
        "counterexample": None,
    }
    if trace is not None:
        facts["counterexample"] = [
            {
                "side": step.side,
                "event": step.what,
                "does": step.does,
                "states": step.states,
                "violates": step.wrong,
            }
            for step in trace.steps
        ]
    return facts


def write_diagram(trace: Trace, protocol: str, path: Path) -> None:
    """Draw a counterexample to a file.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        path.write_text(draw(trace, f"{protocol}: how {trace.violates} is violated"), encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", Mark(str(path))) from None

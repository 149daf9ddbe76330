"""The story of a small run, as lines: what came, where it was run, what moved, what left."""

from __future__ import annotations

from collections.abc import Iterator

from oppcache.consistency.history.records import DROPPED, LOST, Departure, Step, named

from .recording import Recording, record
from .trial import Case

_SIDES = ("NIC", "CPU")
_CHECKPOINT, _CRASH = "the CPU makes a checkpoint", "the CPU crashes"


def story_of(case: Case) -> Iterator[str]:
    """Run a case, and tell what happens in it in order of time."""
    recording = record(case.setup, case.parts, case.vectors)
    rows = [*_arrivals(recording), *_steps(recording), *_departures(recording)]
    checkpoint = ""
    for time, _, text in sorted(rows, key=lambda row: row[:2]):
        line = f"{time / 1e6:10.3f} us  {text}"
        if text == _CHECKPOINT:
            checkpoint = line  # only the last one before a crash matters
            continue
        if text == _CRASH and checkpoint:
            yield checkpoint
        yield line


_Row = tuple[int, int, str]


def _arrivals(recording: Recording) -> Iterator[_Row]:
    for number, arrival in recording.history.arrivals.items():
        yield arrival.time, 0, f"packet {number} of connection {arrival.connection} enters"


def _steps(recording: Recording) -> Iterator[_Row]:
    for step, time in zip(recording.history.steps, recording.times, strict=True):
        yield time, 1, _told(step)


def _told(step: Step) -> str:
    side, what = _SIDES[step.side], "" if step.key is None else named(step.key)
    if step.kind == "apply":
        return f"packet {step.packet} is run on the {side} on version {step.version} of {what}"
    if step.kind == "write":
        return f"packet {step.packet} writes {what} on the {side}, on its version {step.version}"
    if step.kind == "global":
        return f"packet {step.packet} meets {what}, changed {step.version} times, on the {side}"
    if step.kind == "take":
        return f"the {side} takes a copy of {what}, version {step.version}"
    if step.kind == "free":
        return f"the NIC frees its slot of {what}"
    return f"the {side} crashes" if step.kind == "crash" else _CHECKPOINT


def _departures(recording: Recording) -> Iterator[_Row]:
    for number, left in recording.history.departures.items():
        yield left.time, 2, f"packet {number} {_fate(left)}"


def _fate(left: Departure) -> str:
    if left.verdict == LOST:
        return "is lost"
    return "is dropped by the program" if left.verdict == DROPPED else f"leaves at port {left.port}"

"""Progress of a sweep on stderr: a bar with rate and time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Protocol


class Progress(Protocol):
    """What the runner tells while it works."""

    def start(self, total: int, done: int) -> None:
        """Work begins: ``total`` runs, of which ``done`` are done already."""

    def update(self, packets: int) -> None:
        """So many packets have been simulated by now, over all runs of this call."""

    def finished(self, title: str, seconds: float) -> None:
        """One run is done."""

    def stop(self) -> None:
        """No more will come."""


class Silent:
    """Says nothing."""

    def start(self, total: int, done: int) -> None: ...
    def update(self, packets: int) -> None: ...
    def finished(self, title: str, seconds: float) -> None: ...
    def stop(self) -> None: ...


def rate_text(packets: int, seconds: float) -> str:
    """Return packets per second as people say it."""
    rate = packets / seconds if seconds > 0 else 0.0
    for scale, name in ((1e6, "M"), (1e3, "k")):
        if rate >= scale:
            return f"{rate / scale:.1f} {name}packets/s"
    return f"{rate:.0f} packets/s"


class Lines:
    """Plain lines for logs: the first and last run, and at most one line every few seconds between."""

    interval_seconds = 2.0

    def __init__(self) -> None:
        self.total = self.done = self.packets = self.before = 0
        self.started = self.told = 0.0

    def start(self, total: int, done: int) -> None:
        self.total, self.done, self.before = total, done, done
        self.started = time.monotonic()

    def update(self, packets: int) -> None:
        self.packets = packets

    def finished(self, title: str, seconds: float) -> None:
        self.done += 1
        now = time.monotonic()
        if self.done < self.total and self.done > self.before + 1 and now - self.told < self.interval_seconds:
            return
        self.told = now
        elapsed = now - self.started
        left = elapsed / (self.done - self.before) * (self.total - self.done)
        rate = f", {rate_text(self.packets, elapsed)}" if self.packets else ""
        print(
            f"run {self.done}/{self.total}: {title} ({seconds:.2f} s{rate}, {left:.0f} s left)",
            file=sys.stderr,
        )

    def stop(self) -> None: ...


class Bar:
    """A live bar on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self.bar = RichProgress(
            TextColumn("runs"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self.started = 0.0

    def start(self, total: int, done: int) -> None:
        self.started = time.monotonic()
        self.bar.start()
        self.task = self.bar.add_task("runs", total=total, completed=done, rate="")

    def update(self, packets: int) -> None:
        self.bar.update(self.task, rate=rate_text(packets, time.monotonic() - self.started))

    def finished(self, title: str, seconds: float) -> None:
        self.bar.advance(self.task)

    def stop(self) -> None:
        self.bar.stop()  # harmless if it never started


def make_progress(quiet: bool = False) -> Progress:
    """Return what fits where stderr goes."""
    if quiet:
        return Silent()
    return Bar() if sys.stderr.isatty() else Lines()

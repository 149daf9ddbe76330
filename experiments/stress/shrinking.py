"""Making a failing run smaller: fewer packets, fewer faults, plainer machines, as long as it fails in the same way.

Every step is a run. Packets are left out by halves, then one by one (ddmin: Zeller and Hildebrandt 2002); random crashes
become those that happened, and go one by one; then settings go back to something plain. What remains is said as options of
the command, so that it can be run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from .drawing import get
from .story import story_of
from .trial import Result, Trials, judge

Item = TypeVar("Item")

# What is tried, in this order: a value that is plainer than what was drawn, as text and as it is read.
_PLAIN: tuple[tuple[str, str, object], ...] = (
    ("faults.control.loss", "0%", 0.0),
    ("faults.control.duplicate", "0%", 0.0),
    ("faults.control.reorder", "0%", 0.0),
    ("faults.ring_drop", "0%", 0.0),
    ("faults.restart_after", "0ns", 0),
    ("cpu.cores", "1", 1),
    ("cpu.distribution", "fixed", "fixed"),
    ("link.ring", "64", 64),
    ("cpu.queue", "64", 64),
    ("control.queue", "64", 64),
)
_CRASHES = ("faults.nic_reset", "faults.cpu_crash")


@dataclass(frozen=True)
class Shrunk:
    """A small failing run.

    Attributes:
        keep: numbers of the packets that are left in.
        options: what ``--set`` must say besides what was given.
        result: what it finds.
        story: what happens in it, line by line.
        tries: runs that it took.
    """

    seed: int
    keep: tuple[int, ...]
    options: tuple[str, ...]
    result: Result
    story: tuple[str, ...]
    tries: int


class Shrinker:
    """Shrinks one seed of a file.

    Args:
        trials: of the file.
        seed: one that fails.
        most: runs to try.
    """

    def __init__(self, trials: Trials, seed: int, most: int = 2000) -> None:
        self.trials, self.seed, self.most = trials, seed, most
        self.options: dict[str, str] = {}
        self.tries = 0

    def run(self, keep: Sequence[int] | None = None) -> Shrunk:
        """Shrink.

        Args:
            keep: packets to begin with; None: all.

        Raises:
            ValueError: the seed does not fail.
        """
        case = self.trials.case(self.seed, keep)
        self.best, self.keep = judge(case), case.kept
        if not self.best.findings:
            raise ValueError(f"seed {self.seed} does not fail")
        # The first finding is what went wrong; others may follow from it.
        self.kind = self.best.findings[0].kind
        self._packets()
        self._crashes()
        for key, text, value in _PLAIN:
            self._try({key: (text, value)})
        self._packets()
        options = tuple(f"{key}={text}" for key, text in self.options.items())
        story = tuple(story_of(self.trials.case(self.seed, self.keep)))
        return Shrunk(self.seed, self.keep, options, self.best, story, self.tries)

    def _fails(self, trials: Trials, keep: Sequence[int]) -> bool:
        """Whether a smaller run fails in the same way; then it is the best so far."""
        if self.tries >= self.most:
            return False
        self.tries += 1
        result = judge(trials.case(self.seed, keep))
        if all(finding.kind != self.kind for finding in result.findings):
            return False
        self.best = result
        return True

    def _packets(self) -> None:
        self.keep = tuple(minimised(self.keep, lambda keep: self._fails(self.trials, keep)))

    def _try(self, changes: dict[str, tuple[str, object]]) -> bool:
        """Fix keys to values if it still fails; whether they are so now."""
        config, _ = self.trials.file.of(self.seed)
        if all(get(config, key.split(".")) == value for key, (_, value) in changes.items()):
            return True
        trials = self.trials.fixing({key: value for key, (_, value) in changes.items()})
        if not self._fails(trials, self.keep):
            return False
        self.trials = trials
        self.options |= {key: text for key, (text, _) in changes.items()}
        return True

    def _crashes(self) -> None:
        """Random crashes become those that have happened; then each is tried without."""
        happened = self.best.crashes
        if not happened or not self._try(_scheduled(happened)):
            return
        minimised(happened, lambda kept: self._try(_scheduled(kept)))
        self._try(_scheduled(()))


def _scheduled(crashes: Sequence[tuple[int, int]]) -> dict[str, tuple[str, object]]:
    """The keys that say when each side crashes, and that it does not otherwise; of (time in ns, side)."""
    changes: dict[str, tuple[str, object]] = {}
    for side, key in enumerate(_CRASHES):
        times = [time for time, which in crashes if which == side]
        changes[f"{key}_rate"] = ("0/s", 0.0)
        changes[f"{key}_at"] = (f"[{', '.join(f'{time}ns' for time in times)}]", tuple(times))
    return changes


def minimised(items: Sequence[Item], fails: Callable[[Sequence[Item]], bool]) -> list[Item]:
    """A subset of which no item can be left out, by ddmin.

    Args:
        items: a set that fails.
        fails: whether a set fails.
    """
    kept, parts = list(items), 2
    while len(kept) > 1:
        for rest in _without_parts(kept, parts):
            if fails(rest):
                kept, parts = rest, max(parts - 1, 2)
                break
        else:
            if parts >= len(kept):
                return kept
            parts = min(2 * parts, len(kept))
    return kept


def _without_parts(items: list[Item], parts: int) -> Iterator[list[Item]]:
    """The items without each of so many parts of them."""
    for part in range(parts):
        low, high = part * len(items) // parts, (part + 1) * len(items) // parts
        if low < high:
            yield items[:low] + items[high:]

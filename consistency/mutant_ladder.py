"""Every single-row mutant of a protocol against a ladder of models, the cheapest first, until one finds it.

``python -m oppcache.consistency.mutant_ladder cas-hold RESULTS.tsv [PART PARTS]`` appends one line a mutant to the
file and goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from oppcache.opp.errors import Mark, Problems

from .checker import Model, check
from .checks import check as look_over
from .library import load_protocol, protocol_path
from .lower import lower_with_places
from .mutants import Mutant, mutants
from .table import Protocol

_SURE = Model()
_LOSSY = Model(lossy=True)
_PROMPT = Model(timers=False)
# By the number of states of `cas-hold`: a dozen to two million.
LADDER = (
    _PROMPT.but(promotions=1),
    _PROMPT.but(packets=1, promotions=1, demotions=1),
    _SURE.but(promotions=1),
    _PROMPT.but(packets=1, untagged=1, cpu_crashes=1),
    _PROMPT.but(packets=1, promotions=1, nic_crashes=1, cpu_crashes=1),
    _PROMPT.but(packets=2, promotions=1, demotions=1, untagged=2),
    _PROMPT.but(packets=2, promotions=1, demotions=1, nic_crashes=1),
    _PROMPT.but(packets=2, promotions=1, demotions=1, cpu_crashes=1),
    _LOSSY.but(promotions=1, demotions=1),
    _SURE.but(packets=1, promotions=1, demotions=1),
    _LOSSY.but(packets=1, promotions=1),
    _LOSSY.but(promotions=1, cpu_crashes=1),
    _LOSSY.but(promotions=1, nic_crashes=1),
    _SURE.but(packets=1, promotions=1, untagged=1),
    _SURE.but(packets=1, promotions=1, ring_drops=1),
    _PROMPT.but(packets=2, promotions=1, demotions=1, untagged=2, flows=2),
    _PROMPT.but(packets=3, promotions=2, demotions=2),
    _SURE.but(packets=1, promotions=1, nic_crashes=1),
    _LOSSY.but(packets=1, promotions=1, ring_drops=1),
    _SURE.but(packets=1, promotions=1, cpu_crashes=1),
    _LOSSY.but(promotions=1, cpu_crashes=2),
    _LOSSY.but(packets=2, promotions=1, demotions=1),
    _SURE.but(packets=1, promotions=1, untagged=1, nic_crashes=1),
    _LOSSY.but(packets=1, promotions=2, demotions=1),
    _LOSSY.but(packets=1, promotions=1, cpu_crashes=1),
    _LOSSY.but(packets=1, promotions=1, nic_crashes=1),
    _SURE.but(packets=1, promotions=1, nic_crashes=1, cpu_crashes=1),
    _LOSSY.but(promotions=1, nic_crashes=1, cpu_crashes=1),
    _LOSSY.but(packets=3, promotions=1),
    _SURE.but(packets=1, promotions=1, untagged=1, cpu_crashes=1),
    _SURE.but(packets=2, promotions=2, demotions=1),
    _SURE.but(packets=2, promotions=1, nic_crashes=1),
    _SURE.but(packets=2, promotions=1, untagged=2),
    _SURE.but(keys=2, packets=2, promotions=1),
    _LOSSY.but(packets=1, promotions=1, demotions=1, nic_crashes=1),
    _LOSSY.but(packets=1, promotions=1, demotions=1, cpu_crashes=1),
    _LOSSY.but(promotions=2, nic_crashes=1),
    _LOSSY.but(packets=2, promotions=2),
    _LOSSY.but(packets=1, promotions=1, nic_crashes=1, ring_drops=1),
    _LOSSY.but(packets=1, promotions=2, cpu_crashes=1),
    _SURE.but(packets=2, promotions=1, demotions=1, cpu_crashes=1),
    _LOSSY.but(packets=1, promotions=1, cpu_crashes=2),
    _LOSSY.but(packets=2, promotions=1, cpu_crashes=1),
    _LOSSY.but(packets=1, promotions=1, demotions=1, cpu_crashes=2),
    _LOSSY.but(packets=1, promotions=2, demotions=1, cpu_crashes=1),
    _LOSSY.but(packets=2, promotions=1, demotions=1, cpu_crashes=1),
    _LOSSY.but(packets=2, promotions=1, demotions=1, nic_crashes=1),
    _LOSSY.but(packets=2, promotions=1, nic_crashes=1),
    _SURE.but(packets=3, promotions=1, untagged=2),
    _SURE.but(packets=2, promotions=1, untagged=2, cpu_crashes=1),
)
# A mutant may have more states than the right protocol before it is given up: so many times, and so many more.
TIMES_MAX, MORE_MAX = 4, 20_000


@dataclass(frozen=True)
class Outcome:
    """How a mutant fared.

    Attributes:
        how: ``caught``; ``refused`` where only the loading of the file finds it; ``grows`` where states were without end and nothing else was found; ``survives``;
            ``never`` where no model takes its row.
        found: the property that it violates, or what never happens; of one that survives, whether it has as many
            states and transitions as the right protocol in all models.
        model: in which model, in words.
        steps: of the shortest counterexample, 0: it has none.
    """

    mutant: str
    how: str
    found: str = ""
    model: str = ""
    steps: int = 0

    def line(self) -> str:
        """As a line of a results file."""
        return "\t".join((self.mutant, self.how, self.found, self.model, str(self.steps)))

    @staticmethod
    def of_line(line: str) -> Outcome:
        """The reverse."""
        mutant, how, found, model, steps = line.split("\t")
        return Outcome(mutant, how, found, model, int(steps))


class Ladder:
    """Models in order, with what the right protocol does in each.

    Args:
        protocol: the right one.
    """

    def __init__(self, protocol: Protocol, models: tuple[Model, ...] = LADDER) -> None:
        self.models = models
        places = lower_with_places(protocol)[1]
        self.sizes: list[tuple[int, int]] = []
        self.taken: list[set[Mark]] = []
        for model in models:
            verdict = check(protocol, model)
            if not verdict.holds:
                raise ValueError(
                    f"{protocol.name} itself does not hold: {in_words(model)}: {verdict.violated}"
                )
            self.sizes.append((verdict.states, verdict.transitions))
            fired = zip(places, verdict.fired, strict=False)
            self.taken.append({p.row.mark for p, yes in fired if yes})

    def can_differ(self, mutant: Mutant, number: int) -> bool:
        """Whether a mutant may behave otherwise than the right protocol in a model.

        What a row that does nothing, or only answers, would match is not followed there, so such a row counts.
        """
        answers = not mutant.row.next and all(action.startswith("send ") for action in mutant.row.actions)
        return mutant.widens or answers or mutant.row.mark in self.taken[number]

    def climb(self, mutant: Mutant) -> Outcome:
        """Try the models in order until one finds the mutant."""
        how, grows, same = "never", "", True
        for number, model in enumerate(self.models):
            if not self.can_differ(mutant, number):
                continue
            how = "survives"
            verdict = check(mutant.protocol, model, states_max=TIMES_MAX * self.sizes[number][0] + MORE_MAX)
            if verdict.violated:
                name = verdict.violated[0]
                steps = len(verdict.trace(name).steps)
                return Outcome(mutant.name, "caught", name, in_words(model), steps)
            same = same and (verdict.states, verdict.transitions) == self.sizes[number]
            if not verdict.complete:
                grows = grows or in_words(model)
            elif verdict.missing():
                return Outcome(mutant.name, "caught", verdict.missing()[0], in_words(model))
        refused = Problems()
        look_over(mutant.protocol, refused)
        if refused and not mutant.widens:
            return Outcome(mutant.name, "refused", refused.items[0].message)
        if grows:
            return Outcome(mutant.name, "grows", "", grows)
        return Outcome(mutant.name, how, "same states" if same and how == "survives" else "")


def in_words(model: Model) -> str:
    """A model's bounds in a few words."""
    nouns = {
        "keys": ("key", "keys"),
        "packets": ("packet", "packets"),
        "untagged": ("untagged", "untagged"),
        "promotions": ("promotion", "promotions"),
        "demotions": ("demotion", "demotions"),
        "nic_crashes": ("NIC crash", "NIC crashes"),
        "cpu_crashes": ("CPU crash", "CPU crashes"),
        "ring_drops": ("ring drop", "ring drops"),
        "queues": ("queue", "queues"),
        "flows": ("flow", "flows"),
    }
    words = []
    for name, forms in nouns.items():
        count = getattr(model, name)
        if count > (name in ("keys", "queues", "flows")):
            words.append(f"{count} {forms[count > 1]}")
    words += [] if model.timers else ["no timers"]
    return ", ".join([*words, "lossy" if model.lossy else "reliable"])


def read_results(path: Path, name: str) -> list[Outcome]:
    """Outcomes so far; none where there is no file.

    Raises:
        ValueError: the file is about another version of the table.
    """
    if not path.exists():
        return []
    first, *lines = path.read_text(encoding="utf-8").splitlines()
    if first != heading(name):
        raise ValueError(f"{path}: got {first!r}, expected {heading(name)!r}: results of another table")
    return [Outcome.of_line(line) for line in lines]


def heading(name: str) -> str:
    """The first line of a results file: which table it is about."""
    return f"# {name} {hashlib.sha256(protocol_path(name).read_bytes()).hexdigest()[:16]}"


def try_all(name: str, path: Path, part: int = 0, parts: int = 1) -> Iterator[Outcome]:
    """Try every mutant that has no line in the file yet, and append one each."""
    protocol, done = load_protocol(name), {outcome.mutant for outcome in read_results(path, name)}
    if not path.exists():
        path.write_text(heading(name) + "\n", encoding="utf-8")
    ladder = Ladder(protocol)
    for number, mutant in enumerate(mutants(protocol)):
        if number % parts == part and mutant.name not in done:
            outcome = ladder.climb(mutant)
            with path.open("a", encoding="utf-8") as out:
                out.write(outcome.line() + "\n")
            yield outcome


if __name__ == "__main__":
    for found in try_all(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:])):
        print(found.line(), flush=True)

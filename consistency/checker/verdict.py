"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..lower import lower_with_places
from ..table import Protocol
from ..vocabulary import PROPERTIES, ROLES
from .model import Model
from .store import N_DEPTH, N_STATES, N_TRANSITIONS, Store

if TYPE_CHECKING:
    from .trace import Trace


@dataclass(frozen=True)
class Verdict:
    """The outcome of a check.

    Attributes:
        properties: names of the properties that count.
        complete: every state was expanded, or the search stopped at a violation.
        too_large: a state did not fit the stored form.
        stuck: number of the first state that breaks liveness, -1: none.
        seconds: how long it took.
    """

    protocol: Protocol
    model: Model
    system: Any
    store: Store
    fired: np.ndarray
    properties: list[str]
    complete: bool
    too_large: bool
    stuck: int
    compact: bool
    seconds: float

    @property
    def states(self) -> int:
        """Distinct states."""
        return int(self.store.counters[N_STATES])

    @property
    def transitions(self) -> int:
        """Steps from one state to another."""
        return int(self.store.counters[N_TRANSITIONS])

    @property
    def depth(self) -> int:
        """Steps from the first state to the farthest."""
        return int(self.store.counters[N_DEPTH])

    @property
    def violated(self) -> list[str]:
        """Names of the properties found violated, those that count alone."""
        found = [p.name for p in PROPERTIES if self.store.first[p.code] >= 0]
        if self.stuck >= 0:
            found.append("liveness")
        return [name for name in found if name in self.properties]

    @property
    def with_liveness(self) -> bool:
        """Whether liveness was looked at."""
        return self.model.liveness and "liveness" in self.properties

    @property
    def decided(self) -> bool:
        """Whether the whole space was seen, and what ought to happen in it did."""
        return self.complete and not self.missing()

    @property
    def holds(self) -> bool:
        """Whether it is decided and nothing is violated."""
        return self.decided and not self.violated

    @property
    def why_undecided(self) -> str:
        """One clause."""
        if self.too_large:
            return "a state does not fit the stored form (too many generations or messages at once)"
        if not self.complete:
            return "memory or the limit of states ran out"
        return f"within these bounds {' and '.join(self.missing())}"

    @property
    def odds(self) -> float:
        """With hash compaction: upper bound of the probability that some state was taken for another."""
        return self.states**2 / 2.0**65

    def unfired(self) -> list[str]:
        """Rows of the tables that were never taken, as words."""
        _, places = lower_with_places(self.protocol)
        return [
            f"{place.role} {place.state} {place.event}"
            + (f" (line {place.row.mark.line})" if place.row.mark.line else "")
            for place, fired in zip(places, self.fired, strict=False)
            if not fired
        ]

    def missing(self) -> list[str]:
        """What ought to happen sometimes within these bounds and never did, so that nothing holds vacuously."""
        _, places = lower_with_places(self.protocol)
        taken = [place for place, fired in zip(places, self.fired, strict=False) if fired]
        owns = {
            role: {n for n, s in table.states.items() if s.owns}
            for role, table in self.protocol.roles.items()
        }

        def arrives(role: str) -> bool:
            return any(
                p.role == role and p.row.next in owns[role] and p.state not in owns[role] for p in taken
            )

        model, rows = self.model, list(self.protocol.rows("nic"))
        migrates = model.promotions > 0 and model.packets > 0
        copies = model.nic_crashes and model.timers and any("send wb" in row.actions for row in rows)
        expected = {
            "no promotion completes": (model.promotions, arrives("nic")),
            "no demotion completes": (model.promotions and model.demotions, arrives("cpu")),
            "no copy is written back": (
                migrates and copies,
                any(p.event == "wb" and "take-context" in p.row.actions for p in taken),
            ),
            "the NIC never holds a packet": (
                migrates and any("hold" in row.actions for row in rows),
                any(p.role == "nic" and "hold" in p.row.actions for p in taken),
            ),
        }
        found = [what for what, (wanted, seen) in expected.items() if wanted and not seen]
        for role in ROLES:
            verbs = {action for p in taken if p.role == role for action in p.row.actions}
            if "hold" in verbs and not verbs & {"drain", "drain-keep", "flush", "drop-held"}:
                found.append(f"nothing held by the {role.upper()} moves on")
        return found

    def trace(self, name: str) -> Trace:
        """A shortest counterexample of a violated property."""
        from .trace import make_trace

        return make_trace(self, name)

"""A protocol as its file says it: two tables of states, cells and rows, with places for messages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from oppcache.opp.errors import NOWHERE, Mark

from .vocabulary import ROLES


@dataclass(frozen=True)
class Row:
    """One row of a cell.

    Attributes:
        guards: guard name to the truth value that it must have; empty: always matches.
        actions: in order, as in the file (``"send gone"``).
        next: state, or "" to stay.
        impossible: whether to arrive here is a violation.
        otherwise: matches when no other row of the cell does.
        mark: where it stands.
    """

    guards: dict[str, bool] = field(default_factory=dict)
    actions: tuple[str, ...] = ()
    next: str = ""
    impossible: bool = False
    otherwise: bool = False
    mark: Mark = NOWHERE

    @property
    def acts(self) -> bool:
        """Whether anything changes."""
        return bool(self.actions) or bool(self.next) or self.impossible

    @property
    def when(self) -> str:
        """The guards in words, "" if it always matches."""
        words = [name if wanted else f"not {name}" for name, wanted in self.guards.items()]
        return "otherwise" if self.otherwise else ", ".join(words)


@dataclass(frozen=True)
class State:
    """A state of one side.

    Attributes:
        owns: this side processes packets of the key here, and the other may not.
        context: this side holds the newest context here, or may.
        timer: name of the timer that runs here, "none" for none.
        cells: event name to rows, in order; no rows: ignored.
    """

    name: str
    doc: str
    owns: bool
    context: bool
    timer: str
    cells: dict[str, tuple[Row, ...]]
    mark: Mark = NOWHERE


@dataclass(frozen=True)
class Role:
    """One side's table.

    Attributes:
        start: first state of a key.
        restart: state of every key after this side restarts.
    """

    name: str
    start: str
    restart: str
    states: dict[str, State]
    mark: Mark = NOWHERE

    def number(self, state: str) -> int:
        """Number of a state in the lowered table."""
        return list(self.states).index(state)


@dataclass(frozen=True)
class Protocol:
    """A protocol.

    Attributes:
        name: as in the file.
        idea: one line.
        gives_up: one line.
        instantaneous: rings and control channel take no time and are not lossy; the textbook's machine.
        evicts: whether the NIC's policy may take a slot from one context for another; else each stays until it has ended.
        steering: where there are several RX queues, which one a punt takes; a name of ``STEERINGS``.
        fences: and which ones a marker takes; a name of ``FENCES``.
        matrix: property to the faults under which it is violated, as the file claims.
        roles: the NIC's table and the CPU's, by name.
    """

    name: str
    idea: str
    gives_up: str
    instantaneous: bool
    evicts: bool
    steering: str
    fences: str
    matrix: dict[str, tuple[str, ...]]
    roles: dict[str, Role]
    mark: Mark = NOWHERE

    @property
    def nic(self) -> Role:
        """The NIC's table."""
        return self.roles[ROLES[0]]

    @property
    def cpu(self) -> Role:
        """The CPU's table."""
        return self.roles[ROLES[1]]

    def rows(self, role: str) -> Iterator[Row]:
        """All rows of a side's table."""
        for state in self.roles[role].states.values():
            for rows in state.cells.values():
                yield from rows

    def sent(self, role: str) -> set[str]:
        """Names of the messages that a side sends or puts anywhere in its table.

        Behind each bounced packet the caller puts a BFENCE.
        """
        behind = {"bfence"} if "bounce" in self.used(role) else set()
        return behind | {
            action.partition(" ")[2]
            for row in self.rows(role)
            for action in row.actions
            if action.partition(" ")[0] in ("send", "put")
        }

    def used(self, role: str) -> set[str]:
        """Names of the plain actions anywhere in a side's table."""
        return {action.partition(" ")[0] for row in self.rows(role) for action in row.actions}

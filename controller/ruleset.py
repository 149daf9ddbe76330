"""What an iptables ruleset says, as plain immutable data; every part knows its line.

Values of options are read and checked by the extension that owns them (see :mod:`.extensions`), so that nothing
after the parser looks at text again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from oppcache.opp.errors import NOWHERE, Mark

# Built-in chains of each table, in the order in which a packet meets the tables at a hook.
BUILTIN: dict[str, tuple[str, ...]] = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}


@dataclass(frozen=True)
class Option:
    """One option of a match or target, such as ``! --dport 80:90``.

    Attributes:
        name: without dashes, the long form.
        value: as the extension reads it; None for an option without one.
        inverted: whether ``!`` stands before it.
    """

    name: str
    value: Any = None
    inverted: bool = False
    mark: Mark = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Match:
    """One match of a rule: ``ip`` (addresses, interfaces, protocol, fragments) or an extension."""

    name: str
    options: tuple[Option, ...] = ()
    mark: Mark = field(default=NOWHERE, compare=False, repr=False)

    def option(self, name: str) -> Option | None:
        """The named option, or None."""
        return next((o for o in self.options if o.name == name), None)


@dataclass(frozen=True)
class Target:
    """What a rule does: a target with its options, or a jump to (``goto``: without return from) a user chain."""

    name: str
    options: tuple[Option, ...] = ()
    goto: bool = False
    mark: Mark = field(default=NOWHERE, compare=False, repr=False)

    def option(self, name: str) -> Option | None:
        """The named option, or None."""
        return next((o for o in self.options if o.name == name), None)


@dataclass(frozen=True)
class Rule:
    """A rule: where all matches hold, its target; a rule without a target only counts.

    Attributes:
        matches: in the order in which the kernel evaluates them; the first is always ``ip``.
        text: as it stands in the file.
    """

    matches: tuple[Match, ...]
    target: Target | None
    text: str = ""
    mark: Mark = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Chain:
    """A chain; ``policy`` is ACCEPT or DROP for a built-in one, None for a user's."""

    name: str
    policy: str | None = None
    rules: tuple[Rule, ...] = ()
    mark: Mark = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Table:
    """A table: its chains by name, built-in ones first."""

    name: str
    chains: Mapping[str, Chain]
    mark: Mark = field(default=NOWHERE, compare=False, repr=False)


@dataclass(frozen=True)
class Ruleset:
    """All tables of a file, by name; a table that the file does not name is not there."""

    tables: Mapping[str, Table]
    file: str = ""

    def rules(self) -> Iterator[tuple[Table, Chain, int, Rule]]:
        """Every rule with its table, chain and number from 1."""
        for table in self.tables.values():
            for chain in table.chains.values():
                for number, rule in enumerate(chain.rules, 1):
                    yield table, chain, number, rule

"""What lowering knows besides the rule: the router, and what the program so far is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from oppcache.opp.program import GlobalGroup, Key, Register, Table

from .clauses import Spans
from .flow import key_of
from .ruleset import Rule
from .topology import Topology


@dataclass
class World:
    """State of one translation.

    Attributes:
        tables, globals: what extensions have asked for, by name.
        words: further metadata words.
        counted: connlimit tables and the register of a connection that says whether it is counted there.
        accounting: whether connections count their packets and bytes.
        table, hook: where the rule that is being lowered is reached from.
    """

    topology: Topology
    tables: dict[str, Table] = field(default_factory=dict)
    globals: dict[str, list[Register]] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    counted: dict[str, tuple[int, str]] = field(default_factory=dict)
    accounting: bool = False
    tracking: bool = False
    paper: bool = False
    zones: bool = False
    hits: dict[str, int] = field(default_factory=dict)
    table: str = ""
    hook: str = ""
    ranges: bool = False
    lowered: dict[int, list[Any]] = field(default_factory=dict)

    def lowered_matches(self, rule: Rule) -> list[Any]:
        """What each match of a rule comes to: clauses, or a gate, of which a rule has one wherever it is reached from."""
        from .extensions import matches

        key = id(rule)
        if key not in self.lowered:
            self.lowered[key] = [matches()[m.name].lower(m, self) for m in rule.matches]
        return self.lowered[key]

    def need_table(self, name: str, *registers: Register | str) -> str:
        """Declare a table unless it is there; returns its name."""
        made = tuple(r if isinstance(r, Register) else Register(r) for r in registers)
        known = self.tables.setdefault(name, Table(name, made))
        missing = [r for r in made if known.register(r.name) is None]
        if missing:
            self.tables[name] = Table(name, (*known.registers, *missing), known.states)
        return name

    def need_global(self, group: str, register: Register) -> str:
        """Declare a global variable; returns ``group.name``, made unique."""
        variables = self.globals.setdefault(group, [])
        names = {v.name for v in variables}
        unique, count = register.name, 1
        while unique in names:
            count += 1
            unique = f"{register.name}_{count}"
        variables.append(Register(unique, register.bits, register.initial))
        return f"{group}.{unique}"

    def need_word(self, name: str) -> str:
        """Declare a metadata word."""
        if name not in self.words:
            self.words.append(name)
        return name

    def connection_key(self) -> Key:
        """The key of a packet's connection: the tuple of its original direction, from metadata."""
        parts = ["oproto", "osrc", "odst", "osport", "odport", *(["ozone"] if self.zones else [])]
        return key_of(*(f"metadata.{part}" for part in parts))

    def hits_of(self, name: str) -> int:
        """How many times a list of ``recent`` has to remember for each address."""
        return self.hits.get(name, 1)

    def groups(self) -> tuple[GlobalGroup, ...]:
        """The globals as a program declares them."""
        return tuple(GlobalGroup(name, tuple(variables)) for name, variables in self.globals.items())

    def interfaces(self, pattern: str) -> Spans:
        """Numbers of the interfaces that a name or a prefix with ``+`` means; 0, no interface, for ``+`` alone."""
        if pattern.endswith("+"):
            found = [i.number for i in self.topology.interfaces if i.name.startswith(pattern[:-1])]
            return Spans.values(found if pattern != "+" else [0, *found])
        return Spans.values(i.number for i in self.topology.interfaces if i.name == pattern)

    @property
    def last_interface(self) -> int:
        """The highest number of an interface."""
        return len(self.topology.interfaces)

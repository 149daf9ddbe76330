"""From a ruleset and a topology to one OPP program that does what Linux would do with every packet."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from oppcache.opp.errors import InputError, Mark, Problems
from oppcache.opp.program import Action, Operand, Program
from oppcache.opp.validate import validate

from . import confirm, paper, rewriting, routing, tracking
from .chains import Chains
from .clauses import Clause, Spans, metadata
from .extensions import matches, targets
from .extensions.base import BadValue
from .flow import Flow, Label, puts
from .interface import ENTRY, LOCAL_PORT, METADATA
from .ruleset import BUILTIN, Chain, Ruleset, Table
from .topology import Topology
from .world import World

CONNTRACKS = ("linux", "paper")


@dataclass(frozen=True)
class Translation:
    """A translated ruleset.

    Attributes:
        program: what to run.
        reassemble: whether fragments have to be put together before the program sees them, as connection tracking
            does.
        conntrack: the block of stages that tracks connections, or "" where no rule needs it.
    """

    program: Program
    ruleset: Ruleset = field(repr=False)
    topology: Topology = field(repr=False)
    reassemble: bool = False
    conntrack: str = ""


def translate(
    ruleset: Ruleset, topology: Topology, conntrack: str = "linux", name: str = "iptables"
) -> Translation:
    """Translate a ruleset for a router.

    Args:
        conntrack: ``linux``, or ``paper`` for the seven entries of the SOSR 2017 paper.

    Raises:
        InputError: what cannot be translated, each with its line.
    """
    if conntrack not in CONNTRACKS:
        raise InputError(
            f"unknown block {conntrack!r}, expected one of {', '.join(CONNTRACKS)}", Mark("--conntrack")
        )
    problems = Problems()
    world = World(topology)
    world.paper = conntrack == "paper"
    _survey(ruleset, world, problems)
    problems.raise_if_any()
    if conntrack == "paper":
        paper.refusals(ruleset, problems)
        problems.raise_if_any()
        flow = Flow()
        paper.build(flow, world, ruleset, problems)
    else:
        # Without connection tracking no packet has a connection to translate, and Linux walks no nat table.
        tables = {n: t for n, t in ruleset.tables.items() if world.tracking or n != "nat"}
        flow = _Pipeline(replace(ruleset, tables=tables), world, problems).build()
    problems.raise_if_any()
    program = Program(
        name=name,
        tables=tuple(world.tables.values()),
        globals=world.groups(),
        stages=flow.stages(),
        metadata=(*METADATA, *(w for w in world.words if w not in METADATA)),
        mark=Mark(ruleset.file),
    )
    validate(program, problems)
    problems.raise_if_any()
    return Translation(program, ruleset, topology, world.tracking, conntrack if world.tracking else "")


def _survey(ruleset: Ruleset, world: World, problems: Problems) -> None:
    """Lower every rule's matches once, and see what the program needs."""
    for _, _, _, rule in ruleset.rules():
        for match in rule.matches:
            world.tracking |= matches()[match.name].tracks
            name, hits = match.option("name"), match.option("hitcount")
            if match.name == "recent":
                key = name.value if name else "DEFAULT"
                world.hits[key] = max(world.hits.get(key, 1), hits.value if hits else 1)
        target = rule.target
        spec = targets().get(target.name) if target is not None and not target.goto else None
        if spec is None or target is None:
            continue
        world.tracking |= spec.tracks
        for option in target.options:
            world.zones |= option.name.startswith("zone")
            if spec.tables == ("nat",) and isinstance(option.value, tuple) and len(option.value) == 6:
                world.ranges |= option.value[0] != option.value[1]
    if world.zones:
        world.need_word("ozone")
    if world.ranges:
        for i in range(3):
            world.need_word(f"h{i}")
    for _, _, _, rule in ruleset.rules():
        try:
            world.lowered_matches(rule)
        except BadValue as error:
            problems.add(str(error), rule.mark)
    if world.tracking and not world.paper:
        tracking.declare(world)
    if "nat" in ruleset.tables and world.tracking and not world.paper:
        rewriting.declare(world)


class _Pipeline:
    """Puts the hooks in their order."""

    def __init__(self, ruleset: Ruleset, world: World, problems: Problems) -> None:
        self.ruleset = ruleset
        self.world = world
        self.problems = problems
        self.flow = Flow()

    def build(self) -> Flow:
        flow, world = self.flow, self.world
        nat = "nat" in self.ruleset.tables
        inward, outward = Label("from a wire"), Label("from the local stack")
        tracked = Label("tracking")
        flow.begin("router entry")
        flow.entry([routing.WIRE], "from a wire", goto=inward)
        flow.otherwise(outward)
        flow.here(outward)
        routing.emit_output_route(flow, world)
        self.split("raw", inward, tracked)
        flow.here(tracked)
        if world.tracking:
            tracking.emit(flow, world)
        self.between("mangle", {})
        if nat:
            self.between("nat", confirm.NEW_ONE)
            rewriting.emit_destination(flow, world)
        self.route()
        self.inward_and_onward()
        if nat:
            rewriting.emit_source(flow, world)
        self.leave()
        return flow

    def chains(self, table: str, only: Clause | None = None) -> Chains:
        found = self.ruleset.tables.get(table) or _empty(table)
        return Chains(self.flow, self.world, found, self.problems, only or {})

    def split(self, table: str, inward: Label, after: Label) -> None:
        """PREROUTING at ``inward``, and OUTPUT for what comes from the routing stage before."""
        flow, chains = self.flow, self.chains(table)
        if table in self.ruleset.tables:
            start = chains.hook("OUTPUT", after)
            if start is after:
                flow.begin(f"router {table} OUTPUT")
                flow.otherwise(after)
            flow.here(inward)
            chains.hook("PREROUTING", after)
        else:
            flow.here(inward)

    def between(self, table: str, only: Clause) -> None:
        """PREROUTING and OUTPUT of a table, for all packets that come here."""
        if table not in self.ruleset.tables:
            return
        found = self.ruleset.tables[table].chains
        if all(not found[c].rules and found[c].policy != "DROP" for c in ("PREROUTING", "OUTPUT")):
            return
        flow, chains = self.flow, self.chains(table, only)
        after, own = Label(f"after {table}"), Label(f"{table} OUTPUT")
        flow.close()
        flow.begin(f"router {table}")
        flow.entry([routing.OWN], "from the local stack", goto=own)
        start = Label()
        flow.otherwise(start)
        flow.here(start)
        if chains.hook("PREROUTING", after) is after:
            flow.begin(f"router {table} PREROUTING")
            flow.otherwise(after)
        flow.here(own)
        chains.hook("OUTPUT", after)
        flow.here(after)

    def route(self) -> None:
        """The routing decision: local packets again, since marks and destinations may have changed."""
        flow, world = self.flow, self.world
        self.local, self.forward, self.own = Label("INPUT"), Label("FORWARD"), Label("OUTPUT")
        flow.close()
        flow.begin("router side")
        wire = Label("route wire")
        flow.entry([routing.WIRE], "from a wire", goto=wire)
        again = Label("route own")
        flow.otherwise(again)
        flow.here(again)
        routing.emit_output_route(flow, world)
        flow.begin("router own")
        flow.entry([routing.OWN], "from the local stack", goto=self.own)
        flow.close()
        flow.here(wire)
        routing.emit_input_route(flow, world, self.local, self.forward)

    def inward_and_onward(self) -> None:
        """INPUT, FORWARD, OUTPUT of filter, POSTROUTING; the two ways meet at source translation."""
        flow = self.flow
        nat = "nat" in self.ruleset.tables
        self.sources = sources = Label("source translation")
        post = Label("POSTROUTING")
        self.here_through(self.forward, [("mangle", "FORWARD"), ("filter", "FORWARD")], post)
        self.here_through(self.own, [("filter", "OUTPUT")], post)
        after_input = Label("passed INPUT")
        self.here_through(self.local, [("mangle", "INPUT"), ("filter", "INPUT")], after_input)
        flow.here(after_input)
        delivered = Label("delivered")
        self.world.need_word("local")
        flow.begin("router local")
        flow.entry([{}], "delivered", puts(local=1), goto=delivered)
        flow.here(delivered)
        if nat:
            self.through([("nat", "INPUT")], sources)
            flow.begin("router INPUT")
        else:
            flow.begin("router INPUT")
        flow.otherwise(sources)
        flow.here(post)
        self.through([("mangle", "POSTROUTING"), *([("nat", "POSTROUTING")] if nat else [])], sources)
        flow.here(sources)

    def here_through(self, start: Label, hooks: list[tuple[str, str]], after: Label) -> None:
        """Hooks one after the other from a label, which must lead to another."""
        self.flow.here(start)
        before = len(self.flow.drafts)
        self.through(hooks, after)
        if len(self.flow.drafts) == before:
            self.flow.begin(f"router {start.name}")
            self.flow.otherwise(after)

    def through(self, hooks: list[tuple[str, str]], after: Label) -> None:
        live = [(t, c) for t, c in hooks if self.is_live(t, c)]
        for i, (table, chain) in enumerate(live):
            last = i == len(live) - 1
            following = after if last else Label(f"after {table} {chain}")
            self.chains(table, confirm.NEW_ONE if table == "nat" else None).hook(chain, following)
            if not last:
                self.flow.here(following)

    def is_live(self, table: str, chain: str) -> bool:
        if table not in self.ruleset.tables:
            return False
        found = self.ruleset.tables[table].chains[chain]
        return bool(found.rules) or found.policy == "DROP"

    def leave(self) -> None:
        """The verdict, and what is written of a new connection."""
        flow, world = self.flow, self.world
        flow.close()
        flow.begin("router leave")
        to_stack = Action("output", operand=Operand("const", value=LOCAL_PORT))
        to_wire = Action("output", operand=Operand("metadata", "oif"))
        new = confirm.NEW_ONE if world.tracking else None
        here = metadata("local", Spans.values([1]))
        if new is not None:
            clash = Label("clash")
            flow.entry([{**new, **here}], "new, to the stack", (to_stack,), goto=clash)
            flow.entry([new], "new, to a wire", (to_wire,), goto=clash)
            flow.entry([here], "to the stack", (to_stack,), goto="end")
            flow.entry([{}], "to a wire", (to_wire,), goto="end")
            flow.here(clash)
            confirm.emit_clash(flow, world)
            confirm.emit_commit(flow, world)
        else:
            flow.entry([here], "to the stack", (to_stack,))
            flow.entry([{}], "to a wire", (to_wire,))


def _empty(name: str) -> Table:
    return Table(name, {c: Chain(c, "ACCEPT") for c in BUILTIN[name]})


__all__ = ["ENTRY", "Translation", "translate"]

"""The blocks of the SOSR 2017 paper: connection tracking in 7 entries of one stage, translation in three more.

With ``--conntrack paper`` a ruleset comes to at most four stateful stages and a stateless one for each filter chain:
*nat ports* turns packets to a public port back to their host, *balance* keeps which server a connection has, *nat
sockets* which public port a host's socket has, *conntrack* tells new packets from established ones, and *filter*
decides, rewrites the source and sends out. Connections are told by their addresses inside: behind the destination's
translation, before the source's. What the paper's block does not know (TCP's states, INVALID, RELATED, ICMP's inner
packets, timeouts by state) the linux block does.
"""

from __future__ import annotations

from oppcache.opp.errors import Problems
from oppcache.opp.program import Action, Allocation, Key, Operand, Register, Table, Timer, Update, Write

from . import routing
from .chains import Chains
from .clauses import ALWAYS, Clause, Clauses, Spans, conjunction, field, metadata, valid
from .extensions import matches, targets
from .extensions.base import Gate
from .flow import Draft, Flow, Label, holds, key_of, put, puts, store, update, value
from .interface import CTSTATE, ENTRY, LOCAL_PORT
from .ruleset import Rule, Ruleset
from .world import World

FORGET = Timer(300 * 1_000_000_000)  # of bindings and public ports, as the paper's programs
WORDS = ("nsrc", "nsport", "vsrc", "vsport", "nat", "port", "found", "local")
STATES = ("unseen", "new-forward", "new-backward", "established")
_TUPLE = ("ip.proto", "ipv4.src", "ipv4.dst", "l4.sport", "l4.dport")
_PORTED = valid("l4_ports")


def refusals(ruleset: Ruleset, problems: Problems) -> None:
    """What these blocks cannot do, each at its rule."""
    for table, chain, _, rule in ruleset.rules():
        why = _why_not(table.name, chain.name, rule)
        if why:
            problems.add(f"{why}: it needs --conntrack linux", rule.mark)


def _why_not(table: str, chain: str, rule: Rule) -> str:
    if table in ("raw", "mangle"):
        return f"a rule of table {table}"
    if table == "nat" and chain not in ("PREROUTING", "POSTROUTING"):
        return f"a rule of chain {chain} in table nat"
    for match in rule.matches:
        for option in match.options:
            plain = match.name in ("state", "conntrack") and option.name in ("state", "ctstate")
            if matches()[match.name].tracks and not (plain and not {"SNAT", "DNAT"} & set(option.value)):
                return f"-m {match.name} --{option.name}"
    target = rule.target
    if target is None or target.goto or target.name not in targets():
        return "a user chain in table nat" if table == "nat" else ""
    if table == "nat" and target.name not in ("DNAT", "SNAT", "MASQUERADE", "ACCEPT"):
        return f"-j {target.name}"
    if targets()[target.name].tracks and table != "nat":
        return f"-j {target.name}"
    return ""


def build(flow: Flow, world: World, ruleset: Ruleset, problems: Problems) -> None:
    """The whole pipeline."""
    for word in WORDS:
        world.need_word(word)
    _Paper(flow, world, ruleset, problems).build()


class _Paper:
    def __init__(self, flow: Flow, world: World, ruleset: Ruleset, problems: Problems) -> None:
        self.flow = flow
        self.world = world
        self.ruleset = ruleset
        self.problems = problems

    def nat_rules(self, chain: str) -> list[Rule]:
        """The rules of a chain of the nat table."""
        table = self.ruleset.tables.get("nat")
        return list(table.chains[chain].rules) if table is not None else []

    def build(self) -> None:
        flow = self.flow
        inward, outward, track = Label("from a wire"), Label("from the local stack"), Label("conntrack")
        hooks = Label("hooks")
        as_is = puts(nsrc="ipv4.src", nsport="l4.sport")
        flow.begin("router entry")
        flow.entry([routing.WIRE], "from a wire", as_is, goto=inward)
        flow.otherwise(outward, as_is)
        flow.here(outward)
        routing.emit_output_route(flow, self.world)
        flow.begin("router own")
        answer = {**metadata("entry", Spans.values([ENTRY.ANSWER])), **metadata("conn", Spans.of((1, 1)))}
        flow.entry([answer], "answer", puts(ctstate=int(CTSTATE.RELATED), reject=0), goto=hooks)
        flow.otherwise(track)
        flow.here(inward)
        if self.nat_rules("PREROUTING"):
            self.balance()
        sources = self.nat_rules("POSTROUTING")
        if sources:
            self.lookup()
            public = self.public(sources)
            self.sockets(public)
            self.ports()
        local, forward = Label("local"), Label("forward")
        routing.emit_input_route(flow, self.world, local, forward)
        flow.here(local)
        flow.begin("router local")
        flow.entry([{}], "local", puts(local=1))
        flow.here(track, forward)
        self.conntrack()
        flow.here(hooks)
        self.hooks()

    # Destination translation

    def balance(self) -> None:
        """A connection keeps the server that the first rule that matched gave it."""
        world = self.world
        world.tables["bindings"] = Table("bindings", (Register("server"), Register("port")), ("new", "bound"))
        draft = self.flow.begin("balance", "bindings", key_of(*_TUPLE))
        bound: Clause = {("state", ""): Spans.of((1, 1))}
        to = (put("ipv4.dst", "R.server"), put("l4.dport", "R.port"))
        self.flow.entry([bound], "bound", (*to, *_SERVICE), (Write("bindings", "lookup", idle=FORGET),))
        rules = self.nat_rules("PREROUTING")
        self.choose(draft, rules, 0, ALWAYS, (), [])
        self.flow.close()

    def choose(
        self,
        draft: Draft,
        rules: list[Rule],
        at: int,
        where: Clauses,
        counts: tuple[Update, ...],
        done: list[Clauses],
    ) -> None:
        """Entries of the rules from one on, for packets that have passed some counters.

        Args:
            done: packets that earlier entries have decided on.
        """
        if at == len(rules):
            if counts:
                self.flow.entry(where, "counted", (), (Write("bindings", "lookup", updates=counts),))
            return
        rule = rules[at]
        clauses, counter = where, ""
        for match, part in zip(rule.matches, self.world.lowered_matches(rule), strict=True):
            if not isinstance(part, Gate):
                clauses = conjunction(clauses, part)
            elif match.name == "statistic" and match.options[0].value == "nth" and not counter:
                counter = self.counter(draft, rule, at)
            else:
                self.problems.add(f"-m {match.name} in PREROUTING: it needs --conntrack linux", rule.mark)
        name = f"nat/PREROUTING/{at + 1}"
        if clauses and clauses not in done:
            if counter:
                last, start, step = (
                    f"nth{at}",
                    update(f"G.{counter}", "mov", 0),
                    update(f"G.{counter}", "add", f"G.{counter}", 1),
                )
                hit = conjunction(clauses, [holds(last)])
                self.assign(rule, hit, name, (*counts, start))
                rest = conjunction(clauses, [holds(last, False)])
                self.choose(draft, rules, at + 1, rest, (*counts, step), [])
            else:
                self.assign(rule, clauses, name, counts)
        if clauses != where:
            self.choose(draft, rules, at + 1, where, counts, [*done, clauses])

    def counter(self, draft: Draft, rule: Rule, at: int) -> str:
        """The global of an nth rule, and its condition ``nthN``: this packet is the one."""
        match = next(m for m in rule.matches if m.name == "statistic")
        options = {o.name: o.value for o in match.options}
        every, first = options["every"], options.get("packet", 0)
        names = {v.name for v in self.world.globals.get("servers", [])}
        if f"rule{at}" not in names:
            self.world.need_global("servers", Register(f"rule{at}", 32, (every - 1 - first) % every))
        draft.c(f"nth{at}", f"G.servers.rule{at}", "eq", every - 1)
        return f"servers.rule{at}"

    def assign(self, rule: Rule, where: Clauses, name: str, counts: tuple[Update, ...]) -> None:
        """A rule's target for a new connection."""
        target = rule.target
        if target is None or target.name == "ACCEPT":
            self.flow.entry(where, name, (), (Write("bindings", "lookup", updates=counts),) if counts else ())
            return
        option = target.option("to-destination")
        assert option is not None
        low, high, plo, phi, *_ = option.value
        if low != high or plo != phi or not low:
            self.problems.add("a range of addresses or ports: it needs --conntrack linux", rule.mark)
        port: int | str = plo or "l4.dport"
        write = Write("bindings", "lookup", 1, idle=FORGET, updates=(*counts, *store(server=low, port=port)))
        to = (put("ipv4.dst", low), *((put("l4.dport", plo),) if plo else ()))
        self.flow.entry(where, name, (*to, *_SERVICE), (write,), mark=rule.mark)

    # Source translation

    def public(self, rules: list[Rule]) -> list[tuple[Clauses, int]]:
        """(which packets, address) of every rule, in order."""
        out: list[tuple[Clauses, int]] = []
        for rule in rules:
            clauses = self.clauses(rule)
            target = rule.target
            if target is None or target.name == "ACCEPT":
                out.append((clauses, 0))
                continue
            if target.name == "SNAT":
                option = target.option("to-source")
                assert option is not None
                low, high, plo, *_ = option.value
                if low != high or plo:
                    self.problems.add("a range of addresses or ports: it needs --conntrack linux", rule.mark)
                out.append((clauses, low))
                continue
            for interface in self.world.topology.interfaces:
                if interface.addresses and interface.number > 1:
                    at = metadata("oif", Spans.values([interface.number]))
                    out.append((conjunction(clauses, [at]), int(interface.addresses[0].ip)))
        return out

    def clauses(self, rule: Rule) -> Clauses:
        """A rule's matches, which must not keep state."""
        out = ALWAYS
        for part in self.world.lowered_matches(rule):
            if isinstance(part, Gate):
                self.problems.add(
                    "a match that keeps state in POSTROUTING: it needs --conntrack linux", rule.mark
                )
                continue
            out = conjunction(out, part)
        return out

    def lookup(self) -> None:
        """Which interface a packet would leave on, for rules that ask."""
        self.flow.begin("router lookup")
        for i, (clause, route) in enumerate(routing.lookups(self.world.topology, routing.WIRE)):
            if route.type == "unicast":
                self.flow.entry(
                    [clause], f"{route.destination} {i}", routing.way_out(self.world.topology, route)
                )
            else:
                self.flow.entry([clause], f"{route.destination} {i}", puts(oif=0))
        self.flow.close()

    def sockets(self, public: list[tuple[Clauses, int]]) -> None:
        """A socket has a public port; a new one gets its own, if it is free, or the next."""
        self.world.tables["sockets"] = Table("sockets", (Register("port"),), ("new", "mapped"))
        self.flow.begin("nat sockets", "sockets", key_of("ip.proto", "ipv4.src", "l4.sport"))
        addresses = Spans.values(sorted({address for _, address in public if address}))
        inward = {**field("ipv4.dst", addresses), **_PORTED}
        self.flow.entry([inward], "to a public address", puts(nat=_INWARD, port="l4.dport"))
        mapped: Clause = {("state", ""): Spans.of((1, 1)), **_PORTED}
        key = key_of("ip.proto", "metadata.port")
        ends = (Operand("const", value=1024), Operand("const", value=65535))
        search = Allocation("ports", key, *ends, value("l4.sport"), found="found", drop=True)
        allocate = Action("alloc", "metadata.port", search=search)
        for i, (clauses, address) in enumerate(public):
            name = f"rule {i + 1}"
            if address == 0:
                self.flow.entry(clauses, name)
                continue
            known = puts(nat=_KNOWN, nsrc=address, port="R.port")
            self.flow.entry(
                conjunction(clauses, [mapped]),
                f"{name} mapped",
                known,
                (Write("sockets", "lookup", hard=FORGET),),
            )
            fresh = (*puts(nat=_FRESH, nsrc=address), allocate)
            self.flow.entry(conjunction(clauses, [_PORTED]), f"{name} new", fresh)
            self.flow.entry(clauses, f"{name} without ports", puts(nsrc=address))
        self.flow.close()

    def ports(self) -> None:
        """A public port leads back to its socket."""
        self.world.tables["ports"] = Table("ports", (Register("host"), Register("port")), ("free", "taken"))
        self.flow.begin("nat ports", "ports", key_of("ip.proto", "metadata.port"))
        taken: Clause = {**metadata("nat", Spans.values([_INWARD])), ("state", ""): Spans.of((1, 1))}
        back = (put("ipv4.dst", "R.host"), put("l4.dport", "R.port"))
        self.flow.entry([taken], "translate", back, (Write("ports", "lookup", hard=FORGET),))
        out = puts(nsport="metadata.port")
        self.flow.entry(
            [metadata("nat", Spans.values([_KNOWN]))],
            "renew",
            out,
            (Write("ports", "lookup", 1, hard=FORGET),),
        )
        socket = key_of("ip.proto", "ipv4.src", "l4.sport")
        mapping = (
            Write("ports", "lookup", 1, hard=FORGET, updates=store(host="ipv4.src", port="l4.sport")),
            Write("sockets", socket, 1, hard=FORGET, updates=store(port="metadata.port")),
        )
        self.flow.entry([metadata("nat", Spans.values([_FRESH]))], "map", out, mapping)
        self.flow.close()

    # Connection tracking

    def conntrack(self) -> None:
        """The paper's seven entries; a context also keeps the address that a balanced connection was opened to."""
        registers = (Register("service"), Register("port"))
        self.world.tables["connections"] = Table("connections", registers, STATES)
        fields = tuple(value(f) for f in ("ipv4.src", "ipv4.dst", "ip.proto", "l4.sport", "l4.dport"))
        draft = self.flow.begin("conntrack", "connections", Key(fields, symmetric=True))
        back = draft.both(draft.zero("metadata.vsrc"), draft.t("min", "R.service", 1))
        source = draft.choose(back, "R.service", "metadata.nsrc")
        port = draft.choose(back, "R.port", "metadata.nsport")
        new = puts(ctstate=int(CTSTATE.NEW), conn=1)
        old = puts(ctstate=int(CTSTATE.ESTABLISHED), conn=1, nsrc=source, nsport=port)
        begun = store(service="metadata.vsrc", port="metadata.vsport")
        state = [{("state", ""): Spans.of((i, i))} for i in range(4)]
        sides: list[Clause] = [{("direction", ""): Spans.of((d, d))} for d in (0, 1)]

        def entry(
            name: str,
            at: Clause,
            actions: tuple[Action, ...],
            to: int | None = None,
            keep: tuple[Update, ...] = (),
        ) -> None:
            writes = (Write("connections", "lookup", to, updates=keep),) if to is not None else ()
            self.flow.entry([at], name, actions, writes)

        entry("established", {**state[3]}, old)
        entry("new-forward", {**state[0], **sides[0]}, new, 1, begun)
        entry("new-backward", {**state[0], **sides[1]}, new, 2, begun)
        entry("retry-forward", {**state[1], **sides[0]}, new)
        entry("retry-backward", {**state[2], **sides[1]}, new)
        entry("answer-backward", {**state[1], **sides[1]}, old, 3)
        entry("answer-forward", {**state[2], **sides[0]}, old, 3)
        self.flow.close()

    # Filtering

    def hooks(self) -> None:
        """A filter stage for each hook that has rules; it also rewrites the source and sends out."""
        flow = self.flow
        end, inward, own = Label("end"), Label("INPUT"), Label("OUTPUT")
        send = (
            put("ipv4.src", "metadata.nsrc"),
            put("l4.sport", "metadata.nsport"),
            Action("output", operand=Operand("metadata", "oif")),
        )
        deliver = (Action("output", operand=Operand("const", value=LOCAL_PORT)),)
        forward = Label("FORWARD")
        flow.begin("router hooks")
        flow.entry([routing.OWN], "own", goto=own)
        flow.entry([metadata("local", Spans.of((1, 1)))], "local", goto=inward)
        flow.otherwise(forward)
        for label, hook, actions in (
            (own, "OUTPUT", send),
            (inward, "INPUT", deliver),
            (forward, "FORWARD", send),
        ):
            flow.here(label)
            self.filter(hook, actions, end)
        flow.here(end)

    def filter(self, hook: str, actions: tuple[Action, ...], end: Label) -> None:
        table = self.ruleset.tables.get("filter")
        chain = table.chains[hook] if table is not None else None
        if table is None or chain is None or (not chain.rules and chain.policy != "DROP"):
            self.flow.begin(f"router {hook}")
            self.flow.entry([{}], "pass", actions, goto=end)
            self.flow.close()
            return
        chains = Chains(self.flow, self.world, table, self.problems, {})
        chains.accept_actions = actions
        chains.hook(hook, end)


_INWARD, _KNOWN, _FRESH = 1, 2, 3
# Where the connection was opened to, which its answers must seem to come from.
_SERVICE = puts(vsrc="ipv4.dst", vsport="l4.dport")
__all__ = ["build", "refusals"]

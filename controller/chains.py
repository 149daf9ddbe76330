"""Chains to stages: rules flattened into lists of entries of which the first that matches decides.

A jump to a chain that only decides is flattened: its rules stand where the jump is, with the jump's clauses. A chain
that changes packets, counts or keeps state gets stages of its own, which the jump goes to and which lead back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from oppcache.opp.errors import InputError, Problems
from oppcache.opp.program import MAX_STAGES, Action

from .clauses import (
    ALWAYS,
    Clause,
    Clauses,
    Incompatible,
    Spans,
    Subject,
    conjunction,
    field,
    metadata,
    negation,
    valid,
)
from .extensions import matches, targets
from .extensions.base import BadValue, Effect, Gate, Lowered, Outcome
from .flow import DROP, Draft, Flow, Label, put
from .ruleset import Chain, Rule, Table
from .world import World

MAX_CLAUSES = 64  # of a jump that is flattened
MAX_ENTRIES = 200_000
_NO_FRAGMENT = valid("later_fragment", False)
_GUARD_SUBJECTS = {("field", "ip.proto")}


@dataclass(frozen=True)
class Exit:
    """Where RETURN and the end of a chain lead: on at a label, or, in a built-in chain, to the policy."""

    label: Label | None
    actions: tuple[Action, ...] = ()


class Chains:
    """The chains of one table at one hook."""

    def __init__(self, flow: Flow, world: World, table: Table, problems: Problems, only: Clause) -> None:
        self.flow = flow
        self.world = world
        self.table = table
        self.problems = problems
        self.only = only
        self.entries = 0
        self.jumps = 0
        self.accept_actions: tuple[Action, ...] = ()
        self._simple: dict[str, bool] = {}

    def hook(self, name: str, accept: Label) -> Label:
        """Emit a built-in chain.

        Returns:
            where packets enter it: ``accept`` itself if it lets everything pass.
        """
        chain = self.table.chains[name]
        if not chain.rules and chain.policy != "DROP" and not self.accept_actions:
            return accept
        self.accept = accept
        self.world.table, self.world.hook = self.table.name, name
        self.flow.prefix = f"{self.table.name} {name}"
        start = Label(self.flow.prefix)
        self.flow.here(start)
        policy = Exit(accept, self.accept_actions) if chain.policy == "ACCEPT" else Exit(None, (DROP,))
        if self.only:
            self.flow.entry(negation(self.only), "already decided", goto=accept)
        self._rules(chain, ALWAYS, policy)
        self._leave(ALWAYS, policy, f"{chain.name} policy")
        self.flow.close()
        return start

    def _leave(self, clauses: Clauses, way: Exit, name: str) -> None:
        self.flow.entry(clauses, name, way.actions, goto=way.label)

    # One chain

    def _rules(self, chain: Chain, where: Clauses, way: Exit) -> None:
        """Emit a chain's rules under clauses; afterwards the open stage goes on with what follows its end."""
        for number, rule in enumerate(chain.rules, 1):
            name = f"{self.table.name}/{chain.name}/{number}"
            try:
                self._rule(rule, name, where, way)
            except BadValue as error:
                self.problems.add(str(error), rule.mark)
            except Incompatible:
                self._apart(rule, name, where, way)

    def _apart(self, rule: Rule, name: str, where: Clauses, way: Exit) -> None:
        """A rule whose tests cannot be one clause: a stage for each test."""
        following = Label(name)
        parts: list[Lowered] = [where, *self._parts(rule)]
        for part in parts:
            if isinstance(part, Gate):
                self._gate(part, ALWAYS, name, following)
                continue
            inside = Label(name)
            self.flow.entry(part, name, goto=inside)
            self.flow.otherwise(following)
            self.flow.here(inside)
        bare = replace(rule, matches=rule.matches[:0])
        self._target(bare, name, ALWAYS, way)
        self.flow.here(following)

    def _rule(self, rule: Rule, name: str, where: Clauses, way: Exit) -> None:
        clauses = where
        parts = self._parts(rule)
        following: Label | None = None
        guarded: list[Clause] = []
        for spec_needs, part in zip(self._needs(rule), parts, strict=True):
            if spec_needs is not None:
                guarded.extend(self._cut_off(spec_needs, clauses))
            if isinstance(part, Gate):
                self._guards(guarded, name)
                guarded = []
                following = following or Label(f"after {name}")
                self._gate(part, clauses, name, following)
                clauses = ALWAYS
            else:
                clauses = conjunction(clauses, part)
        self._guards(guarded, name)
        if clauses:
            self._target(rule, name, clauses, way)
        if following is not None:
            self.flow.here(following)

    def _parts(self, rule: Rule) -> list[Lowered]:
        return self.world.lowered_matches(rule)

    def _needs(self, rule: Rule) -> list[tuple[str, int] | None]:
        return [matches()[m.name].needs for m in rule.matches]

    def _cut_off(self, needs: tuple[str, int], clauses: Clauses) -> list[Clause]:
        """Packets too short for a header that a match looks at: the kernel drops them there."""
        header, protocol = needs
        short = {**field("ip.proto", Spans.values([protocol])), **valid(header, False), **_NO_FRAGMENT}
        return conjunction(clauses, [short])

    def _guards(self, guarded: list[Clause], name: str) -> None:
        draft = self.flow.draft
        fresh = []
        for clause in guarded:
            key = frozenset(clause.items())
            everything = frozenset(
                item for item in key if item[0] in _GUARD_SUBJECTS or item[0][0] == "valid"
            )
            if key in draft.guards or everything in draft.guards:
                continue
            draft.guards.add(key)
            fresh.append(clause)
        if fresh:
            self.flow.entry(fresh, f"{name} cut off", (DROP,))

    # Targets

    def _target(self, rule: Rule, name: str, clauses: Clauses, way: Exit) -> None:
        target = rule.target
        if target is None:
            word = self.world.need_word("records")
            changed = frozenset({("metadata", word)})
            self._entry(clauses, name, (put(f"metadata.{word}", 1),), changed=changed, rule=rule)
        elif target.goto or target.name not in targets():
            self._jump(rule, name, clauses, way)
        else:
            effect = targets()[target.name].lower(target, self.world)
            self._effect(effect, rule, name, clauses, way)

    def _effect(self, effect: Effect, rule: Rule, name: str, clauses: Clauses, way: Exit) -> None:
        goto = None
        final: tuple[Action, ...] = ()
        if effect.kind == "accept":
            goto, final = self.accept, self.accept_actions
        elif effect.kind == "return":
            self.entries += len(clauses)
            self.flow.entry(clauses, name, way.actions, goto=way.label, mark=rule.mark)
            return
        changed = effect.changed if effect.kind == "continue" else None
        if effect.gate is None:
            self._entry(clauses, name, (*effect.actions, *final), goto=goto, changed=changed, rule=rule)
            return
        self.flow.make_room(clauses)
        draft = self._stage_for(effect.stateful)
        for outcome in effect.gate(draft):
            both = conjunction(clauses, outcome.clauses)
            self.flow.entry(
                both,
                name,
                outcome.actions,
                outcome.writes,
                goto,
                changed=changed,
                mark=rule.mark,
                again=True,
            )
        if effect.stateful or changed is not None:
            self.flow.close()

    def _stage_for(self, stateful: tuple[str, object] | None) -> Draft:
        """An open stage on a table, or one where temporaries can be added."""
        draft = self.flow.draft
        crowded = len(draft.temporaries) > 40 or len(draft.conditions) > 10
        if stateful is None:
            if crowded:
                self.flow.close()
            return self.flow.draft
        self.flow.close()
        table, key = stateful
        return self.flow.begin("", table, key)  # type: ignore[arg-type]

    def _entry(
        self,
        clauses: Clauses,
        name: str,
        actions: Sequence[Action],
        goto: Label | None = None,
        *,
        changed: frozenset[Subject] | None,
        rule: Rule,
    ) -> None:
        self.entries += len(clauses)
        if self.entries > MAX_ENTRIES:
            raise InputError(f"chains come to more than {MAX_ENTRIES} entries, flattened", rule.mark)
        self.flow.entry(clauses, name, actions, (), goto, changed=changed, mark=rule.mark)

    def _jump(self, rule: Rule, name: str, clauses: Clauses, way: Exit) -> None:
        target = rule.target
        assert target is not None
        if len(self.flow.drafts) > MAX_STAGES:
            raise InputError(f"chains come to more than {MAX_STAGES} stages", rule.mark)
        self.jumps += 1
        if self.jumps > MAX_ENTRIES:
            raise InputError(f"more than {MAX_ENTRIES} jumps, flattened", rule.mark)
        callee = self.table.chains[target.name]
        after = Label(f"after {name}")
        back = way if target.goto else Exit(after)
        if self._pure(callee) and len(clauses) <= MAX_CLAUSES:
            self._rules(callee, clauses, back)
            if target.goto:
                self._leave(clauses, way, f"{name} end")
            elif self._returns(callee):
                self.flow.here(after)
            return
        inside = Label(callee.name)
        self.flow.entry(clauses, name, goto=inside, mark=rule.mark)
        if self.flow.draft.default is None:
            self.flow.otherwise(after)
        self.flow.here(inside)
        self._rules(callee, ALWAYS, back)
        if target.goto:
            self._leave(ALWAYS, way, f"{name} end")
        self.flow.here(after)

    # What chains are like

    def _pure(self, chain: Chain) -> bool:
        """Whether a chain, with all that it calls, only decides."""
        if chain.name not in self._simple:
            self._simple[chain.name] = all(self._decides(rule) for rule in chain.rules)
        return self._simple[chain.name]

    def _decides(self, rule: Rule) -> bool:
        try:
            if any(isinstance(part, Gate) for part in self._parts(rule)):
                return False
        except BadValue:
            return False
        target = rule.target
        if target is None:
            return False
        if target.goto or target.name not in targets():
            return self._pure(self.table.chains[target.name])
        effect = targets()[target.name].lower(target, self.world)
        return effect.gate is None and effect.kind != "continue"

    def _returns(self, chain: Chain) -> bool:
        """Whether a RETURN, or the end of a chain that is gone to, leads out of a chain before its last rule."""
        for rule in chain.rules:
            target = rule.target
            if target is None:
                continue
            if target.name == "RETURN" and not target.goto:
                return True
            if target.goto:
                return True
        return False

    # Gates

    def _gate(self, gate: Gate, clauses: Clauses, name: str, following: Label) -> None:
        """A stage that keeps state: those who pass go on behind it, all others at the next rule."""
        if gate.words:
            draft = self._stage_for(None)
            actions = []
            for word, subject, mask in gate.words:
                full = mask == 0xFFFF_FFFF or subject.startswith("l4.")
                masked = subject if full else draft.t("and", subject, mask)
                actions.append(put(f"metadata.{word}", masked))
            changed = frozenset(("metadata", word) for word, _, _ in gate.words)
            self.flow.entry(clauses, f"{name} key", actions, changed=changed)
            self.flow.close()
        passed = Label(f"{name} passed")
        draft = self.flow.begin("", gate.table, gate.key) if gate.table else self._computing()
        outcomes: list[Outcome] = gate.prepare(draft)
        for outcome in outcomes:
            both = conjunction(clauses, outcome.clauses)
            goto = passed if outcome.passes else following
            if both:
                self.flow.entry(both, name, outcome.actions, outcome.writes, goto)
        self.flow.otherwise(following)
        self.flow.here(passed)

    def _computing(self) -> Draft:
        self.flow.close()
        return self.flow.begin()


__all__ = ["Chains", "Exit", "Mapping", "metadata"]

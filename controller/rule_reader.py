"""Reading one rule's words: matches with their options, and the target."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from oppcache.opp.errors import Mark, Problems, near_miss

from .extensions import REFUSED, matches, targets
from .extensions.base import BadValue, OptionSpec
from .ruleset import BUILTIN, Match, Option, Rule, Target

# Matches that a protocol brings along when one of their options is met.
_IMPLIED = {6: "tcp", 17: "udp", 1: "icmp", 132: "sctp", 136: "udplite"}


@dataclass
class _Extension:
    """A match or target that is being read."""

    name: str
    options: tuple[OptionSpec, ...]
    found: list[Option] = field(default_factory=list)

    def spec(self, word: str) -> OptionSpec | None:
        """The option that a word names."""
        for option in self.options:
            if word == f"--{option.name}" or word in option.aliases:
                return option
        return None


class RuleReader:
    """Reads one rule."""

    def __init__(self, table: str, mark: Mark, problems: Problems, text: str) -> None:
        self.table = table
        self.mark = mark
        self.problems = problems
        self.text = text
        ip = matches()["ip"]
        self.matches = [_Extension("ip", ip.options)]
        self.target: _Extension | None = None
        self.goto = False

    def wrong(self, message: str, hint: str = "") -> None:
        self.problems.add(message, self.mark, hint)

    def parse(self, words: Sequence[str]) -> list[Rule]:
        """The rules that a line means: lists of addresses make several."""
        at = 0
        inverted = False
        while at < len(words):
            word = words[at]
            at += 1
            if word == "!":
                inverted = True
                continue
            key, equals, value = word.partition("=")
            if word.startswith("--") and equals:
                words = [*words[: at - 1], key, value, *words[at:]]
                word = key
            at = self.word(word, words, at, inverted)
            inverted = False
        return self.rules()

    def word(self, word: str, words: Sequence[str], at: int, inverted: bool) -> int:
        """Read what begins with a word; returns where the next begins."""
        if word in ("-m", "--match", "-j", "--jump", "-g", "--goto"):
            if at >= len(words):
                self.wrong(f"{word} needs a name")
                return at
            name = words[at]
            if word in ("-m", "--match"):
                self.add_match(name)
            else:
                self.set_target(name, goto=word in ("-g", "--goto"))
            return at + 1
        if word in ("-c", "--set-counters"):
            return at + 2
        found = self.option(word)
        if found is None:
            return at
        extension, spec = found
        return self.value(extension, spec, word, words, at, inverted)

    def option(self, word: str) -> tuple[_Extension, OptionSpec] | None:
        """Whose option a word is: the target's, else the latest match's that has it, else the protocol's."""
        owners = [*([self.target] if self.target else []), *reversed(self.matches)]
        for owner in owners:
            spec = owner.spec(word)
            if spec is not None:
                return owner, spec
        implied = matches().get(_IMPLIED.get(self.protocol() or -1, ""))
        if implied is not None and not any(m.name == implied.name for m in self.matches):
            extension = _Extension(implied.name, implied.options)
            spec = extension.spec(word)
            if spec is not None:
                self.matches.append(extension)
                return extension, spec
        if any(m.name.startswith("?") for m in self.matches) or (self.target and self.target.name[:1] == "?"):
            return None  # an unsupported extension's
        if word.startswith("-"):
            known = [f"--{o.name}" for owner in owners for o in owner.options]
            self.wrong(f"unknown option {word!r}", near_miss(word, known))
        else:
            self.wrong(f"got {word!r}, expected an option")
        return None

    def value(
        self,
        extension: _Extension,
        spec: OptionSpec,
        word: str,
        words: Sequence[str],
        at: int,
        inverted: bool,
    ) -> int:
        where = f"-m {extension.name} " if extension.name != "ip" and extension is not self.target else ""
        if extension is self.target:
            where = f"-j {extension.name} "
        if inverted and not spec.negatable:
            self.wrong(f"{where}{word}: it cannot be inverted")
        count = 0 if spec.read is None else spec.words
        values = list(words[at : at + count])
        at += count
        if len(values) < count:
            self.wrong(f"{where}{word}: a value is missing")
            return at
        if values and values[0] == "!":
            self.wrong(f"{where}{word}: '!' stands before an option, not behind it")
            return at + 1
        got: Any = None
        if spec.read is not None:
            try:
                got = spec.read(values[0] if count == 1 else values)
            except BadValue as error:
                self.wrong(f"{where}{word}: {error}")
                return at
        if any(o.name == spec.name for o in extension.found) and extension.name != "comment":
            self.wrong(f"{where}{word} is there twice")
        extension.found.append(Option(spec.name, got, inverted, self.mark))
        return at

    def add_match(self, name: str) -> None:
        known = matches()
        if name in known and name != "ip":
            self.matches.append(_Extension(name, known[name].options))
            return
        if name in REFUSED:
            self.wrong(f"match {name!r} cannot be translated: {REFUSED[name]}")
        else:
            self.wrong(f"match {name!r} is not known", near_miss(name, known))
        self.matches.append(_Extension(f"?{name}", ()))

    def set_target(self, name: str, *, goto: bool) -> None:
        if self.target is not None:
            self.wrong(f"two targets: {self.target.name} and {name}")
        self.goto = goto
        known = targets()
        if not goto and name in known:
            self.target = _Extension(name, known[name].options)
        elif not goto and name in REFUSED:
            self.wrong(f"target {name!r} cannot be translated: {REFUSED[name]}")
            self.target = _Extension(f"?{name}", ())
        else:
            self.target = _Extension(name, ())

    def protocol(self) -> int | None:
        """The rule's protocol, if it is one."""
        for option in self.matches[0].found:
            if option.name == "protocol" and not option.inverted and option.value:
                return int(option.value)
        return None

    def rules(self) -> list[Rule]:
        self.check()
        made = tuple(Match(m.name, tuple(m.found), self.mark) for m in self.matches)
        target = None
        if self.target is not None:
            target = Target(self.target.name, tuple(self.target.found), self.goto, self.mark)
        return [
            Rule((replace(made[0], options=options), *made[1:]), target, self.text, self.mark)
            for options in _single_addresses(made[0].options)
        ]

    def check(self) -> None:
        """What an extension asks of its options and of the rule."""
        protocol = self.protocol()
        for match in self.matches[1:]:
            spec = matches().get(match.name)
            if spec is not None and spec.check is not None:
                self.ask(
                    lambda s=spec, m=match: s.check(Match(m.name, tuple(m.found)), protocol),
                    f"-m {match.name}",
                )
        if self.target is None:
            return
        target = targets().get(self.target.name) if not self.goto else None
        if target is None:
            return
        if target.tables and self.table not in target.tables and self.table in BUILTIN:
            where = " and ".join(target.tables)
            self.wrong(f"-j {target.name} is for table {where}, not {self.table}")
        if target.check is not None:
            made = Target(target.name, tuple(self.target.found))
            self.ask(lambda: target.check(made, protocol), f"-j {target.name}")

    def ask(self, question: Any, where: str) -> None:
        try:
            question()
        except BadValue as error:
            self.wrong(f"{where}: {error}")


def _single_addresses(options: Iterable[Option]) -> list[tuple[Option, ...]]:
    """Every choice of one address of each list."""
    out: list[tuple[Option, ...]] = [()]
    for option in options:
        if option.name in ("source", "destination"):
            out = [(*made, replace(option, value=one)) for made in out for one in option.value]
        else:
            out = [(*made, option) for made in out]
    return out

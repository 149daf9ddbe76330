"""Reading rulesets: ``iptables-save`` files and files of ``iptables`` command lines; every error at once.

Both are lines of words. A save file says its table once (``*filter`` … ``COMMIT``), a command line each time (``-t``).
"""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

from oppcache.opp.errors import InputError, Mark, Problems, near_miss

from .jumps import Jumps
from .rule_reader import RuleReader
from .ruleset import BUILTIN, Chain, Ruleset, Table

_COUNTERS = re.compile(r"\[\d+:\d+\]")
_SPECIAL = re.compile("[\"'\\\\#]")
_MAX_NAME = 28
_MAX_RULES = 100_000


def load_ruleset(path: str | Path) -> Ruleset:
    """Read a ruleset file.

    Raises:
        InputError: it cannot be read, or anything in it cannot be used or translated; everything at once.
    """
    try:
        text = Path(path).read_text()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", Mark(str(path))) from None
    except UnicodeDecodeError:
        raise InputError("not a text file", Mark(str(path))) from None
    return parse_ruleset(text, str(path))


def parse_ruleset(text: str, file: str = "<rules>") -> Ruleset:
    """The same from its text."""
    problems = Problems()
    reader = _File(file, problems)
    for number, line in enumerate(_joined(text.splitlines()), 1):
        reader.line(line, Mark(file, number))
    ruleset = reader.finish()
    problems.raise_if_any()
    return ruleset


def _joined(lines: list[str]) -> list[str]:
    """Lines that end in a backslash go on in the next; its own place stays empty."""
    out: list[str] = []
    for i, line in enumerate(lines):
        if i and lines[i - 1].endswith("\\"):
            last = max(k for k in range(i) if k == 0 or not lines[k - 1].endswith("\\"))
            out[last] = out[last].removesuffix("\\") + " " + line
            out.append("")
        else:
            out.append(line)
    return out


class _File:
    """Takes the lines of a file one by one."""

    def __init__(self, file: str, problems: Problems) -> None:
        self.file = file
        self.problems = problems
        self.tables: dict[str, dict[str, Chain]] = {}
        self.marks: dict[str, Mark] = {}
        self.current: str | None = None
        self.begun = Mark(file)
        self.rules = 0

    def line(self, line: str, mark: Mark) -> None:
        text = line.strip()
        if not text or text.startswith("#"):
            return
        if text.startswith("*"):
            if self.current is not None:
                self.problems.add(f"table {self.current!r} is not ended by COMMIT", self.begun)
            self.current, self.begun = self.table(text[1:].strip(), mark), mark
        elif text == "COMMIT":
            if self.current is None:
                self.problems.add("COMMIT without a table", mark)
            self.current = None
        elif text.startswith(":"):
            self.chain_line(text[1:].split(), mark)
        else:
            self.command(text, mark)

    def finish(self) -> Ruleset:
        if self.current is not None:
            self.problems.add(f"the file ends within table {self.current!r}: COMMIT is missing", self.begun)
        tables = {name: Table(name, chains, self.marks[name]) for name, chains in self.tables.items()}
        order = [name for name in BUILTIN if name in tables]
        ruleset = Ruleset({name: tables[name] for name in order}, self.file)
        for table in ruleset.tables.values():
            Jumps(table, self.problems).check()
        return ruleset

    def table(self, name: str, mark: Mark) -> str | None:
        if name not in BUILTIN:
            known = ", ".join(BUILTIN)
            self.problems.add(
                f"unknown table {name!r}, expected one of {known}", mark, near_miss(name, BUILTIN)
            )
            # Its lines are read for what else is wrong with them.
            self.tables.setdefault(name, {})
            self.marks.setdefault(name, mark)
            return name
        if name not in self.tables:
            self.marks[name] = mark
            self.tables[name] = {c: Chain(c, "ACCEPT", (), mark) for c in BUILTIN[name]}
        return name

    def chain_line(self, words: list[str], mark: Mark) -> None:
        if self.current is None:
            self.problems.add("a chain outside of a table", mark)
            return
        if not words:
            self.problems.add("a chain needs a name", mark)
            return
        policy = words[1] if len(words) > 1 else None
        self.declare(self.current, words[0], policy, mark)

    def declare(self, table: str, name: str, policy: str | None, mark: Mark) -> None:
        """A chain with its policy (``-``: a user's chain)."""
        chains = self.tables[table]
        builtin = name in BUILTIN.get(table, ())
        if policy in ("-", None) and not builtin:
            if name in chains:
                self.problems.add(f"chain {name!r} is there already", mark)
            elif len(name) > _MAX_NAME:
                self.problems.add(
                    f"chain name {name!r} has {len(name)} letters, expected at most {_MAX_NAME}", mark
                )
            chains.setdefault(name, Chain(name, None, (), mark))
            return
        if not builtin and table in BUILTIN:
            hint = near_miss(name, BUILTIN[table])
            self.problems.add(f"table {table!r} has no built-in chain {name!r}", mark, hint)
            chains.setdefault(name, Chain(name, None, (), mark))
        elif policy not in ("ACCEPT", "DROP", "-", None):
            self.problems.add(f"chain {name!r}: got policy {policy!r}, expected ACCEPT or DROP", mark)
        elif policy in ("ACCEPT", "DROP") and name in chains:
            if table == "nat" and policy == "DROP":
                self.problems.add("the nat table is not for filtering: its policies are ACCEPT", mark)
            chains[name] = replace(chains[name], policy=policy)

    def command(self, text: str, mark: Mark) -> None:
        text = _COUNTERS.sub("", text, count=1).strip() if text.startswith("[") else text
        try:
            words = _words(text, comments=self.current is None)
        except ValueError as error:
            self.problems.add(f"cannot be split into words: {error}", mark)
            return
        table = self.current
        if words and words[0].rpartition("/")[2] in ("iptables", "iptables-legacy", "iptables-nft"):
            if table is not None:
                self.problems.add("a command line inside a table of a save file", mark)
                return
            words = words[1:]
        elif table is None and not (words and words[0].startswith("-")):
            self.problems.add(
                f"got {words[0]!r}, expected a table such as *filter, or an iptables command", mark
            )
            return
        words, named = _take_table(words)
        if table is None:
            table = self.table(named or "filter", mark)
        elif named is not None and named != table:
            self.problems.add(f"-t {named} inside table {table!r}", mark)
        if table is not None and words:
            self.run(table, words, text, mark)

    def run(self, table: str, words: list[str], text: str, mark: Mark) -> None:
        """One command of one table."""
        words = [w for w in words if w not in ("-4", "--ipv4", "--wait", "-w", "-v", "--verbose", "-n")]
        if not words:
            return
        command, rest = words[0], words[1:]
        if command in ("-A", "--append", "-I", "--insert"):
            if not rest:
                self.problems.add(f"{command} needs a chain", mark)
                return
            at = None
            if command in ("-I", "--insert"):
                at = int(rest.pop(1)) - 1 if len(rest) > 1 and rest[1].isdigit() else 0
            self.add_rule(table, rest, at, text, mark)
        elif command in ("-N", "--new-chain") and len(rest) == 1:
            self.declare(table, rest[0], "-", mark)
        elif command in ("-P", "--policy") and len(rest) == 2:
            self.declare(table, rest[0], rest[1], mark)
        elif command in ("-F", "--flush"):
            for name in rest or list(self.tables[table]):
                if name in self.tables[table]:
                    self.tables[table][name] = replace(self.tables[table][name], rules=())
        elif command in ("-X", "--delete-chain"):
            for name in rest or [n for n, c in self.tables[table].items() if n not in BUILTIN.get(table, ())]:
                self.tables[table].pop(name, None)
        elif command in ("-D", "--delete") and len(rest) == 2 and rest[1].isdigit():
            self.delete(table, rest[0], int(rest[1]), mark)
        elif command not in ("-Z", "--zero"):
            self.problems.add(f"command {' '.join(words)[:60]!r} is not one that makes a ruleset", mark)

    def delete(self, table: str, name: str, number: int, mark: Mark) -> None:
        chain = self.tables[table].get(name)
        if chain is None or not 1 <= number <= len(chain.rules):
            self.problems.add(f"chain {name!r} has no rule {number}", mark)
            return
        rules = chain.rules[: number - 1] + chain.rules[number:]
        self.tables[table][name] = replace(chain, rules=rules)

    def add_rule(self, table: str, words: list[str], at: int | None, text: str, mark: Mark) -> None:
        name = words[0]
        chains = self.tables[table]
        if name not in chains:
            if table in BUILTIN:
                hint = near_miss(name, chains)
                self.problems.add(f"table {table!r} has no chain {name!r}", mark, hint)
            chains[name] = Chain(name, None, (), mark)
        before = len(self.problems.items)
        parsed = RuleReader(table, mark, self.problems, text).parse(words[1:])
        self.rules += len(parsed)
        if self.rules > _MAX_RULES:
            self.problems.add(f"more than {_MAX_RULES} rules", mark)
            return
        if len(self.problems.items) > before:
            return
        chain = chains[name]
        old = list(chain.rules)
        place = len(old) if at is None else at
        if place > len(old):
            self.problems.add(f"chain {name!r} has no rule {at} to insert before", mark)
            return
        old[place:place] = parsed
        chains[name] = replace(chain, rules=tuple(old))


def _words(text: str, *, comments: bool) -> list[str]:
    """Words as a shell has them.

    Raises:
        ValueError: a quotation has no end.
    """
    if not _SPECIAL.search(text):
        return text.split()
    return shlex.split(text, comments=comments)


def _take_table(words: list[str]) -> tuple[list[str], str | None]:
    """The words without ``-t NAME``, and the name."""
    for i, word in enumerate(words):
        if word in ("-t", "--table") and i + 1 < len(words):
            return words[:i] + words[i + 2 :], words[i + 1]
        if word.startswith("--table="):
            return words[:i] + words[i + 1 :], word.partition("=")[2]
    return words, None

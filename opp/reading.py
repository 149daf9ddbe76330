"""Reading marked documents piece by piece: each reader returns a usable value and records what was wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from .errors import Mark, Problems, near_miss
from .program import MAX_STATE, Operand
from .syntax import SyntaxProblem, parse_number, parse_operand
from .units import parse_time_ns
from .yaml_source import MarkedDict, MarkedList, mark_of

T = TypeVar("T")


class Reader:
    """Typed access to mappings and lists of a document, with every problem collected at its place."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems

    def known_keys(self, node: Mapping[Any, Any], known: Sequence[str], what: str) -> None:
        """Report every key that is not known, with a near miss."""
        for key in node:
            if key not in known:
                mark = mark_of(node, key, at_key=True)
                hint = near_miss(str(key), known) or f"known: {', '.join(known)}"
                self.problems.add(f"{what} has no key {key!r}", mark, hint)

    def text(self, node: Mapping[str, Any], key: str, *, required: bool = False) -> str:
        """A string value, "" when absent."""
        if key not in node:
            if required:
                self.problems.add(f"{key!r} is missing", mark_of(node))
            return ""
        value = node[key]
        if not isinstance(value, str):
            self.problems.add(f"{key}: got {value!r}, expected text", mark_of(node, key))
            return str(value)
        return value

    def boolean(self, node: Mapping[str, Any], key: str) -> bool:
        """A true/false value, false when absent."""
        value = node.get(key, False)
        if not isinstance(value, bool):
            self.problems.add(f"{key}: got {value!r}, expected true or false", mark_of(node, key))
            return False
        return value

    def number(self, node: Mapping[str, Any], key: str, default: int) -> int:
        """A non-negative whole number."""
        if key not in node:
            return default
        try:
            return parse_number(node[key])
        except SyntaxProblem as error:
            self.problems.add(f"{key}: {error}", mark_of(node, key))
            return default

    def operand(self, value: Any, mark: Mark) -> Operand:
        """An operand."""
        try:
            return parse_operand(value)
        except SyntaxProblem as error:
            self.problems.add(str(error), mark, error.hint)
            return Operand("const")

    def time_ns(self, value: Any, mark: Mark) -> int:
        """A duration in nanoseconds."""
        try:
            return parse_time_ns(value)
        except ValueError as error:
            self.problems.add(str(error), mark)
            return 0

    def state(self, value: Any, states: Sequence[str], mark: Mark) -> int:
        """A state label, by name or number."""
        if isinstance(value, str) and value in states:
            return states.index(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_STATE:
            return value
        known = ", ".join(states) or "numbers only"
        self.problems.add(f"unknown state {value!r}, known: {known}", mark, near_miss(str(value), states))
        return 0

    def as_mapping(self, node: Any, mark: Mark, what: str) -> Mapping[str, Any]:
        """The node if it is a mapping (None counts as an empty one)."""
        if isinstance(node, Mapping):
            return node
        if node is not None:
            self.problems.add(f"{what}: got {node!r}, expected a mapping", mark)
        empty = MarkedDict()
        empty.mark = mark
        return empty

    def as_list(self, node: Any, mark: Mark, what: str) -> Sequence[Any]:
        """The node if it is a list."""
        if isinstance(node, list | tuple):
            return node
        self.problems.add(f"{what}: got {node!r}, expected a list", mark)
        return MarkedList()

    def items(self, node: Mapping[str, Any], key: str) -> Sequence[Any]:
        """The list at a key, empty when absent."""
        return self.as_list(node[key], mark_of(node, key), key) if key in node else MarkedList()

    def mapping_of(self, node: Mapping[str, Any], key: str, build: Callable[[str, Any, Mark], T]) -> list[T]:
        """Build one thing for each item of the mapping at a key."""
        if key not in node:
            return []
        body = self.as_mapping(node[key], mark_of(node, key), key)
        return [build(str(name), value, mark_of(body, name, at_key=True)) for name, value in body.items()]

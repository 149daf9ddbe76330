"""The one YAML loader: safe, with marks, no duplicate keys, bounded size, ``true``/``false`` the only booleans.

Every file that a user writes (experiments, programs, profiles, protocols) is read here. Mappings and
sequences come back as :class:`MarkedDict` and :class:`MarkedList`, which behave as ``dict`` and ``list`` and
also know where each key and value stood.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from .errors import NOWHERE, InputError, Mark

MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 64
MAX_NODES = 2_000_000


_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("map", "seq", "str", "int", "float", "bool", "null")}


class MarkedDict(dict[Any, Any]):
    """A mapping that knows its place (``mark``), its keys' places and its values' places."""

    mark: Mark = NOWHERE

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.key_marks: dict[Any, Mark] = {}
        self.value_marks: dict[Any, Mark] = {}


class MarkedList(list[Any]):
    """A sequence that knows its place (``mark``) and its items' places."""

    mark: Mark = NOWHERE

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.item_marks: list[Mark] = []


def mark_of(node: Any, key: Any = None, *, at_key: bool = False) -> Mark:
    """Return the place of ``node[key]`` (or of ``node`` itself), falling back to the nearest known place.

    Args:
        node: a value returned by :func:`load_yaml`, or any plain Python value (then nowhere).
        key: mapping key or sequence index; None for the node itself.
        at_key: for a mapping, the place of the key rather than of its value.
    """
    if isinstance(node, MarkedDict):
        if key is None:
            return node.mark
        marks = node.key_marks if at_key else node.value_marks
        return marks.get(key, node.mark)
    if isinstance(node, MarkedList):
        if isinstance(key, int) and 0 <= key < len(node.item_marks):
            return node.item_marks[key]
        return node.mark
    return NOWHERE


class _Resolver(yaml.resolver.BaseResolver):
    """YAML 1.2-like core scalars: only true/false are booleans, no octal traps, no sexagesimal, no dates."""


def _implicit(tag: str, pattern: str, first: list[str]) -> None:
    _Resolver.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), first)


_implicit("bool", r"^(?:true|false)$", ["t", "f"])
_implicit("null", r"^(?:~|null|)$", ["~", "n", ""])
_implicit("int", r"^[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|0b[01_]+)$", list("-+0123456789"))
_implicit(
    "float",
    r"^[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.[0-9]+(?:[eE][-+]?[0-9]+)?)$",
    list("-+0123456789."),
)


class _Loader(
    yaml.reader.Reader,
    yaml.scanner.Scanner,
    yaml.parser.Parser,
    yaml.composer.Composer,
    yaml.constructor.SafeConstructor,
    _Resolver,
):
    def __init__(self, stream: str) -> None:
        yaml.reader.Reader.__init__(self, stream)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)
        yaml.composer.Composer.__init__(self)
        yaml.constructor.SafeConstructor.__init__(self)
        _Resolver.__init__(self)


class _Builder:
    """Turns composed nodes into marked Python values, checking size and duplicates on the way."""

    def __init__(self, loader: _Loader, file: str) -> None:
        self.loader = loader
        self.file = file
        self.nodes = 0

    def place(self, node: yaml.Node) -> Mark:
        return Mark(self.file, node.start_mark.line + 1, node.start_mark.column + 1)

    def build(self, node: yaml.Node, depth: int = 0) -> Any:
        self.nodes += 1
        if depth > MAX_DEPTH:
            raise InputError(f"nested deeper than {MAX_DEPTH} levels", self.place(node))
        if self.nodes > MAX_NODES:
            raise InputError(f"more than {MAX_NODES} values (aliases count each time)", self.place(node))
        if node.tag not in _TAGS:
            raise InputError(f"cannot read this value: unknown tag {node.tag!r}", self.place(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, depth)
        if isinstance(node, yaml.SequenceNode):
            items = MarkedList(self.build(child, depth + 1) for child in node.value)
            items.mark = self.place(node)
            items.item_marks = [self.place(child) for child in node.value]
            return items
        try:
            return self.loader.construct_object(node, deep=True)
        except (yaml.constructor.ConstructorError, ValueError) as error:
            problem = getattr(error, "problem", None) or str(error)
            raise InputError(f"cannot read this value: {problem}", self.place(node)) from None

    def _mapping(self, node: yaml.MappingNode, depth: int) -> MarkedDict:
        result = MarkedDict()
        result.mark = self.place(node)
        for key_node, value_node in node.value:
            key = self.build(key_node, depth + 1)
            if not isinstance(key, str | int | float | bool | None):
                raise InputError("a key must be a plain value, got a list or mapping", self.place(key_node))
            if key in result:
                first = result.key_marks[key]
                raise InputError(
                    f"duplicate key {key!r}: it stands at line {first.line} already", self.place(key_node)
                )
            result[key] = self.build(value_node, depth + 1)
            result.key_marks[key] = self.place(key_node)
            result.value_marks[key] = self.place(value_node)
        return result


def parse_yaml(text: str, file: str = "<text>") -> Any:
    """Parse one YAML document; see the module's docstring for the dialect.

    Raises:
        InputError: not YAML, a duplicate key, an unknown tag, several documents, or too large.
    """
    if len(text) > MAX_BYTES:
        raise InputError(f"larger than {MAX_BYTES} bytes", Mark(file))
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return None if node is None else _Builder(loader, file).build(node)
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark or error.context_mark
        mark = Mark(file, place.line + 1, place.column + 1) if place else Mark(file)
        raise InputError(f"not valid YAML: {error.problem or error.context}", mark) from None
    except yaml.YAMLError as error:
        raise InputError(f"not valid YAML: {str(error).splitlines()[0]}", Mark(file)) from None
    except RecursionError:
        raise InputError("nested too deeply", Mark(file)) from None


def names_file(name: str) -> bool:
    """Whether a name is a path, of a YAML file, and not that of something that comes with the package."""
    return name.endswith((".yaml", ".yml"))


def load_yaml(path: str | Path) -> Any:
    """Read and parse a YAML file.

    Raises:
        InputError: the file is missing, a directory, not UTF-8, too large, or not valid YAML.
    """
    return parse_yaml(read_text(path), str(path))


def read_text(path: str | Path, max_bytes: int = MAX_BYTES) -> str:
    """Read a UTF-8 text file of at most ``max_bytes``.

    Raises:
        InputError: with the file's name and the reason.
    """
    file = Path(path)
    mark = Mark(str(path))
    try:
        if file.is_dir():
            raise InputError("is a directory, expected a file", mark)
        if file.stat().st_size > max_bytes:
            raise InputError(f"is larger than {max_bytes} bytes", mark)
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError("no such file", mark) from None
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8 text (byte {error.start})", mark) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", mark) from None

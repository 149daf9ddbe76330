"""The experiment file as a marked tree: where it comes from, ``--set``, and replacing one key.

A tree keeps the place of every key and value (:mod:`oppcache.opp.yaml_source`), whether it stood in a file, in
a ``--set`` option or in a Python dictionary, so that every later error can name it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from oppcache.opp.errors import NOWHERE, InputError, Mark, Problems, near_miss
from oppcache.opp.yaml_source import MarkedDict, MarkedList, mark_of, parse_yaml, read_text

from .paths import check_path

log = logging.getLogger("oppcache")

GALLERY = "gallery:"


@dataclass(frozen=True)
class OptionMark(Mark):
    """A place on the command line; paths there are relative to the working directory."""


@dataclass
class Document:
    """An experiment as written, with ``--set`` applied.

    Attributes:
        tree: the file's content.
        label: how messages name it.
        folder: what paths in it are relative to.
        dropped: swept keys that ``--set`` fixed.
    """

    tree: MarkedDict
    label: str
    folder: Path
    dropped: list[str] = field(default_factory=list)


def gallery_names() -> list[str]:
    """Return the names of the shipped experiments, sorted."""
    folder = resources.files("oppcache.experiments").joinpath("gallery")
    return sorted(entry.name[: -len(".yaml")] for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def read_document(source: str | Path | Mapping[str, Any], options: Iterable[str] = ()) -> Document:
    """Read an experiment and apply ``--set`` options.

    Args:
        source: path of a YAML file, ``gallery:NAME``, or the same content as a mapping.
        options: texts ``a.b=VALUE`` with YAML values.

    Raises:
        InputError: it cannot be read, is no mapping, or an option names no key.
    """
    document = _read(source)
    problems = Problems()
    for option in options:
        try:
            _apply(document, option)
        except InputError as error:
            for problem in error.problems:
                problems.add(problem.message, problem.mark, problem.hint)
    problems.raise_if_any()
    return document


def _read(source: str | Path | Mapping[str, Any]) -> Document:
    if isinstance(source, Mapping):
        tree = source if isinstance(source, MarkedDict) else as_tree(source, NOWHERE)
        return Document(tree, NOWHERE.file, Path())
    label = str(source)
    if label.startswith(GALLERY):
        text, folder = _gallery_text(label), Path()
    else:
        text, folder = read_text(source), Path(source).parent
    content = parse_yaml(text, label)
    if not isinstance(content, MarkedDict):
        got = "an empty file" if content is None else type(content).__name__.replace("Marked", "").lower()
        raise InputError(f"got {got}, expected an experiment (a mapping)", Mark(label, 1, 1))
    return Document(content, label, folder)


def _gallery_text(label: str) -> str:
    name = label[len(GALLERY) :]
    names = gallery_names()
    if name not in names:
        message = f"got {name!r}, expected an experiment of the gallery: {', '.join(names)}"
        hint = near_miss(name, names)
        problems = Problems()
        problems.add(message, Mark(label), hint)
        problems.raise_if_any()
    file = resources.files("oppcache.experiments").joinpath("gallery", f"{name}.yaml")
    return file.read_text(encoding="utf-8")


def as_tree(value: Any, mark: Mark) -> Any:
    """Copy plain Python values into a marked tree; what has no place of its own gets ``mark``."""
    if isinstance(value, MarkedDict | MarkedList) and value.mark is not NOWHERE:
        return value
    if isinstance(value, Mapping):
        tree = MarkedDict({key: as_tree(item, mark) for key, item in value.items()})
        tree.mark = mark
        tree.key_marks = dict.fromkeys(tree, mark)
        tree.value_marks = dict.fromkeys(tree, mark)
        return tree
    if isinstance(value, list | tuple):
        items = MarkedList([as_tree(item, mark) for item in value])
        items.mark = mark
        items.item_marks = [mark] * len(items)
        return items
    return str(value) if isinstance(value, Path) else value


def replaced(tree: MarkedDict, path: tuple[str, ...], value: Any, mark: Mark) -> MarkedDict:
    """Return a copy of ``tree`` with ``path`` set to ``value``, which stands at ``mark``; ``tree`` stays."""
    copy = _shallow(tree)
    key, rest = path[0], path[1:]
    inner = copy.get(key)
    if rest:
        if not isinstance(inner, MarkedDict):
            # A plain name, as `admission: always`, gives way to the mapping that the path speaks of.
            inner = as_tree({}, mark)
        copy[key] = replaced(inner, rest, value, mark)
        copy.value_marks.setdefault(key, mark)
    else:
        copy[key] = value
        copy.value_marks[key] = mark
    copy.key_marks.setdefault(key, mark)
    return copy


def without(tree: MarkedDict, path: tuple[str, ...]) -> MarkedDict:
    """Return a copy of ``tree`` that lacks ``path``."""
    if path[0] not in tree:
        return tree
    copy = _shallow(tree)
    if len(path) == 1:
        del copy[path[0]]
    elif isinstance(copy[path[0]], MarkedDict):
        copy[path[0]] = without(copy[path[0]], path[1:])
    return copy


def _shallow(tree: MarkedDict) -> MarkedDict:
    copy = MarkedDict(tree)
    copy.mark = tree.mark
    copy.key_marks = dict(tree.key_marks)
    copy.value_marks = dict(tree.value_marks)
    return copy


def mark_at(tree: Any, path: tuple[Any, ...], *, at_key: bool = False) -> Mark:
    """Return the place of ``path`` in ``tree``, or of the innermost part of it that exists."""
    node, mark = tree, mark_of(tree)
    for depth, key in enumerate(path):
        last = depth == len(path) - 1
        inside = isinstance(node, MarkedDict) and key in node
        inside = inside or (isinstance(node, MarkedList) and isinstance(key, int) and 0 <= key < len(node))
        if not inside:
            return mark
        mark = mark_of(node, key, at_key=at_key and last)
        node = node[key]
    return mark


def _apply(document: Document, option: str) -> None:
    key, equals, text = option.partition("=")
    key = key.strip()
    mark = OptionMark(f"--set {option}")
    if not equals or not key:
        raise InputError("expected a key, = and a value, such as nic.contexts=4096", mark)
    value = parse_yaml(text, mark.file)
    if isinstance(value, MarkedDict | MarkedList):
        value = _remark(value, mark)
    path = tuple(key.split("."))
    if path[0] == "sweep" and len(path) > 1:
        path = ("sweep", ".".join(path[1:]))
        check_path(path[1], mark)
    else:
        check_path(key, mark, whole=True)
    document.tree = replaced(document.tree, path, value, mark)
    if path[0] == "traffic":
        _settle_source(document, path)
    _fix_swept(document, key)


def _remark(value: Any, mark: Mark) -> Any:
    """Give a value of an option the option's place: a line in it means nothing to the user."""
    if isinstance(value, MarkedDict):
        return as_tree({key: _remark(item, mark) for key, item in value.items()}, mark)
    if isinstance(value, MarkedList):
        return as_tree([_remark(item, mark) for item in value], mark)
    return value


def _settle_source(document: Document, path: tuple[str, ...]) -> None:
    other = {"pcap": "generator", "generator": "pcap"}.get(path[1] if len(path) > 1 else "")
    if other is None:
        return
    document.tree = without(document.tree, ("traffic", other))
    _fix_swept(document, f"traffic.{other}")


def _fix_swept(document: Document, key: str) -> None:
    """Drop from the sweep what an option has fixed: the key itself and what lies below it."""
    sweep = document.tree.get("sweep")
    if not isinstance(sweep, MarkedDict):
        return
    for swept in list(sweep):
        if swept == key or str(swept).startswith(f"{key}."):
            document.tree = without(document.tree, ("sweep", swept))
            document.dropped.append(swept)

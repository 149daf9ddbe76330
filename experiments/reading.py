"""From a marked tree to an :class:`Experiment`, or to problems that name the place of each wrong key and value."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from oppcache.opp.errors import Problems, near_miss
from oppcache.opp.yaml_source import MarkedDict, mark_of

from .document import OptionMark, as_tree, mark_at, replaced, without
from .freeform import Misplaced
from .schema import Experiment

_EXPECTED = {
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "string_type": "text",
    "tuple_type": "a list",
    "list_type": "a list",
    "string_pattern_mismatch": "letters, digits, '.', '_' and '-', the first a letter or digit",
}
_REQUIRED = {
    ("name",): "a name for the experiment, such as hit-rate-vs-capacity",
    ("program",): "a program such as {nf: stateful-firewall}",
    ("traffic",): "traffic with one of pcap, generator",
}


def read_experiment(
    tree: MarkedDict, problems: Problems, *, not_missing: Collection[str] = ()
) -> tuple[MarkedDict, Experiment | None]:
    """Validate a tree against the schema.

    Args:
        tree: the experiment as written.
        problems: takes everything that is wrong.
        not_missing: dotted keys that something else (the sweep) will give.

    Returns:
        The tree and its experiment. If there was any problem, both are mended: what was wrong is left out and
        what was missing is made up, so that the checks that follow still find the other mistakes. None if
        nothing useful is left.
    """
    try:
        return tree, Experiment.model_validate(tree)
    except ValidationError as error:
        details = error.errors(include_url=False)
        for detail in details:
            if detail["type"] != "missing" or dotted(detail["loc"]) not in not_missing:
                _record(tree, detail, problems)
    mended = _mend(tree, [tuple(detail["loc"]) for detail in details])
    try:
        return mended, Experiment.model_validate(mended)
    except ValidationError:
        return mended, None


_STAND_INS: dict[str, Any] = {"name": "unnamed", "program": {"nf": "stateful-firewall"}}
_TRAFFIC_STAND_IN = {"generator": {"model": "caida-like"}, "packets": 1}


def _mend(tree: MarkedDict, wrong: list[tuple[Any, ...]]) -> MarkedDict:
    mark = mark_of(tree)
    for path in wrong:
        plain = tuple(itertools.takewhile(lambda key: isinstance(key, str), path))
        tree = without(tree, plain)
        if path[0] in _STAND_INS:
            tree = replaced(tree, plain[:1], as_tree(_STAND_INS[path[0]], mark), mark)
        if plain in (("traffic",), ("traffic", "pcap"), ("traffic", "generator"), ("traffic", "packets")):
            kept = tree.get("traffic")
            given = kept if isinstance(kept, MarkedDict) else {}
            made_up = _TRAFFIC_STAND_IN if "pcap" not in given else {}
            for key, value in made_up.items():
                if key not in given:
                    tree = replaced(tree, ("traffic", key), as_tree(value, mark), mark)
    return tree


def dotted(path: tuple[Any, ...]) -> str:
    """Return ``figures[0].y`` for ``("figures", 0, "y")``."""
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else str(key)
    return text


def show(value: Any, limit: int = 60) -> str:
    """Return a value as a message shows it: YAML's words, and not more of it than helps."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _record(tree: MarkedDict, detail: Any, problems: Problems) -> None:
    kind, path = detail["type"], tuple(detail["loc"])
    if kind == "extra_forbidden":
        siblings = list(_model_at(path[:-1]).model_fields)
        where = f"{dotted(path[:-1])}: " if path[:-1] else ""
        message = f"{where}got unknown key {path[-1]!r}, expected one of {', '.join(siblings)}"
        problems.add(message, mark_at(tree, path, at_key=True), near_miss(str(path[-1]), siblings))
        return
    if kind == "missing":
        expected = _REQUIRED.get(path, "it to be given")
        problems.add(f"{dotted(path)} is missing, expected {expected}", mark_at(tree, path))
        return
    if kind == "value_error":
        _record_value_error(tree, path, detail["input"], detail["ctx"]["error"], problems)
        return
    hint = ""
    expected = _EXPECTED.get(kind, "")
    if kind == "literal_error":
        names = list(_literals(detail["ctx"]["expected"]))
        expected, hint = "one of " + ", ".join(names), near_miss(str(detail["input"]), names)
    got = show(detail["input"])
    message = f"got {got}, expected {expected}" if expected else f"got {got}: {detail['msg']}"
    problems.add(f"{dotted(path)}: {message}", mark_at(tree, path), hint)


def _record_value_error(
    tree: MarkedDict, path: tuple[Any, ...], value: Any, error: ValueError, problems: Problems
) -> None:
    hint, at_key = "", False
    if isinstance(error, Misplaced):
        path, hint, at_key = path + error.path, error.hint, error.at_key
    message = str(error).replace("got None, ", "got nothing, ")
    mark = mark_at(tree, path, at_key=at_key)
    if isinstance(mark, OptionMark) and isinstance(value, list):
        hint = hint or f"--set sweep.{dotted(path)}=... sweeps a key"
    problems.add(f"{dotted(path)}: {message}", mark, hint)


def _literals(expected: str) -> Iterator[str]:
    for part in expected.replace(" or ", ", ").split(", "):
        yield part.strip("'")


def _model_at(path: tuple[Any, ...]) -> type[BaseModel]:
    """Return the section model at a path of the schema (list indices lead to the list's item)."""
    model: type[BaseModel] = Experiment
    for key in path:
        if isinstance(key, int):
            continue
        annotation = model.model_fields[key].annotation
        arguments = getattr(annotation, "__args__", ())
        model = next(
            kind
            for kind in (annotation, *arguments)
            if isinstance(kind, type) and issubclass(kind, BaseModel)
        )
    return model

"""Writing programs in Python; the result is the same :class:`Program` as from the YAML of the same text.

>>> b = ProgramBuilder("port-counter", globals={"total": ["packets"]})
>>> b.table("flows", states=["new", "seen"])
'flows'
>>> s = b.stage("count", table="flows", key=["ip.src"])
>>> s.entry(match={"state": "new"}, next_state="seen", actions=[{"output": 1}])
>>> s.default(actions=["drop"])
>>> b.build().stages[0].entries[0].priority
1
"""

from __future__ import annotations

from typing import Any

from .document import program_from_document
from .program import Program


class StageBuilder:
    """Adds entries to one stage of a :class:`ProgramBuilder`."""

    def __init__(self, node: dict[str, Any]) -> None:
        self._node = node

    def entry(self, **parts: Any) -> None:
        """Add an entry; the keyword arguments are the keys of ENTRY in the program grammar."""
        self._node.setdefault("entries", []).append(parts)

    def default(self, **parts: Any) -> None:
        """Set the default entry."""
        self._node["default"] = parts


class ProgramBuilder:
    """Collects a program document piece by piece; :meth:`build` checks it and gives the program.

    Keyword arguments here and in :meth:`table` and :meth:`stage` are the keys of the program grammar
    (see :mod:`oppcache.opp.document`).
    """

    def __init__(self, name: str, **parts: Any) -> None:
        self._document: dict[str, Any] = {"program": name, **parts, "tables": {}, "stages": []}

    def table(self, name: str, **parts: Any) -> str:
        """Declare a context table and return its name."""
        self._document["tables"][name] = parts
        return name

    def stage(self, name: str, **parts: Any) -> StageBuilder:
        """Add a stage at the end of the pipeline."""
        node = {"name": name, **parts}
        self._document["stages"].append(node)
        return StageBuilder(node)

    def build(self, **parameters: Any) -> Program:
        """Check everything and return the program.

        Raises:
            InputError: every problem at once.
        """
        return program_from_document(self._document, parameters, self._document["program"])

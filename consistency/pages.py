"""The guide's pages that are made from the protocol files: tables, state diagrams, and the anomaly zoo.

``python -m oppcache.consistency.pages docs`` writes them again; a test holds what is committed to the files.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from .checker.diagram import draw
from .checker.verdict import Verdict
from .library import load_protocol, protocol_names
from .matrix import SMALL, claimed, measure
from .table import Protocol, Role, Row
from .vocabulary import FAULTS, PROPERTIES

_MADE = "<!-- Made from the protocol's file by oppcache.consistency.pages; do not edit. -->"
# Of several anomalies, the one whose diagram tells most.
_TELLING = (
    "exactly-once",
    "egress-order",
    "no-loss",
    "liveness",
    "one-owner",
    "order",
    "rollback",
    "impossible",
)


def protocol_page(protocol: Protocol) -> str:
    """A protocol's page: what it gives up, its state diagrams and its tables."""
    parts = [
        _MADE,
        f"# {protocol.name}",
        f"Idea: {protocol.idea}.",
        f"Gives up: {protocol.gives_up}.",
        "## Properties",
        _matrix(protocol),
        "A cross is given up, a dot is kept: every cell is checked by the [model checker](../verify.md).",
    ]
    for role in protocol.roles.values():
        name = role.name.upper()
        parts += [f"## {name}", _states(role), _diagram(role), _cells(role)]
    return "\n\n".join(parts) + "\n"


def _matrix(protocol: Protocol) -> str:
    given_up = {fault.name: claimed(protocol, fault.name) for fault in FAULTS}
    rows = [
        [f"`{p.name}`", *("✗" if p.name in given_up[fault.name] else "·" for fault in FAULTS)]
        for p in PROPERTIES
    ]
    return _table(["property", *(f"`{fault.name}`" for fault in FAULTS)], rows)


def _table(head: list[str], rows: Iterable[Iterable[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _states(role: Role) -> str:
    rows = []
    for state in role.states.values():
        marks = [word for word, is_so in (("owns", state.owns), ("context", state.context)) if is_so]
        marks += [f"timer {state.timer}"] if state.timer != "none" else []
        marks += ["start"] if state.name == role.start else []
        marks += ["after a restart"] if state.name == role.restart != role.start else []
        rows.append([f"`{state.name}`", state.doc, ", ".join(marks)])
    return _table(["state", "what it is", ""], rows)


def _diagram(role: Role) -> str:
    """A Mermaid state diagram: which events lead where."""
    edges: dict[tuple[str, str], list[str]] = {}
    for state in role.states.values():
        for event, rows in state.cells.items():
            for row in rows:
                if row.next and row.next != state.name:
                    found = edges.setdefault((state.name, row.next), [])
                    if event not in found:
                        found.append(event)
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {_word(role.start)}"]
    for (a, b), events in edges.items():
        lines.append(f"    {_word(a)} --> {_word(b)}: {', '.join(events)}")
    return "\n".join([*lines, "```"])


def _word(state: str) -> str:
    return state.replace("-", "_")


def _cells(role: Role) -> str:
    rows = []
    for state in role.states.values():
        for event, found in state.cells.items():
            for row in found or (Row(),):
                rows.append(
                    [
                        f"`{state.name}`",
                        f"`{event}`",
                        row.when,
                        _does(row),
                        f"`{row.next}`" * bool(row.next),
                    ]
                )
    return _table(["state", "event", "if", "does", "next"], rows)


def _does(row: Row) -> str:
    if row.impossible:
        return "*impossible*"
    return ", ".join(row.actions) or ("" if row.next else "*nothing*")


def zoo(folder: Path | None = None) -> str:
    """The anomaly zoo: each protocol's shortest counterexample for each property it gives up.

    Args:
        folder: where to write one diagram a protocol; none are written unless given.
    """
    parts = [
        _MADE,
        "# Anomaly zoo",
        "For each protocol, the shortest way to each violation that its file admits, under the first fault of the "
        "matrix where it comes: what [`oppcache verify`](verify.md) finds, step by step. Packets are numbered as they "
        "arrive; g and r are tenancies and requests, as incarnation and counter; in braces stand the packets that "
        "have been applied to a context.",
    ]
    for name in protocol_names():
        protocol = load_protocol(name)
        cases = list(_cases(protocol))
        if not cases:
            continue
        parts.append(f"## {name}")
        parts.append(f"[{protocol.idea[0].upper()}{protocol.idea[1:]}](protocols/{name}.md).")
        told = min(cases, key=lambda case: _rank(case[0]))
        trace = told[2].trace(told[0])
        if folder is not None:
            drawing = draw(trace, f"{name}: how {told[0]} is violated")
            (folder / f"{name}.svg").write_text(drawing, encoding="utf-8")
        parts.append(f"![{name}: {told[0]}](figures/zoo/{name}.svg)")
        for violated, fault, verdict in cases:
            under = "without any fault" if fault == "none" else f"under `{fault}`"
            parts.append(f"`{violated}`, {under}:")
            parts.append("```text\n" + verdict.trace(violated).text() + "\n```")
    return "\n\n".join(parts) + "\n"


def _rank(violated: str) -> int:
    return _TELLING.index(violated) if violated in _TELLING else len(_TELLING)


def _cases(protocol: Protocol) -> Iterable[tuple[str, str, Verdict]]:
    seen: set[str] = set()
    for fault in SMALL:
        new = [name for name in claimed(protocol, fault) if name not in seen]
        if new:
            verdict = measure(protocol, fault)
            for name in new:
                if name in verdict.violated:
                    seen.add(name)
                    yield name, fault, verdict


def write(docs: Path) -> None:
    """Write all generated pages below a folder."""
    (docs / "protocols").mkdir(exist_ok=True)
    (docs / "figures" / "zoo").mkdir(parents=True, exist_ok=True)
    for name in protocol_names():
        (docs / "protocols" / f"{name}.md").write_text(protocol_page(load_protocol(name)), encoding="utf-8")
    (docs / "anomaly-zoo.md").write_text(zoo(docs / "figures" / "zoo"), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))

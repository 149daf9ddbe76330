"""Rulesets as programs: found among the shipped ones, with the router that they are for."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oppcache.opp.errors import NOWHERE, InputError, Mark, near_miss
from oppcache.opp.program import Program

from .parser import load_ruleset
from .ruleset import Ruleset
from .topology import MAIN, Interface, Route, Topology, load_topology, topology_from
from .translate import CONNTRACKS, Translation, translate

_RULESETS = Path(__file__).parent / "rulesets"
PARAMETERS = ("topology", "conntrack")


def shipped_rulesets() -> list[str]:
    """Names of the rulesets that come with the package."""
    return sorted(p.stem for p in _RULESETS.glob("*.v4"))


def ruleset_path(source: str | Path, mark: Mark | None = None) -> Path:
    """The file of a ruleset: a path, or one of the shipped ones where there is no such file.

    Raises:
        InputError: there is neither.
    """
    path = Path(source)
    if path.exists():
        return path
    shipped = _RULESETS / f"{path.stem}.v4"
    if shipped.exists():
        return shipped
    known = shipped_rulesets()
    what = near_miss(path.stem, known) or f"shipped are {', '.join(known)}"
    raise InputError(f"no ruleset {str(source)!r} ({what})", mark or Mark(str(source)))


def shipped_file(path: Path) -> Path:
    """A file, or the one of that name that comes with the shipped rulesets where there is none."""
    beside = _RULESETS / path.name
    return path if path.exists() or not beside.exists() else beside


def load_translation(
    rules: str | Path, topology: str | Path | None = None, conntrack: str = "linux"
) -> Translation:
    """Translate a ruleset file.

    Args:
        rules: a path, or the name of a shipped ruleset.
        topology: a path; unless given, ``NAME.json`` or ``topology.json`` beside the ruleset, and where there is
            neither, a router with the interfaces that the rules name and a default route.

    Raises:
        InputError: anything that is wrong with the files.
    """
    path = ruleset_path(rules)
    ruleset = load_ruleset(path)
    if topology is not None:
        router = load_topology(topology)
    else:
        beside = [p for p in (path.with_suffix(".json"), path.with_name("topology.json")) if p.exists()]
        router = load_topology(beside[0]) if beside else implied_topology(ruleset)
    return translate(ruleset, router, conntrack, path.stem)


def load_iptables(rules: str | Path, parameters: Mapping[str, Any]) -> Program:
    """The program of an experiment's ``{iptables: RULES, topology: FILE, conntrack: BLOCK}``.

    Raises:
        InputError: as :func:`load_translation`, and parameters that it does not have.
    """
    for name in parameters:
        if name not in PARAMETERS:
            known = ", ".join(PARAMETERS)
            raise InputError(
                f"a ruleset has no parameter {name!r}; known: {known}",
                Mark(str(rules)),
            )
    path = ruleset_path(rules, NOWHERE)
    conntrack = str(parameters.get("conntrack", CONNTRACKS[0]))
    return load_translation(path, parameters.get("topology"), conntrack).program


def implied_topology(ruleset: Ruleset) -> Topology:
    """A router with the interfaces that rules name, none of which has an address, and a default route by the last."""
    names: list[str] = []
    for _, _, _, rule in ruleset.rules():
        for option in rule.matches[0].options:
            if option.name in ("in-interface", "out-interface"):
                name = option.value.removesuffix("+") + ("0" if option.value.endswith("+") else "")
                if name not in (*names, "lo", "0"):
                    names.append(name)
    names = names or ["eth0", "eth1"]
    if len(names) == 1:
        names.append("eth1" if names[0] != "eth1" else "eth0")
    plain = topology_from({"interfaces": [{"name": name} for name in names]}, ruleset.file)
    out = next((n for n in names if n.startswith(("wan", "ppp", "eth0"))), names[-1])
    default = Route(ipaddress.IPv4Network("0.0.0.0/0"), out, None, MAIN)
    return Topology(plain.interfaces, (*plain.routes, default), plain.rules)


__all__ = ["Interface", "load_iptables", "load_translation", "shipped_file", "shipped_rulesets"]

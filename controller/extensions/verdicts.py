"""ACCEPT, DROP, RETURN, REJECT, and targets that only record."""

from __future__ import annotations

from ..clauses import ALWAYS, Clauses
from ..flow import DROP, puts
from ..interface import REJECTS
from ..ruleset import Match, Target
from ..world import World
from .base import BadValue, Effect, MatchSpec, OptionSpec, TargetSpec, as_text, number

_SHORT = {
    "net-unreach": "icmp-net-unreachable",
    "host-unreach": "icmp-host-unreachable",
    "port-unreach": "icmp-port-unreachable",
    "proto-unreach": "icmp-proto-unreachable",
    "net-prohib": "icmp-net-prohibited",
    "host-prohib": "icmp-host-prohibited",
    "admin-prohib": "icmp-admin-prohibited",
    "tcp-rst": "tcp-reset",
}


def kind(text: str) -> str:
    """A kind of answer by its name or an older, shorter one."""
    name = _SHORT.get(text, text)
    known = [r for r in REJECTS[1:9] if r.startswith(name)] if len(name) > 4 else []
    if name in REJECTS[1:9]:
        return name
    if len(known) == 1:
        return known[0]
    raise BadValue(f"unknown kind {text!r}, expected one of {', '.join(REJECTS[1:9])}")


def _reject(target: Target, world: World) -> Effect:
    option = target.option("reject-with")
    code = REJECTS.index(option.value if option else "icmp-port-unreachable")
    return Effect("drop", (*puts(reject=code), DROP))


def _reset_is_tcp(target: Target, protocol: int | None) -> None:
    option = target.option("reject-with")
    if option is not None and option.value == "tcp-reset" and protocol != 6:
        raise BadValue("tcp-reset needs -p tcp")


def _records(target: Target, world: World) -> Effect:
    word = world.need_word("records")
    return Effect("continue", puts(**{word: 1}), frozenset({("metadata", word)}))


def _nothing(target: Target, world: World) -> Effect:
    return Effect("continue")


def _always(match: Match, world: World) -> Clauses:
    return ALWAYS


MATCHES = (MatchSpec("comment", (OptionSpec("comment", as_text),), _always),)
TARGETS = (
    TargetSpec("ACCEPT", (), lambda target, world: Effect("accept")),
    TargetSpec("DROP", (), lambda target, world: Effect("drop", (DROP,))),
    TargetSpec("RETURN", (), lambda target, world: Effect("return")),
    TargetSpec(
        "REJECT",
        (OptionSpec("reject-with", kind),),
        _reject,
        ("filter",),
        ("INPUT", "FORWARD", "OUTPUT"),
        check=_reset_is_tcp,
    ),
    TargetSpec(
        "LOG",
        (
            OptionSpec("log-level", as_text),
            OptionSpec("log-prefix", as_text),
            OptionSpec("log-tcp-sequence"),
            OptionSpec("log-tcp-options"),
            OptionSpec("log-ip-options"),
            OptionSpec("log-uid"),
            OptionSpec("log-macdecode"),
        ),
        _records,
    ),
    TargetSpec(
        "NFLOG",
        (
            OptionSpec("nflog-group", number(0, 65535)),
            OptionSpec("nflog-prefix", as_text),
            OptionSpec("nflog-range", as_text),
            OptionSpec("nflog-size", as_text),
            OptionSpec("nflog-threshold", as_text),
        ),
        _records,
    ),
    TargetSpec("TRACE", (), _records, ("raw",)),
    TargetSpec("AUDIT", (OptionSpec("type", as_text),), _records),
    TargetSpec("CLASSIFY", (OptionSpec("set-class", as_text),), _nothing, ("mangle",)),
    TargetSpec("CHECKSUM", (OptionSpec("checksum-fill"),), _nothing, ("mangle",)),
)

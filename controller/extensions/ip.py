"""What every rule can say without ``-m``: protocol, addresses, interfaces, fragments."""

from __future__ import annotations

from ..clauses import Bits, Clause, Clauses, Spans, both, field, metadata, negation, other, valid
from ..ruleset import Match, Option
from ..world import World
from .base import MatchSpec, OptionSpec, as_text, in_network, listed, network, protocol

IP = MatchSpec(
    "ip",
    (
        OptionSpec("protocol", protocol, ("-p", "--proto"), negatable=True),
        OptionSpec("source", listed(network), ("-s", "--src"), negatable=True),
        OptionSpec("destination", listed(network), ("-d", "--dst"), negatable=True),
        OptionSpec("in-interface", as_text, ("-i",), negatable=True),
        OptionSpec("out-interface", as_text, ("-o",), negatable=True),
        OptionSpec("fragment", None, ("-f", "--fragments"), negatable=True),
    ),
    lambda match, world: lower(match, world),
)


def lower(match: Match, world: World) -> Clauses:
    """All of a rule's own terms; they are on different subjects, so that one clause holds them."""
    out: Clause = {}
    for option in match.options:
        clause = _one(option, world)
        if clause is None:
            continue
        joined = both(out, clause)
        if joined is None:
            return []
        out = joined
    return [out]


def _one(option: Option, world: World) -> Clause | None:
    name = option.name
    if name == "protocol":
        if option.value == 0:
            return {("field", "ip.proto"): Spans(())} if option.inverted else None
        spans = Spans.values([option.value])
        return field("ip.proto", spans.complement(255) if option.inverted else spans)
    if name in ("source", "destination"):
        subject = "ipv4.src" if name == "source" else "ipv4.dst"
        return address_clause(subject, option.value, option.inverted)
    if name == "in-interface":
        clause = field("in_port", world.interfaces(option.value))
    elif name == "out-interface":
        clause = metadata("oif", world.interfaces(option.value))
    else:
        return valid("later_fragment", not option.inverted)
    if option.inverted:
        ((subject_key, values),) = clause.items()
        return {subject_key: other(subject_key, values)}
    return clause


def address_clause(subject: str, net: tuple[int, int], inverted: bool) -> Clause | None:
    """A clause on an address; None where every address fits."""
    if net[1] == 0:
        return {("field", subject): Spans(())} if inverted else None
    spans = in_network(net)
    if spans is None:
        bits = Bits.of(net)
        return field(subject, Bits.other_than(*net) if inverted else bits)
    clause = field(subject, spans)
    return negation(clause)[0] if inverted else clause


MATCHES = (IP,)

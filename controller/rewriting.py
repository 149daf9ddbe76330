"""Address translation: what a rule's range comes to for a new connection, and what both directions then wear.

The choice is the kernel's (``nf_nat_core.c``, Linux 6.x): keep the tuple where the range allows it and nobody else
has it; else the mapping that the source already has; else the range's address and the same port; else another port.
"""

from __future__ import annotations

from oppcache.opp.program import Action, Allocation, Key, Operand

from . import confirm
from .clauses import Bits, Clause, Clauses, Spans, field, metadata
from .confirm import NEW_ONE, source_key
from .extensions.nat import OFFSET, PERSISTENT, RANDOM, SET, WORDS
from .extensions.nat import PORTS as PORT_RANGE
from .flow import DROP, Draft, Flow, Label, as_operand, holds, key_of, put, puts
from .tracking import DNAT, ERROR, GRE, LAST_LABEL, PORTS, QUERY, SCTP, SNAT, TCP, UDP, words, zone_parts
from .world import World

TRIES = 128  # ports that are looked at, as the kernel does
_WITH_PORTS = Spans.values([TCP, UDP, PORTS, SCTP])
_MAPPED = Spans.values([TCP, UDP, PORTS, SCTP, QUERY])
_CANDIDATE = ("metadata.oproto", "metadata.rsrc", "metadata.caddr", "metadata.rsport", "metadata.cport")
_TRACKED = metadata("conn", Spans.of((1, 1)))


def declare(world: World) -> None:
    """Tables and words of address translation."""
    world.need_table("bysource", "addr", "port", "dst", "dport")
    for word in (*WORDS, "caddr", "cport", "mapped", "found"):
        world.need_word(word)


def _kind(spans: Spans) -> Clause:
    return metadata("kind", spans)


def _dir(direction: int) -> Clause:
    return metadata("dir", Spans.values([direction]))


def _status(bit: int) -> Clause:
    return metadata("ctstatus", Bits.of((bit, bit)))


def _flag(bit: int, there: bool = True) -> Clause:
    return metadata("nflags", Bits.of((bit if there else 0, bit)))


def emit_destination(flow: Flow, world: World) -> None:
    """Choose a new destination where a rule asked for one, then put the inward addresses into the packet."""
    apply = Label("destination")
    draft = flow.begin("nat destination")
    asked = {**NEW_ONE, **_flag(SET)}
    flow.entry([{**NEW_ONE, **metadata("nflags", Spans.of((0, 0)))}], "no rule", goto=apply)
    flow.entry([metadata("life", Spans.of((2, 2)).complement(0xFF))], "known", goto=apply)
    address = _address(flow, world, draft, "metadata.rsrc")
    draft = flow.draft
    port = "metadata.rsport"
    size = draft.t("add", draft.t("sub", "metadata.phi", "metadata.plo"), 1)
    draft.c("in_range_low", port, "ge", "metadata.plo")
    draft.c("in_range_high", port, "le", "metadata.phi")
    fits = {**holds("in_range_low"), **holds("in_range_high"), **_flag(OFFSET, False)}
    offset = draft.t("mod", draft.t("sub", port, "metadata.pbase"), draft.t("max", size, 1))
    at_random = draft.t("mod", "random", draft.t("max", size, 1))
    moved = draft.t("xor", address, "metadata.rsrc")

    def chosen(new_port: Operand | str) -> tuple[Action, ...]:
        differs = draft.t("or", moved, draft.t("xor", new_port, port))
        bit = draft.t("shl", draft.t("min", differs, 1), 5)
        status = draft.t("or", "metadata.ctstatus", bit)
        return puts(rsrc=address, rsport=new_port, ctstatus=status, nflags=0)

    low = draft.t("add", "metadata.plo", 0)
    with_range = {**asked, **_flag(PORT_RANGE), **_kind(_WITH_PORTS)}
    free_port = Label("free port")
    one = draft.c("one_port", "metadata.plo", "eq", "metadata.phi")
    several = puts(caddr=address)
    for name, clause, new_port in (
        ("the only port", {**with_range, **one}, low),
        ("port as it is", {**with_range, **fits, **_flag(RANDOM, False)}, port),
        ("port by offset", {**with_range, **_flag(OFFSET)}, draft.t("add", "metadata.plo", offset)),
        ("port at random", {**with_range, **_flag(RANDOM)}, draft.t("add", "metadata.plo", at_random)),
        ("first port", with_range, low),
    ):
        if name == "the only port":
            flow.entry([clause], name, chosen(new_port), goto=apply)
        else:
            flow.entry([clause], name, (*several, *puts(cport=new_port)), goto=free_port)
    flow.entry([asked], "address", chosen(port), goto=apply)
    flow.here(free_port)
    _free_destination(flow, world)
    flow.here(apply)
    _apply_destination(flow)


def _free_destination(flow: Flow, world: World) -> None:
    """A port of the range with which the tuple is free: the one that was chosen, else from the range's first on."""
    parts = ("metadata.oproto", "metadata.caddr", "metadata.rdst", "metadata.cport", "metadata.rdport")
    key = key_of(*parts, *zone_parts(world))
    flow.begin("nat destination port")
    searched = _flag(OFFSET), _flag(RANDOM)
    whole = _allocate("cport", key, "metadata.plo", "metadata.phi", "metadata.cport")
    alone = _allocate("cport", key, "metadata.cport", "metadata.cport", "metadata.cport")
    flow.entry(list(searched), "from there on", (whole,))
    flow.entry([{}], "that one", (alone,))
    flow.close()
    flow.begin("nat destination other port")
    first = _allocate("cport", key, "metadata.plo", "metadata.phi", "metadata.plo")
    flow.entry([metadata("found", Spans.values([0]))], "from the first on", (first,))
    flow.close()
    draft = flow.begin("nat destination chosen")
    differs = draft.t(
        "or",
        draft.t("xor", "metadata.caddr", "metadata.rsrc"),
        draft.t("xor", "metadata.cport", "metadata.rsport"),
    )
    status = draft.t("or", "metadata.ctstatus", draft.t("shl", draft.t("min", differs, 1), 5))
    words_ = puts(rsrc="metadata.caddr", rsport="metadata.cport", ctstatus=status, nflags=0)
    flow.entry([{}], "chosen", words_)
    flow.close()


def _address(flow: Flow, world: World, draft: Draft, current: str) -> Operand | str:
    """The address of a range: its only one, or by the kernel's hash of source and destination."""
    if not world.ranges:
        return "metadata.nlo"
    from .hashing import spread

    return spread(flow, draft, current)


def _words(side: str, source: bool) -> tuple[str, str]:
    """Metadata words of a tuple's source, or destination, and its port."""
    return (f"metadata.{side}src", f"metadata.{side}sport") if source else (
        f"metadata.{side}dst", f"metadata.{side}dport")  # fmt: skip


def _apply_destination(flow: Flow) -> None:
    """At PREROUTING and OUTPUT: the destination becomes the source of the other direction's tuple."""
    _apply(flow, "ipv4.dst", "l4.dport", "inner.ipv4.src", "inner.l4.sport", source=True)


def _apply_source(flow: Flow) -> None:
    """At POSTROUTING and INPUT: the source becomes the destination of the other direction's tuple."""
    _apply(flow, "ipv4.src", "l4.sport", "inner.ipv4.dst", "inner.l4.dport", source=False)


def _apply(flow: Flow, address: str, port: str, inner_address: str, inner_port: str, *, source: bool) -> None:
    flow.begin("apply destination" if source else "apply source")
    if source:
        redirect = {**_TRACKED, **_kind(Spans.values([ERROR])), **field("icmp.type", Spans.values([5]))}
        either = metadata("ctstatus", Bits.of((SNAT, SNAT), (DNAT, DNAT)))
        flow.entry([{**redirect, **either}], "redirect of a translated one", (DROP,))
    for direction, bit in ((0, DNAT if source else SNAT), (1, SNAT if source else DNAT)):
        other = "or"[1 - direction]
        new_address, new_port = _words(other, source)
        identifier = "metadata.rdport" if direction == 0 else "metadata.osport"
        at = {**_TRACKED, **_dir(direction), **_status(bit)}
        name = f"{'original' if direction == 0 else 'reply'}"
        outer = put(address, new_address)
        # Linux wants eight bytes of GRE before it changes anything.
        short = {**_kind(Spans.values([GRE])), **field("l4.payload_length", Spans.of((0, 7)))}
        flow.entry([{**at, **short}], f"{name} short gre", (DROP,))
        inner = (outer, put(inner_address, new_address))
        flow.entry(
            [{**at, **_kind(Spans.values([ERROR]))}],
            f"{name} error",
            (*inner, put(inner_port, new_port), put("inner.icmp.id", identifier)),
        )
        flow.entry([{**at, **_kind(_WITH_PORTS)}], name, (outer, put(port, new_port)))
        flow.entry(
            [{**at, **_kind(Spans.values([QUERY]))}], f"{name} query", (outer, put("icmp.id", identifier))
        )
        flow.entry([at], f"{name} address", (outer,))
    flow.close()


def emit_source(flow: Flow, world: World) -> None:
    """Choose what a new connection's source is seen as, then put the outward addresses into the packet."""
    apply, best, done = Label("source"), Label("best"), Label("chosen")
    by_source, random_port = Label("by source"), Label("random port")
    probe_best = Label("probe best")
    draft = flow.begin("nat source")
    flow.entry([metadata("life", Spans.of((2, 2)).complement(0xFF))], "known", goto=apply)
    as_is = puts(caddr="metadata.rdst", cport="metadata.rdport", mapped=0)
    draft.c("above", "metadata.rdst", "ge", "metadata.nlo")
    draft.c("below", "metadata.rdst", "le", "metadata.nhi")
    draft.c("port_above", "metadata.rdport", "ge", "metadata.plo")
    draft.c("port_below", "metadata.rdport", "le", "metadata.phi")
    address_in: Clause = {**holds("above"), **holds("below")}
    port_in: Clause = {**holds("port_above"), **holds("port_below")}
    any_port, ports = _flag(PORT_RANGE, False), _flag(PORT_RANGE)
    null = {**NEW_ONE, **metadata("nflags", Spans.of((0, 0)))}
    same = puts(nlo="metadata.rdst", nhi="metadata.rdst")
    probe = Label("probe")
    flow.entry([null], "no rule", (*as_is, *same), goto=probe)
    flow.entry([{**NEW_ONE, **_flag(RANDOM)}], "at random", goto=best)
    inside: Clauses = [{**NEW_ONE, **address_in, **any_port}, {**NEW_ONE, **address_in, **ports, **port_in}]
    flow.entry(inside, "in range as it is", as_is, goto=probe)
    flow.entry([NEW_ONE], "out of range", goto=by_source)
    flow.here(by_source)
    _by_source(flow, world, best)
    flow.here(probe)
    confirm.emit_probe(flow, world, "probe", _CANDIDATE, done)
    flow.here(best)
    _best(flow, world, done, random_port)
    flow.here(probe_best)
    confirm.emit_probe(flow, world, "probe best", _CANDIDATE, done)
    flow.here(random_port)
    _random_port(flow, world, done)
    flow.here(done)
    draft = flow.begin("nat chosen")
    differs = draft.t(
        "or",
        draft.t("xor", "metadata.caddr", "metadata.rdst"),
        draft.t("xor", "metadata.cport", "metadata.rdport"),
    )
    status = draft.t("or", "metadata.ctstatus", draft.t("shl", draft.t("min", differs, 1), 4))
    flow.entry([NEW_ONE], "chosen", puts(rdst="metadata.caddr", rdport="metadata.cport", ctstatus=status))
    flow.here(apply)
    _apply_source(flow)


def _allocate(
    target: str,
    key: Key,
    low: Operand | str | int,
    high: Operand | str | int,
    start: Operand | str | int,
    *,
    drop: bool = False,
) -> Action:
    """Set a metadata word to a port with which a reply tuple is free; where none is, drop or leave it."""
    bounds = as_operand(low), as_operand(high), as_operand(start)
    search = Allocation("xlat", key, *bounds, tries=TRIES, found="found", drop=drop)
    return Action("alloc", f"metadata.{target}", search=search)


def _probe_key(world: World) -> Key:
    """The reply tuple that the candidate would give."""
    return key_of(*_CANDIDATE, *zone_parts(world))


def _by_source(flow: Flow, world: World, best: Label) -> None:
    """The mapping that the source has towards others, where the range allows it."""
    draft = flow.begin("by source", "bysource", source_key())
    draft.c("above", "R.addr", "ge", "metadata.nlo")
    draft.c("below", "R.addr", "le", "metadata.nhi")
    draft.c("port_above", "R.port", "ge", "metadata.plo")
    draft.c("port_below", "R.port", "le", "metadata.phi")
    mapped: Clause = {("state", ""): Spans.of((1, 1)), **holds("above"), **holds("below")}
    port_in: Clause = {**holds("port_above"), **holds("port_below")}
    inside: Clauses = [{**mapped, **_flag(PORT_RANGE, False)}, {**mapped, **port_in}]
    other = puts(csrc="metadata.osrc", csport="metadata.osport", cdst="R.dst", cdport="R.dport")
    flow.entry(inside, "mapped already", (*puts(caddr="R.addr", cport="R.port"), *other))
    flow.otherwise(best)
    flow.begin("by source owner", "conn", key_of("metadata.oproto", *words("c"), *zone_parts(world)))
    flow.entry([{("state", ""): Spans.of((1, LAST_LABEL))}], "still there")
    flow.otherwise(best)


def _best(flow: Flow, world: World, done: Label, random_port: Label) -> None:
    """The range's address with the port as it is, or the only port that there is."""
    draft = flow.begin("nat best")
    address = _address(flow, world, draft, "metadata.rdst")
    draft = flow.draft
    draft.c("port_above", "metadata.rdport", "ge", "metadata.plo")
    draft.c("port_below", "metadata.rdport", "le", "metadata.phi")
    draft.c("one_port", "metadata.plo", "eq", "metadata.phi")
    keep = puts(caddr=address, cport="metadata.rdport")
    ports = _flag(PORT_RANGE)
    inside: Clause = {**ports, **holds("port_above"), **holds("port_below"), **_flag(OFFSET, False)}
    inside = {**inside, **metadata("nflags", Bits.of((PORT_RANGE, PORT_RANGE | OFFSET | RANDOM)))}
    low = draft.t("add", "metadata.plo", 0)
    without = _kind(_MAPPED.complement(0xFF))
    flow.entry([without], "no ports", keep, goto=done)
    flow.entry([{**ports, **holds("one_port")}], "the only port", puts(caddr=address, cport=low), goto=done)
    flow.entry([_flag(RANDOM)], "at random", keep, goto=random_port)
    flow.entry([inside], "port in range", keep)
    flow.entry([ports], "port out of range", keep, goto=random_port)
    flow.entry([{}], "any port", keep)
    flow.close()


def _random_port(flow: Flow, world: World, done: Label) -> None:
    """Ports at random from the range, or from the old port's own class, until one is free."""
    draft = flow.begin("port class")
    query = _kind(Spans.values([QUERY]))
    ports = _flag(PORT_RANGE)
    classes: list[tuple[str, Clause, int, int]] = [
        ("identifier", query, 0, 65535),
        ("below 512", metadata("rdport", Spans.of((0, 511))), 1, 511),
        ("below 1024", metadata("rdport", Spans.of((512, 1023))), 600, 1023),
        ("other", {}, 1024, 65535),
    ]
    flow.entry([ports], "range")
    for name, clause, low, high in classes:
        flow.entry([clause], name, puts(plo=low, phi=high))
    flow.close()
    draft = flow.begin("allocate")
    size = draft.t("max", draft.t("add", draft.t("sub", "metadata.phi", "metadata.plo"), 1), 1)
    offset = draft.t("mod", draft.t("sub", "metadata.rdport", "metadata.pbase"), size)
    by_offset = draft.t("add", "metadata.plo", offset)
    key = _probe_key(world)
    allocate = _allocate("cport", key, "metadata.plo", "metadata.phi", "random", drop=True)
    flow.entry(
        [_flag(OFFSET)],
        "by offset",
        (_allocate("cport", key, "metadata.plo", "metadata.phi", by_offset, drop=True),),
    )
    flow.entry([{}], "at random", (allocate,))
    flow.close()


__all__ = ["PERSISTENT", "emit_destination", "emit_source"]

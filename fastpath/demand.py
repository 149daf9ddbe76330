"""What a program's stages ask of a NIC: widths, counts, and the fields that they read."""

from __future__ import annotations

from collections.abc import Iterator

from oppcache.opp.dataflow import LOOKED_UP, entries_of, operands_in, place_of
from oppcache.opp.fields import FIELD_BY_NAME, Header
from oppcache.opp.program import Entry, Key, Operand, Program, Stage, Table, Term, Update, Write
from oppcache.opp.sharing import narrow_bits
from oppcache.opp.validate import key_bits, term_ternaries

# Header groups of a profile that hold a field, by the field's first part; any of them will do.
_GROUPS = {
    "ip": ("ipv4", "ipv6"),
    "l4": ("tcp", "udp", "sctp", "udplite"),
    "l3": ("checksums",),
    "esp": ("ipv4", "ipv6"),
    "ah": ("ipv4", "ipv6"),
}
_OPTIONS = (
    "tcp.mss",
    "tcp.wscale",
    "tcp.sack_permitted",
    "tcp.tsval",
    "tcp.tsecr",
    "tcp.options",
    "tcp.options_walked",
    "tcp.sack_edge",
)
_ALWAYS = ("packet_length", "in_port")
_HEADER_GROUPS = {
    Header.IP: ("ipv4", "ipv6"),
    Header.INNER_IPV4: ("inner",),
    Header.INNER_IPV6: ("inner",),
    Header.INNER_IP: ("inner",),
    Header.INNER_L4: ("inner",),
    Header.INNER_PORTS: ("inner",),
    Header.INNER_QUERY: ("inner",),
    Header.ICMP_QUERY: ("icmp", "icmpv6"),
    Header.LATER_FRAGMENT: ("fragment",),
    Header.L4_PORTS: ("tcp", "udp", "sctp", "udplite"),
    Header.IPV6_EXT: ("ipv6",),
}
_IPV6_ONLY = ("ipv6", "icmpv6")


def groups_of_field(name: str) -> tuple[str, ...]:
    """Header groups of which a parser must read one to give a field; none: it is always there."""
    if name in _ALWAYS:
        return ()
    if name in _OPTIONS:
        return ("tcp-options",)
    first = name.partition(".")[0]
    return ("checksums",) if name.endswith("csum_ok") else _GROUPS.get(first, (first,))


def groups_of_header(name: str) -> tuple[str, ...]:
    """Header groups of which a parser must read one to tell whether a header is there."""
    return _HEADER_GROUPS.get(Header[name.upper()], (name,))


def widths(program: Program, key: Key, stage: Stage) -> dict[int, int]:
    """Width of a key by IP version, leaving out a version whose packets never have that key."""
    names = [part.name for part in key.parts if part.kind == "field"]
    wide = {6: key_bits(program, key, stage)}
    if not any(name.partition(".")[0] in _IPV6_ONLY for name in names):
        narrow = {4: narrow_bits(program, key, stage)}
        return narrow if any(name.startswith("ipv4.") for name in names) else narrow | wide
    return wide


def label_bits(program: Program, table: Table) -> int:
    """Bits for the largest state label that a program names in a table."""
    labels = [table.initial_state, len(table.states) - 1]
    for stage in program.pipeline():
        for entry in entries_of(stage):
            if stage.table == table.name:
                labels += [p.value for term in entry.match if term.kind == "state" for p in term.patterns]
            for write in entry.writes:
                if write.table == table.name:
                    labels += [write.next_state] if isinstance(write.next_state, int) else []
                    labels += [t.to for t in (write.idle, write.hard) if t is not None and t.to is not None]
    return max(0, *labels).bit_length()


def metadata_bits(program: Program) -> dict[str, int]:
    """Bits that each metadata word needs, from the widest value that is ever set."""
    bits = dict.fromkeys(program.metadata, 0)
    for table in program.tables:
        for action in table.expiry.sets if table.expiry is not None else ():
            if action.target.startswith("metadata."):
                bits[action.target.partition(".")[2]] = program.word_bits
    while True:  # words are set from words, so again until nothing grows
        before = dict(bits)
        for stage in program.pipeline():
            for entry in entries_of(stage):
                made = [one for action in entry.actions if action.template for one in action.template.sets]
                for action in (*entry.actions, *made):
                    if action.target.startswith("metadata."):
                        name = action.target.partition(".")[2]
                        value = action.search.high if action.search else action.operand
                        wide = min(_value_bits(program, value, stage, bits), program.word_bits)
                        bits[name] = max(bits[name], wide)
                    if action.search is not None and action.search.found:
                        bits[action.search.found] = max(bits[action.search.found], 1)
        if bits == before:
            return bits


def _value_bits(program: Program, operand: Operand, stage: Stage, metadata: dict[str, int]) -> int:
    if operand.kind in ("const", "address"):
        return operand.value.bit_length()
    if operand.kind == "field":
        return FIELD_BY_NAME[operand.name].bits
    if operand.kind == "metadata":
        return metadata[operand.name]
    if operand.kind == "direction":
        return 1
    return 32 if operand.kind == "random" else program.width(operand, stage)


def rows_by_version(stage: Stage) -> dict[int, int]:
    """Ternary entries of a stage, ranges and lists expanded, that packets of each IP version can match.

    Entries that match on neither version count for both.
    """
    return {version: sum(_rows(entry, version) for entry in stage.entries) for version in (4, 6)}


def _rows(entry: Entry, version: int) -> int:
    """Ternary entries that one entry takes: every combination of its terms' alternatives."""
    rows = 1
    for term in entry.match:
        other = 10 - version
        if term.kind == "field" and term.name.startswith(
            (f"ipv{other}.", "icmpv6." if version == 4 else "icmp.")
        ):
            return 0
        if term.kind == "valid" and not _possible(term, version):
            return 0
        if term.patterns:  # state: none takes no alternatives
            rows *= sum(family in (0, version) for _, _, family in term_ternaries(term))
    return rows


def _possible(term: Term, version: int) -> bool:
    """Whether a packet of an IP version can have a header's validity as a term wants it."""
    present = {f"ipv{version}": True, "ip": True, f"ipv{10 - version}": False}.get(term.name)
    return present is None or any(bool(p.value & p.mask) == present for p in term.patterns)


def match_bits(program: Program, stage: Stage, version: int) -> int:
    """Width of a stage's ternary entries for packets of one IP version: every subject that an entry matches."""
    found: dict[tuple[str, str], int] = {}
    metadata = metadata_bits(program)
    for entry in stage.entries:
        for term in entry.match:
            key = (term.kind, "" if term.kind == "state" else term.name)
            found[key] = max(found.get(key, 0), _term_bits(program, term, stage, version, metadata))
    return sum(found.values())


def _term_bits(program: Program, term: Term, stage: Stage, version: int, metadata: dict[str, int]) -> int:
    if term.kind == "state":
        table = program.table(stage.table) if stage.table is not None else None
        return 0 if table is None else max(1, label_bits(program, table))
    if term.kind == "field":
        field = FIELD_BY_NAME[term.name]
        if not field.is_address:
            return 0 if version == 4 and term.name.partition(".")[0] in _IPV6_ONLY else field.bits
        if version == 4:
            return 32 if any(p.family != 6 for p in term.patterns) else 0
        return 128 if any(p.family != 4 for p in term.patterns) else 0
    if term.kind == "metadata":
        widest = max((max(p.value, p.high or 0) for p in term.patterns), default=0).bit_length()
        return max(1, metadata[term.name], widest)
    return 1


def reads_ip(stage: Stage) -> bool:
    """Whether a stage's work depends on the packet's IP addresses or ports."""
    names = [*fields_decided_on(stage), *(o.name for o in operands_in(stage) if o.kind == "field")]
    return any(groups_of_field(name) in (_GROUPS["ip"], _GROUPS["l4"]) for name in names)


def fields_decided_on(stage: Stage) -> list[str]:
    """Fields that a stage's keys, temporaries, conditions and matches read: without them nothing can run."""
    parts = (stage.lookup, stage.update, stage.temporaries, stage.conditions)
    found = [o.name for part in parts for o in operands_in(part) if o.kind == "field"]
    found += [term.name for e in entries_of(stage) for term in e.match if term.kind == "field"]
    return list(dict.fromkeys(found))


def headers_matched(stage: Stage) -> list[str]:
    """Every header whose presence a stage's entries match."""
    return list(dict.fromkeys(t.name for e in entries_of(stage) for t in e.match if t.kind == "valid"))


def globals_of(stage: Stage) -> list[str]:
    """Globals that a stage reads or updates, as ``group.name``."""
    return list(dict.fromkeys(o.name for o in operands_in(stage) if o.kind == "global"))


def tables_of(stage: Stage) -> list[str]:
    """Context tables that a stage looks up or writes."""
    own = [stage.table] if stage.table is not None else []
    return list(dict.fromkeys([*own, *(w.table for e in entries_of(stage) for w in e.writes)]))


def updates_of(entry: Entry) -> Iterator[tuple[Write, Update]]:
    """Every update of an entry, with the write that it is part of."""
    for write in entry.writes:
        for update in write.updates:
            yield write, update


def key_kind(write: Write, stage: Stage) -> str:
    """Which context a write goes to, in a profile's words: ``lookup``, ``update`` or ``other``."""
    place = place_of(write, stage)
    if place == LOOKED_UP or place == stage.lookup:
        return "lookup"
    return "update" if place == stage.update else "other"

"""Who touches a context: packets of one connection, of several, or all; and what that asks of its table."""

from __future__ import annotations

from dataclasses import dataclass

from .dataflow import canonical, changed_by, entries_of
from .fields import FIELD_BY_NAME
from .program import DELETE, Key, Operand, Program, Stage, Write
from .templates import made_packets
from .validate import key_bits, partner

PER_FLOW, SHARED, GLOBAL_TABLE = "per-flow", "shared", "global"

# Fields that together tell one connection from every other: addresses and ports, and where the ports are
# those of any protocol, the protocol.
_ADDRESSES = (
    {"ip.src", "ip.dst"},
    {"ipv4.src", "ipv4.dst"},
    {"ipv6.src", "ipv6.dst"},
)
_PORTS = tuple({f"{layer}.sport", f"{layer}.dport"} for layer in ("tcp", "udp", "udplite", "sctp"))
_CONNECTIONS = (
    {"flow.src", "flow.dst", "flow.proto", "flow.sport", "flow.dport"},
    *(
        {*addresses, *ports}
        for addresses in _ADDRESSES
        for ports in (
            *_PORTS,
            {"l4.sport", "l4.dport", "ip.proto"},
            {"l4.sport", "l4.dport", "ipv4.proto"},
        )
    ),
)


@dataclass(frozen=True)
class KeyUse:
    """One way in which a program names contexts of a table.

    Attributes:
        stage, role: where, and as ``lookup``, ``update``, ``write`` or ``alloc``.
        bits: width of the key; ``bits_ipv4``: of an IPv4 packet's key, where joint addresses take 32 bits.
        entry: name of the entry whose write or alloc it is, if it is not the stage's own key.
    """

    stage: str
    role: str
    key: Key
    bits: int
    bits_ipv4: int
    entry: str = ""

    @property
    def text(self) -> str:
        """The key's parts, as programs write them."""
        return " ".join(str(part) for part in self.key.parts)


def narrow_bits(program: Program, key: Key, stage: Stage) -> int:
    """Width of an IPv4 packet's key: as :func:`~.validate.key_bits`, with joint addresses of 32 bits."""
    joint = [p for p in key.parts if p.kind == "field" and FIELD_BY_NAME[p.name].is_address]
    return key_bits(program, key, stage) - 96 * len(joint)


def keys_of(program: Program, table: str) -> list[KeyUse]:
    """Every key by which a program looks up or writes a table's contexts, each once a stage."""
    found: dict[tuple[str, str, Key], KeyUse] = {}

    def add(stage: Stage, role: str, key: Key | None, entry: str = "") -> None:
        if key is not None:
            bits, narrow = key_bits(program, key, stage), narrow_bits(program, key, stage)
            found.setdefault((stage.name, role, key), KeyUse(stage.name, role, key, bits, narrow, entry))

    for stage in program.pipeline():
        if stage.table == table:
            add(stage, "lookup", stage.lookup)
            add(stage, "update", stage.update)
        for entry in entries_of(stage):
            for write in entry.writes:
                if write.table == table and isinstance(write.key, Key):
                    add(stage, "write", write.key, entry.name)
            for action in entry.actions:
                if action.search is not None and action.search.table == table:
                    add(stage, "alloc", action.search.key, entry.name)
    return list(found.values())


def sharing_of(program: Program, uses: list[KeyUse]) -> tuple[str, str]:
    """Whether a table's state is per-flow, shared or global, and why.

    Per-flow means that no packet of another connection ever touches a context. Where that cannot be shown
    from the keys, the table counts as shared.
    """
    if not uses:
        return PER_FLOW, "no stage uses it"
    if all(part.kind == "const" for use in uses for part in use.key.parts):
        return GLOBAL_TABLE, "its key is constant: every packet touches the same context"
    rewritten = _rewritten_before(program)
    for use in uses:
        names = {part.name for part in use.key.parts if part.kind == "field"}
        where = f"{use.role} key in {use.stage}" + (f" ({use.entry!r})" if use.entry else "")
        if not any(connection <= names for connection in _CONNECTIONS):
            return SHARED, f"the {where} does not cover a connection's addresses, ports and protocol"
        changed = sorted(n for n in names if canonical(n) in rewritten[use.stage, use.role == "lookup"])
        if changed:
            return SHARED, f"the {where} reads {changed[0]} after an entry may have rewritten it"
    if not _alike([use.key for use in uses]):
        return SHARED, "its keys put the fields of a connection in different places"
    if all(use.key.symmetric for use in uses):
        return PER_FLOW, "its keys cover a connection, both directions alike"
    return PER_FLOW, "its keys cover a connection, each direction by itself"


def _rewritten_before(program: Program) -> dict[tuple[str, bool], set[str]]:
    """Fields that may have been rewritten when (a stage, its lookup?) reads its key."""
    found: dict[tuple[str, bool], set[str]] = {}
    made = (action for _, sets in made_packets(program) for action in sets)
    so_far = {canonical(target) for action in made for target in changed_by(action)}
    for stage in program.pipeline():
        found[stage.name, True] = set(so_far)
        for entry in entries_of(stage):
            for action in entry.actions:
                so_far.update(canonical(target) for target in changed_by(action))
        found[stage.name, False] = set(so_far)
    return found


def _alike(keys: list[Key]) -> bool:
    """Whether all keys of a table have the same fields in the same places, or source and destination swapped."""
    first = keys[0].parts
    swapped = tuple(_swap(part) for part in first)
    return all(key.parts in (first, swapped) for key in keys)


def _swap(part: Operand) -> Operand:
    other = partner(part.name) if part.kind == "field" else None
    return part if other is None else Operand("field", other)


def writes_to(program: Program, table: str) -> list[tuple[Stage, Write]]:
    """Every write of a program to a table that changes something, with the stage that does it."""
    return [
        (stage, write)
        for stage in program.pipeline()
        for entry in entries_of(stage)
        for write in entry.writes
        if write.table == table and changes(write)
    ]


def changes(write: Write) -> bool:
    """Whether a write changes anything of its context."""
    registers = any(update.target.kind == "written" for update in write.updates)
    timers = write.idle is not None or write.hard is not None
    return registers or timers or write.next_state is not None


def has_timers(program: Program, table: str) -> bool:
    """Whether some entry sets a timer of a table's contexts."""
    return any(
        timer is not None and timer.timeout_ns > 0
        for _, write in writes_to(program, table)
        for timer in (write.idle, write.hard)
    )


def deletes(program: Program, table: str) -> bool:
    """Whether some entry deletes contexts of a table."""
    return any(write.next_state == DELETE for _, write in writes_to(program, table))


def several_contexts(program: Program, uses: list[KeyUse]) -> bool:
    """Whether one packet may touch two contexts of a table: its keys differ, or are read after a rewrite."""
    rewritten = _rewritten_before(program)
    changed = any(
        canonical(str(part)) in rewritten[use.stage, use.role == "lookup"]
        for use in uses[1:]
        for part in use.key.parts
    )
    return len({use.key for use in uses}) > 1 or changed

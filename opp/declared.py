"""Headers that a program declares over what UDP carries: reading the declarations, and their names in the program.

::

    headers:
      paxos: {udp: 8888, fields: {type: 16, instance: 32, round: 16}}

A program that says ``paxos.type`` means bits 0 to 15 of the payload of a UDP datagram from or to port 8888 that is long
enough. Inside, such a field is called ``paxos.type@0[0:16]``: header number, bit offset and width stand in the name,
so that nothing needs to be told what a program declared. Here the user's names are replaced by these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .errors import Mark, Problems, near_miss
from .fields import FIELD_BY_NAME, DeclaredHeader
from .program import NOW_UNITS_NS
from .reading import Reader
from .yaml_source import MarkedDict, MarkedList, mark_of

MAX_HEADERS = 8
MAX_BITS = 64  # of a field: what an operand can be
MAX_BYTES = 256  # of a header
_TAKEN = {name.split(".")[0] for name in FIELD_BY_NAME} | {*NOW_UNITS_NS}
_TAKEN |= {"R", "W", "G", "T", "C", "metadata", "valid", "state", "direction", "random", "declared"}


def shown(name: str) -> str:
    """A field's name as users write it."""
    return name.partition("@")[0]


def full_names(headers: Sequence[DeclaredHeader]) -> dict[str, str]:
    """The names of everything declared, as users write them, and their names inside the program."""
    names = {}
    for number, header in enumerate(headers):
        names[f"valid.{header.name}"] = f"valid.declared_{number}"
        offset = 0
        for field, bits in header.fields:
            names[f"{header.name}.{field}"] = f"{header.name}.{field}@{number}[{offset}:{bits}]"
            offset += bits
    return names


def read_headers(read: Reader, root: Mapping[str, Any]) -> tuple[DeclaredHeader, ...]:
    """Read a document's ``headers``."""
    headers = tuple(read.mapping_of(root, "headers", lambda *item: _header(read, *item)))
    if len(headers) > MAX_HEADERS:
        read.problems.add(f"{len(headers)} headers, expected at most {MAX_HEADERS}", mark_of(root, "headers"))
    return headers[:MAX_HEADERS]


def _header(read: Reader, name: str, node: Any, mark: Mark) -> DeclaredHeader:
    node = read.as_mapping(node, mark, f"header {name!r}")
    read.known_keys(node, ("udp", "fields"), "a header")
    if name in _TAKEN or not name.replace("-", "_").isidentifier():
        read.problems.add(f"a header cannot be called {name!r}: the word has a meaning of its own", mark)
    for key in ("udp", "fields"):
        if key not in node:
            read.problems.add(f"header {name!r}: {key!r} is missing", mark)
    port = read.number(node, "udp", 1)
    if not 1 <= port <= 65535:
        read.problems.add(f"udp: got {port}, expected a port from 1 to 65535", mark_of(node, "udp"))
    listed = read.as_mapping(node.get("fields"), mark_of(node, "fields"), f"fields of header {name!r}")
    fields = []
    for field in listed:
        bits = read.number(listed, field, 8)
        if not 1 <= bits <= MAX_BITS:
            message = f"{name}.{field}: got {bits} bits, expected 1 to {MAX_BITS}"
            read.problems.add(message, mark_of(listed, field))
        if not str(field).replace("-", "_").isidentifier():
            read.problems.add(
                f"{name}: a field cannot be called {field!r}", mark_of(listed, field, at_key=True)
            )
        fields.append((str(field), bits))
    total = sum(bits for _, bits in fields)
    if total % 8 or not 1 <= total // 8 <= MAX_BYTES:
        message = f"header {name!r} has {total} bits, expected whole bytes, 1 to {MAX_BYTES}"
        read.problems.add(message, mark_of(node, "fields"))
    return DeclaredHeader(name, port, tuple(fields))


def with_full_names(node: Any, headers: Sequence[DeclaredHeader], problems: Problems, mark: Mark) -> Any:
    """A part of a document in which the names of declared fields are replaced, marks kept."""
    if not headers:
        return node
    names = full_names(headers)
    prefixes = tuple(f"{header.name}." for header in headers)

    def one(text: Any, place: Mark) -> Any:
        if not isinstance(text, str) or not text.startswith((*prefixes, "valid.")):
            return text
        if text not in names and text.startswith(prefixes):
            head, _, rest = text.partition(".")
            hint = near_miss(text, [n for n in names if n.startswith(f"{head}.")])
            problems.add(f"header {head!r} has no field {rest!r}", place, hint)
            return next(full for name, full in names.items() if name.startswith(f"{head}."))
        return names.get(text, text)

    def walk(node: Any, place: Mark) -> Any:
        if isinstance(node, Mapping):
            out = MarkedDict()
            out.mark = mark_of(node) if isinstance(node, MarkedDict) else place
            for key, value in node.items():
                name = one(key, mark_of(node, key, at_key=True))
                out[name] = walk(value, mark_of(node, key))
                out.key_marks[name], out.value_marks[name] = (
                    mark_of(node, key, at_key=True),
                    mark_of(node, key),
                )
            return out
        if isinstance(node, list | tuple):
            items = MarkedList(walk(item, mark_of(node, i)) for i, item in enumerate(node))
            items.mark = mark_of(node) if isinstance(node, MarkedList) else place
            items.item_marks = [mark_of(node, i) for i in range(len(node))]
            return items
        return one(node, place)

    return walk(node, mark)

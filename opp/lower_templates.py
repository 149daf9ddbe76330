"""Lowering templates: packets to generate, and the packets that tell of passed timers."""

from __future__ import annotations

from collections.abc import Iterable

from . import arrays as A
from .fields import (
    CORE_WORDS,
    FIELD_BY_NAME,
    W_FAMILY,
    W_IP_DST,
    W_IP_PROTO,
    W_IP_SRC,
    W_L4_DPORT,
    W_L4_SPORT,
    Header,
)
from .lower_actions import ActionLowering
from .mirrors import set_rows
from .program import Action, Expiry, Operand, Stage, Table, Template
from .templates import TRANSPORTS, WITH_PORTS, closed

_ALL = 2**64 - 1
_PACKET, _ITSELF, _KEY = range(3)
_SWAPPED = {"src": "dst", "dst": "src", "sport": "dport", "dport": "sport"}
_JOINT = {
    "flow.src": (W_IP_SRC, 2),
    "flow.dst": (W_IP_DST, 2),
    "flow.proto": (W_IP_PROTO, 1),
    "flow.sport": (W_L4_SPORT, 1),
    "flow.dport": (W_L4_DPORT, 1),
}


class TemplateLowering(ActionLowering):
    """Adds the rows of packets that are made."""

    events: dict[str, tuple[int, int]]  # table -> its event's template and timers

    def places(self) -> None:
        """One row for each word of a field that needs a header; ports need the header that has them."""
        for name, word in self.layout.word_of.items():
            field = FIELD_BY_NAME[name]
            if field.header is None or name.endswith((".high", ".low")):
                continue
            header = Header.L4_PORTS if name in ("l4.sport", "l4.dport") else field.header
            for i in range(field.words):
                self.add("places", word + i, int(header))

    def generate(self, template: Template, stage: Stage, numbers: dict[str, int]) -> None:
        first = len(self.rows["actions"])
        self.made(template.sets, stage, A.A_VALUE)
        count = len(self.rows["actions"]) - first
        headers = 0 if template.headers is None else closed(template.headers)
        proto = next((p for h, p in TRANSPORTS.items() if headers >> h & 1), -1)
        first_move = len(self.rows["moves"])
        if template.headers is not None and proto >= 0:
            for name in ("ipv4.proto", "ipv6.next"):
                if name in self.layout.word_of:
                    self.move(_ITSELF, W_IP_PROTO, self.layout.word_of[name], _need(name))
        if template.quote:
            self.quote()
        elif template.headers is not None:
            self.flow(_ITSELF)
        moves = len(self.rows["moves"]) - first_move
        row = (numbers[template.stage], int(template.blank), int(template.headers is not None), headers)
        number = self.add("templates", *row, int(template.quote), proto, -1, count, first_move, moves)
        nothing = self.operand(Operand("const"), stage)
        self.add("actions", A.A_GENERATE, number, 0, -1, nothing, 0, 0, 0, 0)

    def made(self, sets: Iterable[Action], stage: Stage, kind: int) -> None:
        for action in sets:
            if action.target in FIELD_BY_NAME:
                self.set_field(action, stage, kind)
            else:
                self.set_metadata(kind, action.target, self.operand(action.operand, stage))

    def move(
        self, own: int, source: int, word: int, need: int = 0, *, unless: int = 0, right: int = 0, left: int = 0,
        mask: int = _ALL,
    ) -> None:  # fmt: skip
        self.add("moves", own, source, word, need, unless, right, left, mask)

    def flow(self, own: int, *, reverse: bool = False) -> None:
        """The connection tuple, from the joint fields of the packet itself or, reversed, of the one it quotes."""
        for name, (source, words) in _JOINT.items():
            layer, _, last = name.rpartition(".")
            target = f"{layer}.{_SWAPPED.get(last, last)}" if reverse else name
            if target in self.layout.word_of:
                for i in range(words):
                    self.move(own, source + i, self.layout.word_of[target] + i)

    def mapped(self) -> None:
        """An IPv4 packet's tuple has IPv4 addresses: 32 bits in a mapped one, whatever it was taken from."""
        for name, word in (("flow.src", W_IP_SRC), ("flow.dst", W_IP_DST)):
            if name in self.layout.word_of:
                target = self.layout.word_of[name]
                self.move(_ITSELF, word, target, 1 << Header.IPV4)
                self.move(_ITSELF, word + 1, target + 1, 1 << Header.IPV4, mask=_ALL - 2**32 + 1)

    def quote(self) -> None:
        """What an ICMP error quotes: the packet's fields under their names with inner."""
        word_of = self.layout.word_of
        self.flow(_PACKET, reverse=True)
        self.mapped()
        for name, word in word_of.items():
            plain = name.removeprefix("inner.")
            if not name.startswith("inner."):
                continue
            if plain in ("l4.sport", "l4.dport"):
                self.move(_PACKET, word_of[plain], word, _need(name))
            elif plain != "icmp.id" and plain in word_of:
                for i in range(FIELD_BY_NAME[plain].words):
                    self.move(_PACKET, word_of[plain] + i, word + i, _need(name))
        for source, header in (("icmp.id", Header.INNER_IPV4), ("icmpv6.id", Header.INNER_IPV6)):
            for target in ("inner.icmp.id", "flow.sport", "flow.dport"):
                if source in word_of and target in word_of:
                    need = 1 << Header.INNER_QUERY | 1 << header
                    self.move(_PACKET, word_of[source], word_of[target], need)

    def expiry(self, table: Table, expiry: Expiry, numbers: dict[str, int]) -> None:
        """The packet of a passed timer: the key's fields, what follows them, and what is set."""
        stage = Stage("expiry", table=table.name)
        key, (fields, family) = self.table_keys[table.name], self.key_fields[table.name]
        first_move, headers = len(self.rows["moves"]), 0
        followers: list[tuple[int, int, int, int, int, int, int]] = []
        for part, place in zip(key.parts, fields, strict=True):
            if part.kind == "metadata":
                word = self.metadata_word(part.name)
            elif part.kind == "field":
                word = self.layout.word_of[part.name]
                headers |= _headers_of(part.name)
                for row in set_rows(part.name):
                    need = 0 if row.header is None else 1 << row.header
                    for m in row.mirrors:
                        if m.field in self.layout.word_of:
                            target = self.layout.word_of[m.field] + m.offset
                            source = word + row.offset
                            followers.append(
                                (source, target, m.need | need, m.unless, m.right, m.left, m.mask)
                            )
            else:
                continue
            if place.bits == 128:
                self.move(_KEY, place.word, word)
                self.move(_KEY, place.word + 1, word + 1)
            else:
                self.move(_KEY, place.word, word, right=place.shift, mask=(1 << place.bits) - 1)
        if family is not None:  # the addresses' own, whatever else of the key is named ip.family
            self.move(_KEY, family[0], W_FAMILY, right=family[1], mask=0xFF)
        self.mapped()
        for follower in followers:
            self.add("moves", _ITSELF, *follower)
        moves = len(self.rows["moves"]) - first_move
        first = len(self.rows["actions"])
        self.made(expiry.sets, stage, A.A_SET)
        count = len(self.rows["actions"]) - first
        template = (numbers[expiry.stage], 1, 1, headers, 0, -1, first, count, first_move, moves)
        self.events[table.name] = (self.add("templates", *template), int(expiry.hard) | int(expiry.idle) << 1)


def _need(name: str) -> int:
    header = FIELD_BY_NAME[name].header
    return 0 if header is None else 1 << header


def _headers_of(name: str) -> int:
    """Validity bits that a packet has which has a field; ports are taken as read."""
    header = FIELD_BY_NAME[name].header
    if header is None:
        return 0
    found = closed([header.name])
    if name in ("l4.sport", "l4.dport"):
        found |= 1 << Header.L4_PORTS
    if header in (*WITH_PORTS, Header.ICMP, Header.ICMPV6):
        found |= 1 << Header.IP
    return found


assert CORE_WORDS == 16, "the core is filled by field names"

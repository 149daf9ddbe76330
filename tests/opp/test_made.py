"""Packets that a program makes: what they hold, when they run, and what a sweep lets pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oppcache.opp import InputError, Machine, Program, ProgramBuilder, load_program
from oppcache.opp.fields import FIELD_BY_NAME, IPV4_MAPPED, W_FAMILY, W_HEADERS, W_ID, W_LENGTH, W_NOW, Header
from oppcache.opp.program import MAX_GENERATED
from oppcache.opp.reference import Packet, Reference

A, B = 0x0A000001, 0xC0000201
TCP = (Header.ETH, Header.IP, Header.IPV4, Header.TCP, Header.L4_PORTS)


def packet(
    machine: Machine, now: int = 5, number: int = 0, headers: tuple[Header, ...] = TCP, **fields: int
) -> Any:
    """One header vector; dots in field names are written as double underscores."""
    row = np.zeros((1, machine.layout.words), np.uint64)
    row[0, W_HEADERS] = sum(1 << h for h in headers)
    row[0, W_NOW], row[0, W_ID], row[0, W_FAMILY], row[0, W_LENGTH] = now, number, 4, 100
    values = {
        "ip__src": A | IPV4_MAPPED,
        "ip__dst": B | IPV4_MAPPED,
        "ip__proto": 6,
        "ipv4__src": A,
        "ipv4__dst": B,
    }
    values |= {"l4__sport": 1000, "l4__dport": 80, "tcp__sport": 1000, "tcp__dport": 80, "tcp__flags": 2}
    for name, value in (values | fields).items():
        name = name.replace("__", ".")
        if name in machine.layout.word_of and (h := FIELD_BY_NAME[name].header) is not None and h in headers:
            word = machine.layout.word_of[name]
            row[0, word : word + FIELD_BY_NAME[name].words] = (
                [value] if FIELD_BY_NAME[name].words == 1 else [0, value]
            )
    return row


class Both:
    """A machine and the reference side by side: what they make must agree."""

    def __init__(self, program: Program, **more: Any) -> None:
        self.machine, self.reference = Machine(program, **more), Reference(program)

    def send(self, row: np.ndarray) -> tuple[int, list[Any]]:
        """The packet's verdict, and the packets that it made, as the reference has them."""
        result = self.reference.process(Packet.from_vector(row[0], self.machine.layout))
        verdict = int(self.machine.process(row).verdict[0])
        assert verdict == result.verdict
        return verdict, self.agree(result.made)

    def sweep(self, now: int) -> list[Any]:
        made = self.reference.sweep(now)
        self.machine.sweep(now)
        return self.agree(made)

    def agree(self, made: list[Any]) -> list[Any]:
        layout = self.machine.layout
        got = [
            (Packet.from_vector(row, layout).fields, headers_of(row), int(row[W_ID]), nth, verdict)
            for batch in self.machine.made()
            for row, nth, verdict in zip(
                batch.vectors, batch.nth.tolist(), batch.verdict.tolist(), strict=True
            )
        ]
        wanted = [
            (
                {k: v for k, v in m.packet.fields.items() if k in layout.word_of},
                m.packet.headers,
                m.packet.number,
                m.nth,
                m.result.verdict,
            )
            for m in made
        ]
        assert got == wanted
        assert self.machine.contexts() == self.reference.canonical_contexts()
        return made


def headers_of(row: Any) -> set[str]:
    return {h.name for h in Header if int(row[W_HEADERS]) >> h & 1}


def generating(template: dict[str, Any], **stage: Any) -> Program:
    """Generates one packet from each of port 80 and drops it; made packets leave by port 9."""
    builder = ProgramBuilder("p", metadata=["m"])
    first = builder.stage("in", **stage)
    first.entry(
        match={"metadata.m": 0},
        actions=[{"set": {"ipv4.id": 7}}, {"generate": {"stage": "out", **template}}, "drop"],
    )
    builder.stage("out").default(actions=[{"output": 9}])
    return builder.build()


RST = {
    "headers": ["eth", "ipv4", "tcp"],
    "set": {
        "ip.src": "ip.dst",
        "ip.dst": "ip.src",
        "l4.sport": "l4.dport",
        "l4.dport": "l4.sport",
        "tcp.flags": 20,
    },
}


def test_a_reset_is_a_packet_of_its_own() -> None:
    both = Both(
        generating({**RST, "set": {**RST["set"], "tcp.ack": "tcp.seq"}}),
        fields=["flow.src", "ipv4.src", "vlan.id"],
    )  # type: ignore[dict-item]
    row = packet(both.machine, headers=(*TCP, Header.VLAN), tcp__seq=77, vlan__id=5)
    verdict, (made,) = both.send(row)
    assert (verdict, made.result.verdict, made.result.port) == (2, 1, 9)
    fields = made.packet.fields
    assert (fields["ip.src"], fields["ip.dst"], fields["ipv4.src"], fields["flow.src"]) == (
        (4, B),
        (4, A),
        B,
        (4, B),
    )
    assert (fields["l4.sport"], fields["l4.dport"], fields["tcp.flags"], fields["tcp.ack"]) == (
        80,
        1000,
        20,
        77,
    )
    assert fields["ipv4.id"] == 7  # as the action before has left it
    assert "vlan.id" not in fields
    assert made.packet.headers == {h.name for h in TCP}
    assert (made.packet.now, made.packet.number, made.parent, made.nth) == (5, 2**40, 0, 0)


def test_an_error_quotes_the_packet() -> None:
    template = {
        "headers": ["eth", "ipv4", "icmp"],
        "quote": True,
        "set": {"icmp.type": 3, "icmp.code": 3, "ip.src": "ip.dst", "ip.dst": "ip.src"},
    }
    names = [
        "inner.ipv4.src",
        "inner.ipv4.ttl",
        "inner.l4.dport",
        "flow.src",
        "flow.sport",
        "flow.dport",
        "flow.proto",
    ]
    both = Both(generating(template), fields=names)
    row = packet(both.machine, ipv4__ttl=61, ipv4__proto=6)
    _, (made,) = both.send(row)
    fields = made.packet.fields
    assert [fields[n] for n in names] == [A, 61, 80, (4, B), 80, 1000, 6]
    assert (fields["ip.proto"], fields["l4.sport"], fields["icmp.type"]) == (1, 0, 3)
    assert {"INNER_IP", "INNER_IPV4", "INNER_L4", "INNER_PORTS", "ICMP"} <= made.packet.headers


def test_what_a_packet_quotes_itself_is_not_quoted() -> None:
    error = (Header.ETH, Header.IP, Header.IPV4, Header.ICMP)
    inner = (Header.INNER_IP, Header.INNER_IPV4, Header.INNER_L4, Header.INNER_PORTS)
    both = Both(generating({"quote": True}))
    _, (made,) = both.send(packet(both.machine, headers=error + inner, ip__proto=1))
    assert "INNER_IPV4" in made.packet.headers
    assert "INNER_PORTS" not in made.packet.headers


def test_nothing_is_quoted_of_what_is_not_ip() -> None:
    both = Both(generating({"headers": ["eth", "ipv4", "icmp"], "quote": True}))
    assert both.send(packet(both.machine, headers=(Header.ETH,))) == (2, [])


def test_an_arp_reply_from_nothing() -> None:
    template = {
        "from": "nothing",
        "headers": ["eth", "arp"],
        "set": {"arp.op": 2, "arp.spa": "ipv4.dst", "packet_length": 60},
    }
    both = Both(generating(template))
    _, (made,) = both.send(packet(both.machine))
    fields = made.packet.fields
    assert (fields["arp.op"], fields["arp.spa"], fields["packet_length"], fields["in_port"]) == (2, B, 60, 0)
    assert "ip.src" not in fields


def chain(times: int) -> Program:
    """Every packet, made ones too, makes ``times`` copies of itself with a metadata word one higher."""
    builder = ProgramBuilder("p", metadata=["m"])
    stage = builder.stage("in", temporaries=[{"name": "next", "op": "add", "args": ["metadata.m", 1]}])
    copies = [{"generate": {"stage": "in", "set": {"metadata.m": "T.next"}}}] * times
    stage.entry(name="all", actions=[*copies, {"output": "metadata.m"}])
    return builder.build()


def test_made_packets_run_first_made_first_and_are_bounded() -> None:
    both = Both(chain(2))
    _, made = both.send(packet(both.machine, number=3))
    assert len(made) == MAX_GENERATED
    assert [m.result.port for m in made] == [1, 1, 2, 2, 2, 2, *[3] * 8, 4, 4]
    assert [m.packet.number for m in made] == [3 + (i + 1) * 2**40 for i in range(16)]
    assert [m.parent for m in made][:4] == [3, 3, 3 + 2**40, 3 + 2**40]


def test_a_batch_makes_more_than_the_queue_holds() -> None:
    both = Both(chain(1))
    rows = np.concatenate([packet(both.machine, number=i) for i in range(50)])
    both.machine.process(rows)
    batches = both.machine.made()
    assert sum(len(b.vectors) for b in batches) == 50 * MAX_GENERATED
    assert len(batches) > 1
    assert both.machine.made() == []


def remembering(timers: list[str], timer: dict[str, Any]) -> Program:
    """Keeps the last source port of each pair of addresses; what expires is counted in ``gone``."""
    builder = ProgramBuilder("p", metadata=["port"])
    expiry = {"stage": "gone", "timers": timers, "set": {"metadata.port": "R.port", "l4.sport": 5}}
    builder.table("hosts", states=["new", "old"], registers=["port"], expiry=expiry)
    builder.table("ports", registers=["count"])
    stage = builder.stage("in", table="hosts", key=["ip.src", "ip.dst", "l4.dport"])
    stage.default(
        actions=["drop"],
        next_state="old",
        updates=[{"set": "R.port", "op": "mov", "args": ["l4.sport"]}],
        **timer,
    )
    gone = builder.stage("gone", table="ports", key=["metadata.port"])
    gone.default(
        actions=[{"output": "metadata.port"}],
        updates=[{"set": "R.count", "op": "add", "args": ["R.count", 1]}],
    )
    return builder.build()


@pytest.mark.parametrize("timer", ["idle", "hard"])
def test_a_passed_timer_tells_at_the_next_use(timer: str) -> None:
    both = Both(remembering([timer], {timer: "1us"}))
    both.send(packet(both.machine, now=0))
    assert both.send(packet(both.machine, now=1000))[1] == []
    now = 2001 if timer == "idle" else 2000 + 1
    _, (made,) = both.send(packet(both.machine, now=now, number=9))
    assert made.event
    assert (made.packet.fields["ip.src"], made.packet.fields["l4.dport"], made.packet.fields["l4.sport"]) == (
        (4, A),
        80,
        5,
    )
    assert (made.result.port, made.packet.now, made.packet.number) == (1000, now, 9 + 2**40)
    assert made.packet.headers == {"IP", "IPV4", "L4_PORTS"}
    assert both.reference.canonical_contexts()["ports"] == {(1000,): (0, (1,), (0, 0, -1, -1, now))}


def test_an_event_is_told_in_between_at_the_stages_time() -> None:
    """A stage's time is the last use of its context where a packet is older than that; an event keeps it so."""
    builder = ProgramBuilder("p")
    builder.table("own", registers=["count"])
    builder.table("others", registers=["count"], expiry={"stage": "gone", "timers": ["idle"], "set": {}})
    stage = builder.stage("in", table="own", key=["ip.src"])
    count = {"set": "R.count", "op": "mov", "args": ["now_us"]}
    stage.default(
        actions=["drop"],
        writes=[
            {"table": "others", "key": ["ip.dst"], "idle": "1us"},
            {"hard": "1us", "updates": [count]},
        ],
    )
    builder.stage("gone").default(actions=["drop"])
    both = Both(builder.build())
    both.send(packet(both.machine, now=0))
    both.send(packet(both.machine, now=9_000, ip__dst=(B + 1) | IPV4_MAPPED))
    _, (made,) = both.send(packet(both.machine, now=5_000))
    assert made.event
    contexts = both.machine.contexts()
    assert contexts == both.reference.canonical_contexts()
    assert contexts["own"][((4, A),)][2][1] == 10_000


def test_only_the_timers_that_are_named_tell() -> None:
    both = Both(remembering(["hard"], {"idle": "1us"}))
    both.send(packet(both.machine, now=0))
    assert both.send(packet(both.machine, now=5000))[1] == []
    assert both.sweep(10_000) == []
    assert both.machine.contexts()["hosts"] == {}


def test_a_sweep_takes_what_is_over_in_order_and_nothing_else() -> None:
    both = Both(remembering(["idle", "hard"], {"idle": {"after": "1us", "to": "new"}}))
    for i, now in enumerate((300, 100, 200, 100)):
        both.send(packet(both.machine, now=now, number=i, l4__sport=i, l4__dport=i))
    assert both.sweep(1100) == []  # at the deadline it has not passed
    assert [m.result.port for m in both.sweep(1250)] == [1, 3, 2]
    states = {key[2]: context[0] for key, context in both.machine.contexts()["hosts"].items()}
    assert states == {0: 1, 1: 0, 2: 0, 3: 0}
    last_used = {key[2]: context[2][-1] for key, context in both.machine.contexts()["hosts"].items()}
    assert last_used == {0: 300, 1: 100, 2: 200, 3: 100}
    assert both.machine.sweep(1250) == 0
    assert [m.packet.number for m in both.sweep(2000)] == [2**63 + 3 + 2**40]


def test_a_sweep_of_many_grows_what_it_needs() -> None:
    both = Both(remembering(["idle"], {"idle": "1us"}))
    rows = np.concatenate([packet(both.machine, number=i, l4__sport=i, l4__dport=i) for i in range(2000)])
    both.machine.process(rows)
    assert both.machine.sweep(10_000) == 2000
    assert len(both.machine.contexts()["ports"]) == 2000
    assert sum(len(b.vectors) for b in both.machine.made()) == 2000


def test_packets_may_be_made_by_entries_to_come() -> None:
    machine = Machine(generating({}))
    machine.modify_entry("in", "entry 0", {"name": "quiet", "priority": 1, "actions": ["drop"]})
    machine.process(packet(machine))
    assert machine.made() == []
    plain = ProgramBuilder("p")
    plain.stage("in")
    machine = Machine(plain.build())
    machine.add_entry(
        "in", {"name": "x", "priority": 1, "actions": [{"generate": {"stage": "in", "set": {}}}]}
    )
    machine.process(packet(machine))
    assert sum(len(b.vectors) for b in machine.made()) == MAX_GENERATED


def test_runs_of_both_paths_refuse_them(random_programs: Any) -> None:
    from oppcache.hybrid import Setup, simulate

    program = generating({})
    source = random_programs.MemorySource(packet(Machine(program)))
    with pytest.raises(InputError, match="makes packets"):
        simulate(Setup(program, source, 4, "lru", "always", seed=0))


GOOD = """\
program: p
metadata: [m]
tables:
  t:
    registers: [r]
    expiry: {stage: out, timers: [idle], set: {metadata.m: R.r}}
stages:
  - name: in
    table: t
    key: [ip.src]
    entries:
      - actions: [{generate: {stage: out, headers: [ipv4, icmp], quote: true, set: {icmp.type: 3}}}]
  - name: out
"""
BAD = {
    "no stage": ("{generate: {stage: out, ", "{generate: ^{", "'stage' is missing", ""),
    "unknown stage": ("{generate: {stage: out,", "{generate: ^{stage: oot,", "generate: enters an unknown stage 'oot'", "did you mean 'out'?"),
    "unknown key": ("quote: true", "^qoute: true", "generate has no key 'qoute'", "did you mean 'quote'?"),
    "unknown header": ("[ipv4, icmp]", "[ipv4, ^icpm]", "unknown header 'icpm'", "did you mean 'icmp'?"),
    "two layers 4": ("[ipv4, icmp]", "[ipv4, icmp, tcp]", "generate: a packet cannot have both tcp and icmp", ""),
    "two layers 3": ("[ipv4, icmp]", "[ipv4, ipv6, icmp]", "generate: a packet cannot have both ipv4 and ipv6", ""),
    "a quote in TCP": ("[ipv4, icmp]", "[ipv4, tcp]", "generate: only an ICMP error quotes a packet, expected icmp or icmpv6", ""),
    "from elsewhere": ("quote: true", "from: ^elsewhere", "from: got 'elsewhere', expected packet or nothing", ""),
    "from nothing": ("headers: [ipv4, icmp], quote: true", "from: nothing", "generate: from nothing needs headers", ""),
    "what cannot be set": ("set: {icmp.type: 3}", "set: {^icmp.csum: 3}", "set: icmp.csum cannot be set", ""),
    "what is too wide": ("set: {icmp.type: 3}", "set: {^icmp.type: 256}", "constant 256 is too wide for icmp.type, 8 bits", ""),
    "what is not there": ("set: {icmp.type: 3}", "set: {^icmp.type: R.q}", "R.q: table 't' has no register 'q'", ""),
    "expiry into no stage": ("expiry: {stage: out,", "expiry: ^{stage: oot,", "expiry: enters an unknown stage 'oot'", "did you mean 'out'?"),
    "expiry of no timer": ("timers: [idle]", "timers: [^soft]", "timers: got 'soft', expected idle or hard", ""),
    "expiry without its register": ("metadata.m: R.r", "^metadata.m: R.q", "R.q: table 't' has no register 'q'", ""),
    "expiry with a packet's values": ("metadata.m: R.r", "^metadata.m: random", "expiry: random is not there when a timer passes", ""),
    "expiry of a mixed key": ("key: [ip.src]", "key: [ipv4.src, ipv6.src]", "expiry: a packet cannot have both ipv4 and ipv6", ""),
}  # fmt: skip


def test_the_program_that_is_broken_below_is_fine(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(GOOD)
    assert load_program(tmp_path / "p.yaml").stages[0].entries[0].actions[0].template is not None


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused(name: str, tmp_path: Path) -> None:
    old, new, message, hint = BAD[name]
    assert old in GOOD
    text = GOOD.replace(old, new)
    pointed = "^" in text
    at = text.find("^")
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    (tmp_path / "p.yaml").write_text(text.replace("^", ""))
    with pytest.raises(InputError) as caught:
        load_program(tmp_path / "p.yaml")
    found = [p for p in caught.value.problems if p.message.startswith(message)]
    assert found, str(caught.value)
    assert found[0].hint.startswith(hint)
    assert found[0].mark.line > 0
    if pointed:
        assert (found[0].mark.line, found[0].mark.column) == (line, column), str(caught.value)

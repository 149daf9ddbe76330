"""Random rulesets and packets as the text of a case, for Hypothesis: a few hosts and ports, so that packets meet."""

from __future__ import annotations

import itertools

from hypothesis import strategies as st

INSIDE = ("10.0.1.2", "10.0.1.3", "10.0.1.130")
MIDDLE = ("10.0.2.80", "10.0.2.81")
OUTSIDE = ("198.51.100.10", "192.0.2.66", "203.0.113.254")
OWN = ("10.0.1.1", "10.0.2.1", "203.0.113.1")
PORTS = (1, 53, 80, 443, 1025, 5000)
IFACES = {"lan0": INSIDE, "dmz0": MIDDLE, "wan0": OUTSIDE}
CHAINS = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}
SYSCTLS = (
    "",
    "",
    "",
    "sysctl: net.netfilter.nf_conntrack_tcp_loose=0\n",
    "sysctl: net.netfilter.nf_conntrack_tcp_be_liberal=1\n",
    "mtu: wan0=96\n",
    "sysctl: net.ipv4.conf.all.rp_filter=1\n",
)
FLAGS = ("S", "SA", "A", "PA", "FA", "R", "RA", "F", "-", "SF", "FPU")

ports = st.sampled_from(PORTS)
hosts = st.sampled_from(INSIDE + MIDDLE + OUTSIDE + OWN)
nets = st.sampled_from(
    ["10.0.1.0/24", "10.0.1.128/25", "10.0.0.0/16", "198.51.100.0/24", "10.0.2.80/31", "0.0.0.0/0"]
)
signs = st.sampled_from(["", "", "! "])
states = st.lists(
    st.sampled_from(["NEW", "ESTABLISHED", "RELATED", "INVALID"]), min_size=1, max_size=2, unique=True
).map(",".join)


@st.composite
def port_words(draw: st.DrawFn) -> str:
    low, high = sorted((draw(ports), draw(ports)))
    return draw(st.sampled_from([str(low), f"{low}:{high}", f"{low}:", f":{high}"]))


@st.composite
def transport(draw: st.DrawFn) -> str:
    """A protocol and a match of it."""
    protocol = draw(st.sampled_from(["tcp", "tcp", "udp", "icmp", "47", "! tcp", "all"]))
    if protocol == "icmp":
        kind = draw(st.sampled_from(["8", "0", "3", "3/3", "any", "11/0"]))
        return f"-p icmp -m icmp {draw(signs)}--icmp-type {kind}"
    if protocol not in ("tcp", "udp"):
        return f"! -p {protocol[2:]}" if protocol.startswith("!") else f"-p {protocol}"
    kinds = ["", "port", "ports"] + ["flags", "syn"] * (protocol == "tcp")
    kind = draw(st.sampled_from(kinds))
    if kind == "port":
        side = draw(st.sampled_from(["--dport", "--sport"]))
        return f"-p {protocol} -m {protocol} {draw(signs)}{side} {draw(port_words())}"
    if kind == "ports":
        some = draw(st.lists(ports, min_size=1, max_size=3, unique=True))
        side = draw(st.sampled_from(["--dports", "--sports", "--ports"]))
        return f"-p {protocol} -m multiport {draw(signs)}{side} {','.join(map(str, some))}"
    if kind == "flags":
        wanted = draw(st.sampled_from(["SYN", "SYN,ACK", "ACK", "NONE", "RST"]))
        return f"-p tcp -m tcp {draw(signs)}--tcp-flags FIN,SYN,RST,ACK {wanted}"
    return f"-p tcp -m tcp {draw(signs)}--syn" if kind == "syn" else f"-p {protocol}"


@st.composite
def stateful(draw: st.DrawFn) -> str:
    """A match that remembers, by numbers small enough to be reached and times too long to."""
    some = draw(st.integers(1, 3))
    recent = draw(st.sampled_from(["--set", "--rcheck", "--update --hitcount 2", "! --rcheck", "--remove"]))
    side = draw(st.sampled_from(["--rsource", "--rdest"]))
    mode = draw(st.sampled_from(["srcip", "dstip", "srcip,dstport", "srcip,dstip"]))
    name = f"h{draw(st.integers(0, 10**6))}"
    return draw(
        st.sampled_from(
            [
                f"-m limit --limit 1/day --limit-burst {some}",
                f"-m hashlimit --hashlimit-upto 1/day --hashlimit-burst {some} --hashlimit-mode {mode} --hashlimit-name {name}",
                f"-m hashlimit --hashlimit-above 1/day --hashlimit-burst {some} --hashlimit-mode {mode} --hashlimit-name {name}",
                f"-m recent {recent} --name r {side}",
                f"-m statistic --mode nth --every {some + 1} --packet {some - 1}",
                f"-m connbytes --connbytes {some} --connbytes-dir both --connbytes-mode packets",
            ]
        )
    )


@st.composite
def matches(draw: st.DrawFn, chain: str) -> str:
    """What a rule of a chain asks for."""
    words = []
    if draw(st.booleans()):
        words.append(f"{draw(signs)}-s {draw(st.one_of(hosts, nets))}")
    if draw(st.integers(0, 3)) == 0:
        words.append(f"{draw(signs)}-d {draw(st.one_of(hosts, nets))}")
    if draw(st.integers(0, 2)) == 0:
        options = ["-i"] * (chain in ("PREROUTING", "INPUT", "FORWARD", "none")) + ["-o"] * (
            chain in ("FORWARD", "OUTPUT", "POSTROUTING", "none")
        )
        name = draw(st.sampled_from([*IFACES, "lan+", "w+"]))
        words.append(f"{draw(signs)}{draw(st.sampled_from(options))} {name}")
    if draw(st.booleans()):
        words.append(draw(transport()))
    extra = draw(
        st.sampled_from(
            ["", "", "state", "mark", "ttl", "length", "dscp", "range", "type", "status", "connmark"]
        )
    )
    if extra == "state":
        words.append(f"-m conntrack {draw(signs)}--ctstate {draw(states)}")
    elif extra == "mark":
        words.append(
            f"-m mark {draw(signs)}--mark {draw(st.integers(0, 3))}/{draw(st.sampled_from([1, 3, 255]))}"
        )
    elif extra == "ttl":
        words.append(
            f"-m ttl {draw(st.sampled_from(['--ttl-eq 64', '--ttl-gt 63', '--ttl-lt 64', '! --ttl-eq 63']))}"
        )
    elif extra == "length":
        words.append(
            f"-m length {draw(signs)}--length {draw(st.sampled_from(['0:40', '40', '41:100', '29:']))}"
        )
    elif extra == "dscp":
        words.append(f"-m dscp {draw(signs)}--dscp {draw(st.sampled_from([0, 8, 46]))}")
    elif extra == "range":
        words.append(f"-m iprange {draw(signs)}--src-range 10.0.1.3-10.0.2.80")
    elif extra == "type":
        side = "src" if chain in ("OUTPUT", "POSTROUTING") else draw(st.sampled_from(["src", "dst"]))
        words.append(f"-m addrtype {draw(signs)}--{side}-type {draw(st.sampled_from(['LOCAL', 'UNICAST']))}")
    elif extra == "status":
        words.append(
            f"-m conntrack {draw(signs)}--ctstatus {draw(st.sampled_from(['SEEN_REPLY', 'ASSURED', 'CONFIRMED']))}"
        )
    elif extra == "stateful":
        words.append(draw(stateful()))
    elif extra == "connmark":
        words.append(f"-m connmark {draw(signs)}--mark {draw(st.integers(0, 3))}/3")
    return " ".join(words)


@st.composite
def target(draw: st.DrawFn, table: str, chain: str, match: str, users: list[str]) -> str:
    """What a rule does."""
    marks = [
        f"MARK --set-xmark {draw(st.integers(0, 7))}/7",
        f"CONNMARK --set-xmark {draw(st.integers(0, 3))}/3",
        "CONNMARK --save-mark",
        "CONNMARK --restore-mark",
        f"DSCP --set-dscp {draw(st.sampled_from([0, 8, 46]))}",
        f"TOS --set-tos {draw(st.sampled_from(['0x10', '0x04/0xff', '0xb8/0xfc']))}",
        f"TTL {draw(st.sampled_from(['--ttl-set 10', '--ttl-dec 1', '--ttl-inc 5']))}",
    ]
    general = ["ACCEPT", "DROP", "RETURN", *users, *users]
    if table == "filter":
        rejects = ["REJECT", "REJECT --reject-with icmp-admin-prohibited"]
        if match.startswith("-p tcp") or (" -p tcp" in match and "! -p tcp" not in match):
            rejects.append("REJECT --reject-with tcp-reset")
        return draw(st.sampled_from([*general, "ACCEPT", *rejects]))
    if table == "mangle":
        if "--syn" in match and "! --syn" not in match:
            marks += ["TCPMSS --set-mss 600"] * 4
        return draw(st.sampled_from([*general, *marks, *marks]))
    if table == "raw":
        return draw(st.sampled_from([*general, "CT --notrack"]))
    port = ":8080" if "-p tcp" in match.replace("! -p tcp", "") or "-p udp" in match else ""
    if chain in ("PREROUTING", "OUTPUT"):
        own = [
            "DNAT --to-destination 10.0.2.80" + port,
            "DNAT --to-destination 10.0.1.3",
            "NETMAP --to 10.0.2.0/24",
        ]
        if port:
            own += ["REDIRECT", "REDIRECT --to-ports 3128"]
    else:
        own = ["SNAT --to-source 203.0.113.1", "SNAT --to-source 10.0.2.1"]
        if chain == "POSTROUTING":
            own.append("MASQUERADE")
    return draw(st.sampled_from(["ACCEPT", "RETURN", *own, *own, *own]))


@st.composite
def tables(draw: st.DrawFn) -> str:
    """The rules of a case."""
    lines = []
    names = [t for t in CHAINS if draw(st.integers(0, 3)) < {"raw": 1, "mangle": 2, "nat": 2, "filter": 3}[t]]
    for table in names or ["filter"]:
        policies = []
        if table == "filter":
            policies = [f"{c}=DROP" for c in CHAINS[table] if draw(st.integers(0, 3)) == 0]
        lines.append(" ".join([f"*{table}", *policies]))
        users = [] if table in ("nat", "raw") else ["A", "B"][: draw(st.integers(0, 2))]
        lines += [f"-N {u}" for u in users]
        for _ in range(draw(st.integers(1, 6))):
            chain = draw(st.sampled_from(CHAINS[table]))
            match = draw(matches(chain))
            lines.append(
                f"-A {chain} {match} -j {draw(target(table, chain, match, users))}".replace("  ", " ")
            )
        for k, user in enumerate(users):
            for _ in range(draw(st.integers(0, 3))):
                match = draw(matches("none"))
                lines.append(
                    f"-A {user} {match} -j {draw(target(table, 'none', match, users[k + 1 :]))}".replace(
                        "  ", " "
                    )
                )
    return "\n".join(lines) + "\n"


@st.composite
def packet(draw: st.DrawFn, answers: list[int]) -> str:
    """One line."""
    kind = draw(st.sampled_from(["new", "new", "answer", "answer", "again", "error", "local"]))
    if kind in ("answer", "error") and answers:
        to = draw(st.sampled_from(answers))
        if kind == "answer":
            return f"answer {to} {draw(st.sampled_from(['SA', 'A', 'PA data=5', 'FA', 'R']))}"
        return f"error {to} {draw(st.sampled_from(['3/3', '11/0', '3/1']))}"
    iface = draw(st.sampled_from([*IFACES]))
    if kind == "again" and answers:
        return f"{iface} again {draw(st.sampled_from(answers))}"
    source = draw(st.sampled_from(IFACES[iface]))
    if kind == "local":
        iface, source = "@local", draw(st.sampled_from(OWN))
    to = draw(hosts)
    protocol = draw(st.sampled_from(["tcp", "tcp", "udp", "udp", "icmp", "gre"]))
    extra = draw(st.sampled_from(["", "", "", " ttl=1", " tos=0xb8", " data=60", " sum=l4"]))
    if protocol == "icmp":
        return f"{iface} icmp {source}>{to} 8/0 icmp={draw(st.integers(1, 2))}{extra}"
    if protocol == "gre":
        return f"{iface} gre {source}>{to} data=12"
    if protocol == "tcp":
        extra += draw(
            st.sampled_from(["", "", " win=100", " seq=1001", " seq=1500", " seq=70000", " ack=500001"])
        )
    flags = " " + draw(st.sampled_from(FLAGS)) if protocol == "tcp" else ""
    return f"{iface} {protocol} {source}:{draw(ports)}>{to}:{draw(ports)}{flags}{extra}"


@st.composite
def datagram(draw: st.DrawFn, ident: int) -> list[str]:
    """The pieces of a datagram, as they should come or not: shuffled, missing, repeated, overlapping."""
    size = draw(st.integers(16, 120))
    kind = draw(st.sampled_from(["udp 10.0.1.2:1025>198.51.100.10:53", "udp 10.0.1.3:53>10.0.1.1:53"]))
    total = 8 + size
    cuts = sorted(draw(st.lists(st.integers(1, total // 8), min_size=1, max_size=3, unique=True)))
    edges = [0, *(8 * c for c in cuts if 8 * c < total), total]
    pieces = [[low, high] for low, high in itertools.pairwise(edges)]
    spoil = draw(st.sampled_from(["", "", "shuffle", "shuffle", "lose", "repeat", "overlap", "within"]))
    if spoil == "lose":
        pieces.pop(draw(st.integers(0, len(pieces) - 1)))
    elif spoil == "repeat":
        pieces.append(list(draw(st.sampled_from(pieces))))
    elif spoil == "overlap" and pieces[-1][0] >= 8:
        pieces[-1][0] -= 8
    elif spoil == "within":
        low, high = draw(st.sampled_from(pieces))
        pieces.append([low, max(low + 8, high - 8)])
    if spoil not in ("", "repeat"):
        pieces = draw(st.permutations(pieces))
    df = " df" if draw(st.integers(0, 4)) == 0 else ""
    tos = draw(st.sampled_from(["", "", " tos=1", " tos=3"]))
    return [
        f"lan0 {kind} data={size} id={ident} frag={low}{'+' * (high < total)} whole={high - low}{df}{tos * (k == 0)}"
        for k, (low, high) in enumerate(pieces)
    ]


@st.composite
def cases(draw: st.DrawFn) -> str:
    """A whole case."""
    count = draw(st.integers(3, 14))
    lines: list[str] = []
    protocols: list[str] = []
    for _ in range(count):
        line = draw(packet(list(range(len(lines)))))
        words = line.split()
        protocol = words[1]
        if words[0] == "answer":
            # Flags are TCP's.
            protocol = protocols[int(words[1])]
            line = line if protocol == "tcp" else " ".join(words[:2])
        elif words[0] == "error":
            protocol = "error"
            line = line if protocols[int(words[1])] != "error" else "lan0 udp 10.0.1.2:1>198.51.100.10:53"
        elif protocol == "again":
            protocol = protocols[int(words[2])]
        lines.append(line)
        protocols.append(protocol)
    for k in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        lines += draw(datagram(100 + k))
    rules = draw(tables())
    sysctl = draw(st.sampled_from(SYSCTLS))
    return (
        f"about: random\ntopology: lan-dmz-wan\n{sysctl}--- rules\n{rules}--- packets\n"
        + "\n".join(lines)
        + "\n"
    )

"""What a translated program and the shell around it expect of each other.

A packet passes the program **once**, from the hook at which it enters to the wire, the local stack or its end: all
tables, connection tracking, address translation and the routing decision are stages of the one program. The shell
gives it packets as header vectors and does what has no place in an OPP program: it reassembles fragments before
(where :attr:`~.translate.Translation.reassemble` says that connection tracking would), drops what ``ip_rcv`` drops
(frames to other hosts, wrong IP headers), and after it patches the frame
(:func:`oppcache.traffic.rewrite.rewrite`), resolves the next hop, fragments, delivers, answers.

**Entering.** The shell sets ``in_port`` to the input interface's number in the topology (0: none, a packet of the
local stack) and these metadata words; all others are 0:

=========  ==========================================================================================
entry      :class:`ENTRY`: from an interface (starts at PREROUTING), from the local stack (OUTPUT), an
           answer to a packet of this program (OUTPUT, and RELATED to that packet's connection), or
           back from the loopback interface (PREROUTING, its connection already known)
pkttype    :class:`PKTTYPE`, from the frame's destination address
mark       the packet mark: 0, or what the local stack sets
=========  ==========================================================================================

For entries ANSWER and LOOPED the shell copies *all* metadata words of the packet that it comes from (as the program
left them), then sets entry, pkttype and, for an answer, ``mark`` to 0. An answer to a packet whose ``conn`` word is
0 enters as LOCAL.

**Leaving.** The verdict is one of

* *forward* with port :data:`LOCAL_PORT`: it passed INPUT; the local stack gets it;
* *forward* with any other port: it leaves on the interface of that number, towards ``nexthop`` (an IPv4 address, 0:
  its destination is on the link); a packet that leaves on ``lo`` comes back as LOOPED;
* *drop*: ``reject`` is 0 (silently), or a code of :data:`REJECTS`: the shell answers with that packet unless the
  kernel would be silent (a RST, an ICMP error, …; the shell decides), and the answer enters as ANSWER. ``mtu`` is
  the MTU that ``icmp-frag-needed`` reports. The vector is as the packet was at that rule: what the answer quotes.

``mss``, if not 0, is the maximum segment size that the SYN must say (TCPMSS): the option is lowered, or added where
it is missing. ``mark`` is the packet's mark as it left.

``conn`` is the number of the packet's connection (0: none), ``ctstate`` a :class:`CTSTATE`.
"""

from __future__ import annotations

from enum import IntEnum

LOCAL_PORT = 0xFFFF


class ENTRY(IntEnum):
    """Where a packet enters the program."""

    WIRE = 0
    LOCAL = 1
    ANSWER = 2
    LOOPED = 3


class PKTTYPE(IntEnum):
    """Linux's packet types."""

    HOST = 0
    BROADCAST = 1
    MULTICAST = 2
    OTHERHOST = 3
    OUTGOING = 4
    LOOPBACK = 5


class CTSTATE(IntEnum):
    """What connection tracking makes of a packet; 0 before it did."""

    NONE = 0
    NEW = 1
    ESTABLISHED = 2
    RELATED = 3
    INVALID = 4
    UNTRACKED = 5


# Kinds of answers by code (the index), as iptables names them; the last three are the router's own.
REJECTS: tuple[str, ...] = (
    "",
    "icmp-net-unreachable",
    "icmp-host-unreachable",
    "icmp-port-unreachable",
    "icmp-proto-unreachable",
    "icmp-net-prohibited",
    "icmp-host-prohibited",
    "icmp-admin-prohibited",
    "tcp-reset",
    "icmp-time-exceeded",
    "icmp-frag-needed",
    "icmp-no-route",  # reported as icmp-net-unreachable; a route said so, or there is none
)


def reject_name(code: int) -> str:
    """The kind of an answer by its code."""
    return REJECTS[code]


# The first metadata words of every translated program; a translation adds words of its own behind them.
METADATA: tuple[str, ...] = (
    "entry",
    "pkttype",
    "mark",
    "ctstate",
    "conn",
    "oif",
    "nexthop",
    "reject",
    "mtu",
    "mss",
)

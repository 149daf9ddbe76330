"""The vocabulary of protocol tables: messages, events, guards, micro-actions, variables, and their codes.

A protocol says *which* of these happens in which cell; what each one does is said here once and implemented once,
in :mod:`.interpreter` (what concerns a side's own variables) and in whoever carries out its commands. Names are
what protocol files use; codes are what the lowered table and the kernels use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

NIC, CPU = 0, 1
ROLES = ("nic", "cpu")

# Words of an entry: what a side remembers of one key. The caller keeps one int64 vector for each.
E_STATE = 0  # state number in the table
E_G = 1  # generation of the slot's tenancy, 0: none known
E_R = 2  # request (WATCH) of the tenancy, 0: none
E_N = 3  # NIC: packets punted in this tenancy (p); CPU: the count it saw last (n)
E_Q = 4  # NIC: last count that the CPU has declared drained to egress; UNDEFINED until then
E_VERSION = 5  # version of the context that this side holds; whoever runs packets keeps it up to date
E_HELD = 6  # packets in this side's buffer for the key
E_TRIES = 7  # tries since the last `clear-tries`
ENTRY_WORDS = 8
UNDEFINED = -1

# Words of a side's own record, one int64 vector a side.
N_INCARNATION = 0  # raised by one at every restart, from 1; survives a restart
N_COUNTER = 1  # last number given by `new-generation` or `new-request` in this incarnation
N_PEER = 2  # newest incarnation of the other side that `note-peer` has seen, 0: none
NODE_WORDS = 3

# A generation or a request is (incarnation, counter) in one word, so that a newer one is a larger one.
INCARNATION_SHIFT = 32
COUNTER_MASK = (1 << INCARNATION_SHIFT) - 1

# Words of a message, a punted packet's tag included.
M_KIND = 0  # event code: what the receiver's table is asked
M_KEY = 1  # the caller's own number of the key
M_G = 2
M_R = 3
M_N = 4
M_INCARNATION = 5
M_VERSION = 6
M_PACKET = 7  # the caller's own number of the packet, or of the copy of a context that travels with it
MESSAGE_WORDS = 8

# Words of a command: what the caller is asked to do, in order.
K_CODE = 0
K_KIND = 1  # message or tag
K_G = 2
K_R = 3
K_N = 4
K_INCARNATION = 5
K_VERSION = 6
K_COUNT = 7  # packets concerned
COMMAND_WORDS = 8
COMMANDS_MAX = 16  # of one transition; a cell may have as many actions

STATES_MAX = 15

# What `transition` returns instead of a number of commands.
IMPOSSIBLE = -1


class Name(NamedTuple):
    """A word of the vocabulary: its name in files, its code, and what it means."""

    name: str
    code: int
    doc: str


@dataclass(frozen=True)
class Message:
    """A message or in-band marker.

    Attributes:
        name: in files, after ``send`` and ``put``; also the receiver's event.
        code: its event code.
        to: the role that receives it.
        fields: what it carries, of g, r, n (a count), incarnation, version.
        echo: those of them that are taken from the message being answered instead of from the sender's entry.
        context: whether a copy of the context travels with it.
        doc: meaning.
    """

    name: str
    code: int
    to: tuple[int, ...]
    fields: tuple[str, ...]
    echo: tuple[str, ...]
    context: bool
    doc: str


def _messages(*rows: tuple[str, str, str, str, bool, str]) -> tuple[Message, ...]:
    to = {"nic": (NIC,), "cpu": (CPU,), "both": (NIC, CPU)}
    return tuple(
        Message(name, code, to[role], tuple(fields.split()), tuple(echo.split()), context, doc)
        for code, (name, role, fields, echo, context, doc) in enumerate(rows)
    )


MESSAGES = _messages(
    ("watch", "nic", "r incarnation", "", False, "WATCH(r): count this key's punts, a promotion is wanted"),
    (
        "install",
        "nic",
        "g n incarnation version",
        "",
        True,
        "INSTALL(g,n,context): take the context if nothing has happened since n",
    ),
    (
        "evict",
        "nic",
        "g incarnation",
        "",
        False,
        "EVICT(g): give the context back, or say that there is none",
    ),
    ("ctxack", "nic", "g incarnation", "g", False, "CTXACK(g, CPU incarnation): the context has arrived"),
    ("hello", "nic", "incarnation", "", False, "HELLO(CPU incarnation): the CPU has restarted; who owns?"),
    (
        "efence",
        "nic",
        "g n incarnation",
        "",
        False,
        "EFENCE(g,n): marker behind the outputs of all packets up to count n",
    ),
    (
        "wback",
        "nic",
        "g incarnation version",
        "g version",
        False,
        "WBACK(g,version): the written-back context has arrived",
    ),
    (
        "fence",
        "cpu",
        "g r n incarnation",
        "",
        False,
        "FENCE(g,r,p): marker behind the packets punted up to count p",
    ),
    ("installed", "cpu", "g incarnation", "", False, "INSTALLED(g): the NIC owns the context"),
    ("ctx", "cpu", "g incarnation version", "", True, "CTX(g,context,version): the context comes back"),
    ("wb", "cpu", "g incarnation version", "", True, "WB(g,context,version): a copy, to recover from"),
    (
        "gone",
        "cpu",
        "g r incarnation",
        "g r",
        False,
        "GONE(g or r, NIC incarnation): no such tenancy, or no slot for it",
    ),
    (
        "state",
        "cpu",
        "g incarnation",
        "incarnation",
        False,
        "STATE(that CPU incarnation, g or none): answer to HELLO",
    ),
    ("fetch", "cpu", "g incarnation", "", False, "FETCH(g): the NIC asks for the context"),
    (
        "bfence",
        "both",
        "g r n incarnation",
        "g r n incarnation",
        False,
        "BFENCE: marker behind a bounced packet, reflected by the NIC",
    ),
)
# Field sources of a message that is not echoed: g, r, n, version from the sender's entry, incarnation its own.

_FIRST_PACKET = len(MESSAGES)
PACKET_EVENTS = tuple(
    Name(name, _FIRST_PACKET + i, doc)
    for i, (name, doc) in enumerate(
        (
            ("packet", "a packet reaches this stage on the NIC"),
            ("bounced", "a packet that the CPU sent back reaches this stage on the NIC"),
            (
                "unrunnable",
                "a packet meets an entry that the NIC cannot run (rule not cached, operation missing)",
            ),
            (
                "punt-absent",
                "the CPU takes a packet tagged ⟨A, NIC incarnation⟩: no tenancy when it was punted",
            ),
            ("punt-watched", "the CPU takes a packet tagged ⟨W,g,p⟩: the p-th punted in tenancy g"),
            (
                "punt-departed",
                "the CPU takes a packet tagged ⟨D,g⟩: punted behind the context that was sent back",
            ),
            ("untagged", "the CPU takes a packet that never reached this stage on the NIC"),
        )
    )
)
_FIRST_OWN = _FIRST_PACKET + len(PACKET_EVENTS)
OWN_EVENTS = tuple(
    Name(name, _FIRST_OWN + i, doc)
    for i, (name, doc) in enumerate(
        (
            ("want-promote", "the cache policy wants the context on the NIC"),
            ("want-demote", "the CPU's policy wants the context back"),
            ("want-evict", "the NIC's policy wants the slot of a context it owns"),
            ("reclaim", "the NIC wants back a slot that holds no context"),
            ("timeout", "the state's timer has run out"),
            ("suspect", "the CPU has reason to think that the NIC restarted (its control session was reset)"),
        )
    )
)

# What the tag of a punted packet carries.
TAG_FIELDS = {
    "punt-absent": ("incarnation",),
    "punt-watched": ("g", "n", "incarnation"),
    "punt-departed": ("g", "incarnation"),
}

EVENT: dict[str, int] = {
    **{m.name: m.code for m in MESSAGES},
    **{e.name: e.code for e in (*PACKET_EVENTS, *OWN_EVENTS)},
}
EVENT_NAMES = tuple(EVENT)
EVENTS = len(EVENT)

(EV_WATCH, EV_INSTALL, EV_EVICT, EV_CTXACK, EV_HELLO, EV_EFENCE, EV_WBACK) = range(7)
(EV_FENCE, EV_INSTALLED, EV_CTX, EV_WB, EV_GONE, EV_STATE, EV_FETCH, EV_BFENCE) = range(7, 15)
EV_PACKET, EV_BOUNCED, EV_UNRUNNABLE = 15, 16, 17
EV_PUNT_ABSENT, EV_PUNT_WATCHED, EV_PUNT_DEPARTED, EV_UNTAGGED = 18, 19, 20, 21
EV_WANT_PROMOTE, EV_WANT_DEMOTE, EV_WANT_EVICT, EV_RECLAIM, EV_TIMEOUT, EV_SUSPECT = range(22, 28)

# Events that are not messages, by role.
LOCAL_EVENTS = (
    ("packet", "bounced", "unrunnable", "want-evict", "reclaim", "timeout"),
    (
        "punt-absent",
        "punt-watched",
        "punt-departed",
        "untagged",
        "want-promote",
        "want-demote",
        "timeout",
        "suspect",
    ),
)

GUARDS = tuple(
    Name(name, bit, doc)
    for bit, (name, doc) in enumerate(
        (
            ("g-current", "the message's g is the entry's"),
            ("g-newer", "the message's g is newer than the entry's"),
            ("r-current", "the message's r is the entry's"),
            ("r-newer", "the message's r is newer than the entry's"),
            ("n-current", "the message's count is the entry's (NIC: p, CPU: n)"),
            ("n-newer", "the message's count is above the entry's"),
            ("drained", "the message's count is the entry's q: all outputs up to it have left"),
            ("version-newer", "the message's version is above that of the context held here"),
            ("version-current", "the message's version is that of the context held here"),
            ("not-stale", "the message's incarnation is not older than the newest seen of the other side"),
            ("own-incarnation", "the message names this side's present incarnation"),
            ("reset", "the entry has a g, and the message comes from a newer NIC incarnation"),
            ("same-incarnation", "the message comes from the NIC incarnation of the entry's g"),
            ("g-given", "the message names a tenancy"),
            ("holding-any", "packets of the key are held on this side"),
            ("slot-free", "fact: a NIC slot is free for this key"),
            ("hold-full", "fact: the hold buffer has no room for one more packet of this key"),
            ("retries-spent", "fact: the entry's tries have reached `retries`"),
            ("changes-label", "fact: running this packet changes the context"),
        )
    )
)
GUARD: dict[str, int] = {g.name: g.code for g in GUARDS}
(G_G_CURRENT, G_G_NEWER, G_R_CURRENT, G_R_NEWER, G_N_CURRENT, G_N_NEWER, G_DRAINED, G_VERSION_NEWER) = range(
    8
)
(G_VERSION_CURRENT, G_NOT_STALE, G_OWN_INCARNATION, G_RESET, G_SAME_INCARNATION, G_G_GIVEN, G_HOLDING_ANY) = (
    range(8, 15)
)
FIRST_FACT = 15
# Bits of the `facts` argument of `transition`, in the place that they have among the guards.
F_SLOT_FREE, F_HOLD_FULL, F_RETRIES_SPENT, F_CHANGES_LABEL = 1 << 15, 1 << 16, 1 << 17, 1 << 18
FACTS = F_SLOT_FREE | F_HOLD_FULL | F_RETRIES_SPENT | F_CHANGES_LABEL
# Fields that a guard or an action reads of the message.
READS = {
    "g-current": "g",
    "g-newer": "g",
    "r-current": "r",
    "r-newer": "r",
    "n-current": "n",
    "n-newer": "n",
    "drained": "n",
    "version-newer": "version",
    "version-current": "version",
    "not-stale": "incarnation",
    "own-incarnation": "incarnation",
    "reset": "incarnation",
    "same-incarnation": "incarnation",
    "g-given": "g",
    "take-g": "g",
    "take-r": "r",
    "take-n": "n",
    "take-q": "n",
    "note-peer": "incarnation",
    "take-context": "version",
}
# At most one guard of each pair can be true.
EXCLUSIVE = (
    ("g-current", "g-newer"),
    ("r-current", "r-newer"),
    ("n-current", "n-newer"),
    ("version-current", "version-newer"),
    ("reset", "same-incarnation"),
)

ACTIONS = tuple(
    Name(name, code, doc)
    for code, (name, doc) in enumerate(
        (
            # On the side's own variables: done by the interpreter.
            ("new-generation", "g := the NIC's next generation"),
            ("new-request", "r := the CPU's next request"),
            ("take-g", "g := the message's"),
            ("take-r", "r := the message's"),
            ("take-n", "count := the message's"),
            ("take-q", "q := the message's count"),
            ("zero-n", "count := 0"),
            ("count", "count := count + 1"),
            ("clear-q", "q := undefined"),
            ("zero-q", "q := 0 (a mistake that checking found: nothing has been declared drained yet)"),
            ("forget-g", "g := none"),
            ("note-peer", "the other side's incarnation := the message's"),
            ("count-try", "tries := tries + 1"),
            ("clear-tries", "tries := 0"),
            ("take-context", "the context held here := the message's, with its version"),
            # On packets and slots: commands to the caller.
            ("process", "run the packet on the context held here, and let its output leave"),
            ("process-keep", "run the packet on the context held here, and keep its output back"),
            ("hold", "put the packet at the end of this side's buffer for the key"),
            ("drop", "drop the packet (counted)"),
            ("bounce", "send the packet back to the NIC to run this stage there"),
            ("punt-absent", "send the packet to the CPU tagged ⟨A, NIC incarnation⟩"),
            ("punt-watched", "send the packet to the CPU tagged ⟨W,g,p⟩"),
            ("punt-departed", "send the packet to the CPU tagged ⟨D,g⟩"),
            ("flush", "punt all held packets in order, counting each, tagged ⟨W,g,p⟩"),
            ("drain", "run all held packets in order on the context held here"),
            ("drain-keep", "the same, keeping their outputs back"),
            ("release", "let all outputs kept back leave, in order"),
            ("drop-held", "drop all held packets (counted)"),
            ("free", "forget the tenancy: g, r, count, q and tries; the NIC's slot is free"),
            ("fail", "count one failed promotion"),
            ("clear-context", "the context held here := that of a key never seen"),
            ("send", "send a message over the control channel"),
            ("put", "put a message into the data ring as a marker, behind what is in it"),
        )
    )
)
ACTION: dict[str, int] = {a.name: a.code for a in ACTIONS}
(A_NEW_GENERATION, A_NEW_REQUEST, A_TAKE_G, A_TAKE_R, A_TAKE_N, A_TAKE_Q, A_ZERO_N, A_COUNT) = range(8)
(A_CLEAR_Q, A_ZERO_Q, A_FORGET_G, A_NOTE_PEER, A_COUNT_TRY, A_CLEAR_TRIES, A_TAKE_CONTEXT) = range(8, 15)
(C_PROCESS, C_PROCESS_KEEP, C_HOLD, C_DROP, C_BOUNCE, C_PUNT_ABSENT, C_PUNT_WATCHED) = range(15, 22)
(C_PUNT_DEPARTED, C_FLUSH, C_DRAIN, C_DRAIN_KEEP, C_RELEASE, C_DROP_HELD, C_FREE, C_FAIL) = range(22, 30)
C_CLEAR_CONTEXT, C_SEND, C_PUT = 30, 31, 32
C_TAKE_CONTEXT = A_TAKE_CONTEXT  # also a command: the caller copies the context
# An action that takes a message is lowered as code + ACTION_MESSAGE * (message code + 1).
ACTION_MESSAGE = 64

# What only the NIC or only the CPU can do.
ONLY_NIC = {
    "new-generation",
    "take-q",
    "clear-q",
    "zero-q",
    "punt-absent",
    "punt-watched",
    "punt-departed",
    "flush",
}
ONLY_CPU = {"new-request", "bounce"}
# What concerns the packet of the event: exactly one of them in a packet's cell.
PACKET_ACTIONS = {
    "process",
    "process-keep",
    "hold",
    "drop",
    "bounce",
    "punt-absent",
    "punt-watched",
    "punt-departed",
}

# What a state's timer may be, as the experiment's `consistency` keys name them; 0 is no timer.
TIMERS = ("none", "resend", "hold_timeout", "writeback_interval")
TIMER_RESEND, TIMER_HOLD, TIMER_WRITEBACK = 1, 2, 3
TIMER_DOCS = (
    "no timer",
    "a message may be lost: send it again",
    "packets have been held for long",
    "a copy of the context is due on the CPU",
)

# The RX queue of a punt: that of its key, that of its flow (a hash of addresses), or any.
STEERINGS = ("home", "flow", "spread")
# Where a marker of the NIC goes where there are several RX queues: into the home queue of its key (with another
# steering: into the first queue), or into every queue, and then it counts when it has come out of all.
FENCES = ("one-queue", "every-queue")

# Properties and faults of a protocol's matrix.
PROPERTIES = (
    Name("one-owner", 0, "at most one side may process a packet of the key at any instant"),
    Name("exactly-once", 1, "each packet is applied exactly once, to the newest context"),
    Name("order", 2, "packets are applied in their order of arrival"),
    Name("egress-order", 3, "packets leave in their order of arrival"),
    Name("no-loss", 4, "no packet is lost but in a ring that dropped it or in a crash"),
    Name("rollback", 5, "after a crash the context is a prefix of its history, no older than the last copy"),
    Name("impossible", 6, "no cell that the table calls impossible is reached"),
    Name(
        "liveness", 7, "every migration ends, no packet is held for ever, the key always has an owner again"
    ),
    Name("output-commit", 8, "no crash undoes what a packet did that has left"),
    Name("limits", 9, "no slot, room in a buffer or try is used without asking whether there is one more"),
    Name(
        "accounting",
        10,
        "each promotion is asked for and ends once: as the CPU sees it done, or counted as failed",
    ),
)
PROPERTY: dict[str, int] = {p.name: p.code for p in PROPERTIES}
FAULTS = (
    Name("none", 0, "reliable control channel, no drops, no crashes"),
    Name("channel", 1, "control messages may be lost, duplicated, delayed, reordered"),
    Name("ring-drop", 2, "a ring may drop a packet or a marker"),
    Name("nic-crash", 3, "the NIC restarts with empty slots"),
    Name("cpu-crash", 4, "the CPU restarts from its last checkpoint"),
    Name("queues", 5, "several RX queues"),
)
FAULT: dict[str, int] = {f.name: f.code for f in FAULTS}

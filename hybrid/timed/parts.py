"""What a timed run is made of that other runs can have too: read once, and changed by none of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from oppcache.cache import Admission, Eviction, load_admission, load_policy
from oppcache.consistency import Protocol, load_protocol
from oppcache.consistency import lower as lower_protocol
from oppcache.consistency.lower import PROCESSES_FIRST, ProtocolArrays, running
from oppcache.consistency.vocabulary import NIC, ROLES
from oppcache.fastpath import Profile, load_profile
from oppcache.opp.errors import Mark, Problems
from oppcache.opp.lower import Lowered, lower

from ..placement import Placement, place
from ..rules import limited, without_limit
from ..setup import Setup

_KEEP = "process-keep"


@dataclass(frozen=True)
class Parts:
    """A program, a NIC, a protocol and policies, as the engine takes them."""

    lowered: Lowered
    profile: Profile
    placement: Placement
    protocol: Protocol
    table: ProtocolArrays
    eviction: Eviction
    admission: Admission


def make_anew(make: Callable[[], Any], *names: object) -> Any:
    """What has these names, made now."""
    return make()


def gather(setup: Setup, ask: Callable[..., Any] = make_anew) -> Parts:
    """Load what a setup names.

    Args:
        ask: called with what makes a part and the part's names, which are the same for the same part. A program must
            stay the same object.

    Raises:
        InputError: something does not exist, or is wrong.
    """
    program, rules = id(setup.program), setup.rules
    lowered = ask(lambda: lower(setup.program), "lowered", program)
    profile = ask(lambda: limited(load_profile(setup.profile), rules), "profile", setup.profile, rules)
    protocol = ask(lambda: runnable(setup.protocol), "protocol", setup.protocol)
    instant = protocol.instantaneous
    placed = without_limit(profile) if rules.algorithm else profile
    placement = ask(
        lambda: place(setup.program, lowered, placed, moves_take_time=not instant),
        "placement", program, setup.profile, rules, instant,
    )  # fmt: skip
    return Parts(
        lowered,
        profile,
        placement,
        protocol,
        ask(lambda: lower_protocol(protocol), "table", setup.protocol),
        ask(lambda: load_policy(setup.eviction), "eviction", setup.eviction),
        ask(lambda: load_admission(setup.admission), "admission", setup.admission),
    )


def runnable(source: str, mark: Mark | None = None) -> Protocol:
    """Load a protocol that the engine can run: a shipped one or a file.

    Raises:
        InputError: there is none, or it is wrong, or it wants its packets or markers in other RX queues than those that
            the engine chooses, or outputs kept back where the engine cannot run the packet first.
    """
    protocol, problems = load_protocol(source, mark), Problems()
    for key, got, built in (
        ("steering", protocol.steering, "home"),
        ("fences", protocol.fences, "one-queue"),
    ):
        if got != built:
            told = (
                f"{key}: got {got!r}, expected {built!r}; verify checks others, simulations do not run them"
            )
            problems.add(told, protocol.mark)
    for role in protocol.roles.values():
        for state in role.states.values():
            kept = [row for rows in state.cells.values() for row in rows if _KEEP in row.actions]
            if kept and (role.name != ROLES[NIC] or running(state) != PROCESSES_FIRST):
                told = (
                    f"{_KEEP}: got in state {state.name!r} of {role.name}, expected in a state of the NIC of which each "
                    "row for a packet begins with process or process-keep, bounced packets alike; simulations run no other"
                )
                problems.add(told, kept[0].mark)
    problems.raise_if_any()
    return protocol

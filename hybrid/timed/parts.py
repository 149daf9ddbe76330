"""What a timed run is made of that other runs can have too: read once, and changed by none of them."""

from __future__ import annotations

from dataclasses import dataclass

from oppcache.cache import Admission, Eviction, load_admission, load_policy
from oppcache.consistency import Protocol, load_protocol
from oppcache.consistency import lower as lower_protocol
from oppcache.consistency.lower import ProtocolArrays
from oppcache.fastpath import Profile, load_profile
from oppcache.opp.lower import Lowered, lower

from ..placement import Placement, place
from ..rules import limited, without_limit
from ..setup import Setup


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


def gather(setup: Setup) -> Parts:
    """Load what a setup names.

    Raises:
        InputError: something does not exist, or is wrong.
    """
    lowered = lower(setup.program)
    profile = limited(load_profile(setup.profile), setup.rules)
    eviction, admission = load_policy(setup.eviction), load_admission(setup.admission)
    protocol = load_protocol(setup.protocol)
    placed = without_limit(profile) if setup.rules.algorithm else profile
    placement = place(setup.program, lowered, placed, moves_take_time=not protocol.instantaneous)
    return Parts(lowered, profile, placement, protocol, lower_protocol(protocol), eviction, admission)

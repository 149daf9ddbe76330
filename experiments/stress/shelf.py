"""What timed runs are made of, loaded once each: :func:`oppcache.hybrid.timed.parts.gather` for many setups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oppcache.cache import load_admission, load_policy
from oppcache.consistency import load_protocol
from oppcache.consistency import lower as lower_protocol
from oppcache.fastpath import load_profile
from oppcache.hybrid.placement import place
from oppcache.hybrid.rules import limited, without_limit
from oppcache.hybrid.setup import Setup
from oppcache.hybrid.timed.parts import Parts
from oppcache.opp.lower import lower


class Shelf:
    """Loaded parts, by what they are of."""

    def __init__(self) -> None:
        self._found: dict[str, Any] = {}

    def ask(self, make: Callable[[], Any], *names: object) -> Any:
        """What has these names, made at the first time."""
        name = repr(names)
        if name not in self._found:
            self._found[name] = make()
        return self._found[name]

    def gather(self, setup: Setup) -> Parts:
        """The parts of a setup; its program must stay the same object."""
        program, rules = id(setup.program), setup.rules
        lowered = self.ask(lambda: lower(setup.program), "lowered", program)
        profile = self.ask(
            lambda: limited(load_profile(setup.profile), rules), "profile", setup.profile, rules
        )
        protocol = self.ask(lambda: load_protocol(setup.protocol), "protocol", setup.protocol)
        instant = protocol.instantaneous
        placed = without_limit(profile) if rules.algorithm else profile
        return Parts(
            lowered,
            profile,
            self.ask(
                lambda: place(setup.program, lowered, placed, moves_take_time=not instant),
                "placement", program, setup.profile, rules, instant,
            ),
            protocol,
            self.ask(lambda: lower_protocol(protocol), "table", setup.protocol),
            self.ask(lambda: load_policy(setup.eviction), "eviction", setup.eviction),
            self.ask(lambda: load_admission(setup.admission), "admission", setup.admission),
        )  # fmt: skip

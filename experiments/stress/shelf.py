"""What timed runs are made of, loaded once each: :func:`oppcache.hybrid.timed.parts.gather` for many setups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oppcache.hybrid.setup import Setup
from oppcache.hybrid.timed.parts import Parts, gather


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
        return gather(setup, self.ask)

"""Why something does not fit a NIC."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from oppcache.opp.errors import NOWHERE, Mark


@dataclass(frozen=True)
class Reason:
    """One thing that does not fit.

    Attributes:
        code: the profile's key that it breaks, ``section.key``.
        text: what the program asks and what the NIC has.
        entry: name of the entry that does not fit, empty if it is the stage or the program.
        got, limit: the numbers compared, None where it is not a matter of numbers.
    """

    code: str
    text: str
    entry: str = ""
    got: int | None = None
    limit: int | None = None
    mark: Mark = field(default=NOWHERE, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "code": self.code,
            "text": self.text,
            "entry": self.entry or None,
            "got": self.got,
            "limit": self.limit,
            "line": self.mark.line or None,
            "column": self.mark.column or None,
        }

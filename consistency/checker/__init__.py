"""The model checker: every state that a protocol's tables can reach within bounds, breadth first.

:func:`check` takes a protocol and a :class:`Model` (how many packets, migrations, crashes, …) and gives a
:class:`Verdict`. It runs the tables through the same interpreter as simulator and live processes.
"""

from .model import Model
from .search import check
from .verdict import Verdict

__all__ = ["Model", "Verdict", "check"]

"""The history checker: from what a run recorded, whether it was one machine that took packets one at a time.

Records in, verdict out; nothing here runs anything. :func:`check` takes a :class:`History` (when each packet entered and
left, each application of a packet to a context with the version and order witness that it met, each copy that moved, each
crash) and looks for what contradicts the first four properties of the page "Stress": each application extends the one
history of its context (or goes back as far as a crash allows, and no further), each packet is applied once, flows keep
their order, and the order at every context, in every flow and in time has no cycle. The plain reference
(:mod:`oppcache.opp.reference`) replays the serial order that is found, and must give the same.
"""

from .check import Verdict, check
from .order import Order, serialise
from .records import Arrival, Departure, Finding, History, Step

__all__ = ["Arrival", "Departure", "Finding", "History", "Order", "Step", "Verdict", "check", "serialise"]

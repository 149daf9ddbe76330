"""The CPU: the software switch without limits on its tables, its cores and queues, and how long they take.

:class:`SoftwareSwitch` is the machine itself, :class:`Service` says what a packet costs, :mod:`.queues` are the lines in
which packets wait, here and on every link of the hybrid.
"""

if __name__ != "oppcache.slowpath":
    raise ImportError(f"import oppcache.slowpath, not {__name__}: a second copy would not share its classes")

from oppcache.opp import Machine as SoftwareSwitch

from .cores import Law, Service

__all__ = ["Law", "Service", "SoftwareSwitch"]

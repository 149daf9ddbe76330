"""The CPU: the software switch without limits on its tables.

In this version it is the machine of :mod:`oppcache.opp` as it stands; cores, queues and service times come
with the timed paths.
"""

if __name__ != "oppcache.slowpath":
    raise ImportError(f"import oppcache.slowpath, not {__name__}: a second copy would not share its classes")

from oppcache.opp import Machine as SoftwareSwitch

__all__ = ["SoftwareSwitch"]

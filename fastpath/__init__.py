"""The NIC: profiles of devices, how a program fits one, and context tables with a limited number of slots."""

if __name__ != "oppcache.fastpath":
    raise ImportError(f"import oppcache.fastpath, not {__name__}: a second copy would not share its classes")

from .fit import Fit, StageFit, fit
from .limits import Limit
from .profiles import Profile, load_profile, profile_names
from .reasons import Reason

__all__ = [
    "Fit",
    "Limit",
    "Profile",
    "Reason",
    "StageFit",
    "fit",
    "load_profile",
    "profile_names",
]

"""The NIC: profiles, and context tables with a limited number of slots."""

if __name__ != "oppcache.fastpath":
    raise ImportError(f"import oppcache.fastpath, not {__name__}: a second copy would not share its classes")

from .profiles import Profile, load_profile, profile_names

__all__ = ["Profile", "load_profile", "profile_names"]

"""The NIC: profiles, context tables with limits, and what of a program fits."""

if __name__ != "oppcache.fastpath":
    raise ImportError(f"import oppcache.fastpath, not {__name__}: a second copy would not share its classes")

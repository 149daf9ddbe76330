"""The CPU: unbounded context tables behind the NIC."""

if __name__ != "oppcache.slowpath":
    raise ImportError(f"import oppcache.slowpath, not {__name__}: a second copy would not share its classes")

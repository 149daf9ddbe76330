"""How state moves between the two paths and stays one."""

if __name__ != "oppcache.consistency":
    raise ImportError(f"import oppcache.consistency, not {__name__}: a second copy would not share its classes")

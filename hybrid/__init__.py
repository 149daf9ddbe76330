"""The two paths joined, in virtual time."""

if __name__ != "oppcache.hybrid":
    raise ImportError(f"import oppcache.hybrid, not {__name__}: a second copy would not share its classes")

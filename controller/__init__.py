"""What programs the machine."""

if __name__ != "oppcache.controller":
    raise ImportError(
        f"import oppcache.controller, not {__name__}: a second copy would not share its classes"
    )

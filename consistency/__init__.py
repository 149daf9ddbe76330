"""How state moves between the two paths and stays one.

This version has one protocol, ``instant``: the textbook cache, where a migration takes no time and no message.
"""

if __name__ != "oppcache.consistency":
    raise ImportError(
        f"import oppcache.consistency, not {__name__}: a second copy would not share its classes"
    )

PROTOCOLS = ("instant",)


def protocol_names() -> list[str]:
    """Names of the available protocols."""
    return list(PROTOCOLS)


__all__ = ["protocol_names"]

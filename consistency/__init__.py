"""How state moves between the two paths and stays one.

A protocol is two tables over one vocabulary (:mod:`.vocabulary`, ``protocols/*.yaml``); :func:`load_protocol` reads
and checks one, :func:`lower` makes arrays of it, and :func:`~.interpreter.transition` takes one event on one side.
"""

if __name__ != "oppcache.consistency":
    raise ImportError(
        f"import oppcache.consistency, not {__name__}: a second copy would not share its classes"
    )

from .library import load_protocol, protocol_names, protocol_path
from .lower import ProtocolArrays, lower
from .table import Protocol

__all__ = ["Protocol", "ProtocolArrays", "load_protocol", "lower", "protocol_names", "protocol_path"]

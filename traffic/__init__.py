"""Packets in and out: capture files, header parsing, generators and workload models.

Every source of packets is a :class:`PacketSource`: it yields chunks of header vectors, whose layout
:mod:`oppcache.opp.fields` defines. :func:`open_capture` reads files.
"""

if __name__ != "oppcache.traffic":
    raise ImportError(f"import oppcache.traffic, not {__name__}: a second copy would not share its classes")

from .capture import Capture, open_capture
from .headers import Reason
from .source import Chunk, PacketSource

__all__ = ["Capture", "Chunk", "PacketSource", "Reason", "open_capture"]

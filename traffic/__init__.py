"""Packets in and out: capture files, header parsing, generators and workload models.

Every source of packets is a :class:`PacketSource`: it yields chunks of header vectors, whose layout
:mod:`oppcache.opp.fields` defines. :func:`open_capture` reads files, :func:`make_generator` makes traffic of a
workload model, :func:`limit` and :func:`retime` wrap either, :func:`rewrite` puts changed
headers back into frames, :class:`PcapWriter` and :func:`write_pcap` write files.
"""

if __name__ != "oppcache.traffic":
    raise ImportError(f"import oppcache.traffic, not {__name__}: a second copy would not share its classes")

from .capture import Capture, open_capture
from .frames import frame_layout, frames
from .generator import Generator, make_generator
from .headers import Reason
from .models import Mixture, Parameter, Workload, generator_parameters
from .pcap import PcapWriter, pcap_bytes, write_pcap
from .rewrite import rewrite
from .shaping import Rate, limit, parse_rate, retime
from .source import Chunk, PacketSource

__all__ = [
    "Capture",
    "Chunk",
    "Generator",
    "Mixture",
    "PacketSource",
    "Parameter",
    "PcapWriter",
    "Rate",
    "Reason",
    "Workload",
    "frame_layout",
    "frames",
    "generator_parameters",
    "limit",
    "make_generator",
    "open_capture",
    "parse_rate",
    "pcap_bytes",
    "retime",
    "rewrite",
    "write_pcap",
]
